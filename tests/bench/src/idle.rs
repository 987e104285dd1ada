//! What it costs while nothing happens.

use crate::place::SCRIPTS;
use crate::table::{Row, Unit};
use std::collections::BTreeMap;
use std::time::Duration;
use vm::Guest;

/// What one look at a service gave.
type Sample = BTreeMap<String, f64>;

/// Memory after `time` in which nobody does anything, and what was used in that time; against the service that keeps
/// the list of who is logged in.
pub fn measure(guest: &Guest, time: Duration) -> Vec<Row> {
    const THEIRS: &str = "systemd-logind";
    let look = || ["dsvm-agent", THEIRS].map(|unit| sample(&guest.sh(&format!("{SCRIPTS}/sample {unit}"))));
    let before = look();
    // In the guest, so that nobody speaks to it meanwhile.
    guest.ssh_within(&format!("sleep {}", time.as_secs()), time + Duration::from_secs(120)).ok();
    let after = look();
    let [ours, theirs] = &after;
    let now = |what: &str, key: &str, unit| Row::beside(what, unit, ours[key], THEIRS, theirs[key]);
    let used = |which: usize, key: &str, per: f64| {
        let passed = after[which]["uptime"] - before[which]["uptime"];
        (after[which][key] - before[which][key]) / passed * per
    };
    let rate = |what: &str, key: &str, unit, per| Row::beside(what, unit, used(0, key, per), THEIRS, used(1, key, per));
    vec![
        now("memory, proportional (launcher and brain)", "pss_kib", Unit::Kibibytes),
        now("memory, resident (launcher and brain)", "rss_kib", Unit::Kibibytes),
        rate("CPU an hour, workers too", "cpu_s", Unit::Seconds, 3600.0),
        rate("wake-ups a minute (launcher and brain)", "switches", Unit::Times, 60.0),
    ]
}

/// Reads lines of `name value`.
fn sample(text: &str) -> Sample {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().map(|line| pair(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sample_is_read() {
        let sample = super::sample("pss_kib 2100\ncpu_s 0.25");
        assert!((sample["pss_kib"] - 2100.0).abs() < 1e-9 && (sample["cpu_s"] - 0.25).abs() < 1e-9);
    }
}
