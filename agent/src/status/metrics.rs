//! The status as metrics: text that is both OpenMetrics 1.0 and Prometheus' older format. No user's name, no file and
//! nothing that a user wrote is in it.

use super::health::name;
use super::idle::IdleView;
use super::model::{Health, ShareState, Status};
use crate::idle::model::{State, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

/// The whole text, with the end that OpenMetrics wants.
pub fn metrics(status: &Status) -> String {
    families(status) + "# EOF\n"
}

/// All families. Everything is a gauge, so that both formats read it: the older one has no type for the rest. Units are base
/// units and end the name; a time is in seconds since 1970.
pub fn families(status: &Status) -> String {
    let mut page = Page(String::new());
    let version = label("version", &status.agent.version);
    page.family("build_info", "", "The agent's version.", &[(version, Some(1.0))]);
    let healths = [Health::Unconfigured, Health::Starting, Health::Ready, Health::Degraded];
    let health = healths.map(|h| (label("state", name(h)), Some(f64::from(status.health == h))));
    page.family("health", "", "Which state the agent is in: 1 for that one.", &health);
    page.time("start_time_seconds", "When the agent was started.", Some(&status.agent.started_at));
    page.time("last_look_timestamp_seconds", "When it last looked at everything.", Some(&status.agent.pass_at));
    let took = status.agent.pass_ms / 1000.0;
    page.one("pass_duration_seconds", "seconds", "How long the last look at everything took.", Some(took));
    let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
    for view in &status.problems {
        *problems.entry(view.problem.code.as_str()).or_default() += view.count.unwrap_or(1);
    }
    let problems: Vec<_> = problems.into_iter().map(|(code, n)| (label("code", code), Some(count(n)))).collect();
    page.family("problems", "", "Problems that need a person, by code.", &problems);
    let counts = &status.counts;
    let pending = counts.users.saturating_sub(counts.ready).saturating_sub(counts.problems);
    let users = [("ready", counts.ready), ("problem", counts.problems), ("pending", pending)];
    let users = users.map(|(state, n)| (label("state", state), Some(count(n))));
    page.family("users", "", "Users that are served, by the state of their notebooks.", &users);
    page.one("users_present", "", "Users that are logged in or have a process.", Some(count(counts.present)));
    let share = &status.share;
    let mounted = f64::from(share.state == ShareState::Mounted);
    page.one("share_mounted", "", "Whether the share is mounted and answers.", Some(mounted));
    page.one(
        "share_probe_seconds",
        "seconds",
        "How long the share took to answer.",
        share.probe_ms.map(|ms| ms / 1000.0),
    );
    page.one("share_size_bytes", "bytes", "The share's size.", share.bytes_total.map(count));
    page.one("share_free_bytes", "bytes", "What is free of it.", share.bytes_free.map(count));
    if let Some(idle) = &status.idle {
        use_of(&mut page, idle);
    }
    if let Some(set) = &status.scale_set {
        page.one("protected", "", "Whether the VM is protected from scale-in.", set.protected.map(f64::from));
        let sent = set.metric_sent_at.as_deref();
        page.time("metric_sent_timestamp_seconds", "When Azure Monitor last took a report of the VM.", sent);
        page.one("free_to_go", "", "Whether the VM may be taken away.", set.free.map(f64::from));
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        set.events.iter().for_each(|event| *kinds.entry(event.kind.as_str()).or_default() += 1);
        let kinds: Vec<_> = kinds.into_iter().map(|(kind, n)| (label("kind", kind), Some(count(n)))).collect();
        page.family("events", "", "What Azure announced to this VM, by kind.", &kinds);
    }
    page.0
}

/// How the VM is used.
fn use_of(page: &mut Page, idle: &IdleView) {
    let verdicts = [Verdict::Starting, Verdict::Kept, Verdict::Busy, Verdict::Unknown, Verdict::Quiet, Verdict::Idle];
    let verdicts = verdicts.map(|v| (label("state", v.name()), Some(f64::from(idle.verdict == v))));
    page.family("verdict", "", "Whether the VM counts as used: 1 for the state that it is in.", &verdicts);
    page.time("verdict_since_timestamp_seconds", "Since when that is so.", idle.since.as_deref());
    page.time("last_used_timestamp_seconds", "When the VM was last used.", idle.last_busy.as_deref());
    let mut sources: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for source in &idle.sources {
        let (busy, unknown) = sources.entry(source.name.as_str()).or_default();
        *busy |= source.state == State::Busy;
        *unknown |= source.state == State::Unknown;
    }
    let each = |of: fn(&(bool, bool)) -> bool| -> Vec<_> {
        sources.iter().map(|(name, seen)| (label("source", name), Some(f64::from(of(seen))))).collect()
    };
    page.family("busy", "", "Whether this kind of evidence says that the VM is used.", &each(|seen| seen.0));
    page.family("unreadable", "", "Whether this kind of evidence cannot be read.", &each(|seen| seen.1));
    page.one(
        "idle_after_seconds",
        "seconds",
        "How long the VM must be quiet, as configured.",
        Some(count(idle.after_s)),
    );
    let needed = "The same, stretched by memory that is held.";
    page.one("quiet_needed_seconds", "seconds", needed, Some(count(idle.needed_s)));
    page.one("keeps", "", "Who asked for the VM to be kept.", Some(count(idle.keeps.len() as u64)));
    let mut risks: BTreeMap<&str, u64> = BTreeMap::new();
    idle.at_risk.iter().for_each(|risk| *risks.entry(risk.kind.as_str()).or_default() += risk.count.unwrap_or(1));
    let risks: Vec<_> = risks.into_iter().map(|(kind, n)| (label("kind", kind), Some(count(n)))).collect();
    page.family("at_risk", "", "What would be lost if the VM went now, by kind.", &risks);
}

struct Page(String);

impl Page {
    fn one(&mut self, name: &str, unit: &str, help: &str, value: Option<f64>) {
        self.family(name, unit, help, &[(String::new(), value)]);
    }

    /// A time, as RFC 3339 has it.
    fn time(&mut self, name: &str, help: &str, time: Option<&str>) {
        let seconds = time
            .and_then(|text| humantime::parse_rfc3339(text).ok())
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(|since| since.as_secs_f64());
        self.one(name, "seconds", help, seconds);
    }

    /// A family with its samples; none at all when nothing of it is known.
    fn family(&mut self, name: &str, unit: &str, help: &str, samples: &[(String, Option<f64>)]) {
        let known: Vec<_> = samples.iter().filter_map(|(labels, value)| Some((labels, (*value)?))).collect();
        if known.is_empty() {
            return;
        }
        let out = &mut self.0;
        let _ = writeln!(out, "# TYPE dsvm_agent_{name} gauge");
        if !unit.is_empty() {
            let _ = writeln!(out, "# UNIT dsvm_agent_{name} {unit}");
        }
        let _ = writeln!(out, "# HELP dsvm_agent_{name} {help}");
        for (labels, value) in known {
            let _ = writeln!(out, "dsvm_agent_{name}{labels} {value}");
        }
    }
}

fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

/// Exact up to 2^53, which no count here reaches.
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::model::{EventView, ScaleSetView};
    use super::*;

    #[test]
    fn what_is_known_is_there_once_and_nobody_is_named() {
        let mut status = fixtures::degraded();
        status.scale_set = Some(ScaleSetView {
            on_azure: Some(true),
            member: Some(true),
            protected: Some(true),
            by_hand: false,
            free: None,
            free_since: None,
            metric_sent_at: None,
            events: vec![EventView { kind: "terminate".into(), not_before: None, started: false }],
            events_unknown: false,
            drain: None,
        });
        let text = metrics(&status);
        for line in [
            "dsvm_agent_build_info{version=\"0.1.0\"} 1\n",
            "dsvm_agent_health{state=\"degraded\"} 1\n",
            "dsvm_agent_health{state=\"ready\"} 0\n",
            "dsvm_agent_problems{code=\"workspace.link-occupied\"} 1\n",
            "# UNIT dsvm_agent_share_probe_seconds seconds\n",
            "dsvm_agent_protected 1\n",
            "dsvm_agent_start_time_seconds 1772614200\n",
            "dsvm_agent_last_look_timestamp_seconds 1772625600\n",
            "dsvm_agent_events{kind=\"terminate\"} 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("free_to_go") && !text.contains("share_size"), "not known: not told");
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
        for user in &status.users {
            assert!(!text.contains(&user.name), "{}", user.name);
        }
    }

    #[test]
    fn how_the_vm_is_used_is_told_by_kind_and_not_by_whom() {
        let status = Status { idle: Some(fixtures::idle()), ..fixtures::status() };
        let text = metrics(&status);
        for line in [
            "dsvm_agent_verdict{state=\"busy\"} 1\n",
            "dsvm_agent_verdict{state=\"idle\"} 0\n",
            "dsvm_agent_busy{source=\"cpu\"} 1\n",
            "dsvm_agent_unreadable{source=\"cpu\"} 0\n",
            "dsvm_agent_idle_after_seconds 3600\n",
            "dsvm_agent_keeps 1\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        for secret in ["alice", "bob", "train.py", "1001", "night"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    /// The rules of both formats, and Prometheus' own for names.
    #[test]
    fn every_family_is_whole_and_well_named() {
        let mut status = Status { idle: Some(fixtures::idle()), ..fixtures::degraded() };
        status.share.bytes_total = Some(1);
        let text = families(&status);
        assert!(text.ends_with('\n') && !text.contains("# EOF"));
        let mut seen = std::collections::BTreeSet::new();
        let (mut family, mut unit) = (String::new(), None);
        for line in text.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next()) {
                (Some("#"), Some("TYPE")) => {
                    family = words.next().unwrap().to_owned();
                    unit = None;
                    assert!(seen.insert(family.clone()), "{family} is there twice");
                    assert_eq!(words.next(), Some("gauge"));
                    assert!(family.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{family}");
                    assert!(
                        !family.ends_with("_total") && !family.ends_with("_info") || family.ends_with("build_info")
                    );
                }
                (Some("#"), Some(kind @ ("UNIT" | "HELP"))) => {
                    assert_eq!(words.next(), Some(family.as_str()));
                    if kind == "UNIT" {
                        unit = words.next();
                    }
                }
                (Some(sample), Some(value)) => {
                    assert_eq!(sample.split('{').next(), Some(family.as_str()));
                    assert!(value.parse::<f64>().is_ok(), "{line}");
                    let wants = ["seconds", "bytes"].into_iter().find(|unit| family.ends_with(&format!("_{unit}")));
                    assert_eq!(unit, wants, "{family}");
                }
                _ => panic!("{line}"),
            }
        }
        assert!(seen.len() > 15, "{seen:?}");
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("version", "a\"\\\nb"), "{version=\"a\\\"\\\\\\nb\"}");
    }
}
