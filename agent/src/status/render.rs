//! The status as a person reads it.

use super::age::{Age, Moment, age, lasting};
use super::duration::{ago, humane, millis};
use super::idle::with_own;
use super::last_time::sentence;
use super::model::*;
use super::page::{BEHIND_MARK, COLUMN, Mark, NO_BREAK, Page, visible};
use super::public::{about_user, of_others};
use crate::config::settings::Kind;

mod shared;
#[cfg(test)]
mod tests;
mod used;

pub use used::render_idle;

/// Most users that need attention who are shown; the others are counted.
const MOST_ROWS: usize = 20;
/// Most names of users who are not ready yet.
const MOST_NAMES: usize = 12;
/// Most events that are shown.
const MOST_EVENTS: usize = 3;
/// Longest name that has its text beside it.
const LONGEST_NAME: usize = 20;
/// What is needed for the reader's row and cannot be had.
const OWN_UNKNOWN: &str = "not known: the agent gives no answer";

/// Who reads, when, and on what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Now; its boot-time clock is the uptime.
    pub now: Moment,
    /// Columns of the terminal; nothing where there is none, and lines are as long as they are.
    pub width: Option<usize>,
    /// Whether colours are shown.
    pub colour: bool,
    /// Whether the signs ✔ ✘ · are shown; otherwise their like in ASCII.
    pub symbols: bool,
    /// Whether letters beyond ASCII are shown; otherwise their numbers.
    pub unicode: bool,
    /// The reader's home, absolute, which is shown as `~`.
    pub home: Option<String>,
    /// Whether the reader is root, who sees every user.
    pub is_root: bool,
}

/// The whole text, each line with its end. `own` is what the agent told an ordinary user of themselves, with the public
/// form of the status; root's is the full one. Whatever users wrote is escaped.
pub fn render(status: &Status, own: Option<&OwnView>, ctx: &Context) -> String {
    let problems = match own {
        Some(own) => of_others(status, own),
        None => status.problems.clone(),
    };
    let (of_users, of_vm): (Vec<_>, Vec<_>) =
        problems.iter().partition(|view| view.count.is_some() || about_user(view).is_some());
    let (of_share, others): (Vec<_>, Vec<_>) =
        of_vm.into_iter().partition(|view| view.problem.code.starts_with("share."));
    let mut view = View { status, ctx, page: Page::new(ctx) };
    view.headline();
    view.share(&of_share);
    if !ctx.is_root {
        view.own(own);
    }
    view.users(&of_users);
    view.shared();
    match (&status.idle, own.and_then(|own| own.idle.as_ref())) {
        (Some(all), Some(own)) => view.used(&with_own(all, own), false),
        (Some(all), None) => view.used(all, false),
        (None, _) => {}
    }
    view.scale_set();
    for (number, problem) in others.into_iter().enumerate() {
        view.problem(&heading(if number == 0 { "problems" } else { "" }), COLUMN, problem, None);
    }
    view.page.finish()
}

struct View<'a> {
    status: &'a Status,
    ctx: &'a Context,
    page: Page<'a>,
}

impl View<'_> {
    fn headline(&mut self) {
        let agent = &self.status.agent;
        let looked = match age(agent, &self.ctx.now) {
            found @ Age::Known(age) if found.is_stale() => format!("has not looked for {}", whole(humane(age))),
            Age::Known(age) => format!("looked {}", whole(ago(age))),
            Age::Unknown => "looked before this boot".to_owned(),
        };
        let dot = self.page.dot();
        let version = self.page.clean(&agent.version);
        let node = self.page.clean(&self.status.node.name);
        let up = whole(humane(self.ctx.now.boottime));
        self.page.paragraph("", COLUMN, &format!("dsvm-agent {version} on {node}{dot}up {up}{dot}{looked}"));
    }

    fn share(&mut self, problems: &[&ProblemView]) {
        let share = &self.status.share;
        let lasts = share.since.as_deref().and_then(|since| self.lasts(since));
        let (mark, words) = match share.state {
            ShareState::Mounted => (Mark::Good, "mounted"),
            ShareState::Mounting => (Mark::Wait, "being mounted"),
            ShareState::Unreachable => (Mark::Bad, "unreachable"),
            ShareState::Refused => (Mark::Bad, "refused"),
            ShareState::Hung => (Mark::Bad, "not answering"),
            ShareState::Unconfigured => (Mark::Bad, "not configured"),
        };
        let mut line = words.to_owned();
        if let (Some(lasts), false) = (&lasts, matches!(share.state, ShareState::Mounted | ShareState::Unconfigured)) {
            line = format!("{words} for {lasts}");
        }
        if let Some(source) = &share.source {
            line = format!("{line}   {}", self.page.clean(source));
            if let Some(protocol) = share.protocol.as_deref().or(share.kind.map(kind)) {
                line = format!("{line} ({})", self.page.clean(protocol));
            }
        }
        if let (ShareState::Mounted, Some(answers)) = (share.state, share.probe_ms.and_then(millis).map(whole)) {
            line = format!("{line}{}answers in {answers}", self.page.dot());
        }
        let lead = format!("{}{} ", heading("share"), self.page.mark(mark));
        self.page.paragraph(&lead, COLUMN + BEHIND_MARK, &line);
        if share.open {
            let lead = format!("{}{} ", heading(""), self.page.mark(Mark::Note));
            let text = "open to everybody: every user reads and changes everything of everybody";
            self.page.paragraph(&lead, COLUMN + BEHIND_MARK, text);
        }
        for problem in problems {
            self.explain(problem, lasts.as_deref());
        }
        if problems.is_empty()
            && let Some((summary, remedy)) = usual(self.status)
        {
            let indent = COLUMN + BEHIND_MARK;
            self.page.problem(&" ".repeat(indent), indent, summary, "", remedy);
        }
    }

    /// The row of the user who reads.
    fn own(&mut self, own: Option<&OwnView>) {
        let lead = heading("you");
        let indent = COLUMN + BEHIND_MARK;
        let bad = own.map_or(&[][..], |own| &own.problems);
        let (mark, text) = match own {
            None if self.status.health == Health::Unconfigured => return,
            None => (Mark::Wait, OWN_UNKNOWN.to_owned()),
            Some(OwnView { user: None, problems, .. }) if problems.is_empty() => (
                Mark::Wait,
                "no directory on the share is kept for you. Files saved here go away with the VM.".to_owned(),
            ),
            Some(OwnView { user: Some(user), problems, .. }) if problems.is_empty() => self.own_row(user),
            Some(_) => (Mark::Bad, String::new()),
        };
        if bad.is_empty() {
            self.page.paragraph(&format!("{lead}{} ", self.page.mark(mark)), indent, &text);
        }
        self.last_time(own);
        for (number, problem) in bad.iter().enumerate() {
            let lead = if number == 0 { lead.clone() } else { heading("") };
            self.problem(&lead, COLUMN, problem, None);
        }
        if let Some(own) = own.filter(|own| !own.elsewhere.is_empty()) {
            self.elsewhere(&own.elsewhere);
        }
    }

    /// What somebody must know who is on several VMs at once: on SMB no lock reaches from one to the other.
    fn elsewhere(&mut self, nodes: &[String]) {
        let indent = COLUMN + BEHIND_MARK;
        let more = if nodes.len() > MOST_EVENTS { ", …" } else { "" };
        let names = nodes.iter().take(MOST_EVENTS).map(|node| self.page.clean(node)).collect::<Vec<_>>().join(", ");
        let text = match self.status.share.kind {
            Some(Kind::Smb) => format!(
                "You are on {names}{more} too. Files are not locked from VM to VM: open a notebook or database on one only."
            ),
            _ => format!("You are on {names}{more} too. Open a notebook on one of them only."),
        };
        let text = self.page.clean(&text);
        self.page.paragraph(&format!("{}{} ", heading(""), self.page.mark(Mark::Note)), indent, &text);
    }

    /// What was kept when the VM before this one went.
    fn last_time(&mut self, own: Option<&OwnView>) {
        if let Some(last) = own.and_then(|own| own.user.as_ref()?.last_time.as_ref()) {
            let text = self.page.clean(&sentence(last, &self.status.agent.pass_at));
            self.page.paragraph(&" ".repeat(COLUMN + BEHIND_MARK), COLUMN + BEHIND_MARK, &text);
        }
    }

    fn own_row(&self, user: &UserView) -> (Mark, String) {
        let link = self.page.clean(&self.with_tilde(&user.link));
        let directory = self.page.clean(&user.directory);
        match user.state {
            UserState::Ready if user.mounted && self.status.share.state == ShareState::Mounted => {
                (Mark::Good, format!("{link} is {directory} on the share"))
            }
            UserState::Ready if user.mounted => {
                (Mark::Wait, format!("{link} is {directory} on the share, which is away"))
            }
            UserState::Problem => (Mark::Bad, format!("{link} needs attention")),
            UserState::Ready | UserState::Pending => (
                Mark::Wait,
                format!(
                    "{link} is not connected yet. Wait before opening notebooks: \
                     files saved elsewhere go away with the VM."
                ),
            ),
        }
    }

    fn users(&mut self, problems: &[&ProblemView]) {
        let Counts { users, ready, problems: bad, .. } = self.status.counts;
        if self.status.health == Health::Unconfigured && users == 0 && problems.is_empty() {
            return;
        }
        let pending = users.saturating_sub(ready).saturating_sub(bad);
        let mut parts = Vec::new();
        if ready > 0 {
            parts.push(format!("{} {ready} ready", self.page.mark(Mark::Good)));
        }
        if bad > 0 {
            let needs = if bad == 1 { "needs" } else { "need" };
            parts.push(format!("{} {bad} {needs} attention", self.page.mark(Mark::Bad)));
        }
        if pending > 0 {
            parts.push(format!("{} {pending} not yet", self.page.mark(Mark::Wait)));
        }
        if parts.is_empty() {
            let nobody = if self.status.health == Health::Starting { "not known yet" } else { "none yet" };
            parts.push(format!("{} {nobody}", self.page.mark(Mark::Wait)));
        }
        self.page.paragraph(&heading("users"), COLUMN, &parts.join("   "));
        self.user_rows(problems);
        self.pending_names();
    }

    /// Each user that needs attention with what is wrong.
    fn user_rows(&mut self, problems: &[&ProblemView]) {
        let mut rows: Vec<(Option<&str>, Option<&ProblemView>)> = Vec::new();
        for problem in problems {
            rows.push((about_user(problem), Some(problem)));
        }
        // Problems of one user stand together, where the first of them is.
        let order: Vec<Option<&str>> = rows.iter().map(|(name, _)| *name).collect();
        rows.sort_by_key(|(name, _)| order.iter().position(|seen| seen == name));
        // Their own row says it of an ordinary user.
        for user in self.status.users.iter().filter(|_| self.ctx.is_root) {
            if user.state == UserState::Problem && !order.contains(&Some(user.name.as_str())) {
                rows.push((Some(&user.name), None));
            }
        }
        let left_out = rows.len().saturating_sub(MOST_ROWS);
        rows.truncate(MOST_ROWS);
        let names: Vec<String> = rows.iter().map(|(name, _)| self.page.clean(name.unwrap_or_default())).collect();
        let widest = names.iter().map(|name| visible(name)).filter(|width| *width <= LONGEST_NAME).max();
        let column = widest.unwrap_or(0).max(COLUMN - 3) + 3;
        let mut before = None;
        for ((who, problem), name) in rows.into_iter().zip(names) {
            let name = if who.is_some() && before == Some(who) { String::new() } else { name };
            before = Some(who);
            let lead = if visible(&name) > LONGEST_NAME {
                self.page.paragraph("  ", 4, &name);
                " ".repeat(column)
            } else {
                format!("  {name}{}", " ".repeat(column - 2 - visible(&name)))
            };
            match problem {
                Some(problem) => self.problem(&lead, column, problem, None),
                None => {
                    let lead = format!("{lead}{} ", self.page.mark(Mark::Bad));
                    self.page.paragraph(&lead, column + BEHIND_MARK, "needs attention");
                }
            }
        }
        if left_out > 0 {
            let indent = " ".repeat(COLUMN);
            self.page.paragraph(&indent, COLUMN, &format!("and {left_out} more: sudo dsvm-agent status --json"));
        }
    }

    /// The names of those who only have to wait.
    fn pending_names(&mut self) {
        let pending: Vec<&UserView> =
            self.status.users.iter().filter(|user| user.state == UserState::Pending && self.ctx.is_root).collect();
        if pending.is_empty() {
            return;
        }
        let mut names: Vec<String> = pending.iter().take(MOST_NAMES).map(|user| self.page.clean(&user.name)).collect();
        if pending.len() > MOST_NAMES {
            names.push(format!("{} more", pending.len() - MOST_NAMES));
        }
        self.page.paragraph(&heading(""), COLUMN, &format!("not yet: {}", names.join(", ")));
    }

    /// What is so between this VM and its scale set; nothing where it has none.
    fn scale_set(&mut self) {
        let Some(set) = self.status.scale_set.as_ref().filter(|s| s.member == Some(true)) else { return };
        let (mark, words) = match (set.protected, set.free) {
            (Some(true), _) if set.by_hand => (Mark::Good, "protected from scale-in by hand, until that is taken off"),
            (Some(true), _) => (Mark::Good, "protected from scale-in"),
            (Some(false), Some(true)) => (Mark::Wait, "may go"),
            (Some(false), _) => (Mark::Bad, "not protected from scale-in"),
            (None, _) => (Mark::Wait, "protection from scale-in is not known"),
        };
        let mut parts = vec![words.to_owned()];
        if let Some(since) = set.free_since.as_deref().and_then(|at| self.lasts(at)) {
            parts.push(format!("protection lifted {since} ago"));
        }
        if let Some(sent) = set.metric_sent_at.as_deref().and_then(|at| self.lasts(at)) {
            parts.push(format!("reported {sent} ago"));
        }
        for event in set.events.iter().take(MOST_EVENTS) {
            let kind = self.page.clean(&event.kind);
            parts.push(match event.not_before.as_deref().map(|at| self.page.clean(at)) {
                Some(at) => format!("Azure announces: {kind}, not before {at}"),
                None => format!("Azure announces: {kind}, now"),
            });
        }
        if set.events_unknown {
            parts.push("events not known".to_owned());
        } else if set.events.is_empty() {
            parts.push("no events".to_owned());
        }
        let lead = format!("{}{} ", heading("scale set"), self.page.mark(mark));
        let line = parts.join(self.page.dot());
        self.page.paragraph(&lead, COLUMN + BEHIND_MARK, &line);
        if let Some(drain) = &set.drain {
            let text = self.drain(drain);
            self.page.paragraph(&" ".repeat(COLUMN + BEHIND_MARK), COLUMN + BEHIND_MARK, &text);
        }
    }

    /// What is done before the VM is deleted.
    fn drain(&self, drain: &DrainView) -> String {
        let left = drain.at.as_deref().and_then(|at| self.ahead(at)).map(|left| whole(humane(left)));
        let clock = drain.at.as_deref().and_then(|at| at.get(11..16)).map(|at| self.page.clean(at));
        let when = match (clock, left) {
            (Some(clock), Some(left)) => format!("at {clock} UTC (in {left})"),
            _ => "now".to_owned(),
        };
        let files = |n: u64| if n == 1 { "1 file".to_owned() } else { format!("{n} files") };
        let mut text =
            format!("This VM is deleted {when}; it cannot be stopped. Save now. {} rescued", files(drain.rescued));
        if drain.left > 0 {
            text += &format!(", {} not", files(drain.left));
        }
        text += if drain.log_ins_refused { "; log-ins are refused" } else { "" };
        text += if drain.approved { "; Azure may begin" } else { "" };
        text += if drain.shared { "; the same event ends other VMs, so its whole notice runs" } else { "" };
        text + "."
    }

    /// A problem with its mark.
    fn problem(&mut self, lead: &str, column: usize, view: &ProblemView, known: Option<&str>) {
        let lead = format!("{lead}{} ", self.page.mark(Mark::Bad));
        self.tell(&lead, column + BEHIND_MARK, view, known);
    }

    /// A problem below the line that it explains, which says already that things are so for `known`.
    fn explain(&mut self, view: &ProblemView, known: Option<&str>) {
        let indent = COLUMN + BEHIND_MARK;
        self.tell(&" ".repeat(indent), indent, view, known);
    }

    fn tell(&mut self, lead: &str, indent: usize, view: &ProblemView, known: Option<&str>) {
        let summary = self.with_tilde(&view.problem.summary);
        let tail = match self.lasts(&view.since) {
            Some(lasts) if Some(lasts.as_str()) != known => whole(format!("(for {lasts})")),
            _ => String::new(),
        };
        self.page.problem(lead, indent, &summary, &tail, &view.problem.remedy);
    }

    fn lasts(&self, since: &str) -> Option<String> {
        lasting(since, &self.status.agent, &self.ctx.now).map(humane).map(whole)
    }

    /// `text` with the reader's home as `~`. Not for remedies: whoever runs them may be somebody else.
    fn with_tilde(&self, text: &str) -> String {
        match self.ctx.home.as_deref().map(|home| home.trim_end_matches('/')) {
            Some(home) if home.starts_with('/') => text.replace(&format!("{home}/"), "~/"),
            _ => text.to_owned(),
        }
    }
}

/// `text` that stays in one line.
fn whole(text: String) -> String {
    text.replace(' ', &NO_BREAK.to_string())
}

/// The name of a section.
fn heading(name: &str) -> String {
    format!("{name:COLUMN$}")
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Smb => "SMB",
        Kind::Nfs => "NFS",
        Kind::Directory => "a directory of this VM",
    }
}

/// What is to be said of the share when no problem says it: what is, and what to do.
fn usual(status: &Status) -> Option<(&'static str, &'static str)> {
    match (status.share.state, status.health) {
        (ShareState::Unconfigured, Health::Unconfigured) => Some((
            "This VM has no /etc/dsvm-agent/agent.toml: nothing is mounted. Files saved here go away with the VM.",
            "Do: write the file (see /usr/share/doc/dsvm-agent), then sudo systemctl reload dsvm-agent",
        )),
        (ShareState::Mounted | ShareState::Unconfigured, _) => None,
        (ShareState::Mounting, Health::Starting) => {
            Some(("Wait before opening notebooks: files saved elsewhere go away with the VM.", ""))
        }
        (ShareState::Mounting, _) => {
            Some(("It was away and is being mounted again.", "If it lasts for minutes: sudo dsvm-agent doctor"))
        }
        (ShareState::Unreachable | ShareState::Refused, _) => Some((
            "Notebooks on it cannot be opened or saved. It is tried again by itself.",
            "Do: sudo dsvm-agent doctor",
        )),
        (ShareState::Hung, _) => Some((
            "Saving waits until it answers. Keep your browser tab open: unsaved cells are still in it. \
             Nothing is unmounted under you.",
            "If it lasts for minutes: sudo dsvm-agent doctor",
        )),
    }
}
