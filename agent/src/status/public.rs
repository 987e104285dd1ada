//! What everybody may read: how many, and never who.

use super::model::{OwnView, ProblemView, Status};
use crate::problem::Problem;

/// The status without its users: their rows are gone, and problems that are about users, or name one, are one for each
/// code, with the number of users and no other word of theirs.
pub fn public(status: &Status) -> Status {
    let mut names: Vec<&str> = status.users.iter().map(|user| user.name.as_str()).collect();
    names.extend(status.problems.iter().filter_map(about_user));
    let mut problems: Vec<ProblemView> = Vec::new();
    for view in &status.problems {
        if about_user(view).is_none() && !names_somebody(&view.problem, &names) {
            problems.push(view.clone());
            continue;
        }
        let count = view.count.unwrap_or(1);
        match problems.iter_mut().find(|seen| seen.count.is_some() && seen.problem.code == view.problem.code) {
            Some(seen) => {
                let since = seen.since.clone().min(view.since.clone());
                *seen = counted(&view.problem.code, seen.count.unwrap_or(0).saturating_add(count), &since);
            }
            None => problems.push(counted(&view.problem.code, count, &view.since)),
        }
    }
    let idle = status.idle.as_ref().map(super::idle::public);
    Status { problems, users: Vec::new(), idle, ..status.clone() }
}

/// The public status as one user sees it: with their own row and their own problems, most important first, and
/// without counting those twice.
pub fn with_own(status: &Status, own: &OwnView) -> Status {
    let mut problems = own.problems.clone();
    problems.extend(of_others(status, own));
    let idle = match (&status.idle, &own.idle) {
        (Some(all), Some(own)) => Some(super::idle::with_own(all, own)),
        (all, _) => all.clone(),
    };
    Status { problems, users: own.user.iter().cloned().collect(), idle, ..status.clone() }
}

/// The problems of the public status that are not the asking user's own.
pub fn of_others(status: &Status, own: &OwnView) -> Vec<ProblemView> {
    let mut mine: Vec<&str> = own.problems.iter().map(|view| view.problem.code.as_str()).collect();
    let mut others = Vec::new();
    for view in &status.problems {
        let Some(count) = view.count else {
            others.push(view.clone());
            continue;
        };
        // One of the users it stands for is the reader.
        let found = mine.iter().position(|code| *code == view.problem.code);
        let left = count - u64::from(found.is_some()).min(count);
        if let Some(index) = found {
            mine.swap_remove(index);
        }
        if left > 0 {
            others.push(counted(&view.problem.code, left, &view.since));
        }
    }
    others
}

/// The user that a problem is about. Every subject that is no path counts as one: a subject of a user who is not in
/// the list (left out, unknown, gone) is a name all the same.
pub fn about_user(view: &ProblemView) -> Option<&str> {
    view.problem.subject.as_deref().filter(|subject| !subject.starts_with("/etc/"))
}

/// `count` users have the problem `code`.
fn counted(code: &str, count: u64, since: &str) -> ProblemView {
    let summary = if count == 1 { format!("One user: {code}.") } else { format!("{count} users: {code}.") };
    let problem = Problem::new(code, summary, "An administrator sees who, and what to do: sudo dsvm-agent status");
    ProblemView { problem, since: since.to_owned(), count: Some(count) }
}

/// Whether a problem of the VM names one of `names` as a word. Problems of the share, of the scale set and of the
/// configuration speak of servers, VMs and files of the administrator's: there a user called `share` or `data` must not hide what is wrong from
/// everybody.
fn names_somebody(problem: &Problem, names: &[&str]) -> bool {
    let room = problem.code.split('.').next().unwrap_or_default();
    !matches!(room, "share" | "config" | "scale-set")
        && names.iter().any(|name| has_word(&problem.summary, name) || has_word(&problem.remedy, name))
}

/// Whether `name` is in `text` and is not a part of a longer name.
fn has_word(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            !text[..at].chars().next_back().is_some_and(inside)
                && !text[at + name.len()..].chars().next().is_some_and(inside)
        })
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, occupied, problem, user};
    use super::super::model::{Counts, UserState};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_instead_of_names() {
        let mut status = fixtures::degraded();
        status.problems.insert(0, problem("share.nearly-full", None));
        status.problems.push(ProblemView { since: "2026-03-04T10:00:00Z".to_owned(), ..occupied("zoe") });
        status.problems.push(problem("workspace.uid-differs", Some("carol")));
        status.problems.push(problem("config.unreadable", Some("/etc/dsvm-agent/agent.d/10-a.toml")));
        let public = public(&status);
        assert!(public.users.is_empty());
        assert_eq!(public.counts, status.counts);
        let rows: Vec<_> = public
            .problems
            .iter()
            .map(|v| (v.problem.code.as_str(), v.problem.summary.as_str(), v.count, v.since.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("share.nearly-full", "Something is wrong.", None, "2026-03-04T11:56:04Z"),
                ("workspace.link-occupied", "2 users: workspace.link-occupied.", Some(2), "2026-03-04T10:00:00Z"),
                ("workspace.uid-differs", "One user: workspace.uid-differs.", Some(1), "2026-03-04T11:56:04Z"),
                ("config.unreadable", "Something is wrong.", None, "2026-03-04T11:56:04Z"),
            ]
        );
        assert!(public.problems.iter().all(|v| v.count.is_none() || v.problem.subject.is_none()));
        assert_eq!(super::public(&public), public, "twice is once");
    }

    #[test]
    fn a_problem_of_the_vm_that_names_a_user_is_counted_too() {
        let mut status = fixtures::status();
        let mut named = problem("workspace.names-clash", None);
        named.problem.summary = "alice and Alice differ only by case.".to_owned();
        let mut server = problem("share.unreachable", None);
        server.problem.summary = "alice.example.org does not answer.".to_owned();
        status.problems = vec![named, server.clone()];
        let public = public(&status);
        assert_eq!(public.problems[0].problem.summary, "One user: workspace.names-clash.");
        assert_eq!(public.problems[1], server);
    }

    #[test]
    fn words_are_whole() {
        for (text, found) in [
            ("bob", true),
            ("import bob", true),
            ("/home/bob/x", true),
            ("bob's", true),
            ("bobby and bob", true),
            ("bobby", false),
            ("a-bob", false),
            ("", false),
        ] {
            assert_eq!(has_word(text, "bob"), found, "{text}");
        }
        assert!(!has_word("anything", ""));
    }

    #[test]
    fn ones_own_problem_is_not_counted_twice() {
        let mut status = fixtures::degraded();
        status.problems.push(occupied("zoe"));
        let own = OwnView {
            user: Some(user("bob", 1002, UserState::Problem)),
            problems: vec![occupied("bob")],
            idle: None,
            elsewhere: Vec::new(),
        };
        let mine = with_own(&public(&status), &own);
        assert_eq!(mine.users.len(), 1);
        assert_eq!(mine.problems[0], occupied("bob"));
        assert_eq!(mine.problems[1].problem.summary, "One user: workspace.link-occupied.");
        let alone = with_own(&public(&fixtures::degraded()), &own);
        assert_eq!(alone.problems, [occupied("bob")]);
        let nobody = with_own(
            &public(&status),
            &OwnView { user: None, problems: Vec::new(), idle: None, elsewhere: Vec::new() },
        );
        assert_eq!(nobody.problems[0].count, Some(2));
    }

    fn name() -> impl Strategy<Value = String> {
        "[a-z][a-zA-Z0-9._-]{24,40}"
    }

    proptest! {
        /// Names anywhere that the agent puts them: rows, subjects, sentences, remedies, homes.
        #[test]
        fn no_name_gets_out(
            names in proptest::collection::vec(name(), 1..6),
            kinds in proptest::collection::vec((0_usize..4, any::<proptest::sample::Index>(), any::<bool>()), 0..8),
        ) {
            let mut status = fixtures::status();
            status.users = names.iter().map(|n| user(n, 1000, UserState::Problem)).collect();
            status.counts = Counts { users: names.len() as u64, ..Counts::default() };
            for (kind, index, listed) in kinds {
                let name = index.get(&names);
                if !listed && kind < 2 {
                    status.users.retain(|user| user.name != *name);
                }
                let mut view = match kind {
                    0 => occupied(name),
                    1 => problem("share.key-refused", Some(name)),
                    2 => problem("workspace.names-clash", None),
                    _ => problem("workspace.strange", Some(&format!("/home/{name}"))),
                };
                view.problem.remedy = format!("sudo dsvm-agent workspace import {name}");
                status.problems.push(view);
            }
            let json = serde_json::to_string(&public(&status)).unwrap();
            for name in &names {
                prop_assert!(!json.contains(name.as_str()), "{name} in {json}");
            }
        }
    }
}
