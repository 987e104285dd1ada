//! What was recorded of real programs of real users (`tests/namespaces/tests/recordings` does it, with windows that are
//! shorter): judged again by the code behind `idle replay`, and beside it by the rules of others.
//!
//! `NAME.jsonl` is the recording, cut down to one user of a machine that had many. `NAME.others.jsonl` is what the others'
//! rules look at, below a line that says whose use it was, which source must be named, and from when to when somebody would
//! have lost something. `NAME.txt` is the time line that must come out.

use super::*;
use crate::idle::recording;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The quiet time with which it was recorded, in seconds.
const QUIET: f64 = 60.0;
/// Over how much the kernel's averages of 5 and 15 minutes go when a window of 5 minutes is one of 15 s.
const AVERAGES: (f64, f64) = (15.0, 45.0);

/// Whose use it was.
#[derive(Deserialize)]
struct Head {
    uid: Option<u32>,
    source: String,
    used: Vec<(f64, f64)>,
}

/// What the others look at.
#[derive(Deserialize)]
struct Others {
    at: f64,
    wall: f64,
    terminal: bool,
    connected: bool,
    closing: bool,
    #[serde(default)]
    tab: bool,
}

struct Recorded {
    name: String,
    head: Head,
    samples: Vec<Sample>,
    others: Vec<Others>,
    line: String,
}

impl Recorded {
    fn is_used(&self, at: f64) -> bool {
        self.head.used.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    fn end(&self) -> f64 {
        self.samples.last().map_or(0.0, |s| s.at)
    }

    /// From when on nobody used it, until the recording ended.
    fn unused(&self) -> (f64, f64) {
        let first = self.samples.first().map_or(0.0, |s| s.at);
        (self.head.used.last().map_or(first, |(_, to)| *to), self.end())
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/idle/decide/situations/recorded")
}

fn settings() -> Idle {
    let mut idle = Idle { after: Duration::from_secs(60), ..Idle::default() };
    (idle.announce, idle.boot_grace) = (Duration::from_secs(1), Duration::ZERO);
    (idle.tuning.sample, idle.tuning.window) = (Duration::from_secs(5), Duration::from_secs(15));
    idle
}

fn all() -> Vec<Recorded> {
    let text = |name: &str| std::fs::read_to_string(directory().join(name)).unwrap_or_default();
    let names = std::fs::read_dir(directory()).unwrap().flatten();
    let names = names.filter_map(|e| Some(e.file_name().to_str()?.strip_suffix(".others.jsonl")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    let read = |name: String| {
        let others = text(&format!("{name}.others.jsonl"));
        let mut lines = others.lines();
        Recorded {
            head: serde_json::from_str(lines.next().unwrap()).unwrap(),
            samples: recording::read(text(&format!("{name}.jsonl")).as_bytes()).unwrap(),
            others: lines.map(|line| serde_json::from_str(line).unwrap()).collect(),
            line: text(&format!("{name}.txt")),
            name,
        }
    };
    names.into_iter().map(read).collect()
}

/// What a rule made of a recording.
struct Said {
    false_idle: bool,
    /// When it would have taken the VM, nobody using it any more.
    left: Option<f64>,
}

/// From when it was to go, and when it really would have gone.
fn said(recorded: &Recorded, goes: &[(f64, bool)], gone: &[(f64, bool)]) -> Said {
    let from = recorded.unused().0;
    Said {
        false_idle: gone.iter().any(|(at, gone)| *gone && recorded.is_used(*at)),
        left: goes.iter().find(|(at, goes)| *goes && *at >= from).map(|(at, _)| *at),
    }
}

fn ours(recorded: &Recorded) -> Said {
    let decisions = recording::replay(&recorded.samples, &settings());
    let due: Vec<_> = decisions.iter().map(|(at, d)| (*at, matches!(d.leave, Leave::Due { .. }))).collect();
    // Whoever acts asks for a fresh look first.
    let gone: Vec<_> = due.windows(2).map(|pair| (pair[1].0, pair[0].1 && pair[1].1)).collect();
    said(recorded, &due, &gone)
}

fn theirs(recorded: &Recorded, peer: &peers::Peer) -> Said {
    let (mut world, mut goes) = (World::new(), Vec::new());
    let (mut used, mut input) = (None, 0.0);
    // What a server said last of its kernels holds until it is asked again.
    let kernel = |upto: &[&Sample]| {
        let last = |source| upto.iter().rev().find_map(|s| s.seen.get(&source));
        let Some(Seen::Levels(levels)) = last(Source::Kernel) else { return None };
        let Some(Seen::Stamps(stamps)) = last(Source::Notebook) else { return None };
        let last_activity = stamps.iter().map(|s| s.value).reduce(f64::max)?;
        Some(Kernel { computes: levels.iter().any(|l| l.value >= 1.0), last_activity, has_tab: false })
    };
    let mut before: Option<(f64, f64)> = None;
    for others in &recorded.others {
        let mut upto = recorded.samples.iter().filter(|s| s.at <= others.at);
        for sample in upto.clone().rev().take(3) {
            if let Some(Seen::Stamps(stamps)) = sample.seen.get(&Source::Typing) {
                input = stamps.iter().map(|s| s.value).fold(input, f64::max);
            }
            if let Some(Seen::Levels(levels)) = sample.seen.get(&Source::Inhibitor) {
                world.inhibited = !levels.is_empty();
            }
        }
        let used_up = |sample: &Sample| {
            let counters = [Source::Cpu, Source::Container].map(|source| match sample.seen.get(&source) {
                Some(Seen::Counters(counters)) => counters.iter().map(|c| c.value).sum(),
                _ => 0.0,
            });
            (sample.at, counters.iter().sum::<f64>())
        };
        let now = upto.next_back().map(used_up);
        if let (Some((then, old)), Some((at, new))) = (before, now)
            && at > then
        {
            let running = ((new - old) / (at - then)).max(0.0);
            let average = |old: f64, over: f64| running + (old - running) * (-(at - then) / over).exp();
            (world.load_5, world.load_15) = (average(world.load_5, AVERAGES.0), average(world.load_15, AVERAGES.1));
        }
        before = now.or(before);
        (world.at, world.wall) = (others.at, others.wall);
        world.terminal = others.terminal.then_some(input);
        world.copying = others.connected && !others.terminal;
        world.lingers = others.closing;
        let known: Vec<&Sample> = recorded.samples.iter().filter(|s| s.at <= others.at).collect();
        world.kernel = kernel(&known).map(|k| Kernel { has_tab: others.tab, ..k });
        if used.is_none() || (peer.sees_use)(&world) {
            used = Some(world.wall);
        }
        goes.push((world.at, used.is_some_and(|used| world.wall - used >= QUIET) && !(peer.is_held)(&world)));
    }
    said(recorded, &goes, &goes)
}

#[test]
fn every_recording_is_judged_as_it_was_lived() {
    let (idle, all) = (settings(), all());
    assert!(all.len() >= 10, "recordings are missing: {}", all.len());
    // What changes unseen between two looks, before and after the window.
    let slack = 2.0 * (idle.tuning.window + idle.tuning.sample).as_secs_f64();
    for recorded in all {
        let name = &recorded.name;
        let decisions = recording::replay(&recorded.samples, &idle);
        assert_eq!(recording::time_line(&decisions), recorded.line, "{name}");
        let own = ours(&recorded);
        assert!(!own.false_idle, "{name}: it was used, and would have gone:\n{}", recorded.line);
        let (from, to) = recorded.unused();
        let over = own.left.map(|at| at - from - QUIET);
        assert!(over.is_none_or(|s| s <= slack), "{name}: {over:?} s late of {slack}");
        assert!(over.is_some() || to - from < QUIET + slack, "{name}: it never goes:\n{}", recorded.line);
        let mut named = recorded.head.source.is_empty();
        for (at, decision) in &decisions {
            let busy = decision.evidence.iter().filter(|e| e.state == State::Busy);
            let whose: Vec<_> = busy.map(|e| (e.source.name(), e.who)).collect();
            assert!(whose.iter().all(|(_, who)| *who == recorded.head.uid), "{name} at {at}: {whose:?}");
            // In its second half everything has been seen, whatever a connection's age; what is over before the next look,
            // at that look.
            let look = (idle.tuning.window + idle.tuning.sample).as_secs_f64();
            let settles = |(from, to): &(f64, f64)| (from.midpoint(*to)..to.max(from + look)).contains(at);
            let settled = recorded.head.used.first().is_some_and(settles);
            named |= settled && whose.contains(&(recorded.head.source.as_str(), recorded.head.uid));
        }
        assert!(named, "{name}: it was not named:\n{}", recorded.line);
    }
}

#[test]
fn recordings_beside_the_rules_of_others() {
    let mut table = format!("{:<16}{:<16}", "", "dsvm-agent");
    PEERS.iter().for_each(|p| table += &format!("{:<16}", p.name));
    let mut sums = vec![(0, 0); 1 + PEERS.len()];
    for recorded in all() {
        let (from, to) = recorded.unused();
        let _ = write!(table, "\n{:<16}", recorded.name);
        let rules = std::iter::once(ours(&recorded)).chain(PEERS.iter().map(|p| theirs(&recorded, p)));
        for (index, said) in rules.enumerate() {
            // What only we have: nothing can be said of the others.
            if recorded.head.source == "keep" && index > 0 {
                let _ = write!(table, "{:<16}", "-");
                continue;
            }
            // What stays where the recording ends too early is nobody's fault.
            let stays = said.left.is_none() && to - from > QUIET + 40.0;
            let text = match said.left {
                _ if said.false_idle => "FALSE IDLE".to_owned(),
                _ if stays => "false busy".to_owned(),
                Some(at) => format!("+{:.0} s", (at - from - QUIET).max(0.0)),
                None => "stays".to_owned(),
            };
            sums[index].0 += u32::from(said.false_idle);
            sums[index].1 += u32::from(!said.false_idle && stays);
            let _ = write!(table, "{text:<16}");
        }
    }
    let _ = write!(table, "\n{:<16}", "false idle/busy");
    sums.iter().for_each(|(idle, busy)| table += &format!("{:<16}", format!("{idle} / {busy}")));
    println!("{table}");
    assert_eq!(sums[0], (0, 0), "{table}");
    for (peer, (false_idle, false_busy)) in PEERS.iter().zip(&sums[1..]) {
        assert!(false_idle + false_busy > 0, "{}:\n{table}", peer.name);
    }
}

/// Writes the time lines of recordings that are new, for whoever reads them before they are kept.
#[test]
#[ignore = "writes into the tree: run it after new recordings were made, and read what it wrote"]
fn time_lines_are_written() {
    for recorded in all() {
        let line = recording::time_line(&recording::replay(&recorded.samples, &settings()));
        std::fs::write(directory().join(format!("{}.txt", recorded.name)), line).unwrap();
    }
}
