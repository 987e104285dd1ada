//! What looking for use of the VM costs with few and with many processes, beside what administrators look with.

use crate::place::SCRIPTS;
use crate::table::{Row, Unit, median};
use std::time::Duration;
use vm::{Guest, Scenario, Service};

/// So many processes of users are there.
const COUNTS: [u32; 3] = [50, 500, 5_000];
/// MiB for the most of them, each of which takes about 300 KiB.
const MEMORY: u32 = 3072;
/// What lists processes or people, in turn with each other.
const THEIRS: [&str; 2] = ["ps -e -o user,pid,stat,time,args", "w"];
/// So often they are asked.
const ASKS: u32 = 5;
/// Nobody does anything for so long.
const QUIET: Duration = Duration::from_secs(120);

/// A guest that has room for them, without a share.
pub fn guest(scenario: &Scenario) -> Guest {
    let mut guest = scenario.agent_vm("vm2", Service::Off);
    guest.power_off_clean();
    guest.resize(MEMORY);
    guest.power_on();
    guest
}

/// For each number: one sample, the CPU time and the wake-ups of the service.
pub fn measure(guest: &Guest) -> Vec<Row> {
    guest.sh("systemctl start dsvm-agent");
    let mut rows = Vec::new();
    for count in COUNTS {
        guest.sh(&format!("systemd-run --quiet --collect --unit=crowd -p TasksMax=infinity {SCRIPTS}/crowd {count}"));
        // Not by listing them: that takes seconds for thousands.
        let there = || guest.sh("cat /sys/fs/cgroup/system.slice/crowd.service/pids.current").parse().unwrap_or(0);
        vm::wait_for(&format!("{count} processes are there"), Duration::from_secs(600), || there() > count);
        rows.extend(with(guest, count));
        guest.sh("systemctl stop crowd");
    }
    rows
}

fn with(guest: &Guest, count: u32) -> Vec<Row> {
    // Two looks from which all of them are known.
    let (seconds, samples) = (QUIET.as_secs(), format!("{SCRIPTS}/samples {}", QUIET.as_secs()));
    guest.ssh_within(&format!("sleep {}", seconds / 3), QUIET).ok();
    let look = || super::idle::sample(&guest.sh(&format!("{SCRIPTS}/sample dsvm-agent")));
    let before = look();
    let text = guest.ssh_within(&samples, QUIET + Duration::from_secs(120)).ok();
    let after = look();
    let passed = after["all uptime"] - before["all uptime"];
    let used = |key: &str, per: f64| {
        let key = format!("dsvm-agent {key}");
        (after[&key] - before[&key]) / passed * per
    };
    let sample = median(&text.lines().map(|line| line.parse().expect("a number")).collect::<Vec<f64>>());
    let quoted: Vec<String> = THEIRS.iter().map(|command| vm::quoted(command)).collect();
    let asked = guest.ssh_within(&format!("{SCRIPTS}/ask {ASKS} {}", quoted.join(" ")), Duration::from_secs(900)).ok();
    let took = |which: usize| {
        let own = asked.lines().filter_map(|line| line.strip_prefix(&format!("{which} ")));
        median(&own.map(|micros| micros.parse::<f64>().expect("a number") / 1000.0).collect::<Vec<_>>())
    };
    let mut rows: Vec<Row> = THEIRS
        .iter()
        .enumerate()
        .map(|(which, theirs)| {
            let whose = theirs.split(' ').next().unwrap_or(theirs);
            Row::beside(&format!("{count} processes: one sample"), Unit::Milliseconds, sample, whose, took(which))
        })
        .collect();
    rows.push(Row::alone(&format!("{count} processes: CPU an hour"), Unit::Seconds, used("cpu_s", 3600.0)));
    rows.push(Row::alone(&format!("{count} processes: wake-ups a minute"), Unit::Times, used("switches", 60.0)));
    rows
}
