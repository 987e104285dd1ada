//! `cargo xtask`: builds, packages, tests and shows the project. Each command installs what it needs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod ahead;
mod bench;
mod cloud_init;
mod counts;
mod deb;
mod demo;
mod fuzz;
mod host;
mod image;
mod licences;
mod manual;
mod order;
mod program;
mod sbom;
mod size;
mod template;
mod test;
mod unit;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, packages, tests and shows the project.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job on two machines of its own: nothing of this one is touched.
    Demo(demo::Options),
    /// Build the Debian package.
    Deb {
        /// Where to.
        #[arg(long, default_value = "dist")]
        out: PathBuf,
    },
    /// Run the checks and all rings of tests, or those that are named.
    Test {
        /// Some of: check, unit, cli, namespaces, azure, vm; and fuzz, which only runs when it is named.
        rings: Vec<test::Ring>,
        /// Only tests with this in their name, and those too that are run by hand because they last.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Also what lasts, or needs an older release: all scenarios but those of an hour. Before a release.
        #[arg(long, conflicts_with = "only")]
        long: bool,
    },
    /// Try what others write on everything that reads it, with inputs that libFuzzer makes up.
    Fuzz(fuzz::Options),
    /// Measure the package in a guest and print one table of figures, or count the instructions of its hot paths.
    Bench(bench::Options),
    /// Build the package and print one table of what it takes: on a disk, to download, to build, to trust.
    Size(size::Options),
    /// Record anew which functions the service calls, so that they lie together in the program. As root.
    Order,
    /// Make the manual pages and the completions of shells, as the package has them.
    Manual {
        /// Where to.
        #[arg(long, default_value = "target/manual")]
        out: PathBuf,
    },
    /// Make what the vm ring stands on, as a run of all rings does meanwhile.
    #[command(hide = true)]
    Ahead,
    /// Put the user-data of `cloud-init/` into the deployment template.
    Template,
    /// Build the image that test guests start from, unless it is there.
    Image {
        /// The release of Debian.
        #[arg(long, default_value = "trixie", value_parser = image::suite)]
        suite: vm::Suite,
        /// Build it even if it is there.
        #[arg(long)]
        force: bool,
    },
}

fn main() -> ExitCode {
    let result: Result<(), Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Deb { out } => deb::build(&out).map(drop).map_err(Box::from),
        Command::Demo(options) => demo::run(&options),
        Command::Fuzz(options) => fuzz::run(&options).map_err(Box::from),
        Command::Bench(options) => bench::run(&options),
        Command::Size(options) => size::measure(&options).map_err(Box::from),
        Command::Test { rings, only, long } => test::run(&rings, only.as_deref(), long),
        Command::Manual { out } => manual::check(&out, deb::root()).map_err(Box::from),
        Command::Ahead => ahead::run().map(drop).map_err(Box::from),
        Command::Order => order::record::run_and_keep().map_err(Box::from),
        Command::Template => template::write().map_err(Box::from),
        Command::Image { suite, force } => {
            image::build(suite, force).map(|path| println!("{}", path.display())).map_err(Box::from)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
