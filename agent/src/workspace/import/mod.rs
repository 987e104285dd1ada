//! Copies what lies where a user's link belongs to their workspace on the share, verified, keeps the original beside it
//! under another name, and makes the link. All of it is done as the user.
//!
//! ```text
//! survey -> refuse, or -> copy into .dsvm-import-VM on the share, each file verified -> survey again: unchanged? ->
//! place, over nothing -> mark the original as copied -> rename it -> link
//! ```
//!
//! It may end at any point, by a signal too, and be done again: what was copied and is still right is not copied
//! again, what was placed already is seen to be the same. Until the very end the original lies where it lay; nothing
//! in it is changed at any time, and nothing on the share is ever overwritten.

pub(in crate::workspace) mod copy;
pub(in crate::workspace) mod kept;
mod run;
pub(in crate::workspace) mod survey;
#[cfg(test)]
mod tests;

pub use run::run;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// So many refusals or names are listed; how many more there are is counted.
pub const LISTED: usize = 1000;
/// More entries than this are no notebooks: they are copied by hand.
pub const MOST: usize = 1_000_000;
/// Directories within directories.
pub const DEEPEST: usize = 100;

/// What is to be imported, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The user's home.
    pub home: PathBuf,
    /// The link, relative to it.
    pub link: PathBuf,
    /// Where the link will lead: the user's workspace, mounted.
    pub target: PathBuf,
    /// The share is SMB: it holds fewer names than this machine, and no modes.
    pub smb: bool,
    /// Place everything in this new directory of the workspace.
    pub into: Option<String>,
    /// Only look.
    pub dry_run: bool,
    /// This VM's name.
    pub node: String,
    /// Today, as eight digits.
    pub today: String,
}

/// How many and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Files, links among them.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Of the files: those that were on the share already, the same in every byte.
    pub already: u64,
    /// Of the files: programs and scripts, whose being so SMB cannot hold.
    pub programs: u64,
}

/// Something that cannot be copied as it is, or not without overwriting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Where, below what is imported.
    pub path: String,
    /// Why.
    pub why: String,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Looking at what there is.
    Looking {
        /// Entries so far.
        entries: u64,
    },
    /// Copying and verifying.
    Copying {
        /// So far.
        done: Tally,
        /// Of so many.
        all: Tally,
    },
    /// Looking whether anything changed meanwhile.
    Checking,
    /// Putting the copies in their places.
    Placing {
        /// Files so far.
        files: u64,
    },
    /// Renaming the original.
    Keeping,
    /// Making the link.
    Linking,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// There is nothing to import: why, in words.
    Nothing {
        /// Why.
        why: String,
    },
    /// Nothing was begun, since not all of it can be done.
    Refused {
        /// What cannot be.
        refused: Vec<Refused>,
        /// So many more are not listed.
        more: u64,
    },
    /// All of it can be done.
    Would {
        /// What would be copied.
        tally: Tally,
        /// The name that the original would get.
        kept: String,
    },
    /// It is done.
    Done {
        /// What was copied.
        tally: Tally,
        /// The original's name now.
        kept: String,
        /// What changed in the original at the very end, and is there only.
        late: Vec<String>,
        /// The link was made.
        linked: bool,
    },
    /// Users' programs are still at work there: what changes all the time. Everything lies where it lay.
    Changing {
        /// Some of it.
        paths: Vec<String>,
    },
    /// It could not go on. Everything of the user's lies where it lay; it can be done again.
    Stopped {
        /// What it was at.
        at: String,
        /// The error (errno(3)).
        errno: i32,
    },
}

/// Whether a link in what is imported leads to something else in it, wherever all of it lies: one that is absolute, or
/// climbs out, would lead elsewhere from the share or from another VM.
pub fn stays_inside(link: &Path, target: &Path) -> bool {
    use std::path::Component;
    let mut depth = link.components().count().saturating_sub(1);
    target.components().all(|component| match component {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::CurDir => true,
        Component::ParentDir => {
            let climbs = depth > 0;
            depth = depth.saturating_sub(1);
            climbs
        }
        _ => false,
    })
}

/// Why a name cannot be on an SMB share; nothing when it can.
pub fn refused_by_smb(name: &std::ffi::OsStr) -> Option<String> {
    match name.to_str() {
        None => Some("has a name that is no text (UTF-8)".to_owned()),
        Some(text) => crate::config::safe_on_smb(text).err(),
    }
}

/// The name that the original is kept under: the `attempt`th, from 0.
pub fn kept_name(link: &str, today: &str, attempt: u32) -> String {
    match attempt {
        0 => format!("{link}.local-{today}"),
        n => format!("{link}.local-{today}-{}", n + 1),
    }
}
