//! Hours as people spend them, and how they must be judged: by us, with the source and the user that must be named, and
//! beside it how the rules of others judge the same hours.

mod jupyter;
mod peers;
mod recorded;

use super::*;
use crate::idle::model::{Counter, Level, Sample, Seen, Stamp};
use peers::PEERS;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How often one looks, in seconds.
const STEP: f64 = 30.0;
/// So long is each situation.
const END: f64 = 6.0 * 3600.0;
/// The person in them.
const ALICE: u32 = 1001;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
/// Begin and end of use in most of them: after the first half hour, in which no VM is idle.
const FROM: f64 = 45.0 * MINUTE;
const TO: f64 = 2.5 * HOUR;

/// The VM at one moment, as far as anybody's rule looks at it.
#[derive(Clone)]
struct World {
    /// Seconds since boot.
    at: f64,
    /// The wall clock.
    wall: f64,
    /// The last input on the terminal of a log-in, by the wall clock; none: nobody is logged in with a terminal.
    terminal: Option<f64>,
    /// The log-in ended, and processes of it are left.
    lingers: bool,
    /// An SSH connection without a terminal is open.
    copying: bool,
    /// What it moved, in bytes.
    copied: f64,
    /// CPU time of the person's programs, and of system services and agents, in seconds.
    own_cpu: f64,
    system_cpu: f64,
    /// CPU time of a container; none: there is no container.
    container: Option<f64>,
    /// Bytes that the person's programs moved to and from other machines.
    network: f64,
    /// The age of a program that waits for another machine.
    waiting: Option<f64>,
    kernel: Option<Kernel>,
    /// The Jupyter server does not answer.
    mute: bool,
    inhibited: bool,
    kept_until: Option<f64>,
    stopped: f64,
    /// The bus answers.
    bus: bool,
    /// The process table and the control groups can be read.
    readable: bool,
    /// The agent is there.
    agent: bool,
    load_5: f64,
    load_15: f64,
}

#[derive(Clone, Copy)]
struct Kernel {
    computes: bool,
    /// By the wall clock.
    last_activity: f64,
    has_tab: bool,
}

impl World {
    fn new() -> Self {
        Self {
            at: 0.0,
            wall: 1e9,
            terminal: None,
            lingers: false,
            copying: false,
            copied: 0.0,
            own_cpu: 0.0,
            system_cpu: 0.0,
            container: None,
            network: 0.0,
            waiting: None,
            kernel: None,
            mute: false,
            inhibited: false,
            kept_until: None,
            stopped: 0.0,
            bus: true,
            readable: true,
            agent: true,
            load_5: 0.0,
            load_15: 0.0,
        }
    }

    fn is(&self, from: f64, to: f64) -> bool {
        (from..to).contains(&self.at)
    }

    /// The programs computed on so many cores since the last step.
    fn compute(&mut self, cores: f64) {
        self.own_cpu += cores * STEP;
    }

    /// Somebody pressed a key. The kernel moves the time in steps of 8 s.
    fn key(&mut self) {
        self.terminal = Some((self.wall / 8.0).floor() * 8.0);
    }

    /// Time passes, and something happens.
    fn pass(&mut self, script: fn(&mut World)) {
        let cpu = |w: &World| w.own_cpu + w.system_cpu + w.container.unwrap_or(0.0);
        let before = cpu(self);
        (self.at, self.wall) = (self.at + STEP, self.wall + STEP);
        script(self);
        // As the kernel averages (kernel/sched/loadavg.c), of what ran.
        let running = (cpu(self) - before) / STEP;
        let average = |old: f64, over: f64| running + (old - running) * (-STEP / over).exp();
        (self.load_5, self.load_15) = (average(self.load_5, 300.0), average(self.load_15, 900.0));
    }

    /// What our looks see: some with every sample, some once in a window or when somebody wants to know.
    fn seen(&self, all: bool) -> BTreeMap<Source, Seen> {
        let counter = |id: &str, who, value| Counter { id: id.to_owned(), who, value, ..Counter::default() };
        let level = |value, until| Level { who: Some(ALICE), value, until, ..Level::default() };
        let levels = |value: Option<f64>| Seen::Levels(value.map(|v| level(v, None)).into_iter().collect());
        let no_proc = || Seen::Unreadable("the process table hides other users' processes".to_owned());
        let agents = Counter { system: true, ..counter("s999", Some(999), self.system_cpu) };
        let stamp = |value| Stamp { id: "pts/0".to_owned(), who: Some(ALICE), value, what: None };
        let mut seen = BTreeMap::from([
            (Source::Typing, Seen::Stamps(self.terminal.map(stamp).into_iter().collect())),
            (Source::Cpu, Seen::Counters(vec![counter("s1001", Some(ALICE), self.own_cpu), agents])),
            (
                Source::Container,
                self.container.map_or(Seen::Absent, |used| Seen::Counters(vec![counter("c1", None, used)])),
            ),
            (Source::Keep, Seen::Levels(self.kept_until.map(|until| level(1.0, Some(until))).into_iter().collect())),
        ]);
        if !self.readable {
            seen.insert(Source::Cpu, no_proc());
        }
        if all {
            let connection = self.copying.then(|| counter("t7", Some(ALICE), self.copied));
            let inhibitor = || if self.inhibited { Some(1.0) } else { None };
            seen.extend(jupyter::seen(self));
            seen.extend([
                (Source::Remote, Seen::Counters(connection.into_iter().collect())),
                (Source::Network, Seen::Counters(vec![counter("t9", Some(ALICE), self.network)])),
                (Source::Program, levels(self.waiting)),
                (Source::Kernels, levels(self.kernel.map(|_| 1.0))),
                (Source::Unsaved, Seen::Levels(Vec::new())),
                (Source::Stopped, levels((self.stopped > 0.0).then_some(self.stopped))),
                (
                    Source::Inhibitor,
                    if self.bus { levels(inhibitor()) } else { Seen::Unreadable("logind: no answer".to_owned()) },
                ),
            ]);
        }
        seen
    }
}

/// What must come out at `asked`.
struct Expected {
    asked: f64,
    verdict: Verdict,
    because: Option<(Source, Option<u32>)>,
    at_risk: Option<Source>,
}

struct Situation {
    name: &'static str,
    /// From when to when somebody would lose something.
    used: &'static [(f64, f64)],
    script: fn(&mut World),
    expected: Expected,
}

impl Situation {
    fn is_used(&self, at: f64) -> bool {
        self.used.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    fn last_use(&self) -> f64 {
        self.used.iter().map(|(_, to)| *to).fold(0.0, f64::max)
    }
}

fn busy(source: Source) -> Expected {
    let who = (source != Source::Container).then_some(ALICE);
    Expected { asked: 2.0 * HOUR, verdict: Verdict::Busy, because: Some((source, who)), at_risk: None }
}

fn told(asked: f64, verdict: Verdict) -> Expected {
    Expected { asked, verdict, because: None, at_risk: None }
}

const USED: &[(f64, f64)] = &[(FROM, TO)];

fn situations() -> Vec<Situation> {
    let one = |name, used, expected, script| Situation { name, used, script, expected };
    let mut all = jupyter::situations();
    all.extend([
        one("training in tmux after log-out", USED, busy(Source::Cpu), |w| {
            w.lingers = w.is(FROM, TO);
            w.compute(if w.lingers { 1.9 } else { 0.0 });
        }),
        one("a loop of one-second children under nohup", USED, busy(Source::Cpu), |w| {
            w.lingers = w.is(FROM, TO);
            w.compute(if w.lingers { 0.9 } else { 0.0 });
        }),
        one("20 s of computing every four minutes", USED, busy(Source::Cpu), |w| {
            w.lingers = w.is(FROM, TO);
            let burst = w.lingers && (w.at % 240.0) < STEP;
            w.compute(if burst { 20.0 / STEP } else { 0.0 });
        }),
        one("training in a terminal, watched", USED, busy(Source::Cpu), |w| {
            if w.at == FROM {
                w.key();
            }
            w.terminal = w.terminal.filter(|_| w.at < TO);
            w.compute(if w.is(FROM, TO) { 3.0 } else { 0.0 });
        }),
        one("a key every 90 s", USED, busy(Source::Typing), |w| {
            if w.is(FROM, TO) && w.at % 90.0 == 0.0 {
                w.key();
            }
            w.terminal = w.terminal.filter(|_| w.at < TO);
        }),
        one("a key every 90 s, and the wall clock goes 3 h ahead", USED, busy(Source::Typing), |w| {
            if w.at == 1.5 * HOUR + STEP {
                w.wall += 3.0 * HOUR;
            }
            if w.is(FROM, TO) && w.at % 90.0 == 0.0 {
                w.key();
            }
            w.terminal = w.terminal.filter(|_| w.at < TO);
        }),
        one("scp at 2 MB/s", USED, busy(Source::Remote), |w| {
            w.copying = w.is(FROM, TO);
            w.copied += if w.copying { 2e6 * STEP } else { 0.0 };
        }),
        one("a download at 3 % of a core, logged out", USED, busy(Source::Network), |w| {
            w.lingers = w.is(FROM, TO);
            w.compute(if w.lingers { 0.03 } else { 0.0 });
            w.network += if w.lingers { 2e6 * STEP } else { 0.0 };
        }),
        one("a program that waits for a cluster elsewhere", USED, busy(Source::Program), |w| {
            w.lingers = w.is(FROM, TO);
            w.waiting = w.lingers.then_some(w.at - FROM);
        }),
        one("a container that computes", USED, busy(Source::Container), |w| {
            let used = w.container.get_or_insert(0.0);
            *used += if (FROM..TO).contains(&w.at) { STEP } else { 0.0 };
        }),
        one(
            "a keep, then its end",
            USED,
            Expected {
                asked: 2.0 * HOUR,
                verdict: Verdict::Kept,
                because: Some((Source::Keep, Some(ALICE))),
                at_risk: None,
            },
            |w| w.kept_until = w.is(FROM, TO).then_some(TO),
        ),
        one(
            "systemd-inhibit after log-out",
            USED,
            Expected {
                asked: 2.0 * HOUR,
                verdict: Verdict::Kept,
                because: Some((Source::Inhibitor, Some(ALICE))),
                at_risk: None,
            },
            |w| w.inhibited = w.is(FROM, TO),
        ),
        one(
            "who comes back just when it is idle",
            &[(FROM, HOUR), (7200.0, TO)],
            Expected {
                asked: 7260.0,
                verdict: Verdict::Busy,
                because: Some((Source::Typing, Some(ALICE))),
                at_risk: None,
            },
            |w| {
                if w.is(FROM, HOUR) || w.is(7200.0, TO) {
                    w.key();
                }
                w.terminal = w.terminal.filter(|_| w.at < TO);
            },
        ),
        one("the agent dies while it is quiet, and comes back", &[], told(END, Verdict::Idle), |w| {
            w.agent = !w.is(HOUR - 90.0, HOUR);
        }),
        one("a forgotten SSH prompt", &[(FROM, HOUR)], told(END, Verdict::Idle), |w| {
            if w.is(FROM, HOUR) {
                w.key();
            }
        }),
        one("agents of the system at 60 % of a core", &[], told(END, Verdict::Idle), |w| w.system_cpu += 0.6 * STEP),
        one(
            "a stopped job",
            &[(FROM, HOUR)],
            Expected { asked: END, verdict: Verdict::Idle, because: None, at_risk: Some(Source::Stopped) },
            |w| {
                if w.is(FROM, HOUR) {
                    w.key();
                }
                w.stopped = if w.at >= HOUR { 1.0 } else { 0.0 };
            },
        ),
        one("a fresh VM that nobody used", &[], told(END, Verdict::Idle), |_| {}),
        one("just booted", &[], told(10.0 * MINUTE, Verdict::Starting), |_| {}),
        one(
            "an inhibitor is held, and the bus is gone",
            &[(FROM, END)],
            Expected { asked: END, verdict: Verdict::Unknown, because: None, at_risk: None },
            |w| {
                w.inhibited = w.at >= FROM;
                w.bus = w.at < FROM;
            },
        ),
        one(
            "training, and the processes cannot be read",
            &[(FROM, END)],
            Expected { asked: END, verdict: Verdict::Unknown, because: None, at_risk: None },
            |w| {
                w.compute(if w.at >= FROM { 1.9 } else { 0.0 });
                w.readable = w.at < FROM;
            },
        ),
    ]);
    all
}

/// What a rule made of a situation.
#[derive(Default, PartialEq, Debug)]
struct Judged {
    /// It would have taken the VM away while it was used.
    false_idle: bool,
    /// It would have taken it before the last use, used or not.
    early: bool,
    /// It was about to, and looked once more, and saw somebody.
    refused: bool,
    /// When it would have taken it, nobody having used it any more; none: not within the situation.
    left: Option<f64>,
}

impl Judged {
    fn note(&mut self, situation: &Situation, goes: bool, at: f64) {
        self.false_idle |= goes && situation.is_used(at);
        self.early |= goes && at < situation.last_use();
        if goes && at >= situation.last_use() {
            self.left.get_or_insert(at);
        }
    }

    /// Minutes that it left later than an hour after the last use.
    fn overshoot(&self, situation: &Situation, quiet: f64) -> Option<f64> {
        self.left.map(|at| ((at - situation.last_use() - quiet) / MINUTE).max(0.0))
    }
}

/// Ours, with the commit before anything acts: whoever acts asks for a fresh look at everything first.
fn ours(situation: &Situation, idle: &Idle) -> (Judged, Option<Decision>) {
    let (mut world, mut memory) = (World::new(), Memory::new("b"));
    let (mut judged, mut at_asked, mut asked, mut looked) = (Judged::default(), None, None, f64::NEG_INFINITY);
    while world.at < END {
        world.pass(situation.script);
        if !world.agent {
            // All that it has when it comes back is its file.
            memory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
            asked = None;
            continue;
        }
        // A worker's answer is there a moment later than it was due.
        let all = asked.is_some() || world.at - looked > idle.tuning.window.as_secs_f64();
        looked = if all { world.at } else { looked };
        let sample = Sample { at: world.at, awake: world.at, wall: world.wall, seen: world.seen(all) };
        memory.take(&sample, &idle.tuning);
        let decision = decide(&memory, idle, world.at, &|_| None);
        note(&mut memory, &decision);
        let committed = asked.take().map(|(epoch, at)| commit(&memory, &decision, epoch, at));
        judged.refused |= committed == Some(Err(Refused::Over));
        let goes = committed == Some(Ok(()));
        judged.note(situation, goes, world.at);
        asked = match decision.leave {
            Leave::Due { epoch, .. } if !goes => Some((epoch, world.at)),
            _ => None,
        };
        if world.at <= situation.expected.asked {
            at_asked = Some(decision);
        }
    }
    (judged, at_asked)
}

/// Somebody else's, by the wall clock, as all of them keep it.
fn theirs(situation: &Situation, peer: &peers::Peer, quiet: f64) -> Judged {
    let mut world = World::new();
    let (mut judged, mut used) = (Judged::default(), world.wall);
    while world.at < END {
        world.pass(situation.script);
        if (peer.sees_use)(&world) {
            used = world.wall;
        }
        judged.note(situation, world.wall - used >= quiet && !(peer.is_held)(&world), world.at);
    }
    judged
}

#[test]
fn every_situation_is_judged_as_it_must_be() {
    let idle = Idle::default();
    // What changes unseen between two looks, and the fresh look before anything acts.
    let slack = (2.0 * idle.tuning.window.as_secs_f64() + 2.0 * STEP) / MINUTE;
    for situation in situations() {
        let (name, (judged, decision)) = (situation.name, ours(&situation, &idle));
        let decision = decision.expect("it was looked at");
        let Expected { verdict, because, at_risk, .. } = &situation.expected;
        assert_eq!(decision.verdict, *verdict, "{name}: {:?}", decision.evidence);
        if let Some((source, who)) = because {
            let told = |e: &Evidence| e.state == State::Busy && e.source == *source && e.who == *who;
            assert!(told(&decision.evidence[0]), "{name}: {:?}", decision.evidence);
        }
        let risks: Vec<_> = decision.at_risk.iter().map(|r| (r.source, r.who)).collect();
        assert!(at_risk.is_none_or(|source| risks.contains(&(source, Some(ALICE)))), "{name}: {risks:?}");
        assert!(!judged.false_idle && !judged.early, "{name}: it was used, and would have gone");
        assert_eq!(judged.refused, situation.used.len() > 1, "{name}: {judged:?}");
        let over = judged.overshoot(&situation, idle.after.as_secs_f64());
        if situation.last_use() < END {
            assert!(over.is_some_and(|minutes| minutes <= slack), "{name}: {over:?} min late of {slack}");
        } else {
            assert_eq!(over, None, "{name}");
        }
    }
}

#[test]
fn beside_the_rules_of_others() {
    let (idle, all) = (Idle::default(), situations());
    let quiet = idle.after.as_secs_f64();
    let mut table = format!("{:<55}{:<16}", "", "dsvm-agent");
    PEERS.iter().for_each(|p| table += &format!("{:<16}", p.name));
    // For each rule: how often it would have destroyed work, and how often it never left.
    let mut sums = vec![(0, 0); 1 + PEERS.len()];
    for situation in &all {
        let _ = write!(table, "\n{:<55}", situation.name);
        let own = std::iter::once(ours(situation, &idle).0);
        // What only we have: nothing can be said of the others.
        let is_keep = situation.expected.because.is_some_and(|(source, _)| source == Source::Keep);
        for (index, judged) in own.chain(PEERS.iter().map(|p| theirs(situation, p, quiet))).enumerate() {
            if is_keep && index > 0 {
                let _ = write!(table, "{:<16}", "-");
                continue;
            }
            let stays = judged.left.is_none() && situation.last_use() < END;
            let said = match judged.overshoot(situation, quiet) {
                _ if judged.false_idle => "FALSE IDLE".to_owned(),
                _ if stays => "false busy".to_owned(),
                Some(minutes) => format!("+{minutes:.0} min"),
                None => "stays".to_owned(),
            };
            sums[index].0 += u32::from(judged.false_idle);
            sums[index].1 += u32::from(!judged.false_idle && stays);
            let _ = write!(table, "{said:<16}");
        }
    }
    let _ = write!(table, "\n{:<55}", "false idle / false busy");
    sums.iter().for_each(|(idle, busy)| table += &format!("{:<16}", format!("{idle} / {busy}")));
    println!("{table}");
    assert_eq!(sums[0], (0, 0), "{table}");
    // Each of them has its known gap, or these situations show nothing.
    for (peer, (false_idle, false_busy)) in PEERS.iter().zip(&sums[1..]) {
        assert!(false_idle + false_busy > 0, "{}:\n{table}", peer.name);
    }
}
