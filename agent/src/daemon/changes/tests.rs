//! What is written when, and how much of it.

use super::*;
use crate::status::fixtures::{self, problem, status, user};
use crate::status::idle::LeaveView;
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

fn member(protected: Option<bool>, events: &[(&str, &str)]) -> Status {
    let event = |(kind, at): &(&str, &str)| EventView {
        kind: (*kind).to_owned(),
        not_before: Some((*at).to_owned()),
        started: false,
    };
    let events = events.iter().map(event).collect();
    let (on_azure, member) = (Some(true), Some(true));
    let set = ScaleSetView { on_azure, member, protected, events, ..ScaleSetView::default() };
    Status { scale_set: Some(set), ..status() }
}

#[test]
fn what_azure_announces_and_protects_is_told_once() {
    let terminate = &[("terminate", "2026-03-04T14:20:00Z")][..];
    let event = "Azure announced an event for this VM: terminate, at 2026-03-04T14:20:00Z or later.";
    let (protected, not) = ("This VM is protected from scale-in.", "This VM is not protected from scale-in any more.");
    let theirs = "This VM is protected from scale-in by hand: that is left as it is until somebody takes it off.";
    let by_hand = || {
        let mut status = member(Some(true), &[]);
        status.scale_set.as_mut().unwrap().by_hand = true;
        status
    };
    let cases = [
        (status(), member(None, &[]), vec![]),
        (status(), member(Some(true), &[]), vec![protected]),
        (member(Some(false), &[]), by_hand(), vec![theirs]),
        (member(Some(true), &[]), by_hand(), vec![theirs]),
        (by_hand(), by_hand(), vec![]),
        (by_hand(), member(Some(false), &[]), vec![not]),
        // Taken off while the VM is in use: the agent protects it.
        (by_hand(), member(Some(true), &[]), vec![protected]),
        // The problem tells that.
        (status(), member(Some(false), &[]), vec![]),
        (member(Some(true), &[]), member(Some(false), &[]), vec![not]),
        (member(Some(true), &[]), member(None, &[]), vec![]),
        (member(Some(true), &[]), member(Some(true), terminate), vec![event]),
        (member(Some(true), terminate), member(Some(true), terminate), vec![]),
        (member(Some(true), terminate), member(Some(true), &[]), vec![]),
    ];
    for (before, after, expected) in cases {
        assert_eq!(said(Some(&before), &after), expected, "{before:?} {after:?}");
    }
}

fn judged(verdict: Verdict, leave: Option<(u64, &str)>) -> Status {
    let leave = leave.map(|(epoch, until)| LeaveView {
        epoch,
        announced_at: None,
        until: Some(until.to_owned()),
        due: false,
        committed: false,
    });
    Status { idle: Some(IdleView { verdict, leave, ..fixtures::idle() }), ..status() }
}

#[test]
fn who_uses_the_vm_is_told_when_it_changes_and_nobody_is_named() {
    use Verdict::{Busy, Idle, Quiet, Starting, Unknown};
    let (one, two) = (Some((1, "2026-03-04T14:20:00Z")), Some((2, "2026-03-04T15:20:00Z")));
    let gone = "It is not announced any more that this VM may go.";
    let announced =
        |at: &str| format!("It is announced that this VM may go; nothing acts on that before 2026-03-04T{at}:00Z.");
    let (begun, quiet) = (judged(Starting, None), "No use of this VM is seen any more.".to_owned());
    assert_eq!(said(Some(&status()), &begun), [""; 0], "every boot begins so");
    for (before, after, expected) in [
        (judged(Busy, None), judged(Busy, None), vec![]),
        (judged(Busy, None), judged(Quiet, None), vec![quiet.clone()]),
        (judged(Busy, None), judged(Quiet, one), vec![quiet, announced("14:20")]),
        (judged(Quiet, one), judged(Idle, one), vec!["This VM is not used.".to_owned()]),
        (judged(Quiet, one), judged(Quiet, two), vec![announced("15:20")]),
        (judged(Quiet, one), judged(Quiet, None), vec![gone.to_owned()]),
    ] {
        assert_eq!(said(Some(&before), &after), expected);
    }
    for verdict in [Busy, Unknown] {
        let line = Changes::default().lines(Some(&begun), &judged(verdict, None), Duration::ZERO).remove(0);
        assert_eq!((line.id, line.verdict), (Some(VM_USE), Some(verdict)));
        for user in &status().users {
            assert!(!line.message.contains(&user.name), "{line:?}");
        }
    }
    let line = said(Some(&begun), &judged(Busy, None)).remove(0);
    assert!(line.starts_with("This VM is in use: ") && !line.ends_with(": ."), "{line}");
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
