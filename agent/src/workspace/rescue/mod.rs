//! Files that are on this VM only: found and named while it lives, and copied to their owner's workspace before it goes.
//! All of it is done as the user.
//!
//! What counts ([`rule`]): in `~/notebooks`, or wherever the link lies, everything; in the rest of the home notebooks and
//! what came or was changed since the home was made, outside hidden directories. What a program makes again by itself does
//! not count, nor do untouched copies of `/etc/skel`. Links are not followed and other file systems are not entered, so
//! that neither the share nor anybody else's directory is ever looked at; a home that lies on a file server does not go
//! with the VM, and nothing in it counts.

mod copy;
mod environment;
mod held;
pub mod last;
mod note;
mod rule;
mod run;
mod survey;
#[cfg(test)]
mod tests;
mod walk;
pub mod watch;

pub use run::rescue;
pub use survey::survey;

use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The directory in a workspace that holds what was rescued, each time in one of its own.
pub const RESCUED: &str = "rescued";
/// So many of the newest files are named; how many more there are is counted.
pub const NAMED: usize = 3;
/// So many of those that were left are named in an answer.
pub const LISTED: usize = 80;
/// So many directories are named that cannot be read.
pub const UNREAD: usize = 8;
/// Longest path that is told, in letters: somebody may have made one of four thousand.
pub const LONGEST: usize = 200;
/// A look at a home ends with what it has after this: it goes on beside people's work.
pub const SURVEY: Duration = Duration::from_secs(15);
/// A rescue ends with what it has after this. It may be begun again and goes on then.
pub const RESCUE: Duration = Duration::from_secs(120);

/// `into`, if it is one plain name that every share holds.
///
/// # Errors
/// In words, what is odd about it.
pub fn plain_name(into: &str) -> Result<String, String> {
    crate::config::safe_on_smb(into).map_err(|why| format!("{into:?} {why}"))?;
    let odd = into.contains('/') || into.starts_with('.');
    if odd { Err(format!("{into:?} is not the name of one directory")) } else { Ok(into.to_owned()) }
}

/// The VM in the name of a directory that begins with a day: `dsvmpool_3` of `2026-03-04-dsvmpool_3`.
pub fn node(into: &str) -> Option<String> {
    let (day, node) = into.split_at_checked(11)?;
    let is_day =
        day.bytes().enumerate().all(|(at, b)| if matches!(at, 4 | 7 | 10) { b == b'-' } else { b.is_ascii_digit() });
    (is_day && !node.is_empty()).then(|| node.to_owned())
}

/// Whose home, and what is special in it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The home.
    pub home: PathBuf,
    /// The link to the share, relative to it.
    pub link: PathBuf,
    /// What new homes are filled with: `/etc/skel`.
    pub skel: PathBuf,
    /// When this VM was started, in seconds since 1970: for homes of which it is not known when they were made.
    pub booted: i64,
}

/// What would be lost of one user's files if the VM went now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Surveyed {
    /// How many.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Those that were changed last, newest first, relative to the home. Users chose these names.
    pub newest: Vec<String>,
    /// Everything was looked at; otherwise there may be more.
    pub whole: bool,
}

/// What is to be rescued, and where to.
#[derive(Debug, Clone)]
pub struct Order {
    /// The home.
    pub place: Place,
    /// The user's workspace, mounted.
    pub target: PathBuf,
    /// The new directory below [`RESCUED`].
    pub into: String,
    /// So many bytes at most, with what earlier runs left there.
    pub limit: u64,
    /// The share is SMB: it holds fewer names than this machine, and no modes.
    pub smb: bool,
    /// The VM, as people call it.
    pub node: String,
    /// The boot that this is (random(4)), for whoever logs in to this VM again.
    pub boot_id: String,
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// A file that was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Where, relative to the home. The user chose the name.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Why.
    pub why: String,
}

/// What came of a rescue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rescued {
    /// Files that are on the share now, verified, those of an earlier run for the same directory included.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Of the files: those that an earlier run had copied.
    pub already: u64,
    /// What was not copied, largest first, [`LISTED`] at most.
    pub left: Vec<Left>,
    /// So many more are not listed.
    pub more_left: u64,
    /// Directories, relative to the home, that their owner may not read all of, [`UNREAD`] at most. The user chose the names.
    pub unread: Vec<String>,
    /// Everything was looked at and tried.
    pub whole: bool,
    /// Why not, where another run goes on from here.
    pub unfinished: Option<Unfinished>,
}

/// Why a rescue ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfinished {
    /// Time was up.
    Time,
    /// The share did not take something.
    Share,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time => "there was no time for all of them",
            Self::Share => "the share did not take all of them",
        })
    }
}
