//! From the program's table of what counts as use to what dsvm-agent-idle(7) says of it.

use super::roff::{bold, prose};
use dsvm_agent::config::settings::Idle;
use dsvm_agent::idle::limits::{self, Every, Limit, Rule};
use dsvm_agent::idle::model::Verdict;
use dsvm_agent::status::duration::humane;
use std::time::Duration;

/// The verdicts, in the order in which the first that applies is taken.
const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Starting, "It is too soon after boot to say. Counts as used."),
    (Verdict::Kept, "Somebody asked for it to be kept, or a program of theirs inhibits idle or shutdown."),
    (Verdict::Busy, "It is used."),
    (Verdict::Unknown, "Something that is there cannot be read, so that it cannot be told. Counts as used."),
    (Verdict::Quiet, "No use is seen, and not for long enough. Counts as used."),
    (Verdict::Idle, "It was not used for long enough. It may go once that was announced and nobody objected."),
];

/// The words of the page, and what stands in their place.
pub fn values(settings: &str) -> Vec<(&'static str, String)> {
    let idle = Idle::default();
    let table = limits::table(&idle.tuning);
    let seconds = |s: f64| humane(Duration::from_secs_f64(s));
    vec![
        ("@VERDICTS@", VERDICTS.iter().map(|(verdict, text)| tagged(verdict.name(), text)).collect()),
        ("@USE@", lines(&table, |rule| !matches!(rule, Rule::Keeps | Rule::Stretches(_) | Rule::AtRisk))),
        ("@KEEPING@", lines(&table, |rule| matches!(rule, Rule::Keeps))),
        ("@STRETCHING@", lines(&table, |rule| matches!(rule, Rule::Stretches(_)))),
        ("@RISKING@", lines(&table, |rule| matches!(rule, Rule::AtRisk))),
        ("@AFTER@", humane(idle.after)),
        ("@ANNOUNCE@", humane(idle.announce)),
        ("@BOOTGRACE@", humane(idle.boot_grace)),
        ("@KEEPMAX@", humane(idle.keep_max)),
        ("@WINDOW@", humane(idle.tuning.window)),
        ("@MEMORYAFTER@", humane(idle.tuning.memory.after)),
        ("@YOUNG@", seconds(limits::YOUNG_CONNECTION)),
        ("@LONGUNKNOWN@", seconds(limits::LONG_UNKNOWN)),
        ("@LONGBUSY@", seconds(limits::LONG_BUSY)),
        ("@AMBIENT@", number(limits::AMBIENT_CORES)),
        ("@LOWCORES@", number(limits::LOW_CORES)),
        ("@IDLESETTINGS@", settings.to_owned()),
    ]
}

/// Every line of the table whose rule is among `which`.
fn lines(table: &[Limit], which: impl Fn(Rule) -> bool) -> String {
    table.iter().filter(|limit| which(limit.rule)).map(line).collect()
}

fn line(limit: &Limit) -> String {
    let often = match limit.every {
        Every::Sample => "",
        Every::Window => " Looked at once in a window.",
    };
    let from = from(limit).map(|words| format!(" Counts {words}.")).unwrap_or_default();
    tagged(limit.source.name(), &format!("{}.{from}{often}", capital(limit.text)))
}

/// From where on it counts; nothing where being there is all that is asked.
fn from(limit: &Limit) -> Option<String> {
    match limit.rule {
        Rule::Average(least) => Some(format!("from {} {} on, on average", number(least), limit.unit)),
        Rule::AMinute(least) => Some(format!("from {} a minute on, on average", amount(least, "bytes"))),
        Rule::AtLeast(least) if !limit.unit.is_empty() => Some(format!("from {} on", amount(least, limit.unit))),
        Rule::Stretches(least) if least > 1.0 => Some(format!("from {} on", amount(least, limit.unit))),
        Rule::Below(most) => Some(format!("for {} at most", humane(Duration::from_secs_f64(most)))),
        Rule::AtLeast(_) | Rule::Stretches(_) | Rule::Moved | Rule::Keeps | Rule::AtRisk => None,
    }
}

/// An amount in the unit that people would use.
fn amount(value: f64, unit: &str) -> String {
    const KIB: f64 = 1024.0;
    match unit {
        "bytes" if value >= KIB * KIB * KIB => format!("{} GiB", number(value / KIB / KIB / KIB)),
        "bytes" if value >= KIB * KIB => format!("{} MiB", number(value / KIB / KIB)),
        "bytes" if value >= KIB => format!("{} KiB", number(value / KIB)),
        "bytes" if value <= 1.0 => "one byte".to_owned(),
        "%" => format!("{} %", number(value)),
        unit => format!("{} {unit}", number(value)),
    }
}

/// As short as it can be said with two decimals.
fn number(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    // A name such as CPU begins with a capital already.
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn tagged(tag: &str, text: &str) -> String {
    format!(".TP\n{}\n{}\n", bold(tag), prose(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsvm_agent::idle::model::Source;

    fn value(word: &str) -> String {
        values("").into_iter().find(|(name, _)| *name == word).map(|(_, text)| text).expect(word)
    }

    #[test]
    fn every_source_is_told_once_under_one_heading() {
        let page = ["@USE@", "@KEEPING@", "@STRETCHING@", "@RISKING@"].map(value).concat();
        for source in Source::ALL {
            let tag = format!(".TP\n{}\n", bold(source.name()));
            assert_eq!(page.matches(&tag).count(), 1, "{}\n{page}", source.name());
        }
        assert!(value("@KEEPING@").contains("keep") && !value("@USE@").contains(&bold("keep")));
    }

    #[test]
    fn limits_are_said_in_peoples_units() {
        let page = value("@USE@");
        for says in ["from 0.05 cores on, on average", "from 25.6 KiB a minute on", "for 12 h at most", "from 1 % on"] {
            assert!(page.contains(says), "{says}\n{page}");
        }
        assert!(value("@STRETCHING@").contains("from 2 GiB on"));
    }

    /// In the order of [`dsvm_agent::idle::decide::decide`]: the first that applies is the verdict.
    #[test]
    fn every_verdict_is_told() {
        let told: Vec<_> = VERDICTS.iter().map(|(verdict, _)| *verdict).collect();
        let mut sorted = told.clone();
        sorted.sort_unstable();
        assert_eq!(told, sorted);
        sorted.dedup();
        assert_eq!(sorted.len(), VERDICTS.len());
    }
}
