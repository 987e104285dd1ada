//! What lasts: many users at once, and what somebody forgot.

use super::*;

fn unknown(who: u32) -> Level {
    Level { who: Some(who), unknown: true, ..Level::default() }
}

#[test]
fn what_cannot_be_told_is_not_forgotten_for_many_who_were_there() {
    let mut vm = Vm::new();
    vm.idle.boot_grace = Duration::ZERO;
    let many = |value: f64| (1000..1520).map(move |who| Level { who: Some(who), value, ..Level::default() });
    vm.seen.insert(Source::Kernel, Seen::Levels(many(1.0).collect()));
    assert_eq!(vm.pass(60.0).verdict, Verdict::Busy);
    vm.seen.insert(Source::Kernel, Seen::Levels(many(0.0).chain([unknown(7000)]).collect()));
    let decision = vm.pass(2.1 * 3600.0);
    assert_eq!((decision.verdict, decision.idle_at), (Verdict::Unknown, None));
    assert_eq!(decision.problems[0].code, "idle.cannot-tell");
}

#[test]
fn what_cannot_be_told_and_has_no_room_is_not_quiet() {
    let mut vm = Vm::new();
    let many = |count: u32| (1000..1000 + count).map(|who| Level { who: Some(who), value: 1.0, ..Level::default() });
    vm.seen.insert(Source::Kernel, Seen::Levels(many(511).chain([unknown(7000)]).collect()));
    let decision = vm.pass(1200.0);
    assert!(decision.evidence.iter().any(|e| e.state == State::Unknown));
    assert_eq!(vm.memory.floor.to_bits(), 0.0_f64.to_bits());
    vm.seen.insert(Source::Kernel, Seen::Levels(many(512).chain([unknown(7000)]).collect()));
    let decision = vm.pass(1200.0);
    assert!(decision.evidence.iter().all(|e| e.state != State::Unknown), "it is forgotten");
    assert_eq!(vm.memory.floor.to_bits(), vm.at.to_bits(), "and may have been used until just now");
}

#[test]
fn what_holds_a_part_of_a_gpu_counts_until_it_ends_and_is_a_problem_after_a_day_without_anybody() {
    let mut vm = Vm::new();
    let what = Some("python3 is on a GPU that does not tell who computes".to_owned());
    let held = || vec![Level { who: Some(1001), unmeasured: true, what: what.clone(), ..Level::default() }];
    // Another GPU's memory, and none of the first is known to be computed on.
    vm.seen.insert(Source::Gpu, Seen::Levels([vec![Level { who: Some(1001), ..Level::default() }], held()].concat()));
    let busy = vm.pass(23.9 * 3600.0);
    assert_eq!((busy.verdict, busy.idle_at, busy.problems.len()), (Verdict::Busy, None, 0));
    assert_eq!((busy.evidence[0].source, busy.evidence[0].observed), (Source::Gpu, None), "no figure is made up");
    let busy = vm.pass(0.2 * 3600.0);
    assert_eq!((busy.verdict, busy.problems[0].code.as_str()), (Verdict::Busy, "idle.long-busy"));
    assert!(busy.problems[0].summary.starts_with("alice keeps this VM (python3 is on a GPU"), "{:?}", busy.problems);
    // A figure is company: training takes days.
    vm.levels(Source::Gpu, &[(1001, 40.0)]);
    assert!(vm.pass(60.0).problems.is_empty());
    vm.levels(Source::Gpu, &[]);
    assert_eq!(vm.pass(3700.0).verdict, Verdict::Idle);
}

#[test]
fn no_reboot_is_advised_for_a_gpu_that_tells_nothing() {
    for (why, reboot) in
        [(GPU_TELLS_NOTHING, false), ("the driver's library says: Driver/library version mismatch", true)]
    {
        let mut vm = Vm::new();
        vm.seen.insert(Source::Gpu, Seen::Unreadable(why.into()));
        let decision = vm.pass(2.1 * 3600.0);
        assert_eq!(decision.verdict, Verdict::Unknown);
        let problem = &decision.problems[0];
        assert!(problem.summary.contains(why), "{problem:?}");
        assert_eq!(problem.remedy.contains("sudo systemctl reboot"), reboot, "{problem:?}");
    }
}

#[test]
fn a_forgotten_inhibitor_is_a_problem_after_a_day_and_still_keeps() {
    let inhibitor = || {
        let what = Some("build (systemd-inhibit)".to_owned());
        Seen::Levels(vec![Level { who: Some(1001), value: 1.0, what, ..Level::default() }])
    };
    let mut vm = Vm::new();
    vm.seen.insert(Source::Inhibitor, inhibitor());
    let kept = vm.pass(23.9 * 3600.0);
    assert_eq!((kept.verdict, kept.problems.len()), (Verdict::Kept, 0));
    let kept = vm.pass(0.2 * 3600.0);
    assert_eq!((kept.verdict, kept.idle_at), (Verdict::Kept, None));
    let problem = &kept.problems[0];
    assert_eq!((problem.code.as_str(), problem.subject.as_deref()), ("idle.long-busy", Some("alice")));
    assert_eq!(
        problem.summary,
        "alice keeps this VM by an inhibitor (build (systemd-inhibit)) for 24 h, with little computing and nobody there. \
         Nothing was ended."
    );
    // Whoever said until when they keep it has not forgotten it.
    let keep = Level { who: Some(1002), value: 1.0, until: Some(1e9), ..Level::default() };
    vm.seen.insert(Source::Keep, Seen::Levels(vec![keep]));
    let kept = vm.pass(60.0);
    assert_eq!((kept.verdict, kept.problems.len()), (Verdict::Kept, 0));
    vm.seen.insert(Source::Keep, Seen::Absent);
    assert_eq!(vm.pass(23.9 * 3600.0).problems.len(), 0);
    assert_eq!(vm.pass(0.2 * 3600.0).problems.len(), 1);
}
