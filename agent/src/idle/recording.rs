//! Recordings: one sample a line, as JSON, without a word of a user's. A recorded day can be judged again by other
//! settings.

use super::decide::{decide, note};
use super::memory::Memory;
use super::model::{Decision, Leave, Sample, State, Verdict};
use crate::config::settings::Idle;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::BufRead;

/// Longest reason why a line cannot be read, in characters.
const LONGEST: usize = 200;

/// The first line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// What this is: `dsvm-agent idle`.
    pub recording: String,
    /// Version of the layout: 1.
    pub version: u32,
}

impl Default for Head {
    fn default() -> Self {
        Self { recording: "dsvm-agent idle".to_owned(), version: 1 }
    }
}

/// One sample as a line, with its end.
///
/// # Errors
/// Numbers that are none cannot be written.
pub fn line(sample: &Sample) -> serde_json::Result<String> {
    serde_json::to_string(&sample.clone().without_words()).map(|l| l + "\n")
}

/// Reads a recording.
///
/// # Errors
/// In words, with the line.
pub fn read(input: impl BufRead) -> Result<Vec<Sample>, String> {
    let mut lines = input.lines();
    let head = lines.next().transpose().map_err(|e| e.to_string())?.unwrap_or_default();
    match serde_json::from_str::<Head>(&head) {
        Ok(head) if head == Head::default() => {}
        _ => return Err("line 1: this is no recording of dsvm-agent idle, version 1".to_owned()),
    }
    let mut samples = Vec::new();
    for (index, line) in lines.enumerate() {
        let line = line.map_err(|e| e.to_string())?;
        let sample: Sample = serde_json::from_str(&line).map_err(|e| {
            // It quotes words of the file, which may be somebody else's: nothing of them may act on a terminal.
            let why: String = e.to_string().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
            format!("line {}: {why}", index + 2)
        })?;
        // Both count from boot; what is reckoned from them must not overflow either.
        if [sample.at, sample.awake].iter().any(|clock| !(0.0..1e12).contains(clock)) {
            return Err(format!("line {}: no clock shows such a time", index + 2));
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// What was decided at each sample.
pub fn replay(samples: &[Sample], idle: &Idle) -> Vec<(f64, Decision)> {
    let mut memory = Memory::new("replay");
    let mut out = Vec::new();
    for sample in samples {
        memory.take(sample, &idle.tuning);
        let decision = decide(&memory, idle, sample.at, &|_| None);
        note(&mut memory, &decision);
        out.push((sample.at, decision));
    }
    out
}

/// The time line: a line for each change, with what was the reason.
pub fn time_line(decisions: &[(f64, Decision)]) -> String {
    let mut out = String::new();
    let mut before: Option<(Verdict, String, bool)> = None;
    for (at, decision) in decisions {
        let now =
            (decision.verdict, reason(decision), matches!(decision.leave, Leave::Announced { .. } | Leave::Due { .. }));
        if before.as_ref() == Some(&now) {
            continue;
        }
        let announced = if now.2 { "  announced" } else { "" };
        let _ = writeln!(out, "{}  {:<8}  {}{announced}", clock(*at), now.0.name(), now.1);
        before = Some(now);
    }
    if let Some((at, _)) = decisions.last() {
        let _ = writeln!(out, "{}  end", clock(*at));
    }
    out
}

/// The evidence that counted, in short.
fn reason(decision: &Decision) -> String {
    let wanted = match decision.verdict {
        Verdict::Busy | Verdict::Kept => State::Busy,
        Verdict::Unknown => State::Unknown,
        Verdict::Starting | Verdict::Quiet | Verdict::Idle => return "-".to_owned(),
    };
    let mut words: Vec<String> = decision
        .evidence
        .iter()
        .filter(|e| e.state == wanted)
        .map(|e| format!("{} {}", e.source.name(), e.who.map_or("-".to_owned(), |uid| uid.to_string())))
        .collect();
    words.sort();
    words.dedup();
    words.join(", ")
}

/// Time since boot.
fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    format!("{:>3}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::model::{Counter, Level, Seen, Source};
    use std::collections::BTreeMap;

    #[test]
    fn a_recording_says_nothing_in_users_words_and_is_judged_again() {
        let mut text = serde_json::to_string(&Head::default()).unwrap() + "\n";
        for minute in 0..200 {
            let at = f64::from(minute) * 60.0;
            let levels = if minute < 40 {
                vec![Level { who: Some(1001), value: 1.0, what: Some("secret.ipynb".to_owned()), ..Level::default() }]
            } else {
                vec![]
            };
            let counter = Counter { id: "s".to_owned(), what: Some("secret.py".to_owned()), ..Counter::default() };
            let counters = Seen::Counters(vec![counter]);
            let seen = BTreeMap::from([(Source::Kernel, Seen::Levels(levels)), (Source::Cpu, counters)]);
            text += &line(&Sample { at, awake: at, wall: at, seen }).unwrap();
        }
        assert!(!text.contains("secret"));
        let samples = read(text.as_bytes()).unwrap();
        let usual = time_line(&replay(&samples, &Idle::default()));
        assert_eq!(
            usual,
            "  0:00:00  starting  -\n  0:30:00  busy      kernel 1001\n  0:44:00  quiet     -\n\
             \x20 1:24:00  quiet     -  announced\n  1:39:00  idle      -  announced\n  3:19:00  end\n"
        );
        let patient = Idle { after: std::time::Duration::from_secs(4 * 3600), ..Idle::default() };
        assert!(!time_line(&replay(&samples, &patient)).contains("idle"));
    }

    #[test]
    fn what_is_no_recording_is_said_so() {
        for (text, says) in
            [("", "line 1"), ("{}\n", "line 1"), ("{\"recording\":\"dsvm-agent idle\",\"version\":1}\nx\n", "line 2")]
        {
            assert!(read(text.as_bytes()).unwrap_err().contains(says), "{text}");
        }
    }
}
