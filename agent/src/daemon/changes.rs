//! What the log says: one line for each change that a person would want to know of, and none while nothing changes.
//! Pure: two statuses and the time come in, lines go out.

use crate::idle::model::{State, Verdict};
use crate::status::idle::IdleView;
use crate::status::model::{EventView, ProblemView, ScaleSetView, ShareState, ShareView, Status, UserState};
use std::collections::BTreeMap;
use std::time::Duration;

/// The share was mounted. This and the others are `MESSAGE_ID`s (systemd.journal-fields(7)): they never change, and
/// `packaging/systemd/dsvm-agent.catalog` explains each (`journalctl -x`).
pub const SHARE_MOUNTED: &str = "aefe98c76069439ca476edb4eac6a8f5";
/// The share was mounted and is not usable any more.
pub const SHARE_LOST: &str = "2bb7abacbbce4646857ec220a4eb6e62";
/// Users have their notebooks.
pub const USERS_READY: &str = "e4328315e9c349758d1926e84f8dd461";
/// A problem began.
pub const PROBLEM_BEGAN: &str = "df2574a6b6ca45b983a3b4b12a9ea373";
/// A problem is over.
pub const PROBLEM_OVER: &str = "591fa824cd324acf9263c12d86f27da6";

/// Whether the VM counts as used is another than before.
pub const VM_USE: &str = "9106f5ea24c347329af3131f994f2709";
/// It is announced that the VM may go.
pub const LEAVE_ANNOUNCED: &str = "3a042deb0aac4cecb1a8ef5eee4fa623";
/// That is taken back.
pub const LEAVE_TAKEN_BACK: &str = "114e7708595c46348fc94c4eafa19057";
/// The VM is protected from scale-in.
pub const PROTECTED: &str = "be77625ace3b4637a40ee205748db55f";
/// It is not any more.
pub const UNPROTECTED: &str = "21b96e97ee8c4a58ad62a349ba55cb85";
/// Azure announced an event.
pub const EVENT_ANNOUNCED: &str = "2d6ae7bc7ce848cc82679f568b4f6c3a";
/// The VM is deleted soon, and what can be done before is begun.
pub const DRAIN_BEGAN: &str = "ecefe700613b45de86dcc555c18f49d9";
/// That is done.
pub const DRAIN_ENDED: &str = "51fab5c7004a4bdd9ae26e66f0eb34e1";

/// All of them.
pub const IDS: [&str; 13] = [
    SHARE_MOUNTED,
    SHARE_LOST,
    USERS_READY,
    PROBLEM_BEGAN,
    PROBLEM_OVER,
    VM_USE,
    LEAVE_ANNOUNCED,
    LEAVE_TAKEN_BACK,
    PROTECTED,
    UNPROTECTED,
    EVENT_ANNOUNCED,
    DRAIN_BEGAN,
    DRAIN_ENDED,
];

/// So many lines at once. When everything fails, the first ones say what and the status has the rest.
const BURST: f64 = 20.0;
/// And then one in so long.
const EACH: Duration = Duration::from_secs(30);
/// So many names in a line.
const NAMES: usize = 4;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which kind of change; nothing for a remark.
    pub id: Option<&'static str>,
    /// Somebody should know of it, who is not looking at the moment.
    pub warns: bool,
    /// For a person.
    pub message: String,
    /// A problem's code.
    pub code: Option<String>,
    /// Whom or what it is about, if it is one.
    pub subject: Option<String>,
    /// Whether the VM counts as used, where that is what changed.
    pub verdict: Option<Verdict>,
}

impl Line {
    /// Writes it to the log.
    pub fn write(&self) {
        let (id, code, subject) = (self.id, self.code.as_deref(), self.subject.as_deref());
        let verdict = self.verdict.map(Verdict::name);
        if self.warns {
            tracing::warn!(message_id = id, code, subject, verdict, "{}", self.message);
        } else {
            tracing::info!(message_id = id, code, subject, verdict, "{}", self.message);
        }
    }

    fn new(id: &'static str, warns: bool, message: String) -> Self {
        Self { id: Some(id), warns, message, code: None, subject: None, verdict: None }
    }
}

/// The lines that may be written: it remembers how many were, by the boot-time clock.
#[derive(Debug, Clone)]
pub struct Changes {
    room: f64,
    at: Duration,
    left_out: usize,
}

impl Default for Changes {
    fn default() -> Self {
        Self { room: BURST, at: Duration::ZERO, left_out: 0 }
    }
}

impl Changes {
    /// What to write when `before` (nothing at the start) was followed by `after` at `now`.
    pub fn lines(&mut self, before: Option<&Status>, after: &Status, now: Duration) -> Vec<Line> {
        let passed = now.saturating_sub(self.at).as_secs_f64() / EACH.as_secs_f64();
        (self.room, self.at) = ((self.room + passed).min(BURST), now);
        let mut out = Vec::new();
        if self.left_out > 0 && self.take() {
            let many = std::mem::take(&mut self.left_out);
            out.push(remark(format!(
                "{many} more changes were not written down. All there is: sudo dsvm-agent status"
            )));
        }
        for line in between(before, after) {
            if self.take() {
                out.push(line);
            } else {
                self.left_out += 1;
            }
        }
        out
    }

    fn take(&mut self) -> bool {
        let there = self.room >= 1.0;
        if there {
            self.room -= 1.0;
        }
        there
    }
}

fn remark(message: String) -> Line {
    Line { id: None, warns: true, message, code: None, subject: None, verdict: None }
}

/// Every change, the most important first.
fn between(before: Option<&Status>, after: &Status) -> Vec<Line> {
    let mut out: Vec<Line> = share(before.map(|s| &s.share), &after.share).into_iter().collect();
    let none = Vec::new();
    let old = before.map_or(&none, |s| &s.problems);
    out.extend(problems(old, &after.problems, true));
    out.extend(problems(&after.problems, old, false));
    if let Some(set) = &after.scale_set {
        out.extend(scale_set(before.and_then(|s| s.scale_set.as_ref()), set));
    }
    if let Some(idle) = &after.idle {
        out.extend(used(before.and_then(|s| s.idle.as_ref()), idle));
    }
    out.extend(users(before, after));
    out
}

/// What Azure announced, and whether the VM is protected.
fn scale_set(before: Option<&ScaleSetView>, after: &ScaleSetView) -> Vec<Line> {
    let known = before.map_or(&[][..], |set| &set.events);
    let is_known =
        |event: &EventView| known.iter().any(|k| (&k.kind, &k.not_before) == (&event.kind, &event.not_before));
    let mut out: Vec<Line> = after.events.iter().filter(|event| !is_known(event)).map(announced).collect();
    let was = before.is_some_and(|set| set.by_hand);
    match (before.and_then(|set| set.protected), after.protected) {
        (_, Some(true)) if after.by_hand && !was => {
            let text = "This VM is protected from scale-in by hand: that is left as it is until somebody takes it off.";
            out.push(Line::new(PROTECTED, false, text.to_owned()));
        }
        (Some(true), Some(true)) if was == after.by_hand => {}
        (_, Some(true)) if after.by_hand => {}
        (_, Some(true)) => {
            out.push(Line::new(PROTECTED, false, "This VM is protected from scale-in.".to_owned()));
        }
        (Some(true), Some(false)) => {
            out.push(Line::new(UNPROTECTED, false, "This VM is not protected from scale-in any more.".to_owned()));
        }
        _ => {}
    }
    out
}

fn announced(event: &EventView) -> Line {
    let when = event.not_before.as_ref().map(|at| format!(", at {at} or later")).unwrap_or_default();
    Line::new(EVENT_ANNOUNCED, true, format!("Azure announced an event for this VM: {}{when}.", event.kind))
}

/// Whether the VM is used, and whether it is announced that it may go. No user is named.
fn used(before: Option<&IdleView>, after: &IdleView) -> Vec<Line> {
    let mut out = Vec::new();
    // Every boot begins so.
    let was = before.map_or(Verdict::Starting, |idle| idle.verdict);
    if was != after.verdict {
        out.push(Line { verdict: Some(after.verdict), ..Line::new(VM_USE, false, verdict(after)) });
    }
    let (was, is) = (before.and_then(|idle| idle.leave.as_ref()), after.leave.as_ref());
    match (was.map(|leave| leave.epoch), is) {
        (was, Some(leave)) if was != Some(leave.epoch) => {
            let until =
                leave.until.as_ref().map(|at| format!("; nothing acts on that before {at}")).unwrap_or_default();
            out.push(Line::new(LEAVE_ANNOUNCED, false, format!("It is announced that this VM may go{until}.")));
        }
        (Some(_), None) => {
            let message = "It is not announced any more that this VM may go.".to_owned();
            out.push(Line::new(LEAVE_TAKEN_BACK, false, message));
        }
        _ => {}
    }
    out
}

fn verdict(idle: &IdleView) -> String {
    let because = |state: State| {
        let mut names: Vec<&str> = Vec::new();
        for source in idle.sources.iter().filter(|source| source.state == state) {
            if !names.contains(&source.name.as_str()) {
                names.push(&source.name);
            }
        }
        names.join(", ")
    };
    match idle.verdict {
        Verdict::Starting => "It is too soon after boot to say whether this VM is used.".to_owned(),
        Verdict::Kept => "This VM is kept.".to_owned(),
        Verdict::Busy => format!("This VM is in use: {}.", because(State::Busy)),
        Verdict::Unknown => {
            format!("Whether this VM is used cannot be told ({}): it counts as used.", because(State::Unknown))
        }
        Verdict::Quiet => "No use of this VM is seen any more.".to_owned(),
        Verdict::Idle => "This VM is not used.".to_owned(),
    }
}

fn share(before: Option<&ShareView>, after: &ShareView) -> Option<Line> {
    let was = before.is_some_and(|share| share.state == ShareState::Mounted);
    let name = after.source.as_deref().or(before.and_then(|s| s.source.as_deref())).unwrap_or("The share");
    let line = |id, warns, message| Some(Line::new(id, warns, message));
    match after.state {
        ShareState::Mounted if was => None,
        ShareState::Mounted => line(SHARE_MOUNTED, false, format!("{name} is mounted.")),
        _ if !was => None,
        ShareState::Hung => line(SHARE_LOST, true, format!("{name} does not answer.")),
        ShareState::Unreachable => line(SHARE_LOST, true, format!("{name} is unreachable.")),
        ShareState::Refused => line(SHARE_LOST, true, format!("{name} is refused.")),
        ShareState::Mounting => line(SHARE_LOST, true, format!("{name} is not mounted any more; it is mounted again.")),
        ShareState::Unconfigured => line(SHARE_LOST, true, format!("{name} is not configured any more.")),
    }
}

/// The problems of `there` that are not among `gone`: a line each, but one for all of the same code.
fn problems(gone: &[ProblemView], there: &[ProblemView], began: bool) -> Vec<Line> {
    let key = |view: &ProblemView| (view.problem.code.clone(), view.problem.subject.clone());
    let known: Vec<_> = gone.iter().map(key).collect();
    let mut by_code: BTreeMap<&str, Vec<&ProblemView>> = BTreeMap::new();
    let mut order = Vec::new();
    for view in there.iter().filter(|view| !known.contains(&key(view))) {
        let all = by_code.entry(&view.problem.code).or_default();
        if all.is_empty() {
            order.push(view.problem.code.as_str());
        }
        all.push(view);
    }
    let mut out = Vec::new();
    for code in order {
        let all = &by_code[code];
        let first = &all[0].problem;
        let subjects: Vec<&str> = all.iter().filter_map(|view| view.problem.subject.as_deref()).collect();
        let message = match (began, subjects.len()) {
            (true, 0 | 1) => format!("{} ({code})", first.summary),
            (true, many) => format!("{} ({code}; {many} in all: {})", first.summary, names(&subjects)),
            (false, 0) => format!("Over: {code}"),
            (false, _) => format!("Over: {code} of {}", names(&subjects)),
        };
        let subject = if let [one] = subjects[..] { Some(one.to_owned()) } else { None };
        let id = if began { PROBLEM_BEGAN } else { PROBLEM_OVER };
        out.push(Line { code: Some(code.to_owned()), subject, ..Line::new(id, began, message) });
    }
    out
}

/// One line for everybody who has their notebooks now and had not before.
fn users(before: Option<&Status>, after: &Status) -> Option<Line> {
    let ready = |status: &Status| -> Vec<String> {
        status.users.iter().filter(|u| u.state == UserState::Ready).map(|u| u.name.clone()).collect()
    };
    let before = before.map(ready).unwrap_or_default();
    let new: Vec<String> = ready(after).into_iter().filter(|name| !before.contains(name)).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let (subject, message) = match new[..] {
        [] => return None,
        [one] => (Some(one.to_owned()), format!("{one} has their notebooks.")),
        _ => (None, format!("{} have their notebooks.", names(&new))),
    };
    Some(Line { subject, ..Line::new(USERS_READY, false, message) })
}

fn names(all: &[&str]) -> String {
    let shown = all.iter().take(NAMES).copied().collect::<Vec<_>>();
    match all.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
