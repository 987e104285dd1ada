//! What was rescued last, for the next log-in on whatever VM: written beside the copies, read when the workspace is
//! mounted. It lies where its user may write, so it is not believed further than it is shown to that same user.

use super::{RESCUED, note};
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::path::Path;

/// The file.
const NAME: &str = ".last";
/// It begins so: by that it is known again.
const MARK: &str = "{\"dsvm-agent\":1,";
/// Beside it, made when it was first told.
const TOLD: &str = ".told";
/// It is told for so long since then, in seconds: who does not read the first log-in's lines reads the next ones'.
const DAY: u64 = 24 * 60 * 60;
/// Longest file that is read.
const LARGEST: usize = 4096;
/// Longest name in it.
const LONGEST: usize = 64;
/// The end of the year 9999: there is no time of four digits behind it.
const LATEST_TIME: u64 = 253_402_300_799;
/// So many directories are known, and so many of the latest by name looked into.
const MOST: usize = 1000;
const LATEST: usize = 8;

/// What was rescued last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// The VM that went.
    pub node: String,
    /// When, in seconds since 1970.
    pub at: u64,
    /// So many files are kept.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// So many could not be.
    pub left: u64,
    /// It came to its end.
    pub whole: bool,
    /// The boot in which it was done.
    pub boot_id: String,
    /// Where they are, below [`RESCUED`] in the workspace.
    #[serde(default)]
    pub into: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    #[serde(rename = "dsvm-agent")]
    version: u32,
    #[serde(flatten)]
    last: Last,
}

/// Writes it into the directory `root`.
///
/// # Errors
/// As of the calls; `EEXIST` when something else of that name is there.
pub(super) fn write(root: &OwnedFd, last: &Last) -> Result<(), Errno> {
    let text = serde_json::to_string(&File { version: 1, last: last.clone() }).map_err(|_| Errno::INVAL)?;
    note::put(root, OsStr::new(NAME), MARK, &text)
}

/// What is to be told of the workspace at `target`, as the user that this process is: nothing when there is nothing, or
/// it was told for a day, or it was done in this very boot, `boot_id`. `now` is in seconds since 1970.
///
/// # Errors
/// When the workspace cannot be looked at.
pub fn read(target: &Path, boot_id: &str, now: u64) -> Result<Option<Last>, Errno> {
    let share = open::directory(target)?;
    let all = match open::below(&share, Path::new(RESCUED)) {
        // Something of the user's own has that name.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
        other => other?,
    };
    // Their names begin with a day.
    let mut names = note::names(&all, MOST)?;
    names.retain(|n| n.to_str().is_some_and(|n| !n.starts_with('.')));
    names.sort_by(|a, b| b.cmp(a));
    let mut found: Option<(Last, OwnedFd)> = None;
    for name in names.into_iter().take(LATEST) {
        let Ok(directory) = open::below(&all, Path::new(&name)) else { continue };
        let Some(mut last) = note::read(&directory, OsStr::new(NAME), LARGEST).ok().as_deref().and_then(parse) else {
            continue;
        };
        last.into = name.to_string_lossy().into_owned();
        if found.as_ref().is_none_or(|(best, _)| best.at < last.at) {
            found = Some((last, directory));
        }
    }
    Ok(found.filter(|(last, directory)| last.boot_id != boot_id && is_news(directory, now)).map(|(last, _)| last))
}

/// What a file says, if it is one of these.
pub fn parse(bytes: &[u8]) -> Option<Last> {
    let File { version, last } = serde_json::from_slice(bytes).ok()?;
    (version == 1 && last.at <= LATEST_TIME && last.node.chars().count() <= LONGEST).then_some(last)
}

/// Whether it was first told less than a day ago, or is now.
fn is_news(directory: &OwnedFd, now: u64) -> bool {
    match rustix::fs::statat(directory, TOLD, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => now < u64::try_from(stat.st_mtime).unwrap_or(0).saturating_add(DAY),
        Err(_) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // A share that takes nothing hears of it again the next time.
            drop(rustix::fs::openat(directory, TOLD, flags, Mode::from(0o600)));
            true
        }
    }
}
