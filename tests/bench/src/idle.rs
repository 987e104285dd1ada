//! What it costs while nothing happens.

use crate::place::SCRIPTS;
use crate::table::{Row, Unit};
use std::collections::BTreeMap;
use std::time::Duration;
use vm::Guest;

/// What one look gave.
pub type Sample = BTreeMap<String, f64>;

/// Memory after `time` in which nobody does anything, against the service that keeps the list of who is logged in; and what
/// was used in that time, against all else on the machine: other services wait so well that they use nothing at all.
pub fn measure(guest: &Guest, time: Duration) -> Vec<Row> {
    let look = || sample(&guest.sh(&format!("{SCRIPTS}/sample dsvm-agent systemd-logind")));
    let before = look();
    // In the guest, so that nobody speaks to it meanwhile.
    guest.ssh_within(&format!("sleep {}", time.as_secs()), time + Duration::from_secs(120)).ok();
    let after = look();
    let now = |what: &str, key: &str| {
        let of = |unit: &str| after[&format!("{unit} {key}")];
        Row::beside(what, Unit::Kibibytes, of("dsvm-agent"), "systemd-logind", of("systemd-logind"))
    };
    let passed = after["all uptime"] - before["all uptime"];
    let rate = |what: &str, key: &str, unit, per: f64| {
        let used = |whose: &str| {
            let key = format!("{whose} {key}");
            (after[&key] - before[&key]) / passed * per
        };
        let ours = used("dsvm-agent");
        Row::beside(what, unit, ours, "all else on the idle guest", used("all") - ours)
    };
    vec![
        now("memory, proportional (launcher and brain)", "pss_kib"),
        now("memory, resident (launcher and brain)", "rss_kib"),
        rate("CPU an hour, workers too", "cpu_s", Unit::Seconds, 3600.0),
        rate("wake-ups a minute (launcher and brain)", "switches", Unit::Times, 60.0),
    ]
}

/// Reads lines of `whose what value`.
pub fn sample(text: &str) -> Sample {
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().map(|line| pair(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sample_is_read() {
        let sample = super::sample("all cpu_s 0.25\na.service pss_kib 2100");
        assert!((sample["a.service pss_kib"] - 2100.0).abs() < 1e-9 && (sample["all cpu_s"] - 0.25).abs() < 1e-9);
    }
}
