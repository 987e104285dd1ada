//! The bench ring: what the agent costs, beside what it replaces or what is there anyway, in one guest and one run.
//!
//! Figures of an emulated guest mean something only beside each other, so every row is a pair that was measured in turn,
//! and its ratio. Nothing here fails because something was slow. `cargo xtask bench` builds what it takes and runs this.
//!
//! Instructions are the same on every machine, and can fail: `bin/counts`, which `cargo xtask bench --counts` runs.

use clap::{Parser, ValueEnum};
use std::time::Duration;
use vm::{Scenario, Service, together};

mod answer;
mod idle;
mod packages;
mod peers;
mod people;
mod place;
mod processes;
mod size;
mod start;
mod table;
mod work;

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// From start to ready.
    Start,
    /// On a disk.
    Size,
    /// Doing nothing.
    Idle,
    /// The same, beside others of its kind.
    Peers,
    /// With few and many processes.
    Processes,
    /// Being asked.
    Answers,
    /// Notebooks over SMB and NFS, 1 ms each way.
    Work,
    /// New users, log-ins, and many people at once.
    People,
}

/// What is measured, and how long.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures the package that DSVM_AGENT_DEB names, in a guest.")]
struct Options {
    /// How often each way of starting is measured.
    #[arg(long)]
    starts: u32,
    /// For so many users each.
    #[arg(long, required = true, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    served: Vec<u32>,
    /// How long nobody does anything.
    #[arg(long, value_parser = humantime::parse_duration)]
    idle: Duration,
    /// How often each command is asked.
    #[arg(long)]
    asks: u32,
    /// How many people are there all at once.
    #[arg(long)]
    people: u32,
    /// Where Debian's packages are. Without it, what is not in the guest anyway is left out.
    #[arg(long)]
    archive: Option<String>,
    /// These parts only, in this order.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

fn main() {
    let options = Options::parse();
    let scenario = Scenario::new("bench");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Off));
    place::prepare(&guest);
    let archive = options.archive.as_deref();
    let mut rows = Vec::new();
    for part in if options.only.is_empty() { Part::value_variants() } else { &options.only } {
        eprintln!("bench: {part:?} …");
        if matches!(part, Part::Idle | Part::Peers | Part::Answers) {
            place::serve(&guest);
        }
        rows.extend(match part {
            Part::Start => start::measure(&guest, &server, archive, (&options.served, options.starts)),
            Part::Size => size::measure(&guest),
            Part::Idle => idle::measure(&guest, options.idle),
            Part::Peers => peers::measure(&guest, archive, options.idle),
            Part::Processes => {
                let crowded = processes::guest(&scenario);
                place::prepare(&crowded);
                processes::measure(&crowded)
            }
            Part::Answers => answer::measure(&guest, options.asks),
            Part::Work => work::measure(&guest, &server, options.starts),
            Part::People => people::measure(&guest, &server, options.people),
        });
    }
    println!("{}", place::describe(&guest));
    print!("{}", table::render(&rows));
}
