//! The workspace's words as plain data.

use super::identities::Recorded;
use crate::problem::Problem;
use crate::share::model::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// An account, as the name services give it (getpwnam(3), getgrouplist(3)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Log-in name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one too.
    pub groups: Vec<u32>,
    /// Those that a setting may name, with their numbers.
    pub named_groups: BTreeMap<String, u32>,
    /// Home directory.
    pub home: PathBuf,
    /// Log-in shell.
    pub shell: PathBuf,
}

#[cfg(test)]
impl Account {
    /// Somebody with a group and a home of their own.
    pub(crate) fn for_tests(name: &str, uid: u32) -> Self {
        Self {
            name: name.to_owned(),
            uid,
            gid: uid,
            groups: vec![uid],
            named_groups: BTreeMap::new(),
            home: format!("/home/{name}").into(),
            shell: "/bin/bash".into(),
        }
    }
}

/// What the name services said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// Accounts that there are.
    pub accounts: Vec<Account>,
    /// Names of accounts whose name or home is no text.
    pub odd: Vec<String>,
    /// Names that were asked for, and for sure are nobody's. One that is neither here nor among the accounts is not known.
    pub absent: Vec<String>,
    /// Everybody was asked for who can be enumerated, not only some names.
    pub whole: bool,
}

/// A person that a worker acts for. Never root, never a system account: the numbers are checked where it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPerson", into = "RawPerson")]
pub struct Person {
    uid: u32,
    gid: u32,
    // Boxes, since many jobs hold one.
    groups: Box<[u32]>,
    home: Box<std::path::Path>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RawPerson {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: PathBuf,
}

impl TryFrom<RawPerson> for Person {
    type Error = String;

    fn try_from(raw: RawPerson) -> Result<Self, String> {
        Person::new(raw.uid, raw.gid, raw.groups, raw.home)
    }
}

impl From<Person> for RawPerson {
    fn from(p: Person) -> Self {
        RawPerson { uid: p.uid, gid: p.gid, groups: p.groups.into_vec(), home: p.home.into_path_buf() }
    }
}

impl Person {
    /// A person with these numbers. Root's group is dropped from the others: nothing here needs it.
    ///
    /// # Errors
    /// For root, for "nobody" (`-1` and its 16-bit kin), and for a home that is not absolute.
    pub fn new(uid: u32, gid: u32, mut groups: Vec<u32>, home: PathBuf) -> Result<Self, String> {
        let reserved = |id: u32| id == 0 || id == u32::MAX || id == u32::from(u16::MAX);
        if reserved(uid) || reserved(gid) {
            return Err(format!("uid {uid}, gid {gid} is nobody to act for"));
        }
        if !home.is_absolute() {
            return Err("the home is not an absolute path".to_owned());
        }
        groups.retain(|g| !reserved(*g));
        Ok(Self { uid, gid, groups: groups.into(), home: home.into() })
    }

    /// User id.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Primary group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// All groups but root's.
    pub fn groups(&self) -> &[u32] {
        &self.groups
    }

    /// Home directory.
    pub fn home(&self) -> &std::path::Path {
        &self.home
    }
}

/// What lies where the link belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// The right link.
    Right {
        /// It was made just now.
        made: bool,
    },
    /// Nothing; it may be made.
    Missing,
    /// A link to somewhere else.
    Elsewhere {
        /// Where it leads.
        target: PathBuf,
    },
    /// A directory of the user's own.
    Directory {
        /// Files and links in it, however deep, up to a bound.
        files: u64,
        /// Bytes in those.
        bytes: u64,
        /// There is more than was counted, or some of it cannot be read.
        more: bool,
    },
    /// A file or something else.
    Other,
    /// Something on the way is no directory: the home, or one between it and the link.
    Blocked {
        /// Which.
        path: PathBuf,
        /// The error's number.
        errno: i32,
    },
    /// The home does not exist yet.
    NoHome,
}

/// What lies where a user's directory belongs on the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directory {
    /// The user's directory.
    Ready {
        /// It was made just now.
        made: bool,
    },
    /// Nothing; it may be made.
    Missing,
    /// A link, a file, or something else that is no directory.
    Occupied,
    /// The directory above it is such that others could swap what is in it.
    Exposed {
        /// Its owner.
        uid: u32,
        /// Its mode.
        mode: u32,
    },
    /// A directory that belongs to another number.
    Foreign {
        /// Which.
        uid: u32,
        /// Since when and from which VM that number is recorded for the name, if it is.
        recorded: Option<Recorded>,
    },
    /// A shared directory whose owner, group and mode do not keep what the settings promise.
    Unfit {
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its mode.
        mode: u32,
    },
    /// The name is recorded with another number.
    OtherNumber {
        /// Which.
        uid: u32,
        /// Since when and from which VM.
        recorded: Option<Recorded>,
    },
    /// The number is recorded for another name.
    OtherName {
        /// Which, as a directory's name is written.
        name: String,
        /// Since when and from which VM.
        recorded: Option<Recorded>,
    },
    /// The name was retired: it is nobody's any more.
    Retired {
        /// Since when and from which VM.
        recorded: Option<Recorded>,
    },
    /// The server does not let root make it (root squash): its user may be able to.
    Squashed,
    /// It could not be made or looked at.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// One thing to do for users. `names` are log-in names, or places in shared directories, which have a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Make mount points in the guard.
    MountPoints {
        /// For these users.
        names: Vec<String>,
    },
    /// Make, or look at, directories on the share.
    Directories {
        /// Of these users.
        names: Vec<String>,
    },
    /// Make the directory of a user as that user: the server gives root no rights.
    OwnDirectory {
        /// This user's.
        name: String,
    },
    /// Make the link in a home.
    Link {
        /// Of this user.
        name: String,
    },
    /// Mount a user's directory.
    Attach {
        /// This user's.
        name: String,
        /// From the server's address.
        address: Option<IpAddr>,
    },
    /// Mount the whole share for everybody.
    ShowAll {
        /// From the server's address.
        address: Option<IpAddr>,
    },
    /// Unmount a user's directory, or the whole share where it is empty.
    Detach {
        /// Relative to the mount point.
        directory: PathBuf,
        /// Why, for the log.
        why: &'static str,
    },
}

/// Something that is wrong with one user's workspace, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What a person is told; nothing when it is normal and will pass.
    pub problem: Option<Problem>,
    /// Look again then, by the boot-time clock.
    pub again: std::time::Duration,
    /// When the pause is over that this began, if nobody cuts it short.
    pub until: std::time::Duration,
    /// Pauses in a row that were not cut short.
    pub pauses: u32,
    /// Failures in a row.
    pub failures: u32,
}
