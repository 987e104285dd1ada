use super::*;
use proptest::prelude::*;

#[path = "drain/turn_tests.rs"]
mod turns;

const S: fn(u64) -> Duration = Duration::from_secs;
const START: SystemTime = SystemTime::UNIX_EPOCH;

fn event(kind: EventKind, at: Duration) -> Event {
    Event { id: "e1".into(), kind, not_before: Some(START + at), started: false, alone: true }
}

/// A VM on which every step that is begun takes a second, and works.
struct Vm {
    memory: Memory,
    facts: Facts,
    /// What was done, and when.
    log: Vec<(u64, Step)>,
}

impl Vm {
    fn new(events: Vec<Event>, users: &[&str]) -> Self {
        let names = || users.iter().map(|u| (*u).to_owned()).collect::<BTreeSet<_>>();
        let (used, unused) = (false, false);
        let facts = Facts {
            events: Some(events),
            wall: START,
            now: S(0),
            used,
            users: names(),
            known: true,
            mounts: names(),
            unused,
        };
        Self { memory: Memory::restore(None, "b"), facts, log: Vec::new() }
    }

    fn pass(&mut self) -> Vec<Step> {
        let steps = self.memory.decide(&self.facts);
        let now = self.facts.now;
        self.log.extend(steps.iter().map(|s| (now.as_secs(), s.clone())));
        steps
    }

    fn finish(&mut self, steps: Vec<Step>) {
        let now = self.facts.now;
        for step in steps {
            match step {
                Step::Tell(notice) => self.memory.told(notice, true),
                Step::Refuse => self.memory.log_ins(true, Ok(()), now),
                Step::Admit => self.memory.log_ins(false, Ok(()), now),
                Step::Rescue { user } => self.memory.rescue_done(&user, Outcome { files: 1, ..Outcome::default() }),
                Step::Flush { mount, .. } => self.memory.flush_done(&mount, None),
                Step::Approve { ids } => self.memory.approve_done(&ids, Ok(()), now),
            }
        }
    }

    fn until(&mut self, seconds: u64) {
        while self.facts.now < S(seconds) {
            let steps = self.pass();
            (self.facts.now, self.facts.wall) = (self.facts.now + S(1), self.facts.wall + S(1));
            self.finish(steps);
        }
    }

    fn at(&self, wanted: impl Fn(&Step) -> bool) -> Vec<u64> {
        self.log.iter().filter(|(_, step)| wanted(step)).map(|(at, _)| *at).collect()
    }

    fn approved(&self) -> Option<u64> {
        self.at(|s| matches!(s, Step::Approve { .. })).first().copied()
    }

    fn rescued(&self) -> Vec<u64> {
        self.at(|s| matches!(s, Step::Rescue { .. }))
    }

    fn flushed(&self) -> Vec<u64> {
        self.at(|s| matches!(s, Step::Flush { .. }))
    }
}

#[test]
fn a_vm_that_nobody_uses_is_given_up_as_soon_as_all_is_safe() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    let first = vm.pass();
    assert_eq!(first, [Step::Refuse, Step::Tell(Notice::Deletion), Step::Rescue { user: "ada".into() }]);
    assert_eq!(vm.memory.mounts(false), Mounts::NothingNew);
    vm.finish(first);
    vm.facts.unused = true;
    vm.until(3);
    assert_eq!(vm.memory.mounts(false), Mounts::Gone);
    assert_eq!(vm.approved(), None, "something is still mounted");
    (vm.facts.unused, vm.facts.mounts) = (false, BTreeSet::new());
    vm.until(10);
    assert_eq!((vm.rescued(), vm.approved()), (vec![0], Some(3)));
    assert_eq!(vm.at(|s| matches!(s, Step::Approve { .. })).len(), 1);
    assert_eq!(vm.at(|s| matches!(s, Step::Tell(_))).len(), 1);
}

#[test]
fn an_event_of_other_vms_too_is_prepared_for_and_left_to_begin_by_itself() {
    let shared = || Event { alone: false, ..event(EventKind::Terminate, S(900)) };
    let mut vm = Vm::new(vec![shared()], &["ada"]);
    vm.until(899);
    assert_eq!((vm.rescued(), vm.flushed().first(), vm.approved()), (vec![0], Some(&1), None));
    assert_eq!(vm.flushed().len(), 1, "what nobody writes is not written all the time");
    // What is this VM's alone may begin.
    let own = Event { id: "e2".into(), ..event(EventKind::Terminate, S(900)) };
    let mut vm = Vm::new(vec![shared(), own], &["ada"]);
    vm.until(10);
    assert_eq!(vm.at(|s| matches!(s, Step::Approve { .. })), [2]);
    assert_eq!(vm.at(|s| *s == Step::Approve { ids: vec!["e2".into()] }), [2]);
}

#[test]
fn who_is_not_known_at_the_moment_is_not_forgotten() {
    // The agent is started anew in the middle of a copy, and knows neither users nor mounts yet.
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.pass();
    let kept = serde_json::to_vec(&vm.memory).unwrap();
    vm.memory = Memory::restore(Some(&kept), "b");
    (vm.facts.users, vm.facts.mounts, vm.facts.known) = (BTreeSet::new(), BTreeSet::new(), false);
    vm.until(20);
    assert_eq!(vm.approved(), None);
    (vm.facts.users, vm.facts.known) = (BTreeSet::from(["ada".to_owned()]), true);
    vm.until(30);
    assert_eq!((vm.rescued().len(), vm.approved().is_some()), (2, true));

    // The event is seen before anybody is known.
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &[]);
    vm.facts.known = false;
    vm.until(20);
    assert_eq!(vm.approved(), None);
    (vm.facts.users, vm.facts.known) = (BTreeSet::from(["ada".to_owned()]), true);
    vm.until(30);
    assert!(vm.memory.is_guest("ada") && vm.approved().is_some_and(|at| at > vm.rescued()[0]));
    vm.facts.users.insert("bob".into());
    vm.until(40);
    assert!(!vm.memory.is_guest("bob"));
}

#[test]
fn a_clock_that_jumps_takes_nobody_their_notice() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    vm.until(300);
    vm.facts.wall += S(3600);
    vm.until(885);
    assert_eq!(vm.approved(), None);
    assert!(!vm.flushed().is_empty(), "what can be saved is saved at once");
}

#[test]
fn nobody_comes_after_those_who_were_here() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    vm.until(2);
    vm.facts.users.insert("bob".into());
    vm.until(899);
    assert!(vm.memory.is_guest("ada") && !vm.memory.is_guest("bob"));
    assert!(vm.at(|s| *s == Step::Rescue { user: "bob".into() }).is_empty());
    assert_eq!(vm.approved(), Some(890));
}

#[test]
fn whoever_works_has_the_whole_notice() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    vm.until(899);
    assert_eq!(vm.rescued(), [0, 750], "at once, and what changed since, shortly before the end");
    assert_eq!(vm.flushed().first(), Some(&751), "then what waits is written");
    let last: Vec<u64> = (875..899).step_by(2).collect();
    assert_eq!(vm.flushed()[1..], last, "and to the last what is written meanwhile");
    assert_eq!(vm.approved(), Some(890));
    assert_eq!(vm.at(|s| *s == Step::Tell(Notice::Reminder)), [780]);
    assert_eq!(vm.memory.mounts(true), Mounts::NothingNew, "nothing is unmounted under anybody");
}

#[test]
fn who_comes_back_in_time_stops_the_hurry() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    let first = vm.pass();
    vm.facts.used = true;
    vm.finish(first);
    vm.until(100);
    assert_eq!(vm.approved(), None);
    vm.facts.used = false;
    vm.until(110);
    assert_eq!(vm.rescued(), [0, 100], "what they did meanwhile is copied too");
    assert!(vm.approved().is_some_and(|at| at < 110));
}

#[test]
fn a_spot_vm_copies_writes_and_goes() {
    let mut vm = Vm::new(vec![event(EventKind::Preempt, S(28))], &["ada", "bob"]);
    vm.facts.used = true;
    vm.until(5);
    assert_eq!((vm.rescued(), vm.flushed(), vm.approved()), (vec![0, 0], vec![1, 1, 3, 3], Some(2)));
    // A copy that takes too long is not waited for.
    let mut vm = Vm::new(vec![event(EventKind::Preempt, S(28))], &["ada"]);
    while vm.facts.now < S(28) {
        let steps = vm.pass();
        (vm.facts.now, vm.facts.wall) = (vm.facts.now + S(1), vm.facts.wall + S(1));
        vm.finish(steps.into_iter().filter(|s| !matches!(s, Step::Rescue { .. })).collect());
    }
    assert_eq!((vm.flushed().first(), vm.approved()), (Some(&14), Some(15)));
}

#[test]
fn a_restart_is_told_and_written_and_neither_refused_nor_approved() {
    for (kind, notice) in [(EventKind::Reboot, Notice::Restart), (EventKind::Redeploy, Notice::Move)] {
        let mut vm = Vm::new(vec![event(kind, S(600))], &["ada"]);
        vm.facts.used = true;
        vm.until(599);
        let told = vm.log.iter().filter(|(_, step)| matches!(step, Step::Tell(_))).cloned().collect::<Vec<_>>();
        assert_eq!(told, [(0, Step::Tell(notice))]);
        assert_eq!(vm.flushed(), [540, 555, 570, 585]);
        assert!(vm.at(|s| matches!(s, Step::Refuse | Step::Approve { .. } | Step::Rescue { .. })).is_empty());
    }
    let mut vm = Vm::new(vec![event(EventKind::Freeze, S(600))], &["ada"]);
    vm.until(599);
    assert_eq!(vm.log, []);
}

#[test]
fn what_vanishes_leaves_nothing_behind() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    vm.until(5);
    vm.facts.events = None;
    vm.until(10);
    assert!(vm.memory.is_ending(), "that it cannot be read does not mean that it is over");
    vm.facts.events = Some(vec![]);
    vm.until(15);
    assert_eq!(vm.at(|s| *s == Step::Admit), [10]);
    assert_eq!(vm.at(|s| *s == Step::Tell(Notice::CalledOff)), [10]);
    assert!(!vm.memory.is_ending() && vm.memory.mounts(false) == Mounts::Usual);
    // The next one is another one.
    vm.facts.events = Some(vec![Event { id: "e2".into(), ..event(EventKind::Terminate, S(900)) }]);
    vm.until(20);
    assert_eq!(vm.at(|s| *s == Step::Tell(Notice::Deletion)), [0, 15]);
}

#[test]
fn people_who_are_just_being_told_of_the_end_hear_that_it_was_called_off() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    let first = vm.pass();
    assert!(first.contains(&Step::Tell(Notice::Deletion)));
    vm.facts.events = Some(vec![]);
    let second = vm.pass();
    assert!(!second.iter().any(|s| matches!(s, Step::Tell(_))), "one after the other");
    vm.finish(first);
    vm.finish(second);
    let third = vm.pass();
    assert!(third.contains(&Step::Tell(Notice::CalledOff)));
    vm.finish(third);
    // What was said of the one says nothing of the next.
    vm.facts.events = Some(vec![Event { id: "e2".into(), ..event(EventKind::Terminate, S(900)) }]);
    assert!(vm.pass().contains(&Step::Tell(Notice::Deletion)));
    vm.memory.told(Notice::Deletion, false);
    assert!(vm.pass().contains(&Step::Tell(Notice::Deletion)), "who could not be told is told again");
}

#[test]
fn a_restart_of_the_agent_forgets_nothing_and_repeats_little() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.used = true;
    vm.until(10);
    let text = serde_json::to_vec(&vm.memory).unwrap();
    vm.memory = Memory::restore(Some(&text), "b");
    let before = vm.log.len();
    vm.facts.events = None;
    vm.until(12);
    vm.facts.events = Some(vec![event(EventKind::Terminate, S(900))]);
    vm.until(20);
    assert_eq!(vm.log.len(), before, "{:?}", vm.log);
    // It was called off while no agent ran.
    vm.memory = Memory::restore(Some(&text), "b");
    vm.facts.events = Some(vec![]);
    vm.until(22);
    assert_eq!(vm.at(|s| *s == Step::Admit), [20]);
    assert!(!Memory::restore(Some(&text), "another boot").is_ending());
    assert!(!Memory::restore(Some(b"{"), "b").is_ending());
}

#[test]
fn what_fails_is_tried_again_and_said() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(300))], &["ada"]);
    let steps = vm.pass();
    assert_eq!(steps.len(), 3);
    vm.memory.log_ins(true, Err("read-only".into()), S(0));
    vm.memory.told(Notice::Deletion, false);
    vm.memory.rescue_done("ada", Outcome { failed: Some("no answer".into()), ..Outcome::default() });
    assert!(vm.memory.is_guest("ada"));
    let again = vm.pass();
    assert_eq!(again[..1], [Step::Tell(Notice::Deletion)], "the rest after a pause");
    vm.memory.told(Notice::Deletion, true);
    (vm.facts.now, vm.facts.wall) = (S(5), START + S(5));
    let again = vm.pass();
    assert!(again.contains(&Step::Refuse) && again.contains(&Step::Rescue { user: "ada".into() }), "{again:?}");
    vm.finish(again);
    assert_eq!(vm.memory.log_ins_failed, None);
    vm.until(8);
    let approve = vm.approved().unwrap_or_else(|| panic!("{:?}", (&vm.log, &vm.memory)));
    let now = vm.facts.now;
    assert!(approve < 8);
    vm.memory.approved.clear();
    vm.memory.approve_done(&["e1".into()], Err("lost".into()), now);
    vm.until(12);
    assert_eq!(vm.at(|s| matches!(s, Step::Approve { .. })).len(), 2);
}

#[test]
fn a_date_that_cannot_be_read_lets_who_works_alone() {
    let mut vm = Vm::new(vec![Event { not_before: None, ..event(EventKind::Terminate, S(0)) }], &["ada"]);
    vm.facts.used = true;
    vm.until(300);
    assert_eq!(vm.approved(), None);
    vm.facts.used = false;
    vm.until(310);
    assert!(vm.approved().is_some());
}

#[test]
fn what_could_not_be_written_is_waited_for_while_there_is_time() {
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    let failing = |vm: &mut Vm, until: u64| {
        while vm.facts.now < S(until) {
            let steps = vm.pass();
            (vm.facts.now, vm.facts.wall) = (vm.facts.now + S(1), vm.facts.wall + S(1));
            let (flushes, others) = steps.into_iter().partition::<Vec<_>, _>(|s| matches!(s, Step::Flush { .. }));
            flushes.iter().for_each(|_| vm.memory.flush_done("ada", Some("no answer".into())));
            vm.finish(others);
        }
    };
    failing(&mut vm, 100);
    assert_eq!((vm.approved(), vm.memory.is_written()), (None, false));
    assert_eq!(vm.memory.mounts(false), Mounts::NothingNew, "nothing is unmounted with something to write");
    assert_eq!(vm.flushed()[..3], [1, 6, 11], "it is tried again");
    let mut healed = Vm { memory: vm.memory.clone(), facts: vm.facts.clone(), log: Vec::new() };
    healed.until(110);
    assert!(healed.approved().is_some_and(|at| at < 110), "{:?}", healed.log);
    // In the last minute nothing is left to be waited for.
    failing(&mut vm, 899);
    assert_eq!(vm.approved(), Some(840));
}

#[test]
fn a_clock_that_is_ahead_takes_nobody_their_notice() {
    // By this VM's clock the event should have begun long ago.
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    (vm.facts.used, vm.facts.wall) = (true, START + S(3600));
    vm.until(300);
    assert_eq!(vm.approved(), None);
    assert_eq!((vm.rescued(), vm.flushed()), (vec![0], vec![0]), "all at once: there may be no time");
    // An agent that is started anew knows it.
    vm.memory = Memory::restore(Some(&serde_json::to_vec(&vm.memory).unwrap()), "b");
    vm.until(310);
    assert_eq!(vm.approved(), None);
    // The clock is put right: the date counts again.
    vm.facts.wall = START + S(310);
    vm.until(899);
    assert_eq!(vm.approved(), Some(890));
    // Where nobody works it is given up when all is safe.
    let mut vm = Vm::new(vec![event(EventKind::Terminate, S(900))], &["ada"]);
    vm.facts.wall = START + S(3600);
    let first = vm.pass();
    assert!(first.contains(&Step::Rescue { user: "ada".into() }), "{first:?}");
    vm.facts.now = S(1);
    vm.finish(first.into_iter().filter(|s| !matches!(s, Step::Rescue { .. })).collect());
    let second = vm.pass();
    assert!(!second.iter().any(|s| matches!(s, Step::Approve { .. })), "it is being copied: {second:?}");
    vm.finish(second);
    assert!(!vm.memory.is_written(), "what is copied to is not unmounted");
    vm.memory.rescue_done("ada", Outcome::default());
    assert!(matches!(vm.pass()[..], [Step::Approve { .. }]));
    // One that has begun has begun.
    let begun = Event { started: true, not_before: None, ..event(EventKind::Terminate, S(0)) };
    let mut vm = Vm::new(vec![begun], &["ada"]);
    vm.facts.used = true;
    vm.until(5);
    assert_eq!(vm.approved(), Some(0));
}

proptest! {
    /// Whoever works, and whatever fails or hangs, in whatever order: an event is approved only when the VM is unused and
    /// everybody's files were copied, or when its time is almost up; it is approved in time if Azure
    /// takes it; and when it vanishes, people are let in.
    #[test]
    fn it_is_never_given_up_too_soon_and_never_too_late(
        notice in 60..900_u64,
        users in 0..7_usize,
        weather in proptest::collection::vec((any::<bool>(), 0..4_u8, any::<bool>()), 900),
        vanishes in proptest::option::of(1..900_u64),
        restart in proptest::option::of(1..900_u64),
    ) {
        let names = ["ada", "bob", "carol", "dan", "eve", "fay"];
        let mut vm = Vm::new(vec![event(EventKind::Terminate, S(notice))], names.get(..users).unwrap_or_default());
        let mut open: Vec<Step> = Vec::new();
        for (second, (used, fate, hangs)) in weather.into_iter().take(usize::try_from(notice).unwrap_or(0)).enumerate() {
            let second = second as u64;
            vm.facts.used = used;
            if vanishes == Some(second) {
                vm.facts.events = Some(vec![]);
            }
            if restart == Some(second) {
                let text = serde_json::to_vec(&vm.memory).unwrap();
                vm.memory = Memory::restore(Some(&text), "b");
                open.clear();
            }
            let steps = vm.pass();
            let left = notice - second;
            for step in &steps {
                if let Step::Approve { ids } = step {
                    prop_assert_eq!(ids, &["e1".to_owned()]);
                    prop_assert!(left <= 10 || !used);
                    let tried = |user: &String| vm.memory.rescued.get(user).is_some_and(|o| o.failed.is_none());
                    prop_assert!(left <= 60 || vm.facts.users.iter().all(tried));
                }
                if let Step::Flush { within, .. } = step {
                    prop_assert!(*within <= S(left.max(2)));
                }
            }
            open.extend(steps);
            (vm.facts.now, vm.facts.wall) = (vm.facts.now + S(1), vm.facts.wall + S(1));
            let now = vm.facts.now;
            for step in std::mem::take(&mut open) {
                match step {
                    Step::Rescue { .. } | Step::Flush { .. } if hangs => open.push(step),
                    Step::Rescue { user } if fate == 0 => {
                        vm.memory.rescue_done(&user, Outcome { failed: Some("no".into()), ..Outcome::default() });
                    }
                    Step::Flush { mount, .. } if fate == 1 => vm.memory.flush_done(&mount, Some("no".into())),
                    Step::Refuse if fate == 2 => vm.memory.log_ins(true, Err("no".into()), now),
                    Step::Tell(notice) if fate == 3 => vm.memory.told(notice, false),
                    other => vm.finish(vec![other]),
                }
            }
        }
        if vanishes.is_some_and(|at| at + 1 < notice) {
            vm.facts.events = Some(vec![]);
            vm.until(notice + 30);
            prop_assert!(!vm.memory.refused && !vm.memory.is_ending());
        } else {
            prop_assert!(vm.approved().is_some());
        }
    }
}
