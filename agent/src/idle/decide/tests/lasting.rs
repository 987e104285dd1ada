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

#[test]
fn what_comes_and_goes_for_a_day_with_nobody_there_is_a_problem() {
    let burst = |vm: &mut Vm, number: u32| {
        let what = Some("python sync.py".to_owned());
        let value = 20.0 * f64::from(number);
        let counter = Counter { id: "s".into(), who: Some(1001), value, what, ..Counter::default() };
        vm.seen.insert(Source::Cpu, Seen::Counters(vec![counter]));
        vm.at += 30.0;
        let busy = vm.sample();
        assert_eq!(busy.verdict, Verdict::Busy);
        (busy, vm.pass(1770.0))
    };
    let mut vm = Vm::new();
    vm.idle.boot_grace = Duration::ZERO;
    vm.cpu(0.0);
    vm.pass(60.0);
    for number in 1..=48 {
        let (busy, quiet) = burst(&mut vm, number);
        assert_eq!(quiet.verdict, Verdict::Quiet);
        assert_eq!((busy.problems.len(), quiet.problems.len()), (0, 0), "{number}");
    }
    let (busy, quiet) = burst(&mut vm, 49);
    for (decision, long) in [(busy, "24 h"), (quiet, "24 h")] {
        let problem = &decision.problems[0];
        assert_eq!((problem.code.as_str(), problem.subject.as_deref()), ("idle.long-busy", Some("alice")));
        assert_eq!(
            problem.summary,
            format!(
                "alice keeps this VM (python sync.py) for {long}, again and again, with little computing and nobody there. \
                 Nothing was ended."
            )
        );
    }
    // Somebody is there for a moment: from then on it is theirs to end.
    vm.typed(7.0);
    let (busy, quiet) = burst(&mut vm, 50);
    assert_eq!((busy.problems.len(), quiet.problems.len()), (0, 0));
    // It ends, and the VM could have gone: what comes a day later is something else.
    assert_eq!(vm.pass(3600.0).verdict, Verdict::Idle);
    assert_eq!(vm.pass(900.0).problems.len(), 0);
    assert_eq!(vm.memory.lonely_since, None);
}

#[test]
fn who_runs_cells_is_there_and_a_cell_that_prints_is_alone() {
    for (at_work, problems) in [(0.0, 0), (1.0, 1)] {
        let mut vm = Vm::new();
        vm.levels(Source::Kernel, &[(1001, at_work)]);
        let mut last = vm.sample();
        for number in 0..50 {
            let stamp = Stamp { id: "1001:1".into(), who: Some(1001), value: f64::from(number), what: None };
            vm.seen.insert(Source::Notebook, Seen::Stamps(vec![stamp]));
            last = vm.pass(1800.0);
        }
        assert_eq!(last.problems.len(), problems, "{:?}", last.problems);
    }
}

#[test]
fn what_can_be_read_only_for_moments_is_a_problem_and_names_itself() {
    // Of the whole VM, and of one user.
    let whole = (Seen::Unreadable("no answer".to_owned()), "Jupyter can be read only now and then: no answer.");
    let whys = Level { what: Some("no answer".to_owned()), ..unknown(1001) };
    let one = (Seen::Levels(vec![whys]), "alice's Jupyter can be read only now and then: no answer.");
    for (fails, because) in [whole, one] {
        let mut vm = Vm::new();
        vm.levels(Source::Kernel, &[]);
        vm.pass(600.0);
        let from = vm.at;
        while vm.at < from + 3.0 * 3600.0 {
            vm.seen.insert(Source::Kernel, fails.clone());
            let failed = vm.pass(600.0);
            assert_eq!(failed.verdict, Verdict::Unknown);
            vm.levels(Source::Kernel, &[]);
            vm.at += 30.0;
            let read = vm.sample();
            assert_eq!(read.verdict, Verdict::Quiet);
            let long = vm.at > from + 2.2 * 3600.0;
            for (decision, begins) in [(&failed, "Counts as in use for "), (&read, "Does not become idle for ")] {
                let says = |p: &Problem| p.code == "idle.cannot-tell" && p.summary.starts_with(begins);
                let told = decision.problems.iter().any(|p| says(p) && p.summary.ends_with(because));
                assert!(told || !long, "{:?}", decision.problems);
                assert!(decision.problems.is_empty() || vm.at > from + 1.8 * 3600.0, "{:?}", decision.problems);
            }
        }
        // It can be read at last.
        assert_eq!(vm.pass(330.0).problems.len(), 0);
        assert_eq!(vm.pass(3300.0).verdict, Verdict::Idle);
        assert_eq!(vm.memory.hidden().count(), 0);
    }
}

#[test]
fn moments_that_cost_nothing_are_no_problem_however_many_there_are() {
    let mut vm = Vm::new();
    vm.levels(Source::Kernel, &[]);
    vm.pass(600.0);
    for _ in 0..40 {
        vm.seen.insert(Source::Kernel, Seen::Unreadable("503".into()));
        assert_eq!(vm.pass(60.0).problems.len(), 0);
        vm.levels(Source::Kernel, &[]);
        assert_eq!(vm.pass(300.0).problems.len(), 0);
    }
    assert_eq!(vm.sample().verdict, Verdict::Idle);
}

#[test]
fn quiet_that_counts_from_later_than_the_last_use_says_why() {
    let begin = |at: f64| {
        let mut vm = Vm::new();
        // Somebody typed at the first look, and not since.
        (vm.at, vm.wall) = (at, 1e9);
        vm.typed(1e9);
        vm.levels(Source::Kernel, &[]);
        assert_eq!(vm.sample().seen_from, None);
        assert_eq!(vm.pass(1200.0).seen_from, None);
        vm
    };
    for (long, from) in [(60.0, false), (4.0 * 3600.0, true)] {
        let mut vm = begin(700.0);
        let whys = Level { what: Some("no answer".to_owned()), ..unknown(1002) };
        for fails in [Seen::Unreadable("no answer".to_owned()), Seen::Levels(vec![whys])] {
            vm.seen.insert(Source::Kernel, fails);
            vm.pass(long);
            vm.levels(Source::Kernel, &[]);
            vm.at += 30.0;
            let read = vm.at;
            let quiet = vm.sample();
            let expected = from.then_some(SeenFrom { at: read, unread: Some(Source::Kernel) });
            assert_eq!((quiet.verdict, quiet.last_busy, quiet.seen_from), (Verdict::Quiet, Some(700.0), expected));
            assert_eq!(quiet.idle_at, Some(if from { read } else { 700.0 } + 3600.0));
        }
    }
    // Nobody looked.
    let mut vm = begin(700.0);
    vm.at += 1500.0;
    let expected = Some(SeenFrom { at: vm.at, unread: None });
    assert_eq!(vm.sample().seen_from, expected);
    // Somebody is there again: quiet counts from that.
    vm.at += 30.0;
    vm.typed(2e9);
    assert_eq!(vm.sample().seen_from, None);
}
