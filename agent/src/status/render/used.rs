//! Whether the VM is in use, and what would be lost, as a person reads it.

use super::super::idle::{FilesView, IdleView, KeepView, RiskView, SourceView};
use super::super::model::Status;
use super::super::page::{BEHIND_MARK, COLUMN, Mark, Page, visible};
use super::{Context, View, heading, whole};
use crate::idle::model::{State, Verdict};
use crate::share::diagnosis::bytes as human;
use crate::status::age::lasting;
use crate::status::duration::{ago, humane};
use std::time::Duration;

/// Most rows of evidence in the status; the others are counted.
const MOST_ROWS: usize = 12;
/// Where a row's evidence begins.
const KIND: usize = 11;

/// The text of `dsvm-agent idle`: all that is known.
pub fn render_idle(status: &Status, view: &IdleView, ctx: &Context) -> String {
    let mut page = View { status, ctx, page: Page::new(ctx) };
    page.used(view, true);
    let problems = status.problems.iter().filter(|p| p.problem.code.starts_with("idle."));
    for problem in problems {
        page.problem(&heading(""), COLUMN, problem, None);
    }
    page.page.finish()
}

impl View<'_> {
    /// Whether it is used, by whom, and what would be lost. `all`: with everything that is quiet, thresholds and times.
    pub(super) fn used(&mut self, view: &IdleView, all: bool) {
        let (mark, text) = self.verdict(view);
        let lead = format!("{}{} ", heading("in use"), self.page.mark(mark));
        self.page.paragraph(&lead, COLUMN + BEHIND_MARK, &text);
        if let Some(leave) = &view.leave {
            let held = self.status.scale_set.as_ref().is_some_and(|set| set.by_hand);
            let text = match (leave.committed, leave.due, leave.until.as_deref().and_then(|at| self.ahead(at))) {
                _ if held => {
                    // It is somebody's wish, and the agent's part is done.
                    "It would go, and is protected from scale-in by hand: it stays until that is taken off.".to_owned()
                }
                (true, ..) => self.may_go(),
                (false, true, _) | (false, false, None) => {
                    "It was announced that it may go. To keep it: dsvm-agent keep 2h".to_owned()
                }
                (false, false, Some(left)) => {
                    format!("In {} this VM may go. To keep it: dsvm-agent keep 2h", whole(humane(left)))
                }
            };
            self.page.paragraph(&" ".repeat(COLUMN + BEHIND_MARK), COLUMN + BEHIND_MARK, &text);
        }
        for keep in &view.keeps {
            self.keep(keep);
        }
        let shown = |s: &&SourceView| all || s.state != State::Quiet || self.counts_still(s);
        let rows: Vec<&SourceView> = view.sources.iter().filter(|s| s.name != "keep").filter(shown).collect();
        let most = if all { usize::MAX } else { MOST_ROWS };
        for source in rows.iter().take(most) {
            self.source(source, view, all);
        }
        if rows.len() > most {
            let more = format!("and {} more: dsvm-agent idle", rows.len() - most);
            self.page.paragraph(&" ".repeat(COLUMN), COLUMN, &more);
        }
        for (number, risk) in view.at_risk.iter().enumerate() {
            self.risk(if number == 0 { "at risk" } else { "" }, risk, all);
        }
    }

    /// What is so when everybody was told, and nobody came: as long as it is protected nothing takes it away.
    fn may_go(&self) -> String {
        let set = self.status.scale_set.as_ref();
        let when = match set.and_then(|set| set.protected) {
            Some(false) => {
                let since = set.and_then(|set| self.lasts(set.free_since.as_deref()?));
                let since = since.map(|d| format!("; protection lifted {d} ago")).unwrap_or_default();
                format!("It may go at any time{since}.")
            }
            Some(true) => "It may go as soon as its protection from scale-in is lifted.".to_owned(),
            None => "It may go. Whether its protection from scale-in is lifted is not known.".to_owned(),
        };
        format!("{when} To keep it: dsvm-agent keep 2h")
    }

    /// The first line: the verdict in words.
    fn verdict(&self, view: &IdleView) -> (Mark, String) {
        let lasts = view.since.as_deref().and_then(|s| self.lasts(s)).unwrap_or_default();
        let quiet = view.last_busy.as_deref().and_then(|s| self.lasts(s));
        let quiet = quiet.map_or("not used since it is looked at".to_owned(), |q| format!("not used for {q}"));
        let needed = whole(humane(Duration::from_secs(view.needed_s)));
        let left = view.idle_at.as_deref().and_then(|at| self.ahead(at)).map(|d| whole(humane(d)));
        match view.verdict {
            Verdict::Starting => {
                let left = left.map(|left| format!(" Not before {left} from now.")).unwrap_or_default();
                (Mark::Wait, format!("it was started only just: nothing is said yet.{left}"))
            }
            Verdict::Kept => {
                let left = left.map(|left| format!(", for {left} at least")).unwrap_or_default();
                (Mark::Good, format!("kept{left}"))
            }
            Verdict::Busy => {
                let stretched = if view.needed_s > view.after_s { ", since memory is held" } else { "" };
                (Mark::Good, format!("for {lasts}. {needed} after the last of these ends{stretched}, this VM may go."))
            }
            Verdict::Unknown => (Mark::Bad, format!("not known for {lasts}: it counts as used.")),
            Verdict::Quiet => {
                let (left, from) = (left.map(|left| format!(": in {left}")), self.seen_from(view));
                let (left, from) = (left.unwrap_or_default(), from.unwrap_or_default());
                (Mark::Wait, format!("{quiet}{from}. After {needed} this VM may go{left}."))
            }
            Verdict::Idle => (Mark::Wait, format!("{quiet}: this VM may go.")),
        }
    }

    /// Why the quiet time is shorter than the time for which it was not used.
    fn seen_from(&self, view: &IdleView) -> Option<String> {
        let from = view.seen_from.as_ref()?;
        let since = self.lasts(from.at.as_deref()?)?;
        let what = from.unread.as_ref().map_or("nobody looked".to_owned(), |what| format!("{what} could not be read"));
        Some(format!(", as far as was seen: {what} until {since} ago, and quiet counts from then"))
    }

    fn keep(&mut self, keep: &KeepView) {
        let who = self.page.clean(keep.who.as_deref().unwrap_or("somebody"));
        let until = keep.until.as_deref().and_then(|at| self.ahead(at)).map(|left| whole(humane(left)));
        let until = until.map(|left| format!("for {left} more")).unwrap_or_default();
        let command = if keep.command { ", or until a command ends" } else { "" };
        let reason = keep.reason.as_deref().map(|r| format!("   {}", self.page.clean(r))).unwrap_or_default();
        let lead = self.row(&who, "keep");
        self.page.paragraph(&lead, COLUMN + KIND, &format!("{until}{command}{reason}"));
    }

    fn source(&mut self, source: &SourceView, view: &IdleView, all: bool) {
        let who = self.whose(source.who.as_deref(), source.count);
        let lead = self.row(&who, &source.name);
        let mut parts = Vec::new();
        match (source.state, source.observed) {
            (State::Unknown, _) => parts.push("cannot be read".to_owned()),
            (_, Some(observed)) => {
                let over = whole(humane(Duration::from_secs(view.window_s)));
                let averaged = matches!(source.unit.as_str(), "cores" | "bytes/min");
                let over = if averaged { format!(" over {over}") } else { String::new() };
                let limit = match source.threshold.filter(|_| all) {
                    Some(threshold) => format!(" (counts from {})", amount(threshold, &source.unit)),
                    None => String::new(),
                };
                parts.push(format!("{}{over}{limit}", amount(observed, &source.unit)));
            }
            _ => {}
        }
        parts.extend(source.what.as_deref().map(|what| self.page.clean(what)));
        let when = source.last_busy.as_deref().and_then(|at| lasting(at, &self.status.agent, &self.ctx.now));
        let lately = Duration::from_secs(60);
        match source.state {
            State::Unknown => {
                parts.extend(source.since.as_deref().and_then(|s| self.lasts(s)).map(|lasts| format!("for {lasts}")))
            }
            State::Busy if when.is_some_and(|when| when < lately) => parts.push("now".to_owned()),
            _ => parts.extend(when.map(|when| whole(ago(when)))),
        }
        let until = source.until.as_deref().filter(|_| all && source.state != State::Unknown);
        if let Some(left) = until.and_then(|at| self.ahead(at)) {
            parts.push(format!("counts for {} more", whole(humane(left))));
        }
        self.page.paragraph(&lead, COLUMN + KIND, &parts.join("   "));
    }

    fn risk(&mut self, head: &str, risk: &RiskView, all: bool) {
        if let Some(files) = &risk.files {
            return self.files(head, risk, files, all);
        }
        let who = self.whose(risk.who.as_deref(), risk.count);
        let count = |one: &str, many: &str| {
            let n = risk.value.round().max(0.0);
            if n < 2.0 { format!("{n} {one}") } else { format!("{n} {many}") }
        };
        let text = match risk.kind.as_str() {
            "kernels" => count("kernel", "kernels"),
            "stopped" => count("stopped job", "stopped jobs"),
            "due" => count("job that is due later", "jobs that are due later"),
            "memory" => format!("{} in memory", amount(risk.value, "bytes")),
            "gpu-memory" => format!("{} on the GPU", amount(risk.value, "bytes")),
            other => format!("{} {}", amount(risk.value, &risk.unit), self.page.clean(other)),
        };
        let what = risk.what.as_deref().map(|what| format!("   {}", self.page.clean(what))).unwrap_or_default();
        self.risk_row(head, &who, &format!("{text}{what}"));
    }

    /// `at risk    alice      2 kernels`. A long name has its text below it.
    fn risk_row(&mut self, head: &str, who: &str, text: &str) {
        let mut lead = format!("{}{who}", heading(head));
        if visible(&lead) >= COLUMN + KIND {
            self.page.paragraph(&heading(head), COLUMN, who);
            lead.clear();
        }
        let lead = format!("{lead}{}", " ".repeat((COLUMN + KIND).saturating_sub(visible(&lead))));
        self.page.paragraph(&lead, COLUMN + KIND, text);
    }

    /// Files that are on this VM only, and to their owner what to do about it.
    fn files(&mut self, head: &str, risk: &RiskView, files: &FilesView, all: bool) {
        let who = self.whose(risk.who.as_deref(), risk.count);
        // A figure in a file is anything at all.
        let number = risk.value.round() as u64;
        let size = whole(human(files.bytes));
        let others = match (number < 2, files.more) {
            (true, false) => String::new(),
            (true, true) => "there may be more, ".to_owned(),
            (false, false) => format!("+{} more, ", number - 1),
            (false, true) => format!("at least {} more, ", number - 1),
        };
        let least = if files.more { "at least " } else { "" };
        let text = match files.newest.first().map(|path| self.page.clean(path)) {
            Some(newest) => format!("{newest} is only on this VM ({others}{size})"),
            None if number < 2 => format!("{least}{number} file that is only on this VM, {size}"),
            None => format!("{least}{number} files that are only on this VM, {size}"),
        };
        self.risk_row(head, &who, &text);
        let indent = " ".repeat(COLUMN + KIND);
        for further in files.newest.iter().skip(1).filter(|_| all) {
            let further = self.page.clean(further);
            self.page.paragraph(&indent, COLUMN + KIND, &format!("{further}, too"));
        }
        if let Some(newest) = files.newest.first().filter(|_| !self.ctx.is_root) {
            let link = self.status.workspace.link.as_deref().unwrap_or("notebooks/remote");
            self.page.paragraph(&indent, COLUMN + KIND, &self.page.clean(&offer(newest, link, number)));
        }
    }

    /// `  alice      cpu      `
    fn row(&self, who: &str, kind: &str) -> String {
        let lead = format!("  {who}{}", " ".repeat((COLUMN - 2).saturating_sub(visible(who)).max(1)));
        format!("{lead}{kind}{}", " ".repeat(KIND.saturating_sub(visible(kind)).max(1)))
    }

    fn whose(&self, who: Option<&str>, count: Option<u64>) -> String {
        match (who, count) {
            (Some(who), _) => self.page.clean(who),
            (None, Some(count)) if count > 1 => format!("{count} users"),
            (None, Some(_)) => "one user".to_owned(),
            (None, None) => "-".to_owned(),
        }
    }

    /// Whether quiet evidence still keeps the VM.
    fn counts_still(&self, source: &SourceView) -> bool {
        source.until.as_deref().is_some_and(|at| self.ahead(at).is_some())
    }

    /// How far a time lies ahead; nothing when it is past or cannot be told.
    pub(super) fn ahead(&self, at: &str) -> Option<Duration> {
        let agent = &self.status.agent;
        let age = lasting(&agent.pass_at, agent, &self.ctx.now)?;
        let then = humantime::parse_rfc3339(at).ok()?;
        let looked = humantime::parse_rfc3339(&agent.pass_at).ok()?;
        then.duration_since(looked).ok()?.checked_sub(age).filter(|left| !left.is_zero())
    }
}

/// What the owner of files that are only on this VM may do.
fn offer(newest: &str, link: &str, number: u64) -> String {
    // A name that a shell would read as something else is no part of a command.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '~' | '+' | ',' | '@');
    if !newest.chars().all(plain) || !link.chars().all(plain) {
        return format!("Move what you need to ~/{link}: that is there on every VM.");
    }
    let example = if number < 2 { "To keep it" } else { "Move what you need, for example" };
    format!("{example}: mv -n {newest} ~/{link}/")
}

/// An amount with its unit.
fn amount(value: f64, unit: &str) -> String {
    match unit {
        "bytes" | "bytes/min" => {
            let per = unit.strip_prefix("bytes").unwrap_or_default();
            let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
            match units.iter().find(|(size, _)| value >= *size as f64) {
                Some((size, name)) => whole(format!("{:.1} {name}{per}", value / *size as f64)),
                None => whole(format!("{value:.0} B{per}")),
            }
        }
        "s" => whole(humane(Duration::try_from_secs_f64(value).unwrap_or_default())),
        "cores" if value < 0.1 => whole(format!("{value:.2} cores")),
        _ => whole(format!("{value:.1} {unit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixtures;
    use super::*;
    use crate::status::idle::{LeaveView, SeenFromView};
    use crate::status::model::ScaleSetView;

    fn context() -> Context {
        Context {
            now: fixtures::moment(),
            width: Some(112),
            colour: false,
            symbols: true,
            unicode: true,
            home: None,
            is_root: true,
        }
    }

    #[test]
    fn root_sees_who_uses_it_and_what_would_be_lost() {
        let text = render_idle(&fixtures::status(), &fixtures::idle(), &context());
        assert_eq!(
            text,
            "\
in use     ✔ for 65 min. 60 min after the last of these ends, this VM may go.
  alice    keep       for 7 h 59 min more   the night
  alice    cpu        1.9 cores over 5 min (counts from 0.05 cores)   python train.py (tmux)   now   counts for
                      59 min more
  bob      typing     pts/2   4 min ago   counts for 59 min more
at risk    alice      2 kernels   analysis.ipynb
"
        );
    }

    fn files(who: Option<&str>, newest: &[&str], value: f64, more: bool) -> RiskView {
        let newest: Vec<String> = newest.iter().map(|p| (*p).to_owned()).collect();
        RiskView {
            kind: "files".to_owned(),
            uid: who.map(|_| 1001),
            who: who.map(str::to_owned),
            value,
            unit: "files".to_owned(),
            what: newest.first().cloned(),
            count: who.is_none().then_some(2),
            files: Some(FilesView { bytes: 3 << 20, newest, more }),
        }
    }

    #[test]
    fn files_that_are_on_this_vm_only_are_named_and_their_owner_is_told_what_to_do() {
        let person = Context { is_root: false, ..context() };
        let said = |risk: RiskView, ctx: &Context, all: bool| {
            let view = IdleView { sources: Vec::new(), keeps: Vec::new(), at_risk: vec![risk], ..fixtures::idle() };
            let status = Status { idle: Some(view.clone()), ..fixtures::status() };
            if all { render_idle(&status, &view, ctx) } else { super::super::render(&status, None, ctx) }
        };
        let both = ["~/notebooks/analysis.ipynb", "~/notebooks/b.csv"];
        for (risk, ctx, all, says) in [
            (
                files(Some("alice"), &both, 3.0, false),
                context(),
                false,
                "at risk    alice      ~/notebooks/analysis.ipynb is only on this VM (+2 more, 3 MiB)\n",
            ),
            (
                files(Some("alice"), &both, 3.0, true),
                context(),
                true,
                "is only on this VM (at least 2 more, 3 MiB)\n                      ~/notebooks/b.csv, too\n",
            ),
            (
                files(Some("alice"), &both[..1], 1.0, false),
                person.clone(),
                false,
                "at risk    alice      ~/notebooks/analysis.ipynb is only on this VM (3 MiB)\n\
                 \x20                     To keep it: mv -n ~/notebooks/analysis.ipynb ~/notebooks/remote/\n",
            ),
            (
                files(Some("alice"), &both, 2.0, false),
                person.clone(),
                false,
                "Move what you need, for example: mv -n ~/notebooks/analysis.ipynb ~/notebooks/remote/\n",
            ),
            (
                files(Some("alice"), &["~/a;rm -rf ~.ipynb"], 1.0, false),
                person.clone(),
                false,
                "Move what you need to ~/notebooks/remote: that is there on every VM.\n",
            ),
            (
                files(None, &[], 5.0, false),
                person.clone(),
                false,
                "at risk    2 users    5 files that are only on this VM, 3 MiB\n",
            ),
        ] {
            let text = said(risk, &ctx, all);
            assert!(text.contains(says), "{text}\n{says}");
        }
        let evil = said(files(Some("alice"), &["~/a\u{1b}[2Jb\n\u{202e}"], 1.0, false), &person, true);
        assert!(!evil.contains('\u{1b}') && !evil.contains('\u{202e}') && evil.contains("a\\u{1b}[2Jb\\n"), "{evil}");
    }

    #[test]
    fn every_verdict_is_said_in_words() {
        let status = fixtures::status();
        let mut view = fixtures::idle();
        view.keeps.clear();
        view.idle_at = Some("2026-03-04T12:48:04Z".to_owned());
        for (verdict, says) in [
            (Verdict::Starting, "started only just"),
            (Verdict::Kept, "kept, for 48 min at least"),
            (Verdict::Unknown, "not known for 65 min: it counts as used."),
            (Verdict::Quiet, "not used for 4 s. After 60 min this VM may go: in 48 min."),
            (Verdict::Idle, "not used for 4 s: this VM may go."),
        ] {
            let text = render_idle(&status, &IdleView { verdict, ..view.clone() }, &context());
            let text = text.replace('\u{a0}', " ");
            assert!(text.contains(says), "{text}");
        }
        for (unread, says) in [
            (
                Some("the GPU"),
                "as far as was seen: the GPU could not be read until 12 min ago, and quiet counts from then.",
            ),
            (None, "as far as was seen: nobody looked until 12 min ago, and quiet counts from then."),
        ] {
            let at = Some("2026-03-04T11:48:04Z".to_owned());
            let seen_from = Some(SeenFromView { at, unread: unread.map(str::to_owned) });
            let last_busy = Some("2026-03-04T10:00:00Z".to_owned());
            let quiet = IdleView { verdict: Verdict::Quiet, last_busy, seen_from, ..view.clone() };
            let text = render_idle(&status, &quiet, &context()).replace('\u{a0}', " ");
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let whole = format!("not used for 2 h, {says} After 60 min this VM may go: in 48 min.");
            assert!(text.contains(&whole), "{text}");
        }
        let leave = LeaveView {
            epoch: 1,
            announced_at: None,
            until: Some("2026-03-04T12:15:04Z".to_owned()),
            due: false,
            committed: false,
        };
        let text = render_idle(&status, &IdleView { leave: Some(leave.clone()), ..view.clone() }, &context());
        assert!(text.contains("In 15 min this VM may go. To keep it: dsvm-agent keep 2h"), "{text}");
        let leave = Some(LeaveView { until: None, due: true, committed: true, ..leave });
        let mut free = status.clone();
        free.scale_set = Some(fixtures::free());
        let text =
            render_idle(&free, &IdleView { leave: leave.clone(), ..view.clone() }, &context()).replace('\u{a0}', " ");
        assert!(text.contains("It may go at any time; protection lifted 3 min ago. To keep it:"), "{text}");
        // What cannot be lifted, or read, is not said to be gone.
        for (protected, says) in [
            (Some(true), "It may go as soon as its protection from scale-in is lifted. To keep it:"),
            (None, "Whether its protection from scale-in is lifted is not known. To keep it:"),
        ] {
            free.scale_set = Some(ScaleSetView { protected, free: Some(false), free_since: None, ..fixtures::free() });
            let text = render_idle(&free, &IdleView { leave: leave.clone(), ..view.clone() }, &context());
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(says) && !text.contains("at any time"), "{text}");
        }
        // Somebody protects it in the portal: what was announced does not come.
        let (protected, free_since) = (Some(true), None);
        free.scale_set =
            Some(ScaleSetView { protected, by_hand: true, free: Some(false), free_since, ..fixtures::free() });
        let text = render_idle(&free, &IdleView { leave, ..view }, &context()).replace('\u{a0}', " ");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("protected from scale-in by hand: it stays until that is taken off"), "{text}");
        assert!(!text.contains("at any time"), "{text}");
    }

    #[test]
    fn what_users_wrote_does_not_act_on_terminals() {
        let mut view = fixtures::idle();
        view.sources[0].what = Some("a\u{1b}[2Jb\nin use".to_owned());
        view.keeps[0].reason = Some("\u{202e}x".to_owned());
        let text = render_idle(&fixtures::status(), &view, &context());
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}') && text.matches("in use").count() == 2);
    }
}
