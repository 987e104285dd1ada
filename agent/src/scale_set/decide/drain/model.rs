//! What goes into the decisions before a VM is deleted or restarts, and what comes out of them.

use crate::scale_set::model::Event;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// What a pass sees.
#[derive(Debug, Clone)]
pub struct Facts {
    /// This VM's events; nothing while it is not known which there are.
    pub events: Option<Vec<Event>>,
    /// By the wall clock, in which Azure announces.
    pub wall: SystemTime,
    /// By the boot-time clock.
    pub now: Duration,
    /// Somebody or something uses the VM, or may.
    pub used: bool,
    /// Whose files may be on this VM only.
    pub users: BTreeSet<String>,
    /// Those are all: it is known who there is. Until then nobody's absence says anything.
    pub known: bool,
    /// What is mounted and may have something to write.
    pub mounts: BTreeSet<String>,
    /// Something of it is mounted for users that nobody uses.
    pub unused: bool,
}

/// What people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Notice {
    /// The VM is deleted.
    Deletion,
    /// The VM is deleted in a moment.
    Reminder,
    /// The VM restarts.
    Restart,
    /// The VM moves: it restarts, and what was on its temporary disk is lost.
    Move,
    /// The deletion was called off.
    CalledOff,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell people at terminals.
    Tell(Notice),
    /// Refuse log-ins, with the reason.
    Refuse,
    /// Let people log in again.
    Admit,
    /// Copy what is on this VM only to this user's workspace.
    Rescue {
        /// Whose.
        user: String,
    },
    /// Write what waits to be written.
    Flush {
        /// Where.
        mount: String,
        /// It is not waited for any longer than this.
        within: Duration,
    },
    /// It may begin.
    Approve {
        /// The events.
        ids: Vec<String>,
    },
}

/// What may be mounted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mounts {
    /// As always.
    #[default]
    Usual,
    /// Nothing for anybody new, except to rescue what is theirs.
    NothingNew,
    /// What nobody uses goes.
    Gone,
}

/// What came of copying one user's files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// When the last copy began, by the boot-time clock.
    pub began: Duration,
    /// So many files are on the share.
    pub files: u64,
    /// So many are not: too big, or they could not be copied.
    pub left: u64,
    /// The largest of those, for its owner: the path, the size.
    pub largest: Vec<(String, u64)>,
    /// Directories that their owner may not read all of.
    #[serde(default)]
    pub unread: Vec<String>,
    /// Why it failed.
    pub failed: Option<String>,
    /// Their owner was told.
    pub told: bool,
}
