//! The pool as a person reads it.

use super::duration::{ago, humane};
use super::page::{BEHIND_MARK, COLUMN, Mark, NO_BREAK, Page, shorten, visible};
use super::render::Context;
use crate::pool::model::{NodeView, PoolView, Standing};
use std::time::Duration;

/// Longest name that is shown whole: that of a VM has at most 64 letters.
const LONGEST_NAME: usize = 64;

/// The whole text, each line with its end. Whatever other VMs wrote is escaped.
pub fn render(view: &PoolView, context: &Context) -> String {
    let mut page = Page::new(context);
    let dot = page.dot();
    let live: Vec<&NodeView> = view.nodes.iter().filter(|node| node.state == Standing::Live).collect();
    let is = |node: &&&NodeView, words: &[&str]| node.verdict.as_deref().is_some_and(|v| words.contains(&v));
    let count = |words: &[&str]| live.iter().filter(|node| is(node, words)).count();
    let gone = view.nodes.iter().filter(|node| node.state == Standing::Gone).count();
    let silent = view.nodes.iter().filter(|node| node.state == Standing::Silent).count();
    let mut parts = vec![format!("{} VM{}", live.len(), if live.len() == 1 { "" } else { "s" })];
    for (number, words) in [
        (count(&["busy", "kept", "unknown"]), "in use"),
        (count(&["idle"]), "idle"),
        (silent, "not heard of"),
        (gone, "gone"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    }
    if let Some(read) = view.read_s.and_then(seconds) {
        parts.push(format!("read {}", whole(&ago(read))));
    }
    page.paragraph(&heading("pool"), COLUMN, &parts.join(dot));
    let mut notes: Vec<String> = view
        .away
        .iter()
        .map(|why| {
            let known = if view.read_s.is_some() { "What was read last is shown." } else { "Only this VM is shown." };
            format!("The other VMs cannot be asked about now: {why}. {known}")
        })
        .collect();
    notes.extend(view.unwritten.iter().map(|why| format!("The other VMs do not hear of this one: {why}.")));
    if view.reading {
        notes.push("They are still being read: ask again in a moment.".to_owned());
    }
    for note in notes {
        let text = page.clean(&note);
        page.paragraph(&format!("{}{} ", heading(""), page.mark(Mark::Bad)), COLUMN + BEHIND_MARK, &text);
    }
    rows(&mut page, view);
    for odd in &view.odd {
        let text = page.clean(&format!("{} {}", odd.file, odd.why));
        page.paragraph(&format!("{}{} ", heading(""), page.mark(Mark::Note)), COLUMN + BEHIND_MARK, &text);
    }
    if view.more > 0 {
        page.paragraph(&heading(""), COLUMN, &format!("{} more are not shown.", view.more));
    }
    page.finish()
}

/// A line for each VM that is there or should be.
fn rows(page: &mut Page<'_>, view: &PoolView) {
    let shown: Vec<(&NodeView, String)> = view
        .nodes
        .iter()
        .filter(|node| node.state != Standing::Gone)
        .map(|node| (node, page.clean(&shorten(&node.name, LONGEST_NAME, "…"))))
        .collect();
    let width = shown.iter().map(|(_, name)| visible(name)).max().unwrap_or(0);
    for (node, name) in &shown {
        let (mark, words) = used(node);
        let mut facts = vec![match node.present {
            0 => "nobody".to_owned(),
            1 => "1 person".to_owned(),
            n => format!("{n} people"),
        }];
        if let Some(who) = node.who.as_ref().filter(|who| !who.is_empty()) {
            facts[0] = format!("{}: {}", facts[0], who.join(", "));
        }
        let in_use = matches!(node.verdict.as_deref(), Some("busy" | "kept" | "unknown"));
        let notes = [
            (node.here, "this VM"),
            (node.yours && !node.here, "you are there"),
            (node.draining, "is being deleted"),
            (in_use && node.protected == Some(false), "not protected"),
            (node.health == "degraded", "needs attention"),
        ];
        facts.extend(notes.iter().filter(|(so, _)| *so).map(|(_, text)| (*text).to_owned()));
        if !node.here {
            facts.push(match (node.state, node.age_s.and_then(seconds)) {
                (Standing::Silent, Some(age)) => format!("not heard of for {}", humane(age)),
                (_, Some(age)) => format!("heard of {}", ago(age)),
                (_, None) => "its clock is wrong".to_owned(),
            });
        }
        let facts = page.clean(&facts.join(", "));
        let padding = " ".repeat(width - visible(name));
        let lead = format!("  {name}{padding}  {} {words:<9}  ", page.mark(mark));
        let indent = width + 4 + BEHIND_MARK + 11;
        page.paragraph(&lead, indent, &facts);
    }
}

/// How a VM is used, in a word.
fn used(node: &NodeView) -> (Mark, &'static str) {
    if node.state == Standing::Silent {
        return (Mark::Unseen, "silent");
    }
    match node.verdict.as_deref() {
        Some("busy") => (Mark::Note, "in use"),
        Some("kept") => (Mark::Note, "kept"),
        Some("unknown") => (Mark::Note, "not known"),
        Some("quiet") => (Mark::Wait, "quiet"),
        Some("idle") => (Mark::Good, "idle"),
        _ => (Mark::Wait, "starting"),
    }
}

fn heading(text: &str) -> String {
    format!("{text:<COLUMN$}")
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

fn whole(text: &str) -> String {
    text.replace(' ', &NO_BREAK.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::model::OddView;
    use crate::status::fixtures::moment;

    fn context(width: Option<usize>, unicode: bool) -> Context {
        Context { now: moment(), width, colour: false, symbols: unicode, unicode, home: None, is_root: false }
    }

    fn node(name: &str, verdict: &str, present: u64) -> NodeView {
        NodeView {
            name: name.to_owned(),
            here: false,
            state: Standing::Live,
            age_s: Some(20.0),
            written_at: None,
            vm_id: None,
            version: "0.1.0".to_owned(),
            health: "ready".to_owned(),
            verdict: Some(verdict.to_owned()),
            since: None,
            users: 4,
            present,
            yours: false,
            who: None,
            protected: Some(true),
            draining: false,
        }
    }

    fn pool() -> PoolView {
        PoolView {
            schema: 1,
            reading: false,
            read_s: Some(2.0),
            away: None,
            unwritten: None,
            nodes: vec![
                NodeView { here: true, yours: true, ..node("dsvmpool_7", "busy", 2) },
                NodeView { yours: true, ..node("dsvmpool_3", "kept", 1) },
                NodeView { protected: Some(false), health: "degraded".into(), ..node("dsvmpool_9", "unknown", 0) },
                node("dsvmpool_10", "idle", 0),
                NodeView { state: Standing::Silent, age_s: Some(7500.0), ..node("dsvmpool_11", "busy", 3) },
                NodeView { state: Standing::Gone, draining: true, ..node("dsvmpool_12", "idle", 0) },
            ],
            odd: Vec::new(),
            more: 0,
        }
    }

    #[test]
    fn each_vm_has_a_line_and_those_that_ended_are_counted() {
        assert_eq!(
            render(&pool(), &context(None, true)),
            "\
pool       4 VMs · 3 in use · 1 idle · 1 not heard of · 1 gone · read 2 s ago
  dsvmpool_7   ● in use     2 people, this VM
  dsvmpool_3   ● kept       1 person, you are there, heard of 20 s ago
  dsvmpool_9   ● not known  nobody, not protected, needs attention, heard of 20 s ago
  dsvmpool_10  ✔ idle       nobody, heard of 20 s ago
  dsvmpool_11  – silent     3 people, not heard of for 2 h 5 min
"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_and_what_was_is_shown() {
        let mut view = pool();
        view.nodes.truncate(1);
        (view.read_s, view.away) = (None, Some("the share does not answer".to_owned()));
        let text = render(&view, &context(None, false));
        assert!(
            text.contains("! The other VMs cannot be asked about now: the share does not answer. Only this"),
            "{text}"
        );
        view.read_s = Some(600.0);
        view.unwritten = Some("Permission denied".to_owned());
        let text = render(&view, &context(None, true));
        assert!(text.contains("What was read last is shown.") && text.contains("read 10 min ago"), "{text}");
        assert!(text.contains("do not hear of this one: Permission denied."), "{text}");
    }

    #[test]
    fn root_reads_names_and_whatever_others_wrote_is_escaped() {
        let mut view = pool();
        view.nodes[1].who = Some(vec!["alice".to_owned(), "bo\u{1b}[2Jb".to_owned()]);
        view.nodes[2].name = "e\u{202e}vil\n".to_owned();
        view.odd = vec![OddView { file: "\u{1b}[2J.json".to_owned(), why: "is no text".to_owned() }];
        view.more = 3;
        let text = render(&view, &context(Some(80), true));
        assert!(text.contains("1 person: alice, bo\\u{1b}[2Jb"), "{text}");
        assert!(text.contains("e\\u{202e}vil\\n") && text.contains("\\u{1b}[2J.json is no text"), "{text}");
        assert!(text.contains("3 more are not shown"), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for seconds in [-1.0, f64::NAN, 1e300] {
            view.nodes[1].age_s = Some(seconds);
            assert!(render(&view, &context(None, true)).contains("its clock is wrong"));
        }
    }
}
