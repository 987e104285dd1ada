//! The bench ring: what the agent costs, beside what it replaces or what is there anyway, in one guest and one run.
//!
//! Figures of an emulated guest mean something only beside each other, so every row is a pair that was measured in turn,
//! and its ratio. Nothing here fails because something was slow. `cargo xtask bench` builds what it takes and runs this.

use clap::Parser;
use std::time::Duration;
use vm::{Scenario, Service, together};

mod answer;
mod idle;
mod peers;
mod people;
mod place;
mod processes;
mod size;
mod start;
mod table;
mod work;

/// What is measured, and how long.
#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures the package that DSVM_AGENT_DEB names, in a guest.")]
struct Options {
    /// How often each way of starting is measured.
    #[arg(long)]
    starts: u32,
    /// How long nobody does anything.
    #[arg(long, value_parser = humantime::parse_duration)]
    idle: Duration,
    /// How often each command is asked.
    #[arg(long)]
    asks: u32,
    /// How many people are there all at once.
    #[arg(long)]
    people: u32,
    /// Where Debian's packages are.
    #[arg(long)]
    archive: String,
}

fn main() {
    let options = Options::parse();
    let scenario = Scenario::new("bench");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Off));
    place::prepare(&guest);
    eprintln!("bench: starting the service, {} times each way …", options.starts);
    let mut rows = start::measure(&guest, &server, options.starts);
    rows.extend(size::measure(&guest));
    eprintln!("bench: doing nothing for {} …", humantime::format_duration(options.idle));
    rows.extend(idle::measure(&guest, options.idle));
    eprintln!("bench: the same, beside others of its kind …");
    rows.extend(peers::measure(&guest, &options.archive, options.idle));
    eprintln!("bench: many processes …");
    rows.extend(processes::measure(&guest));
    eprintln!("bench: asking, {} times each …", options.asks);
    rows.extend(answer::measure(&guest, options.asks));
    eprintln!("bench: notebooks over SMB and NFS, 1 ms each way …");
    rows.extend(work::measure(&guest, &server, options.starts));
    eprintln!("bench: new users, log-ins, and {} people at once …", options.people);
    rows.extend(people::measure(&guest, &server, options.people));
    println!("{}", place::describe(&guest));
    print!("{}", table::render(&rows));
}
