//! Durations as people say them.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `4 s`, `65 min`, `3 h 12 min`, `2 d 5 h`, `9 d`: never more than two units, rounded down.
pub fn humane(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        // Up to an hour and a half people count in minutes.
        MINUTE..5400 => format!("{} min", seconds / MINUTE),
        5400..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        _ if seconds < 7 * DAY => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        _ => format!("{} d", seconds / DAY),
    }
}

fn two(big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{big} {big_unit}") } else { format!("{big} {big_unit} {small} {small_unit}") }
}

/// How long ago: `just now`, `4 s ago`.
pub fn ago(duration: Duration) -> String {
    if duration.as_secs() == 0 { "just now".to_owned() } else { format!("{} ago", humane(duration)) }
}

/// A short time measured in milliseconds: `0.4 ms`, `2.1 ms`, `37 ms`, `1.5 s`. Nothing when it is no time at all
/// (negative, infinite, not a number).
pub fn millis(ms: f64) -> Option<String> {
    if !ms.is_finite() || ms < 0.0 {
        return None;
    }
    Some(match ms {
        _ if ms < 9.95 => format!("{ms:.1} ms"),
        _ if ms < 999.5 => format!("{ms:.0} ms"),
        _ if ms < 59_950.0 => format!("{:.1} s", ms / 1000.0),
        _ => humane(Duration::try_from_secs_f64(ms / 1000.0).ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_durations_as_people_do() {
        for (seconds, said) in [
            (0, "0 s"),
            (4, "4 s"),
            (59, "59 s"),
            (60, "1 min"),
            (119, "1 min"),
            (65 * 60, "65 min"),
            (5399, "89 min"),
            (5400, "1 h 30 min"),
            (3 * 3600 + 12 * 60 + 59, "3 h 12 min"),
            (2 * 3600, "2 h"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d"),
            (2 * 86_400, "2 d"),
            (2 * 86_400 + 5 * 3600, "2 d 5 h"),
            (9 * 86_400 + 5 * 3600, "9 d"),
        ] {
            assert_eq!(humane(Duration::from_secs(seconds)), said);
        }
    }

    #[test]
    fn says_how_long_ago() {
        assert_eq!(ago(Duration::from_millis(900)), "just now");
        assert_eq!(ago(Duration::from_secs(4)), "4 s ago");
    }

    #[test]
    fn says_milliseconds() {
        for (ms, said) in [
            (0.0, Some("0.0 ms")),
            (2.13, Some("2.1 ms")),
            (9.96, Some("10 ms")),
            (37.4, Some("37 ms")),
            (999.6, Some("1.0 s")),
            (1500.0, Some("1.5 s")),
            (120_000.0, Some("2 min")),
            (-1.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(millis(ms).as_deref(), said, "{ms}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_short(seconds: u64, ms: f64) {
            prop_assert!(humane(Duration::from_secs(seconds)).len() < 24);
            let _ = millis(ms);
        }
    }
}
