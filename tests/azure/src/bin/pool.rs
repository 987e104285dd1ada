//! A pool in made-up time: `cargo run -p azure --bin pool -- --seed 1`.

use azure::pool::{Scaling, Scenario, report, run};
use clap::Parser;
use std::time::Instant;

/// A day of a pool of VMs, made smaller by the agent, by CPU alone, and by kernels, terminals and connections alone.
#[derive(Parser)]
struct Arguments {
    /// The same number makes the same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many VMs there are at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100))]
    vms: u32,
    /// Only the usual day.
    #[arg(long)]
    usual: bool,
    /// Only days whose name has this in it.
    #[arg(long, default_value = "")]
    day: String,
    /// Say more: VMs by the hour, and what was destroyed.
    #[arg(long)]
    more: bool,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    let begun = Instant::now();
    print!("{}", report::head());
    for scenario in Scenario::all(arguments.vms).into_iter().take(if arguments.usual { 1 } else { usize::MAX }) {
        if !scenario.name.contains(&arguments.day) {
            continue;
        }
        let alone = scenario.is_about_agents();
        for scaling in Scaling::ALL.into_iter().filter(|s| !alone || *s == Scaling::Agent) {
            let outcome = run(&scenario, scaling, arguments.seed)?;
            print!("{}", report::line(scenario.name, scaling.name(), &outcome));
            if arguments.more {
                println!("  VMs at each hour: {:?}", outcome.hourly);
                println!(
                    "  moved in time: {}; waited at most {:.0} s; in vain {}",
                    outcome.moved, outcome.waited, outcome.in_vain
                );
                for loss in &outcome.destroyed {
                    println!("  {} VM {}: {:?} after {:.1} h", report::clock(loss.at), loss.vm, loss.kind, loss.hours);
                }
            }
        }
    }
    println!("Friday 0:00 to Sunday 0:00; worked out in {:.1} s.", begun.elapsed().as_secs_f64());
    Ok(())
}
