//! Reads the VM into plain data: a file for each kind of evidence. Parsing takes text or bytes; a thin reader does the
//! input. Everything in this room that the brain itself reads is answered by the kernel from its own memory: `/proc/PID/stat`,
//! cgroup files, the tables of sockets, times of terminals. What may block (a command line, a bus, a server, a driver)
//! is looked at by a worker.

pub mod containers;
pub mod cpu;
pub mod due;
pub mod gpu;
pub mod hub;
pub mod inhibitors;
pub mod io;
pub mod jupyter;
pub mod maintenance;
pub mod process;
pub mod programs;
pub mod sense;
pub mod typing;
pub mod unsaved;

use super::model::{Sample, Seen, Source};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the kernel and the system keep what is read; other places in tests.
#[derive(Debug, Clone)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys/fs/cgroup`.
    pub cgroup: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/`, for what packages and cloud-init leave.
    pub root: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), cgroup: "/sys/fs/cgroup".into(), dev: "/dev".into(), root: "/".into() }
    }
}

/// Who is who on this VM.
pub struct People<'a> {
    /// Whether a user id is a person's; root is none.
    pub is_human: &'a dyn Fn(u32) -> bool,
    /// The process that starts the agent's workers: they work in users' names, and are nobody.
    pub launcher: Option<i32>,
}

impl std::fmt::Debug for People<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("People").field("launcher", &self.launcher).finish_non_exhaustive()
    }
}

/// Takes samples.
#[derive(Debug, Default)]
pub struct Observer {
    /// Where to look.
    pub roots: Roots,
    cpu: cpu::Last,
}

impl Observer {
    /// What changes by the second: with every sample.
    pub fn often(&mut self, people: &People<'_>, now: f64) -> BTreeMap<Source, Seen> {
        let (cpu, container) = cpu::look(&self.roots, people, &mut self.cpu, now);
        BTreeMap::from([
            (Source::Typing, typing::look(&self.roots.dev, people.is_human)),
            (Source::Cpu, cpu),
            (Source::Container, container),
            (Source::Maintenance, maintenance::look(&self.roots, people.is_human)),
        ])
    }

    /// What takes longer to read and to change: once in a window.
    pub fn seldom(&mut self, people: &People<'_>) -> BTreeMap<Source, Seen> {
        match process::all(&self.roots.proc, people) {
            Ok(processes) => BTreeMap::from([
                (Source::Memory, process::memory(&processes)),
                (Source::Stopped, process::stopped(&processes)),
            ]),
            Err(e) => [Source::Memory, Source::Stopped].map(|s| (s, Seen::Unreadable(e.to_string()))).into(),
        }
    }
}

/// A sample of `seen`, now.
pub fn sample(seen: BTreeMap<Source, Seen>) -> Sample {
    use rustix::time::{ClockId, clock_gettime};
    let seconds = |clock| {
        let t = clock_gettime(clock);
        t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
    };
    Sample {
        at: seconds(ClockId::Boottime),
        awake: seconds(ClockId::Monotonic),
        wall: seconds(ClockId::Realtime),
        seen,
    }
}
