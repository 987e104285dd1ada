use super::*;
use crate::config::settings::{Stretch, Tuning};
use crate::idle::model::{Counter, Level, Sample, Seen, Stamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

mod jupyter;
mod lasting;
mod program;

fn settings() -> Idle {
    Idle { boot_grace: Duration::from_secs(600), ..Idle::default() }
}

/// A VM whose samples are made by hand.
struct Vm {
    memory: Memory,
    idle: Idle,
    at: f64,
    slept: f64,
    wall: f64,
    seen: BTreeMap<Source, Seen>,
}

impl Vm {
    fn new() -> Self {
        let seen = BTreeMap::from([
            (Source::Typing, Seen::Stamps(vec![])),
            (Source::Cpu, Seen::Counters(vec![])),
            (Source::Gpu, Seen::Absent),
        ]);
        Self { memory: Memory::new("b"), idle: settings(), at: 0.0, slept: 0.0, wall: 1e9, seen }
    }

    fn sample(&mut self) -> Decision {
        let sample = Sample { at: self.at, awake: self.at - self.slept, wall: self.wall, seen: self.seen.clone() };
        self.memory.take(&sample, &self.idle.tuning);
        let decision = decide(&self.memory, &self.idle, self.at, &|_| Some("alice".to_owned()));
        note(&mut self.memory, &decision);
        decision
    }

    /// Samples for so long, and says how it ended.
    fn pass(&mut self, seconds: f64) -> Decision {
        let end = self.at + seconds;
        loop {
            let decision = self.sample();
            if self.at >= end {
                return decision;
            }
            self.at += 30.0;
            self.wall += 30.0;
        }
    }

    fn levels(&mut self, source: Source, levels: &[(u32, f64)]) {
        let levels = levels.iter().map(|(who, value)| Level { who: Some(*who), value: *value, ..Level::default() });
        self.seen.insert(source, Seen::Levels(levels.collect()));
    }

    fn typed(&mut self, stamp: f64) {
        let stamp = Stamp { id: "pts/0".into(), who: Some(1001), value: stamp, what: None };
        self.seen.insert(Source::Typing, Seen::Stamps(vec![stamp]));
    }

    fn moved(&mut self, bytes: f64) {
        let counter = Counter { id: "t".into(), who: Some(1001), value: bytes, ..Counter::default() };
        self.seen.insert(Source::Network, Seen::Counters(vec![counter]));
    }

    fn cpu(&mut self, seconds: f64) {
        let counter = Counter { id: "s".into(), who: Some(1001), value: seconds, ..Counter::default() };
        self.seen.insert(Source::Cpu, Seen::Counters(vec![counter]));
    }
}

#[test]
fn a_fresh_vm_starts_is_quiet_is_announced_and_idle() {
    let mut vm = Vm::new();
    assert_eq!(vm.pass(570.0).verdict, Verdict::Starting);
    let quiet = vm.pass(60.0);
    assert_eq!((quiet.verdict, quiet.leave), (Verdict::Quiet, Leave::No));
    assert_eq!(quiet.idle_at, Some(3600.0));
    vm.pass(2700.0 - vm.at);
    assert!(matches!(vm.sample().leave, Leave::Announced { epoch: 1, at: 2700.0, until: 3600.0 }));
    let idle = vm.pass(3600.0 - vm.at);
    assert_eq!((idle.verdict, idle.leave), (Verdict::Idle, Leave::Due { epoch: 1, at: 2700.0 }));
}

#[test]
fn typing_a_key_every_90_seconds_is_busy_whatever_the_wall_clock_does() {
    let mut vm = Vm::new();
    vm.typed(0.0);
    vm.pass(600.0);
    for i in 0..100 {
        // Three hours forward, then back to where it was.
        vm.wall += if i == 30 { 10_800.0 } else { 0.0 };
        vm.wall -= if i == 60 { 10_800.0 } else { 0.0 };
        vm.typed(vm.wall);
        let decision = vm.pass(90.0);
        assert_eq!(decision.verdict, Verdict::Busy, "{i}");
    }
    // They stop: an hour of boot time later, and not sooner, it is idle.
    let stopped = vm.at;
    vm.wall += 10_800.0;
    assert_eq!(vm.pass(3480.0).verdict, Verdict::Quiet);
    let idle = vm.pass(150.0);
    assert_eq!(idle.verdict, Verdict::Idle);
    assert!(idle.idle_at.unwrap() >= stopped - 90.0 + 3600.0);
}

#[test]
fn bursts_of_work_and_many_short_children_are_busy() {
    // 20 s of computing every four minutes.
    let mut vm = Vm::new();
    vm.pass(600.0);
    let mut used = 0.0;
    for _ in 0..20 {
        used += 20.0;
        vm.cpu(used);
        assert_eq!(vm.pass(240.0).verdict, Verdict::Busy);
    }
    assert_eq!(vm.pass(400.0).verdict, Verdict::Quiet);
}

#[test]
fn what_cannot_be_read_is_never_idle_and_becomes_a_problem() {
    let mut vm = Vm::new();
    vm.seen.insert(Source::Gpu, Seen::Unreadable("driver and library versions differ".into()));
    let decision = vm.pass(3600.0);
    assert_eq!((decision.verdict, decision.idle_at), (Verdict::Unknown, None));
    assert!(decision.problems.is_empty());
    let later = vm.pass(4.0 * 3600.0);
    assert_eq!(later.verdict, Verdict::Unknown);
    assert_eq!(later.problems[0].code, "idle.cannot-tell");
    assert_eq!(
        later.problems[0].summary,
        "Counts as in use for 5 h because the GPU cannot be read: driver and library versions differ."
    );
    // Readable again: what went on meanwhile is not known, so that quiet begins now.
    vm.seen.insert(Source::Gpu, Seen::Absent);
    assert_eq!(vm.pass(3540.0).verdict, Verdict::Quiet);
    assert_eq!(vm.pass(90.0).verdict, Verdict::Idle);
}

#[test]
fn a_sensor_that_is_not_looked_at_any_more_is_unknown() {
    let mut vm = Vm::new();
    vm.levels(Source::Kernel, &[]);
    vm.pass(600.0);
    vm.seen.remove(&Source::Kernel);
    assert_eq!(vm.pass(540.0).verdict, Verdict::Quiet);
    assert_eq!(vm.pass(120.0).verdict, Verdict::Unknown);
}

#[test]
fn a_moments_failure_costs_nothing() {
    let mut vm = Vm::new();
    vm.levels(Source::Kernel, &[]);
    vm.pass(1800.0);
    vm.seen.insert(Source::Kernel, Seen::Unreadable("503".into()));
    assert_eq!(vm.pass(60.0).verdict, Verdict::Unknown);
    vm.levels(Source::Kernel, &[]);
    assert_eq!(vm.pass(1770.0).verdict, Verdict::Idle);
}

#[test]
fn memory_stretches_the_quiet_time_of_its_owner() {
    let mut vm = Vm::new();
    vm.levels(Source::Memory, &[(1001, 3.0 * 1024.0 * 1024.0 * 1024.0), (1002, 1e9)]);
    vm.levels(Source::Kernel, &[(1001, 1.0), (1002, 1.0)]);
    vm.pass(600.0);
    vm.levels(Source::Kernel, &[(1002, 1.0)]);
    // Bob uses it for two and a half hours more; Alice's data frame lies there since.
    vm.pass(9000.0);
    vm.levels(Source::Kernel, &[]);
    let decision = vm.pass(330.0);
    assert_eq!(decision.verdict, Verdict::Quiet);
    assert!((decision.idle_at.unwrap() - (9600.0 + 3600.0)).abs() < 60.0, "{:?}", decision.idle_at);
    assert!(decision.at_risk.iter().any(|r| r.source == Source::Memory && r.who == Some(1001)));
    assert!(decision.at_risk.iter().all(|r| r.who != Some(1002)));
    // Without Bob it is hers that counts.
    let mut vm = Vm::new();
    vm.levels(Source::Memory, &[(1001, 3.0 * 1024.0 * 1024.0 * 1024.0)]);
    vm.levels(Source::Kernel, &[(1001, 1.0)]);
    vm.pass(600.0);
    vm.levels(Source::Kernel, &[]);
    assert_eq!(vm.pass(600.0).idle_at, Some(600.0 + 10_800.0));
}

#[test]
fn a_keep_holds_until_its_end_and_is_announced_before() {
    let mut vm = Vm::new();
    let keep = Level { who: Some(1001), value: 1.0, until: Some(20_000.0), ..Level::default() };
    vm.seen.insert(Source::Keep, Seen::Levels(vec![keep]));
    let kept = vm.pass(18_000.0);
    assert_eq!((kept.verdict, kept.idle_at, kept.leave), (Verdict::Kept, Some(20_000.0), Leave::No));
    let announced = vm.pass(1500.0);
    assert!(matches!(announced.leave, Leave::Announced { .. }));
    assert_eq!(announced.last_busy, None, "whoever keeps it need not be there");
    vm.seen.insert(Source::Keep, Seen::Absent);
    assert_eq!(vm.pass(600.0).verdict, Verdict::Idle);
}

#[test]
fn a_keep_that_ends_early_is_still_announced_before_anything_acts() {
    let mut vm = Vm::new();
    vm.levels(Source::Keep, &[(1001, 1.0)]);
    let kept = vm.pass(18_000.0);
    assert_eq!((kept.verdict, kept.idle_at), (Verdict::Kept, None));
    vm.seen.insert(Source::Keep, Seen::Absent);
    let ended = vm.sample();
    assert_eq!(ended.verdict, Verdict::Kept, "a sample not later than the last changes nothing");
    vm.at += 30.0;
    let ended = vm.sample();
    assert_eq!(ended.verdict, Verdict::Idle);
    assert!(matches!(ended.leave, Leave::Announced { epoch: 1, .. }));
    assert!(matches!(vm.pass(870.0).leave, Leave::Announced { .. }));
    assert!(matches!(vm.pass(30.0).leave, Leave::Due { epoch: 1, .. }));
}

#[test]
fn who_comes_back_between_verdict_and_commit_stops_it() {
    let mut vm = Vm::new();
    vm.typed(1.0);
    vm.pass(3600.0);
    let due = vm.pass(300.0);
    let epoch = due.leave.epoch().unwrap();
    assert_eq!(commit(&vm.memory, &due, epoch, vm.at + 1.0), Err(Refused::NotYet), "look first");
    assert_eq!(commit(&vm.memory, &due, epoch + 1, vm.at), Err(Refused::Over));
    assert_eq!(commit(&vm.memory, &due, epoch, vm.at), Ok(()));
    vm.at += 5.0;
    vm.typed(2.0);
    let back = vm.sample();
    assert_eq!((back.verdict, back.leave), (Verdict::Busy, Leave::No));
    assert_eq!(commit(&vm.memory, &back, epoch, vm.at), Err(Refused::Over));
    // The next announcement is another one.
    let again = vm.pass(3900.0);
    assert_eq!(again.leave.epoch(), Some(epoch + 1));
    assert_eq!(commit(&vm.memory, &again, epoch, vm.at), Err(Refused::Over));
}

#[test]
fn a_restart_changes_nothing_and_a_long_death_is_not_quiet() {
    let mut vm = Vm::new();
    vm.pass(2400.0);
    let text = serde_json::to_string(&vm.memory).unwrap();
    let restored: Memory = serde_json::from_str(&text).unwrap();
    assert_eq!(restored, vm.memory);
    vm.memory = restored;
    vm.at += 100.0;
    assert_eq!(vm.sample().idle_at, Some(3600.0), "dead for 100 s");
    vm.at += 1000.0;
    let at = vm.at;
    assert_eq!(vm.sample().idle_at, Some(at + 3600.0), "nobody looked for longer than a window");
}

#[test]
fn sleep_is_not_quiet_time() {
    let mut vm = Vm::new();
    vm.pass(2400.0);
    (vm.at, vm.slept) = (vm.at + 30_030.0, vm.slept + 30_000.0);
    let woken = vm.sample();
    assert_eq!((woken.verdict, woken.idle_at), (Verdict::Quiet, Some(33_600.0)));
}

#[test]
fn busy_for_a_day_with_nobody_there_is_a_problem_and_stays_busy() {
    let mut vm = Vm::new();
    let mut used = 0.0;
    let run = |vm: &mut Vm, used: &mut f64, hours: f64, cores: f64| {
        let mut last = vm.sample();
        for _ in 0..(hours * 120.0) as usize {
            *used += cores * 30.0;
            vm.cpu(*used);
            (vm.at, vm.wall) = (vm.at + 30.0, vm.wall + 30.0);
            last = vm.sample();
        }
        last
    };
    let training = run(&mut vm, &mut used, 30.0, 1.5);
    assert_eq!((training.verdict, training.problems.len()), (Verdict::Busy, 0), "training may take days");
    let server = run(&mut vm, &mut used, 23.9, 0.1);
    assert_eq!((server.verdict, server.problems.len()), (Verdict::Busy, 0));
    let server = run(&mut vm, &mut used, 0.5, 0.1);
    assert_eq!(server.verdict, Verdict::Busy);
    assert_eq!(
        (server.problems[0].code.as_str(), server.problems[0].subject.as_deref()),
        ("idle.long-busy", Some("alice"))
    );
}

#[test]
fn a_login_or_logout_counts_once() {
    let mut vm = Vm::new();
    vm.pass(1200.0);
    vm.typed(5.0);
    vm.at += 30.0;
    assert_eq!(vm.sample().last_busy, Some(1230.0));
    vm.pass(600.0);
    vm.seen.insert(Source::Typing, Seen::Stamps(vec![]));
    vm.at += 30.0;
    assert_eq!(vm.sample().last_busy, Some(1860.0));
    vm.pass(300.0);
    assert_eq!(vm.sample().last_busy, Some(1860.0));
}

/// What a source may say in a random history.
fn seen() -> impl Strategy<Value = Option<(Source, Seen)>> {
    let level = (0_u32..3, 0.0..3e9_f64, any::<bool>());
    let levels = proptest::collection::vec(level, 0..3).prop_map(|l| {
        let one = |(who, value, large): (u32, f64, bool)| Level {
            who: Some(1000 + who),
            value: if large { value } else { value / 1e9 },
            ..Level::default()
        };
        Seen::Levels(l.into_iter().map(one).collect())
    });
    let stamps = (0_u32..3, 0_i64..5).prop_map(|(who, value)| {
        Seen::Stamps(vec![Stamp { id: who.to_string(), who: Some(1000 + who), value: value as f64, what: None }])
    });
    let counters = (0_u32..3, 0.0..1000.0_f64).prop_map(|(who, value)| {
        Seen::Counters(vec![Counter { id: who.to_string(), who: Some(1000 + who), value, ..Counter::default() }])
    });
    let leveled = prop::sample::select(vec![
        Source::Kernel,
        Source::Gpu,
        Source::Keep,
        Source::Program,
        Source::Memory,
        Source::Inhibitor,
        Source::Stopped,
    ]);
    prop_oneof![
        3 => Just(None),
        2 => (leveled, levels).prop_map(Some),
        2 => stamps.prop_map(|s| Some((Source::Typing, s))),
        2 => counters.prop_map(|c| Some((Source::Cpu, c))),
        1 => prop::sample::select(Source::ALL.to_vec()).prop_map(|s| Some((s, Seen::Absent))),
        1 => prop::sample::select(Source::ALL.to_vec()).prop_map(|s| Some((s, Seen::Unreadable("x".into())))),
    ]
}

/// How long it was awake and asleep since the last look, and what was seen.
type Step = (f64, f64, Option<(Source, Seen)>);

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step =
        (prop_oneof![9 => 1.0..60.0_f64, 1 => 60.0..2000.0_f64], prop_oneof![9 => Just(0.0), 1 => 0.0..5000.0_f64]);
    proptest::collection::vec((step, seen()).prop_map(|((awake, slept), seen)| (awake, slept, seen)), 1..80)
}

/// Short windows, so that a random history reaches every verdict.
fn short() -> Idle {
    let s = Duration::from_secs;
    Idle {
        after: s(300),
        announce: s(60),
        boot_grace: s(60),
        tuning: Tuning {
            sample: s(10),
            window: s(60),
            memory: Stretch { above: 2 << 30, after: s(900) },
            ..Tuning::default()
        },
        ..Idle::default()
    }
}

fn samples(history: &[Step], jumps: &[f64]) -> Vec<Sample> {
    let (mut at, mut awake) = (0.0, 0.0);
    let mut out = Vec::new();
    for (index, (passed, slept, seen)) in history.iter().enumerate() {
        (at, awake) = (at + passed + slept, awake + passed);
        let wall = 1e9 + at + jumps.get(index).copied().unwrap_or(0.0);
        out.push(Sample { at, awake, wall, seen: seen.clone().into_iter().collect() });
    }
    out
}

fn judged(samples: &[Sample]) -> Vec<Decision> {
    crate::idle::recording::replay(samples, &short()).into_iter().map(|(_, d)| d).collect()
}

proptest! {
    #[test]
    fn unknown_is_never_idle(history in history()) {
        for decision in judged(&samples(&history, &[])) {
            let unknown = decision.evidence.iter().any(|e| e.state == State::Unknown);
            prop_assert!(!unknown || !matches!(decision.verdict, Verdict::Idle | Verdict::Quiet));
            let due = matches!(decision.leave, Leave::Due { .. });
            prop_assert!(!unknown || !due);
        }
    }

    #[test]
    fn nothing_acts_before_it_was_announced_for_long_enough(history in history()) {
        let samples = samples(&history, &[]);
        let mut announced: Option<(u64, f64)> = None;
        for (sample, decision) in samples.iter().zip(judged(&samples)) {
            match decision.leave {
                Leave::No => announced = None,
                Leave::Announced { epoch, at, .. } => {
                    prop_assert!(announced.is_none_or(|known| known == (epoch, at)));
                    announced = Some((epoch, at));
                }
                Leave::Due { epoch, at } => {
                    prop_assert_eq!(decision.verdict, Verdict::Idle);
                    // It may be announced and due in one look only when that look came late; never sooner than announced.
                    prop_assert!(announced.is_some_and(|known| known == (epoch, at)) && sample.at - at >= 60.0);
                }
            }
        }
    }

    #[test]
    fn more_use_never_makes_it_idle_sooner(history in history(), at in any::<prop::sample::Index>(), who in 0_u32..3) {
        let plain = samples(&history, &[]);
        let mut more = plain.clone();
        // Somebody uses a source that is otherwise silent.
        let level = Level { who: Some(1000 + who), value: 1.0, ..Level::default() };
        let index = at.index(more.len());
        more[index].seen.insert(Source::Maintenance, Seen::Levels(vec![level]));
        if let Some(next) = more.get_mut(index + 1) {
            next.seen.insert(Source::Maintenance, Seen::Levels(vec![]));
        }
        for sample in more.iter_mut().skip(index + 2) {
            sample.seen.remove(&Source::Maintenance);
        }
        for (index, (with, without)) in judged(&more).iter().zip(judged(&plain)).enumerate() {
            prop_assert!(with.verdict != Verdict::Idle || without.verdict == Verdict::Idle
                || plain[index].seen.contains_key(&Source::Maintenance)
                || plain.iter().take(index).any(|s| s.seen.contains_key(&Source::Maintenance)), "{index}");
        }
    }

    #[test]
    fn jumps_of_the_wall_clock_change_nothing(history in history(), jumps in proptest::collection::vec(-1e7..1e7_f64, 80)) {
        let verdicts = |jumps: &[f64]| judged(&samples(&history, jumps)).into_iter().map(|d| (d.verdict, d.leave)).collect::<Vec<_>>();
        prop_assert_eq!(verdicts(&[]), verdicts(&jumps));
    }

    #[test]
    fn a_restart_at_any_time_changes_nothing(history in history(), at in any::<prop::sample::Index>()) {
        let samples = samples(&history, &[]);
        let index = at.index(samples.len());
        let mut memory = Memory::new("replay");
        let mut verdicts = Vec::new();
        for (number, sample) in samples.iter().enumerate() {
            if number == index {
                memory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
            }
            memory.take(sample, &short().tuning);
            let decision = decide(&memory, &short(), sample.at, &|_| None);
            note(&mut memory, &decision);
            verdicts.push((decision.verdict, decision.leave));
        }
        let straight: Vec<_> = judged(&samples).into_iter().map(|d| (d.verdict, d.leave)).collect();
        prop_assert_eq!(verdicts, straight);
    }
}
