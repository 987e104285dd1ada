//! The share's words as plain data.

use crate::problem::Problem;
use crate::sys::mountinfo::Mount;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the share's root is mounted for the agent alone: below a directory that only root may enter.
pub const ROOT: &str = "/run/dsvm-agent/share/root";

/// What the guard's tmpfs calls itself in mountinfo.
pub const GUARD_SOURCE: &str = "dsvm-agent-guard";

/// The file in every empty mount point that says what is missing.
pub const NOT_MOUNTED: &str = "SHARE-NOT-MOUNTED.txt";

/// Its text.
pub const NOT_MOUNTED_TEXT: &str = "\
Your notebooks are not connected on this VM right now. They are safe on the share.
Nothing can be saved here until they are: files saved elsewhere on this VM go away with it.
Why, and since when: run  dsvm-agent status
If this file does not go away when the status says \"mounted\", leave this directory and enter it again:
  cd; cd -
";

/// State of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareState {
    /// No share is configured.
    Unconfigured,
    /// Being mounted for the first time, or again.
    Mounting,
    /// Mounted, and it answers.
    Mounted,
    /// The server cannot be reached.
    Unreachable,
    /// The server, the kernel or the mount point refuses.
    Refused,
    /// Mounted, but it does not answer.
    Hung,
}

/// What is mounted that concerns the share: facts from mountinfo.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mounted {
    /// The guard at the mount point, by the id of its mount.
    pub guard: Option<u64>,
    /// Something that is not the guard lies at the mount point: what it is.
    pub in_the_way: Option<String>,
    /// The agent's own mount of the share's root.
    pub root: Option<RootMount>,
    /// The users' mounts in the guard, by their directory relative to the mount point.
    pub users: Vec<UserMount>,
}

impl Mounted {
    /// The users' mounts by their directory: users are many, and to look through all mounts for each would take long.
    pub fn by_directory(&self) -> HashMap<&Path, &UserMount> {
        self.users.iter().map(|m| (m.directory.as_path(), m)).collect()
    }
}

/// The agent's own mount of the share's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootMount {
    /// Its id.
    pub id: u64,
    /// The server's address, where the kernel shows one.
    pub address: Option<IpAddr>,
    /// It shows something else than the settings ask for, such as the share of an older configuration: what.
    pub other: Option<String>,
    /// What differs from what was asked for: option, and what the kernel has.
    pub differences: Vec<String>,
    /// What was agreed, for people.
    pub protocol: Option<String>,
}

/// One user's mount in the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMount {
    /// Its directory, relative to the mount point.
    pub directory: PathBuf,
    /// The mount, as the kernel shows it.
    pub mount: Mount,
    /// Something that is not the agent's is mounted on it or in it.
    pub carries: bool,
    /// It is of another share than the settings ask for.
    pub other: bool,
}

impl UserMount {
    /// The owner that it gives to everything, where the file system has such an option (SMB).
    pub fn uid(&self) -> Option<u32> {
        self.mount.option("uid").and_then(|u| u.parse().ok())
    }

    /// Whether the directory that it shows was removed on the share. The kernel says so (d_path) of a directory of
    /// this machine's; of a server's it does not know.
    pub fn is_removed(&self) -> bool {
        self.mount.root.to_string_lossy().ends_with("//deleted")
    }
}

/// What a probe saw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// Size of the share in bytes.
    pub bytes_total: u64,
    /// Free for users, in bytes.
    pub bytes_free: u64,
    /// So many connections to the server, users' mostly, carry data of which nothing arrives.
    #[serde(default)]
    pub stalled: u32,
}

/// What tells one state of a file from another (stat(2)), without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// When its text changed last: seconds and nanoseconds of the wall clock.
    pub modified: (i64, i64),
    /// When anything about it changed last.
    pub changed: (i64, i64),
}

/// What came of giving the present keys to what is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rekeyed {
    /// The keys are others than before, or were given again.
    pub changed: bool,
    /// Mounts, by id, that keep the old key: this kernel cannot change it, and somebody uses them.
    pub left: Vec<u64>,
}

/// The search for the reason why a mounted share does not answer. Begun anew with each silence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// When the server was last connected to afresh, and what came of it.
    pub knocked: Option<(Duration, Result<IpAddr, Failure>)>,
    /// When dead connections were last closed.
    pub healed_at: Option<Duration>,
    /// How often.
    pub healed: u32,
    /// Why they could not be.
    pub unhealed: Option<Failure>,
    /// When the share was last mounted for a trial, beside what is mounted, and what came of it.
    pub tried: Option<(Duration, Result<(), Failure>)>,
    /// How often.
    pub trials: u32,
    /// The keys were given again.
    pub rekeyed: bool,
}

/// What is known of the keys that live mounts have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// The credentials' file as it is now; nothing when it cannot be looked at, or there is none.
    pub file: Option<FileMark>,
    /// The file whose keys are in force; nothing before they were first compared.
    pub taken: Option<Option<FileMark>>,
    /// When they were last compared.
    pub looked: Option<Duration>,
    /// Why that failed.
    pub failure: Option<Failure>,
    /// Mounts, by id, that keep an old key.
    pub left: Vec<u64>,
}

/// Why something on the share or with the server failed: as data, for [`super::diagnosis`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was tried.
    pub attempt: Attempt,
    /// The error's number (errno(3)); nothing when it was no system call that failed.
    pub errno: Option<i32>,
    /// What the kernel or a library said, in its words.
    pub details: Vec<String>,
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// Finding the address of the server's name.
    Resolve,
    /// Opening a TCP connection to it.
    Connect,
    /// Reading the credentials.
    Credentials,
    /// Fetching the key from Key Vault.
    Vault,
    /// Preparing the mount point and laying the guard.
    Guard,
    /// Making mount points in the guard.
    MountPoints,
    /// Checking the local directory that stands for the share.
    Source,
    /// Mounting the share's root.
    Mount,
    /// Asking the mounted share for a sign of life.
    Probe,
    /// Making or checking a user's directory on the share.
    Directory,
    /// Mounting a user's directory.
    Attach,
    /// Unmounting a user's directory.
    Detach,
    /// Writing what waits to be written.
    Flush,
    /// Unmounting the share's root.
    Unmount,
    /// Closing dead connections to the server.
    Heal,
    /// Giving new keys to what is mounted.
    Rekey,
    /// Making sure that a user's numbers and home are theirs.
    Account,
    /// The same, when it was found for sure that they are not, or no longer.
    StaleAccount,
    /// Starting or finishing the helper process itself.
    Worker,
}

impl Failure {
    /// A failed system call.
    pub fn call(attempt: Attempt, errno: rustix::io::Errno) -> Self {
        Self { attempt, errno: Some(errno.raw_os_error()), details: Vec::new() }
    }

    /// A failure without a system call.
    pub fn said(attempt: Attempt, detail: impl Into<String>) -> Self {
        Self { attempt, errno: None, details: vec![detail.into()] }
    }

    /// A failed mount call.
    pub fn mount(attempt: Attempt, error: crate::sys::mount::MountError) -> Self {
        let details = std::iter::once(error.call).chain(error.messages).collect();
        Self { attempt, errno: Some(error.errno), details }
    }

    /// Whether it is about whose account it is: nothing else was tried then.
    pub fn is_about_account(&self) -> bool {
        matches!(self.attempt, Attempt::Account | Attempt::StaleAccount)
    }

    /// The failure in one line, for the log.
    pub fn line(&self) -> String {
        let errno = self.errno.map(|e| std::io::Error::from_raw_os_error(e).to_string());
        let parts: Vec<String> = errno.into_iter().chain(self.details.iter().cloned()).collect();
        format!("{:?}: {}", self.attempt, parts.join("; "))
    }
}

/// What is remembered of the share from pass to pass. Everything here may be forgotten: it costs a new look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// The guard as it was seen last.
    pub guard_id: Option<u64>,
    /// The mount of the root that the rest speaks of.
    pub root_id: Option<u64>,
    /// The last answer of the share.
    pub answered: Option<(Duration, Probe)>,
    /// It was mounted just now, and nobody has asked it since: what mounts it is as good as an answer.
    pub fresh: bool,
    /// The last probe's end, whatever it brought.
    pub probed_at: Option<Duration>,
    /// Failed probes in a row.
    pub silent: u32,
    /// The server's address and when it was last found to answer there.
    pub reached: Option<(Duration, Option<IpAddr>)>,
    /// Attempts in a row that failed to lay the guard or to mount.
    pub failures: u32,
    /// Not before then again.
    pub next_try: Duration,
    /// Why the last attempt failed.
    pub failure: Option<Failure>,
    /// What is left of an earlier mount point.
    pub old: super::old::Memory,
    /// The state and since when.
    pub state: Option<(ShareState, Duration)>,
    /// While the mounted share does not answer: why.
    pub search: Search,
    /// When connections were last closed while the share answered.
    pub tended: Option<Duration>,
    /// The keys.
    pub keys: Keys,
}

/// What the share looks like after deciding, for the rooms above.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The state.
    pub state: ShareState,
    /// The guard's mount, when it is there.
    pub guard: Option<u64>,
    /// The root's mount, when it is there and answers: users' directories can be made and mounted.
    pub usable: Option<u64>,
    /// The server's address for further mounts.
    pub address: Option<IpAddr>,
    /// What needs a person.
    pub problems: Vec<Problem>,
}

/// One thing to do about the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Lay the guard at the mount point.
    LayGuard,
    /// Find the server's address and see whether it answers.
    Reach {
        /// Its name.
        host: String,
        /// Its port.
        port: u16,
    },
    /// Mount the share's root for the agent.
    MountRoot {
        /// The server's address.
        address: Option<IpAddr>,
    },
    /// See whether the share answers.
    Probe,
    /// Unmount the agent's own mount of the share's root, which nobody else uses.
    UnmountRoot,
    /// Close dead connections to the server, so that the kernel opens new ones.
    Heal {
        /// Where the server is now.
        address: Option<IpAddr>,
        /// All of them, since closing those that are surely dead did not help.
        all: bool,
    },
    /// Mount the share for a trial, where nobody sees it.
    Trial {
        /// Where the server is now.
        address: Option<IpAddr>,
    },
    /// Give the present keys to what is mounted.
    Rekey {
        /// Although they are the same as before.
        force: bool,
    },
    /// Unmount what is left where the mount point was before, as far as nobody uses it.
    TakeDown {
        /// Where.
        at: PathBuf,
    },
    /// Read further ahead from these file systems, named as in mountinfo.
    ReadAhead {
        /// Which.
        devices: Vec<String>,
    },
    /// Fetch the key from Key Vault.
    FetchKeys,
}

/// The path of a user's directory below the mount point and on the share: from the configured template and the name
/// as it is written on the share.
pub fn user_directory(template: &str, component: &str) -> PathBuf {
    template.split('/').map(|c| if c == "{user}" { component } else { c }).collect()
}

/// The directories above the users' own: `notebooks` of `notebooks/{user}`.
pub fn parent_of(directory: &Path) -> &Path {
    directory.parent().unwrap_or(Path::new(""))
}
