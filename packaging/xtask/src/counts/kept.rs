//! The counts that are kept, and what is said of those of now beside them. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// So many per cent more than what is kept are a regression, and so many less may be kept. One build counts the same again
/// and again. Where its files lie makes 1 %; how the compiler puts together anew what a change did not touch, a fifth of that.
const TOLERANCE: u64 = 5;

/// What writes the file.
const COMMAND: &str = "cargo xtask bench --counts --keep";

/// Instructions of each path, for one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// What they were counted with: they can be compared only with others that were counted with the same.
    pub with: String,
    /// By name.
    pub paths: BTreeMap<String, u64>,
}

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// For a person to know.
    pub remarks: Vec<String>,
    /// What is to be mended.
    pub mistakes: Vec<String>,
}

impl Counts {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The line that is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut counts = Self { with: String::new(), paths: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once(' ') {
                Some(("with", with)) => counts.with = with.to_owned(),
                Some((name, number)) => {
                    let number = number.trim().parse().map_err(|_| format!("no count: {line}"))?;
                    counts.paths.insert(name.to_owned(), number);
                }
                None => return Err(format!("no count: {line}")),
            }
        }
        Ok(counts)
    }

    /// What these, counted now, are beside those that were `kept`.
    pub fn beside(&self, kept: &Self) -> Judged {
        let mut out = Judged::default();
        if self.with != kept.with {
            out.remarks.push(format!(
                "Nothing is judged: these are counts with {}, and what is kept are counts with {}.",
                self.with, kept.with
            ));
            return out;
        }
        for (name, now) in &self.paths {
            let Some(before) = kept.paths.get(name) else {
                out.mistakes.push(format!("{name}: nothing is kept of it yet. To keep what it takes now: {COMMAND}"));
                continue;
            };
            let change = change(*before, *now);
            if above(*before, *now) {
                out.mistakes.push(format!(
                    "{name}: {now} instructions instead of {before} ({change}). Mend it; or, if it has to be so, keep \
                     that: {COMMAND}"
                ));
            } else if above(*now, *before) {
                let better =
                    format!("{name}: {now} instructions instead of {before} ({change}). To keep that: {COMMAND}");
                out.remarks.push(better);
            }
        }
        for name in kept.paths.keys().filter(|name| !self.paths.contains_key(*name)) {
            out.mistakes.push(format!("{name}: kept, and there is no such path any more: {COMMAND}"));
        }
        out
    }

    /// Each beside what is kept, in columns.
    pub fn table(&self, kept: &Self) -> String {
        let row = |(name, now): (&String, &u64)| {
            let before = kept.paths.get(name);
            let change = before.map(|before| change(*before, *now)).unwrap_or_default();
            format!("{name:<16} {now:>12} {:>12} {change:>8}\n", before.map_or(String::new(), u64::to_string))
        };
        let head = format!("{:<16} {:>12} {:>12} {:>8}\n", "instructions", "now", "kept", "");
        self.paths.iter().map(row).fold(head, |table, row| table + &row)
    }
}

/// As the file has them.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Instructions of one turn of each path, as callgrind counts them. Written by {COMMAND}")?;
        writeln!(f, "with {}", self.with)?;
        self.paths.iter().try_for_each(|(name, number)| writeln!(f, "{name} {number}"))
    }
}

/// Whether `more` is more than `less` by more than is tolerated.
fn above(less: u64, more: u64) -> bool {
    more.saturating_mul(100) > less.saturating_mul(100 + TOLERANCE)
}

fn change(before: u64, now: u64) -> String {
    format!("{:+.1} %", (now as f64 / before.max(1) as f64 - 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(with: &str, paths: &[(&str, u64)]) -> Counts {
        let paths = paths.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Counts { with: with.to_owned(), paths }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let kept = counts("rustc 1.95.0 (59807616e 2026-04-14), glibc 2.36", &[("pass", 1_234_567), ("glance", 8)]);
        assert_eq!(Counts::read(&kept.to_string()), Ok(kept));
        assert_eq!(Counts::read("pass many\n"), Err("no count: pass many".to_owned()));
        assert_eq!(Counts::read("pass\n"), Err("no count: pass".to_owned()));
    }

    #[test]
    fn more_is_a_mistake_less_a_remark_and_a_little_is_nothing() {
        for (before, now, mistake, remark) in [
            (1000, 1000, false, false),
            (1000, 1050, false, false),
            (1000, 1051, true, false),
            (1000, 5000, true, false),
            (1050, 1000, false, false),
            (1051, 1000, false, true),
            (1000, 0, false, true),
            (0, 1, true, false),
            (u64::MAX, u64::MAX, false, false),
        ] {
            let judged = counts("a", &[("pass", now)]).beside(&counts("a", &[("pass", before)]));
            assert_eq!(
                (judged.mistakes.len(), judged.remarks.len()),
                (mistake.into(), remark.into()),
                "{before} {now}"
            );
            for line in judged.mistakes.iter().chain(&judged.remarks) {
                let said = format!("pass: {now} instructions instead of {before} (");
                assert!(line.starts_with(&said) && line.ends_with(COMMAND), "{line}");
            }
        }
    }

    #[test]
    fn what_was_counted_with_something_else_is_not_judged() {
        let judged = counts("rustc 2", &[("pass", 5000), ("new", 1)]).beside(&counts("rustc 1", &[("pass", 1000)]));
        assert_eq!(judged.mistakes, Vec::<String>::new());
        assert!(
            matches!(&judged.remarks[..], [one] if one.contains("rustc 2") && one.contains("rustc 1")),
            "{judged:?}"
        );
    }

    #[test]
    fn a_path_that_came_or_went_is_named() {
        let judged = counts("a", &[("new", 1), ("pass", 1)]).beside(&counts("a", &[("pass", 1), ("old", 1)]));
        assert!(judged.remarks.is_empty());
        let names: Vec<_> = judged.mistakes.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names, ["new", "old"]);
    }

    #[test]
    fn a_table_has_columns() {
        let table = counts("a", &[("new", 7), ("pass", 1050)]).table(&counts("a", &[("pass", 1000)]));
        let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1..], [vec!["new", "7"], vec!["pass", "1050", "1000", "+5.0", "%"]]);
    }
}
