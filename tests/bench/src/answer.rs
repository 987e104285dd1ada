//! How long an answer takes.

use crate::place::SCRIPTS;
use crate::table::{Row, Unit, median};
use std::time::Duration;
use vm::{Guest, quoted};

const COMMANDS: [&str; 3] = ["dsvm-agent status", "systemctl --no-pager status dsvm-agent", "loginctl --no-pager"];

/// `status`, against what else an administrator asks a machine; in turn, so that all meet the same machine.
pub fn measure(guest: &Guest, times: u32) -> Vec<Row> {
    let commands: Vec<String> = COMMANDS.iter().map(|command| quoted(command)).collect();
    let line = format!("{SCRIPTS}/ask {times} {}", commands.join(" "));
    let answers = guest.ssh_within(&line, Duration::from_secs(30 * 60)).ok();
    let [ours, systemctl, loginctl] = [0, 1, 2].map(|which| {
        let own = answers.lines().filter_map(|line| line.strip_prefix(&format!("{which} ")));
        median(&own.map(|micros| micros.parse::<f64>().expect("a number") / 1000.0).collect::<Vec<_>>())
    });
    let beside = |whose, theirs| Row::beside(COMMANDS[0], Unit::Milliseconds, ours, whose, theirs);
    vec![beside("systemctl status dsvm-agent", systemctl), beside(COMMANDS[2], loginctl)]
}
