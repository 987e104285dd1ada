//! Whether the VM is used: a look at 500 processes of 50 people and of services, and what follows from such looks.

use crate::Turn;
use crate::machine::FIRST;
use dsvm_agent::config::settings::Idle;
use dsvm_agent::idle::memory::Memory;
use dsvm_agent::idle::model::{Counter, Level, Sample, Seen, Source, Stamp, Verdict};
use dsvm_agent::idle::observe::{Observer, People, Roots};
use dsvm_agent::idle::{decide, model::State};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};

/// So many people have sessions, each with so many processes.
const SESSIONS: u32 = 50;
const EACH: u32 = 6;
/// So many services, each with so many processes.
const SERVICES: u32 = 50;
const OF_A_SERVICE: u32 = 4;
/// So many containers.
const CONTAINERS: u32 = 5;

/// A directory with files as the kernel has them. It goes with the value.
pub struct Place(PathBuf);

impl Place {
    /// One with nothing in it. Its name is always as long, so that what is made of it takes always as many instructions.
    pub fn empty() -> Self {
        let path = std::env::temp_dir().join(format!("dsvm-counts-{:010}", std::process::id()));
        // What one with this number left behind when it was ended.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    /// One with processes and their groups.
    pub fn new() -> Self {
        let place = Self::empty();
        let mut pids = 1..;
        let mut next = |count: u32| pids.by_ref().take(count as usize).collect::<Vec<u32>>();
        place.processes(&next(1), "systemd");
        place.file("proc/locks", "1: POSIX  ADVISORY  WRITE 812 fd:01:131 0 EOF\n");
        place.file("proc/self/cgroup", "0::/system.slice/dsvm-agent.service\n");
        place.file("cgroup/cgroup.controllers", "cpu io memory pids\n");
        place.group("user.slice", &[]);
        for user in 0..SESSIONS {
            let (uid, own) = (FIRST + user, next(EACH));
            place.processes(&own, "python3");
            place.group(&format!("user.slice/user-{uid}.slice"), &[]);
            place.group(&format!("user.slice/user-{uid}.slice/session-{user}.scope"), &own);
            place.file(&format!("dev/pts/{user}"), "");
        }
        place.group("system.slice", &[]);
        for service in 0..SERVICES {
            let own = next(OF_A_SERVICE);
            place.processes(&own, "jupyterhub-sing");
            place.group(&format!("system.slice/service-{service}.service"), &own);
        }
        for container in 0..CONTAINERS {
            place.group(&format!("system.slice/docker-{container:064x}.scope"), &[]);
        }
        place
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its `/proc`.
    pub fn proc(&self) -> PathBuf {
        self.0.join("proc")
    }

    /// Its `/sys/fs/cgroup`.
    pub fn cgroup(&self) -> PathBuf {
        self.0.join("cgroup")
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("a directory above")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn group(&self, name: &str, pids: &[u32]) {
        let pids: String = pids.iter().map(|pid| format!("{pid}\n")).collect();
        self.file(&format!("cgroup/{name}/cgroup.procs"), &pids);
        let cpu = "usage_usec 8123456\nuser_usec 6100000\nsystem_usec 2023456\nnr_periods 0\nnr_throttled 0\n";
        self.file(&format!("cgroup/{name}/cpu.stat"), cpu);
    }

    fn processes(&self, pids: &[u32], name: &str) {
        for pid in pids {
            let stat = format!(
                "{pid} ({name}) S 1 {pid} {pid} 34816 {pid} 4194560 21512 1088 12 0 1520 310 42 17 20 0 4 0 88211 \
                 912736256 51200 18446744073709551615 1 1 0 0 0 0 0 16781312 134235906 0 0 0 17 1 0 0 0 0 0\n"
            );
            self.file(&format!("proc/{pid}/stat"), &stat);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A sample is taken, and with it what is looked at once in a window. By a clock that stands still everybody uses enough
/// to be looked at closely, and whoever runs this owns all processes: all of them are read.
pub fn sample() -> Turn {
    let place = Place::new();
    let (dev, root) = (place.path().join("dev"), place.path().to_owned());
    let mut observer = Observer::default();
    observer.roots = Roots { proc: place.proc(), cgroup: place.cgroup(), dev, root };
    Box::new(move || {
        let people = People { is_human: &|_| true, launcher: Some(1) };
        let mut seen = observer.often(&people, 100.0);
        seen.extend(observer.seldom(&people));
        let readable = |seen: &Seen| !matches!(seen, Seen::Unreadable(_));
        assert!(seen.len() == 6 && seen.values().all(readable));
        black_box(seen);
        // It stays for the next turn.
        let _ = &place;
    })
}

/// A sample of many people is taken in, and the VM judged by all that is known.
pub fn verdict() -> Turn {
    let (settings, mut memory) = (Idle::default(), Memory::new("boot"));
    let mut sample = first();
    let mut turn = move || {
        (sample.at, sample.awake, sample.wall) = (sample.at + 30.0, sample.awake + 30.0, sample.wall + 30.0);
        if let Some(Seen::Counters(counters)) = sample.seen.get_mut(&Source::Cpu) {
            // Every third one computes.
            counters.iter_mut().step_by(3).for_each(|counter| counter.value += 5.0);
        }
        memory.take(black_box(&sample), &settings.tuning);
        let decision = decide::decide(&memory, &settings, sample.at, &|uid| Some(format!("person{uid}")));
        decide::note(&mut memory, &decision);
        decision
    };
    // Until the window is full, each turn takes longer than the one before.
    (0..12).for_each(|_| drop(turn()));
    let quiet = turn().evidence.iter().filter(|evidence| evidence.state == State::Quiet).count();
    assert!(turn().verdict == Verdict::Busy && quiet > 0, "some compute, and others do not");
    Box::new(move || drop(black_box(turn())))
}

/// What a look at many people's processes gives.
fn first() -> Sample {
    let people = || FIRST..FIRST + 2 * SESSIONS;
    let counter = |uid: u32, value: f64| Counter {
        id: format!("s{uid}:{}", 7000 + uid),
        who: Some(uid),
        value,
        what: Some("python3".to_owned()),
        ..Counter::default()
    };
    let mut cpu: Vec<Counter> = people().map(|uid| counter(uid, 12.5)).collect();
    for part in &mut cpu {
        (part.within, part.ambient) = (Some("u".to_owned()), Some(0.5));
    }
    cpu.push(Counter { id: "u".to_owned(), value: 2000.0, baseline: true, ..Counter::default() });
    let stamp = |uid: u32| Stamp { id: format!("pts/{uid}:9"), who: Some(uid), value: 1e9, what: None };
    let level = |uid: u32, value: f64| Level { who: Some(uid), value, ..Level::default() };
    let memory = people().map(|uid| level(uid, 3e9)).collect();
    let kernels = people().step_by(5).map(|uid| level(uid, 2.0)).collect();
    Sample {
        at: 10_000.0,
        awake: 10_000.0,
        wall: 1.7e9,
        seen: [
            (Source::Cpu, Seen::Counters(cpu)),
            (Source::Typing, Seen::Stamps(people().map(stamp).collect())),
            (Source::Memory, Seen::Levels(memory)),
            (Source::Kernels, Seen::Levels(kernels)),
            (Source::Container, Seen::Absent),
            (Source::Maintenance, Seen::Levels(Vec::new())),
        ]
        .into(),
    }
}
