//! Programs in front that wait for another machine: for how long they count.

use super::*;

const HOUR: f64 = 3600.0;

impl Vm {
    /// A program of alice's that was started a day ago is connected, and nobody has been there since.
    fn with_an_old_program() -> Self {
        let mut vm = Vm::new();
        vm.typed(1.0);
        vm.cpu(0.0);
        vm.moved(0.0);
        // What is looked at for the first time may have been used until then.
        for source in [Source::Kernel, Source::Keep, Source::Inhibitor] {
            vm.levels(source, &[]);
        }
        vm.levels(Source::Program, &[(1001, 24.0 * HOUR)]);
        assert_eq!(vm.pass(13.5 * HOUR).verdict, Verdict::Idle);
        vm
    }

    fn restart(&mut self) {
        self.memory = serde_json::from_str(&serde_json::to_string(&self.memory).unwrap()).unwrap();
    }
}

fn waits(decision: &Decision) -> bool {
    decision.evidence.iter().any(|e| e.source == Source::Program && e.state == State::Busy)
}

#[test]
fn a_program_that_waits_for_another_machine_counts_for_12_hours() {
    let mut vm = Vm::new();
    vm.levels(Source::Program, &[(1001, HOUR)]);
    assert_eq!(vm.pass(900.0).verdict, Verdict::Busy);
    vm.pass(limits::PROGRAM);
    // One that is started now is another one.
    vm.levels(Source::Program, &[(1001, 24.0 * HOUR), (1001, 0.0)]);
    assert_eq!(vm.pass(60.0).verdict, Verdict::Busy);
    vm.levels(Source::Program, &[(1001, 24.0 * HOUR), (1001, limits::PROGRAM)]);
    assert_eq!(vm.pass(60.0).verdict, Verdict::Quiet);
}

#[test]
fn who_comes_back_to_an_old_program_has_12_hours_again() {
    let mut vm = Vm::with_an_old_program();
    vm.typed(2.0);
    let typed = vm.at + 30.0;
    vm.pass(30.0);
    let later = vm.pass(61.0 * 60.0);
    assert_eq!((later.verdict, later.idle_at), (Verdict::Busy, None));
    assert!(waits(&later) && later.evidence[0].source == Source::Program, "{:?}", later.evidence);
    assert!(later.evidence[0].observed.is_some_and(|s| (s - (vm.at - typed)).abs() < 1.0), "{:?}", later.evidence[0]);
    vm.restart();
    assert!(waits(&vm.pass(typed + 11.9 * HOUR - vm.at)));
    let ended = vm.pass(0.2 * HOUR);
    assert_eq!((ended.verdict, waits(&ended)), (Verdict::Quiet, false), "nothing lasts for ever");
    assert_eq!(vm.pass(HOUR).verdict, Verdict::Idle);
}

#[test]
fn only_its_users_own_other_use_counts_for_an_old_program() {
    // Something of somebody's for ten minutes, and whether alice's program counts an hour later.
    type Sign = (&'static str, bool, fn(&mut Vm, f64));
    let signs: [Sign; 9] = [
        ("a key", true, |vm, passed| vm.typed(2.0 + passed)),
        ("half a core", true, |vm, passed| vm.cpu(passed / 2.0)),
        ("a hundredth of a core, the program's own", false, |vm, passed| vm.cpu(passed / 100.0)),
        ("a megabyte a minute", true, |vm, passed| vm.moved(passed * 1024.0 * 1024.0 / 60.0)),
        ("two packets a minute, the program's own", false, |vm, passed| vm.moved(passed * 50.0)),
        ("a busy kernel", true, |vm, _| vm.levels(Source::Kernel, &[(1001, 1.0)])),
        ("somebody else's kernel", false, |vm, _| vm.levels(Source::Kernel, &[(1002, 1.0)])),
        ("a keep", false, |vm, _| vm.levels(Source::Keep, &[(1001, 1.0)])),
        ("an inhibitor", false, |vm, _| vm.levels(Source::Inhibitor, &[(1001, 1.0)])),
    ];
    for (name, counts, sign) in signs {
        let mut vm = Vm::with_an_old_program();
        let from = vm.at;
        while vm.at < from + 600.0 {
            vm.pass(30.0);
            let passed = vm.at - from;
            sign(&mut vm, passed);
        }
        for source in [Source::Kernel, Source::Keep, Source::Inhibitor] {
            vm.levels(source, &[]);
        }
        let later = vm.pass(1.2 * HOUR);
        assert_eq!(waits(&later), counts, "{name}: {:?}", later.evidence);
        assert_eq!(later.verdict, if counts { Verdict::Busy } else { Verdict::Idle }, "{name}");
    }
}

#[test]
fn what_was_before_anybody_looked_may_have_been_use() {
    // The agent is new on this VM, or was dead for longer than a window.
    let mut vm = Vm::new();
    (vm.at, vm.wall) = (50.0 * HOUR, 1e9 + 50.0 * HOUR);
    vm.levels(Source::Program, &[(1001, 24.0 * HOUR)]);
    assert_eq!(vm.pass(1.1 * HOUR).verdict, Verdict::Busy);
    assert_eq!(vm.pass(11.0 * HOUR).verdict, Verdict::Quiet);
    vm.at += 1000.0;
    let looked = vm.at;
    vm.restart();
    assert!(waits(&vm.pass(11.9 * HOUR)));
    assert_eq!(vm.pass(looked + 13.2 * HOUR - vm.at).verdict, Verdict::Idle);
}

#[test]
fn sleep_is_no_time_in_which_nobody_came() {
    let mut vm = Vm::with_an_old_program();
    vm.typed(2.0);
    vm.pass(HOUR);
    (vm.at, vm.slept) = (vm.at + 20.0 * HOUR, vm.slept + 20.0 * HOUR);
    assert!(waits(&vm.pass(10.0 * HOUR)));
    assert!(!waits(&vm.pass(1.2 * HOUR)));
}
