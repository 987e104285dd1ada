//! People who come: from a new account to its link, many at once over a share that is a millisecond away, and what a
//! log-in is held up by, with the share healthy and dead.

use crate::place::{self, Mounts, SCRIPTS};
use crate::table::{Row, Unit, median};
use std::time::Duration;
use vm::{FileServer, Guest};

/// So many new users, one after the other.
const NEW: u32 = 100;
/// So many log-ins.
const LOG_INS: u32 = 50;

/// `crowd` people are there all at once, beside the old script's steps for as many.
pub fn measure(guest: &Guest, server: &FileServer, crowd: u32) -> Vec<Row> {
    place::configure(guest, Mounts::OnPresence);
    guest.sh(&format!("{SCRIPTS}/start clear"));
    guest.sh("systemctl start dsvm-agent; dsvm-agent wait --timeout 90s");
    let mut rows = Vec::new();

    let (made, linked) = pairs(guest, &format!("links {NEW}"));
    let whose = "useradd itself";
    for (what, of) in [("median", median as fn(&[f64]) -> f64), ("worst", worst)] {
        let what = format!("from a new user to their link, {what} of {NEW}");
        rows.push(Row::beside(&what, Unit::Milliseconds, of(&linked), whose, of(&made)));
    }

    let hook = |what: &str| {
        let (ours, nothing) = pairs(guest, &format!("hook alice {LOG_INS}"));
        let whose = "a program that does nothing";
        ["median", "worst"]
            .iter()
            .zip([median as fn(&[f64]) -> f64, worst])
            .map(|(which, of)| {
                let what = format!("log-in held up, {what}, {which} of {LOG_INS}");
                Row::beside(&what, Unit::Milliseconds, of(&ours), whose, of(&nothing))
            })
            .collect::<Vec<_>>()
    };
    guest.stay_logged_in("alice");
    guest.sh("dsvm-agent wait --for user:alice --timeout 90s");
    rows.extend(hook("share healthy"));
    guest.log_out("alice");
    server.drop_silently();
    guest.wait_away();
    rows.extend(hook("share dead"));
    server.undrop();
    guest.wait_ready();

    server.delay(1);
    guest.sh("modprobe sch_netem; tc qdisc replace dev eth1 root netem delay 1ms");
    let [ours, old] = ["crowd", "old"].map(|what| median(&run(guest, &format!("{what} {crowd}"))));
    let what = format!("{crowd} new users at once to their links, 1 ms each way");
    rows.push(Row::beside(&what, Unit::Seconds, ours, "old steps: one mount.cifs, mkdir, ln", old));
    server.delay(0);
    guest.sh("tc qdisc delete dev eth1 root");
    rows
}

fn worst(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(0.0, f64::max)
}

/// All numbers that a command prints.
fn run(guest: &Guest, what: &str) -> Vec<f64> {
    let text = guest.ssh_within(&format!("{SCRIPTS}/people {what}"), Duration::from_secs(60 * 60)).ok();
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("no number: {word}"));
    text.split_whitespace().map(number).collect()
}

/// The same, where each line has two.
fn pairs(guest: &Guest, what: &str) -> (Vec<f64>, Vec<f64>) {
    run(guest, what).chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_worst_is_the_longest() {
        assert!((super::worst(&[1.0, 7.0, 2.0]) - 7.0).abs() < 1e-9);
    }
}
