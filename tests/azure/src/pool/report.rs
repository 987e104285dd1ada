//! The table.

use super::people::HOUR;
use super::world::Outcome;
use std::fmt::Write as _;

/// The table's head.
pub fn head() -> String {
    let first = format!(
        "{:<34} {:<24} {:>8} {:>9} {:>11} {:>10} {:>8} {:>7}\n",
        "day", "made smaller by", "VM hours", "destroyed", "after hours", "thrown out", "reloaded", "none at"
    );
    first.clone() + &"-".repeat(first.len() - 1) + "\n"
}

/// One line: what came of a day.
pub fn line(day: &str, scaling: &str, outcome: &Outcome) -> String {
    // Not `sum`: of nothing that is -0.
    let hours = outcome.destroyed.iter().fold(0.0, |sum, l| sum + l.hours);
    let none = outcome.none_since.map_or("-".to_owned(), clock);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{day:<34} {scaling:<24} {:>8.0} {:>9} {hours:>11.1} {:>10} {:>8} {none:>7}",
        outcome.vm_hours,
        outcome.destroyed.len(),
        outcome.thrown_out,
        outcome.reloads
    );
    out
}

/// The time of day; a `+` stands for the next day.
pub fn clock(at: f64) -> String {
    let (hours, minutes) = ((at / HOUR) as u64, (at / 60.0) as u64 % 60);
    format!("{}{:02}:{minutes:02}", if hours >= 24 { "+" } else { "" }, hours % 24)
}
