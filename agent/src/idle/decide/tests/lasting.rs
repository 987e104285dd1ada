//! What lasts: many users at once.

use super::*;

fn unknown(who: u32) -> Level {
    Level { who: Some(who), unknown: true, ..Level::default() }
}

#[test]
fn what_cannot_be_told_is_not_forgotten_for_many_who_were_there() {
    let mut vm = Vm::new();
    vm.idle.boot_grace = Duration::ZERO;
    let many = |value: f64| (1000..1600).map(move |who| Level { who: Some(who), value, ..Level::default() });
    vm.seen.insert(Source::Kernel, Seen::Levels(many(1.0).collect()));
    assert_eq!(vm.pass(60.0).verdict, Verdict::Busy);
    vm.seen.insert(Source::Kernel, Seen::Levels(many(0.0).chain([unknown(7000)]).collect()));
    let decision = vm.pass(4.0 * 3600.0);
    assert_eq!((decision.verdict, decision.idle_at), (Verdict::Unknown, None));
    assert_eq!(decision.problems[0].code, "idle.cannot-tell");
}

#[test]
fn more_that_cannot_be_told_than_is_remembered_is_not_quiet() {
    let mut vm = Vm::new();
    vm.idle.boot_grace = Duration::ZERO;
    vm.seen.insert(Source::Kernel, Seen::Levels((1000..1600).map(unknown).collect()));
    assert_eq!(vm.pass(3600.0).verdict, Verdict::Unknown);
    vm.seen.insert(Source::Kernel, Seen::Levels(vec![]));
    vm.at += 30.0;
    let at = vm.at;
    assert!(vm.sample().idle_at.unwrap() >= at - 30.0 + 3600.0, "who was forgotten may have used it until just now");
}
