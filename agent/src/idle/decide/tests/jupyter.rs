//! Jupyter servers, of which one user's may not answer.

use super::*;
use crate::idle::observe::jupyter::{self, OfUser, Thing};

fn thing(busy: bool, last_activity: f64) -> Thing {
    Thing { id: 1, what: "train.ipynb (python3)".to_owned(), busy, last_activity }
}

fn garbage() -> OfUser {
    Ok(vec![Err("Jupyter server at 127.0.0.1:8888: it answers 500".to_owned())])
}

impl Vm {
    fn servers(&mut self, users: &[(u32, OfUser)]) {
        self.seen.extend(jupyter::seen(&users.iter().cloned().collect()));
    }
}

#[test]
fn one_users_server_that_cannot_be_read_hides_nobody_elses() {
    let mut vm = Vm::new();
    vm.servers(&[(1001, Ok(vec![Ok(vec![thing(true, 1.0)])])), (1002, garbage())]);
    let decision = vm.pass(700.0);
    assert_eq!(decision.verdict, Verdict::Busy);
    let told: Vec<_> = decision.evidence.iter().map(|e| (e.source, e.who, e.state)).collect();
    assert_eq!(told[0], (Source::Kernel, Some(1001), State::Busy));
    assert!(told.contains(&(Source::Kernel, Some(1002), State::Unknown)), "{told:?}");
    vm.servers(&[(1001, Ok(vec![Ok(vec![thing(false, 1.0)])])), (1002, garbage())]);
    let decision = vm.pass(4.0 * 3600.0);
    assert_eq!((decision.verdict, decision.idle_at), (Verdict::Unknown, None), "never idle");
    let problem = &decision.problems[0];
    assert_eq!(problem.code, "idle.cannot-tell");
    assert!(problem.summary.contains("alice's Jupyter cannot be read: Jupyter server at 127.0.0.1"), "{problem:?}");
    // It answers again. What went on meanwhile is not known: quiet counts from here.
    let answered = vm.at;
    vm.servers(&[(1001, Ok(vec![])), (1002, Ok(vec![Ok(vec![])]))]);
    assert_eq!(vm.pass(3000.0).verdict, Verdict::Quiet);
    let idle = vm.pass(630.0);
    assert_eq!(idle.verdict, Verdict::Idle);
    assert!(idle.idle_at.is_some_and(|at| at >= answered + 3600.0));
}

#[test]
fn a_server_that_ends_while_it_cannot_be_read_is_no_longer_unknown() {
    let mut vm = Vm::new();
    vm.servers(&[(1002, garbage())]);
    assert_eq!(vm.pass(700.0).verdict, Verdict::Unknown);
    vm.servers(&[]);
    assert_eq!(vm.pass(30.0).verdict, Verdict::Quiet);
    assert_eq!(vm.pass(3630.0).verdict, Verdict::Idle);
}

#[test]
fn what_was_used_between_two_looks_counts_whatever_the_clock_says() {
    let mut vm = Vm::new();
    let with = |at: f64| (1001, Ok(vec![Ok(vec![thing(false, at)])]));
    vm.servers(&[with(1e9)]);
    assert_eq!(vm.pass(2.0 * 3600.0).verdict, Verdict::Idle);
    // Somebody ran a cell of a second; the wall clock was put back before.
    vm.servers(&[with(1e9 - 5000.0)]);
    let decision = vm.pass(30.0);
    assert_eq!(decision.verdict, Verdict::Busy);
    let first = &decision.evidence[0];
    assert_eq!(
        (first.source, first.who, first.what.as_deref()),
        (Source::Notebook, Some(1001), Some("train.ipynb (python3)"))
    );
    assert_eq!(vm.pass(3700.0).verdict, Verdict::Idle);
}

#[test]
fn an_answer_that_fails_for_a_moment_is_no_use_and_what_happened_meanwhile_is() {
    let rests = |at: f64| Ok(vec![Ok(vec![thing(false, at)])]);
    let cases = [
        // What the server says when it answers again, and whether that is use.
        ("nothing happened", rests(1e9), false),
        ("a cell was run", rests(1e9 + 2950.0), true),
        ("the kernel was ended, and the server was not", Ok(vec![Ok(vec![])]), true),
    ];
    for (name, after, is_use) in cases {
        let mut vm = Vm::new();
        // Ada's kernel rests too, and ends while bob's server does not answer: that is her use, and not his.
        let ada = |here: bool| (1001, if here { rests(1e9) } else { Ok(vec![Ok(vec![])]) });
        vm.servers(&[ada(true), (1002, rests(1e9))]);
        let before = vm.pass(50.0 * 60.0);
        vm.servers(&[ada(true), (1002, garbage())]);
        let silent = vm.pass(60.0);
        assert_eq!((silent.verdict, silent.last_busy), (Verdict::Unknown, before.last_busy), "{name}");
        vm.servers(&[ada(true), (1002, after)]);
        let answered = vm.at + 30.0;
        let after = vm.pass(60.0);
        if is_use {
            assert_eq!((after.last_busy, after.idle_at), (Some(answered), None), "{name}");
            assert_eq!(after.evidence[0].who, Some(1002), "{name}");
            continue;
        }
        assert_eq!((after.last_busy, after.idle_at), (before.last_busy, before.idle_at), "{name}");
        vm.servers(&[ada(false), (1002, garbage())]);
        let ended = vm.at + 30.0;
        let silent = vm.pass(60.0);
        let used = |who: u32| {
            silent.evidence.iter().filter(|e| e.who == Some(who)).filter_map(|e| e.last_busy).reduce(f64::max)
        };
        assert!(used(1001) == Some(ended) && used(1002) < used(1001), "{name}: {:?}", silent.evidence);
    }
}

#[test]
fn a_server_that_falls_silent_just_after_use_is_not_known_for_as_long_as_it_is_silent() {
    let mut vm = Vm::new();
    let with = |at: f64| (1002, Ok(vec![Ok(vec![thing(false, at)])]));
    vm.servers(&[with(1e9)]);
    vm.pass(1200.0);
    vm.servers(&[with(2e9)]);
    vm.at += 30.0;
    assert_eq!(vm.sample().verdict, Verdict::Busy);
    vm.servers(&[(1002, garbage())]);
    let silent = vm.pass(3.0 * 3600.0);
    assert_eq!(silent.verdict, Verdict::Unknown, "{:?}", silent.evidence);
    vm.servers(&[with(2e9)]);
    let answered = vm.at + 30.0;
    vm.at = answered;
    assert_eq!(vm.sample().idle_at, Some(answered + 3600.0), "what went on meanwhile is not known");
}

proptest! {
    /// Whatever one user's servers say or do not, the VM is idle no sooner than without them, and others' evidence stands.
    #[test]
    fn nobodys_servers_make_the_vm_idle_sooner(
        bob in prop::collection::vec((0u8..4, 0.0f64..1e10), 1..40),
        ada in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let (mut with, mut without) = (Vm::new(), Vm::new());
        for (step, (kind, stamp)) in bob.iter().enumerate() {
            let ada = (1001, Ok(vec![Ok(vec![thing(ada[step % ada.len()], 1e9)])]));
            let bob = (1002, match kind {
                0 => Ok(vec![]),
                1 => garbage(),
                2 => Err("no answer".to_owned()),
                _ => Ok(vec![Ok(vec![thing(stamp.fract() < 0.5, *stamp)]), Err("late".to_owned())]),
            });
            with.servers(&[ada.clone(), bob]);
            without.servers(&[ada]);
            let (with, without) = (with.pass(300.0), without.pass(300.0));
            prop_assert!(with.verdict != Verdict::Idle || without.verdict == Verdict::Idle);
            let ada = |d: &Decision| d.evidence.iter().any(|e| {
                (e.source, e.who, e.state) == (Source::Kernel, Some(1001), State::Busy)
            });
            prop_assert_eq!(ada(&with), ada(&without));
        }
    }

    /// A server that does not answer for a while, however long, makes the VM idle no sooner than one that always does.
    #[test]
    fn silence_makes_the_vm_idle_no_sooner(silent in prop::collection::vec(prop::bool::weighted(0.3), 1..40), moves in 0usize..40) {
        let (mut with, mut without) = (Vm::new(), Vm::new());
        for (step, silent) in silent.iter().enumerate() {
            let well = (1002, Ok(vec![Ok(vec![thing(false, if step < moves { 1e9 } else { 2e9 })])]));
            with.servers(&[if *silent { (1002, garbage()) } else { well.clone() }]);
            without.servers(&[well]);
            let (with, without) = (with.pass(300.0), without.pass(300.0));
            prop_assert!(with.verdict != Verdict::Idle || without.verdict == Verdict::Idle);
        }
    }
}
