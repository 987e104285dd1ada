//! What the log says: one line for each change that a person would want to know of, and none while nothing changes.
//! Pure: two statuses and the time come in, lines go out.

use crate::status::model::{ProblemView, ShareState, ShareView, Status, UserState};
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

/// All of them.
pub const IDS: [&str; 5] = [SHARE_MOUNTED, SHARE_LOST, USERS_READY, PROBLEM_BEGAN, PROBLEM_OVER];

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
}

impl Line {
    /// Writes it to the log.
    pub fn write(&self) {
        let (id, code, subject) = (self.id, self.code.as_deref(), self.subject.as_deref());
        if self.warns {
            tracing::warn!(message_id = id, code, subject, "{}", self.message);
        } else {
            tracing::info!(message_id = id, code, subject, "{}", self.message);
        }
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
    Line { id: None, warns: true, message, code: None, subject: None }
}

/// Every change, the most important first.
fn between(before: Option<&Status>, after: &Status) -> Vec<Line> {
    let mut out: Vec<Line> = share(before.map(|s| &s.share), &after.share).into_iter().collect();
    let none = Vec::new();
    let old = before.map_or(&none, |s| &s.problems);
    out.extend(problems(old, &after.problems, true));
    out.extend(problems(&after.problems, old, false));
    out.extend(users(before, after));
    out
}

fn share(before: Option<&ShareView>, after: &ShareView) -> Option<Line> {
    let was = before.is_some_and(|share| share.state == ShareState::Mounted);
    let name = after.source.as_deref().or(before.and_then(|s| s.source.as_deref())).unwrap_or("The share");
    let line = |id, warns, message| Some(Line { id: Some(id), warns, message, code: None, subject: None });
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
        out.push(Line { id: Some(id), warns: began, message, code: Some(code.to_owned()), subject });
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
    Some(Line { id: Some(USERS_READY), warns: false, message, code: None, subject })
}

fn names(all: &[&str]) -> String {
    let shown = all.iter().take(NAMES).copied().collect::<Vec<_>>();
    match all.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixtures::{problem, status, user};
    use proptest::prelude::*;

    fn said(before: Option<&Status>, after: &Status) -> Vec<String> {
        Changes::default().lines(before, after, Duration::from_secs(100)).into_iter().map(|l| l.message).collect()
    }

    #[test]
    fn each_change_is_one_line() {
        let all = status();
        let lost = |state| {
            let mut status = status();
            status.share.state = state;
            status
        };
        let name = all.share.source.clone().unwrap();
        let mut trouble = status();
        trouble.problems = vec![problem("workspace.link-occupied", Some("bob")), problem("share.full", None)];
        let mut crowd = status();
        crowd.problems = ["a", "b", "c", "d", "e", "f"].map(|who| problem("workspace.link-occupied", Some(who))).into();
        let mut fresh = status();
        fresh.users.push(user("erin", 1005, UserState::Ready));
        let mut empty = status();
        empty.users.clear();

        let (hung, away) = (lost(ShareState::Hung), lost(ShareState::Unreachable));
        let cases: Vec<(&str, Option<&Status>, &Status, Vec<String>)> = vec![
            (
                "the start",
                None,
                &all,
                vec![format!("{name} is mounted."), "alice, bob, carol, dave have their notebooks.".to_owned()],
            ),
            ("nothing", Some(&all), &all, vec![]),
            ("somebody new", Some(&all), &fresh, vec!["erin has their notebooks.".to_owned()]),
            ("somebody leaves", Some(&fresh), &all, vec![]),
            (
                "more than are named",
                Some(&empty),
                &fresh,
                vec!["alice, bob, carol, dave and 1 more have their notebooks.".to_owned()],
            ),
            (
                "two problems",
                Some(&all),
                &trouble,
                vec![
                    "Something is wrong. (workspace.link-occupied)".to_owned(),
                    "Something is wrong. (share.full)".to_owned(),
                ],
            ),
            (
                "they are over",
                Some(&trouble),
                &all,
                vec!["Over: workspace.link-occupied of bob".to_owned(), "Over: share.full".to_owned()],
            ),
            (
                "one of many kinds",
                Some(&all),
                &crowd,
                vec!["Something is wrong. (workspace.link-occupied; 6 in all: a, b, c, d and 2 more)".to_owned()],
            ),
            ("bob's stays", Some(&trouble), &trouble, vec![]),
            ("the share hangs", Some(&all), &hung, vec![format!("{name} does not answer.")]),
            ("it is still away", Some(&hung), &away, vec![]),
            ("it is back", Some(&away), &all, vec![format!("{name} is mounted.")]),
        ];
        for (what, before, after, expected) in cases {
            assert_eq!(said(before, after), expected, "{what}");
        }
    }

    #[test]
    fn fields_say_what_a_line_is_about() {
        let (all, mut trouble) = (status(), status());
        trouble.problems = vec![problem("workspace.link-occupied", Some("bob"))];
        let line = Changes::default().lines(Some(&all), &trouble, Duration::ZERO).remove(0);
        let told = (line.id, line.warns, line.code.as_deref(), line.subject.as_deref());
        assert_eq!(told, (Some(PROBLEM_BEGAN), true, Some("workspace.link-occupied"), Some("bob")));
    }

    #[test]
    fn nothing_at_all_in_an_hour_in_which_nothing_happens() {
        let (all, mut changes) = (status(), Changes::default());
        changes.lines(None, &all, Duration::ZERO);
        let written: usize = (1..240).map(|n| changes.lines(Some(&all), &all, Duration::from_secs(15 * n)).len()).sum();
        assert_eq!(written, 0);
    }

    #[test]
    fn a_share_that_comes_and_goes_fills_no_disk_and_what_was_left_out_is_counted() {
        let (up, mut down) = (status(), status());
        down.share.state = ShareState::Unreachable;
        let mut changes = Changes::default();
        let mut written = Vec::new();
        // Four changes a minute for an hour.
        for n in 0..240u64 {
            let (before, after) = if n % 2 == 0 { (&up, &down) } else { (&down, &up) };
            written.extend(changes.lines(Some(before), after, Duration::from_secs(15 * n)));
        }
        assert!(written.len() <= 20 + 120 + 1, "{}", written.len());
        let remarks: usize = written
            .iter()
            .filter(|line| line.id.is_none())
            .filter_map(|line| line.message.split(' ').next()?.parse::<usize>().ok())
            .sum();
        let told = written.iter().filter(|line| line.id.is_some()).count();
        assert_eq!(remarks + told + changes.left_out, 240);
    }

    proptest! {
        #[test]
        fn no_storm_writes_more_than_its_share(
            codes in proptest::collection::vec(proptest::collection::vec(0u8..60, 0..40), 1..60),
        ) {
            let mut changes = Changes::default();
            let (mut before, mut lines) = (status(), 0);
            for (second, present) in codes.iter().enumerate() {
                let mut after = status();
                after.problems = present.iter().map(|n| problem(&format!("share.p{n}"), None)).collect();
                lines += changes.lines(Some(&before), &after, Duration::from_secs(second as u64)).len();
                before = after;
            }
            prop_assert!(lines <= 20 + codes.len() / 30 + 1, "{lines}");
        }
    }
}
