//! `cargo xtask`: builds, packages, tests and shows the project. Each command installs what it needs.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod host;
mod image;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, packages, tests and shows the project.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
    let result = match Arguments::parse().command {
        Command::Image { suite, force } => image::build(suite, force).map(|path| println!("{}", path.display())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
