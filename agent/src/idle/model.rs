//! The words of this room as plain data.

use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One kind of evidence of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Somebody types on a terminal.
    Typing,
    /// Copies and editors over SSH that have no terminal.
    Remote,
    /// Programs compute.
    Cpu,
    /// Programs read and write disks.
    Io,
    /// Programs talk to other machines.
    Network,
    /// Programs compute on a GPU.
    Gpu,
    /// Jupyter kernels that say that they are at work.
    Kernel,
    /// Jupyter kernels and terminals that were used.
    Notebook,
    /// JupyterHub.
    Hub,
    /// Containers compute.
    Container,
    /// A foreground program waits for another machine.
    Program,
    /// Packages are installed, or the VM is still set up.
    Maintenance,
    /// Something that was saved has not reached the share.
    Unsaved,
    /// Somebody asked for this VM to be kept.
    Keep,
    /// Somebody holds an inhibitor of systemd's.
    Inhibitor,
    /// Memory of a user's processes.
    Memory,
    /// Memory held on a GPU.
    GpuMemory,
    /// Kernels that keep state and compute nothing.
    Kernels,
    /// Jobs that are stopped.
    Stopped,
    /// Jobs that are due later.
    Due,
}

impl Source {
    /// All of them, in the order in which people are told.
    pub const ALL: [Source; 20] = [
        Source::Keep,
        Source::Inhibitor,
        Source::Typing,
        Source::Remote,
        Source::Kernel,
        Source::Notebook,
        Source::Hub,
        Source::Cpu,
        Source::Gpu,
        Source::Container,
        Source::Io,
        Source::Network,
        Source::Program,
        Source::Maintenance,
        Source::Unsaved,
        Source::Memory,
        Source::GpuMemory,
        Source::Kernels,
        Source::Stopped,
        Source::Due,
    ];

    /// Its name, as in the status.
    pub fn name(self) -> &'static str {
        match self {
            Source::Typing => "typing",
            Source::Remote => "remote",
            Source::Cpu => "cpu",
            Source::Io => "io",
            Source::Network => "network",
            Source::Gpu => "gpu",
            Source::Kernel => "kernel",
            Source::Notebook => "notebook",
            Source::Hub => "hub",
            Source::Container => "container",
            Source::Program => "program",
            Source::Maintenance => "maintenance",
            Source::Unsaved => "unsaved",
            Source::Keep => "keep",
            Source::Inhibitor => "inhibitor",
            Source::Memory => "memory",
            Source::GpuMemory => "gpu-memory",
            Source::Kernels => "kernels",
            Source::Stopped => "stopped",
            Source::Due => "due",
        }
    }

    /// Whether it shows that a person is there, not only their programs.
    pub fn is_presence(self) -> bool {
        matches!(self, Source::Typing | Source::Remote)
    }
}

/// What was seen of one source. A source that is not in a sample was not looked at: what was known of it stands a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// There is no such thing on this VM: a fact, and no use.
    Absent,
    /// There is, and it cannot be read: why, for a person. Never taken for quiet.
    Unreadable(String),
    /// Counters that only grow, in the source's unit times seconds or in bytes.
    Counters(Vec<Counter>),
    /// Times of the last use, by a clock that may jump: only that they change counts.
    Stamps(Vec<Stamp>),
    /// How things are now.
    Levels(Vec<Level>),
}

/// A counter that only grows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counter {
    /// Which one; another with the same name is the same counter. No name of a user's.
    pub id: String,
    /// Whose; nothing when it is nobody's in particular.
    pub who: Option<u32>,
    /// Its value.
    pub value: f64,
    /// How much of the value is surroundings (an editor's server, a monitor): taken off, up to a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ambient: Option<f64>,
    /// What it had counted when it was first seen is not known to be new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub baseline: bool,
    /// Nobody's use: it is here only to be told from what it is a part of.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// The counter that counts this one too. What it counts beyond its parts belongs to whoever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Which program it is, for a person. Not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// A time of the last use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Of what. No name of a user's.
    pub id: String,
    /// Whose.
    pub who: Option<u32>,
    /// The time, in seconds of whatever clock.
    pub value: f64,
    /// What it is, for a person. Not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
}

/// How something is now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Level {
    /// Whose.
    pub who: Option<u32>,
    /// How much, in the source's unit.
    pub value: f64,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// What it is, for a person; why, when it cannot be told. Not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// There is something of theirs, and it cannot be read: nothing is known of it, and others' levels stand. Never taken
    /// for quiet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// It is there, and nothing can tell how much it does: it may do something, and counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmeasured: bool,
}

/// Why a GPU cannot be read whose driver shows the agent neither computing nor programs, as may be in MIG mode.
pub const GPU_TELLS_NOTHING: &str = "it tells neither how much it computes nor which programs are on it";

/// One look at the VM.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When: seconds of the boot-time clock.
    pub at: f64,
    /// The same by the clock that stands still while the VM sleeps (CLOCK_MONOTONIC, clock_gettime(2)).
    pub awake: f64,
    /// Seconds of the wall clock: only for stamps that are seen for the first time.
    pub wall: f64,
    /// What was looked at.
    pub seen: BTreeMap<Source, Seen>,
}

impl Sample {
    /// The same without anything that a user wrote: command lines, reasons, names of files.
    pub fn without_words(mut self) -> Self {
        for seen in self.seen.values_mut() {
            match seen {
                Seen::Counters(counters) => counters.iter_mut().for_each(|c| c.what = None),
                Seen::Stamps(stamps) => stamps.iter_mut().for_each(|s| s.what = None),
                Seen::Levels(levels) => levels.iter_mut().for_each(|l| l.what = None),
                Seen::Absent | Seen::Unreadable(_) => {}
            }
        }
        self
    }
}

/// Whether the VM is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Too soon after boot to say.
    Starting,
    /// Somebody asked for it to be kept.
    Kept,
    /// It is used.
    Busy,
    /// It cannot be told: counts as used.
    Unknown,
    /// No use is seen, not for long enough.
    Quiet,
    /// It is not used.
    Idle,
}

impl Verdict {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Starting => "starting",
            Verdict::Kept => "kept",
            Verdict::Busy => "busy",
            Verdict::Unknown => "unknown",
            Verdict::Quiet => "quiet",
            Verdict::Idle => "idle",
        }
    }
}

/// What a source says of one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Used now.
    Busy,
    /// Not used.
    Quiet,
    /// It cannot be told.
    Unknown,
}

/// One line of evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The source.
    pub source: Source,
    /// Whose.
    pub who: Option<u32>,
    /// What it says.
    pub state: State,
    /// When it was last busy.
    pub last_busy: Option<f64>,
    /// Since when it is as it is.
    pub since: f64,
    /// What was observed, in `unit`.
    pub observed: Option<f64>,
    /// From where on it counts as busy.
    pub threshold: Option<f64>,
    /// The unit of both.
    pub unit: &'static str,
    /// Until when it keeps the VM, if it is not busy again.
    pub until: Option<f64>,
    /// What it is, for a person; why, when it cannot be told.
    pub what: Option<String>,
}

/// Something that would be lost if the VM went now.
#[derive(Debug, Clone, PartialEq)]
pub struct Risk {
    /// What kind.
    pub source: Source,
    /// Whose.
    pub who: Option<u32>,
    /// How many, or how many bytes.
    pub value: f64,
    /// The unit.
    pub unit: &'static str,
    /// What it is, for a person.
    pub what: Option<String>,
}

/// How far it is with leaving. Idle is announced before anything acts on it; whoever acts must commit the epoch of the
/// announcement, and fresh evidence in between refuses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum Leave {
    /// Nothing was announced.
    No,
    /// It was announced.
    Announced {
        /// The number of this announcement.
        epoch: u64,
        /// Since when.
        at: f64,
        /// Before that nothing acts on it.
        until: f64,
    },
    /// It was announced long enough ago, and nobody came.
    Due {
        /// The number of the announcement.
        epoch: u64,
        /// Since when.
        at: f64,
    },
}

impl Leave {
    /// The number of the announcement that stands.
    pub fn epoch(self) -> Option<u64> {
        match self {
            Leave::No => None,
            Leave::Announced { epoch, .. } | Leave::Due { epoch, .. } => Some(epoch),
        }
    }
}

/// From when on use would have been seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeenFrom {
    /// That time.
    pub at: f64,
    /// What could not be read until then; nothing when nobody looked.
    pub unread: Option<Source>,
}

/// What came of everything that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether the VM is in use.
    pub verdict: Verdict,
    /// Since when it is so.
    pub since: f64,
    /// When it will be idle if nothing happens; nothing when something happens now, or cannot be told.
    pub idle_at: Option<f64>,
    /// How long it must be quiet, in seconds.
    pub needed: f64,
    /// When it was last used; nothing when it was not since somebody looks.
    pub last_busy: Option<f64>,
    /// From when on use would have been seen, where quiet counts from there.
    pub seen_from: Option<SeenFrom>,
    /// The evidence, most important first.
    pub evidence: Vec<Evidence>,
    /// What would be lost.
    pub at_risk: Vec<Risk>,
    /// How far it is with leaving.
    pub leave: Leave,
    /// What needs a person.
    pub problems: Vec<Problem>,
}

/// Why a commit was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not everything was looked at since it was asked for: ask again.
    NotYet,
    /// It is used again, or was announced anew: the epoch is over.
    Over,
}
