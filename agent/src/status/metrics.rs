//! The status as metrics: text that is both OpenMetrics 1.0 and Prometheus' older format. No user's name, no file and
//! nothing that a user wrote is in it.

use super::health::name;
use super::model::{Health, ShareState, Status};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The whole text. Everything is a gauge, so that both formats read it: the older one has no type for the rest.
pub fn metrics(status: &Status) -> String {
    let mut page = Page(String::new());
    let version = label("version", &status.agent.version);
    page.family("build_info", "", "The agent's version.", &[(version, Some(1.0))]);
    let healths = [Health::Unconfigured, Health::Starting, Health::Ready, Health::Degraded];
    let health = healths.map(|h| (label("state", name(h)), Some(f64::from(status.health == h))));
    page.family("health", "", "Which state the agent is in: 1 for that one.", &health);
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
    if let Some(set) = &status.scale_set {
        page.one("protected", "", "Whether the VM is protected from scale-in.", set.protected.map(f64::from));
        page.one("free_to_go", "", "Whether the VM may be taken away.", set.free.map(f64::from));
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        set.events.iter().for_each(|event| *kinds.entry(event.kind.as_str()).or_default() += 1);
        let kinds: Vec<_> = kinds.into_iter().map(|(kind, n)| (label("kind", kind), Some(count(n)))).collect();
        page.family("events", "", "What Azure announced to this VM, by kind.", &kinds);
    }
    page.0 + "# EOF\n"
}

struct Page(String);

impl Page {
    fn one(&mut self, name: &str, unit: &str, help: &str, value: Option<f64>) {
        self.family(name, unit, help, &[(String::new(), value)]);
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
            free: None,
            metric_sent_at: None,
            events: vec![EventView { kind: "terminate".into(), not_before: None, started: false }],
        });
        let text = metrics(&status);
        for line in [
            "dsvm_agent_build_info{version=\"0.1.0\"} 1\n",
            "dsvm_agent_health{state=\"degraded\"} 1\n",
            "dsvm_agent_health{state=\"ready\"} 0\n",
            "dsvm_agent_problems{code=\"workspace.link-occupied\"} 1\n",
            "# UNIT dsvm_agent_share_probe_seconds seconds\n",
            "dsvm_agent_protected 1\n",
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
    fn labels_are_escaped() {
        assert_eq!(label("version", "a\"\\\nb"), "{version=\"a\\\"\\\\\\nb\"}");
    }
}
