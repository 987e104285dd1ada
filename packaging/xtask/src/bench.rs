//! `cargo xtask bench`: figures of the package, in a guest, or instructions of its hot paths, without one.

use crate::{counts, deb, host, image};
use std::error::Error;
use std::path::Path;
use std::process::Command;

/// How much is measured.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How often each way of starting is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    starts: u32,
    /// For so many users each, separated by commas.
    #[arg(long, default_value = "1,10,100", value_name = "USERS")]
    served: String,
    /// How long nobody does anything, before memory is looked at.
    #[arg(long, default_value = "5m")]
    idle: String,
    /// How often each command is asked.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    asks: u32,
    /// How many people are there all at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    people: u32,
    /// Some of: start, size, idle, peers, processes, answers, work, people.
    #[arg(long, value_name = "PARTS")]
    only: Option<String>,
    /// Instead of all that, count the instructions of what the agent does again and again. One that takes more of them than
    /// the number that is kept is an error.
    #[arg(long, conflicts_with_all = ["starts", "served", "idle", "asks", "people", "only"])]
    counts: bool,
    /// Keep the numbers of now.
    #[arg(long, requires = "counts")]
    keep: bool,
}

/// Builds the package and the image that guests start from, measures, and prints one table.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    if options.counts {
        return Ok(counts::run(options.keep)?);
    }
    image::build(vm::Suite::Trixie, false)?;
    let package = deb::build(Path::new("dist"))?;
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--locked", "--package", "bench", "--"]);
    command.arg(format!("--starts={}", options.starts));
    command.arg(format!("--served={}", options.served));
    command.arg(format!("--idle={}", options.idle));
    command.arg(format!("--asks={}", options.asks));
    command.arg(format!("--people={}", options.people));
    command.args(options.only.iter().map(|parts| format!("--only={parts}")));
    command.arg(format!("--archive={}", host::debian_archive()?));
    command.env("DSVM_AGENT_DEB", std::path::absolute(package)?);
    Ok(host::stream(command)?)
}
