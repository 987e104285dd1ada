//! What lies beside the copies: a text for people, and how the agent's own small files get there.

use super::Left;
use super::last::Last;
use super::rule::another;
use crate::share::diagnosis::bytes as human;
use crate::sys::clock::rfc3339;
use crate::workspace::import::copy::place;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::time::{Duration, UNIX_EPOCH};

/// The text's name.
const NAME: &str = "READ-ME.txt";
/// It begins so: by that it is known again.
const FIRST: &str = "Kept by dsvm-agent when the VM that these files were on was about to be deleted.\n";
/// A file that is being written has this name.
const NEW: &str = ".new";
/// So many names are tried for the text: a user's own file may be called so.
const NAMES: u32 = 5;
/// So many of what was left are named.
const NAMED: usize = 1000;

/// The text. `under_way`: nothing was copied yet.
pub(super) fn text(last: &Last, left: &[Left], unread: &[String], under_way: bool) -> String {
    let when = rfc3339(UNIX_EPOCH + Duration::from_secs(last.at)).replace('T', " ").replace('Z', " UTC");
    let mut out = format!("{FIRST}\nVM      {}\nWhen    {when}\n", plain(&last.node));
    if under_way {
        out.push_str("Copied  it is being done, or was ended on the way: what is here is whole, and may not be all\n");
        return out;
    }
    let files = if last.files == 1 { "1 file".to_owned() } else { format!("{} files", last.files) };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "Copied  {files}, {}, each compared with its original", human(last.bytes));
    out.push_str("\nThey lie as they lay in your home there: notebooks/a.ipynb was ~/notebooks/a.ipynb.\n");
    if !last.whole {
        out.push_str("Not everything was looked at, or there was no time to copy it: there may have been more.\n");
    }
    if !unread.is_empty() {
        out.push_str("\nNot looked at, or not all of it, because it could not be read, and gone with that VM:\n");
        for path in unread {
            let _ = writeln!(out, "  {}", plain(path));
        }
    }
    if !left.is_empty() {
        out.push_str("\nNot copied, and gone with that VM:\n");
        for one in left.iter().take(NAMED) {
            let _ = writeln!(out, "  {} ({}): {}", plain(&one.path), human(one.bytes), one.why);
        }
        if left.len() > NAMED {
            let _ = writeln!(out, "  and {} more", left.len() - NAMED);
        }
    }
    out
}

/// Without anything that breaks lines or acts on a terminal.
fn plain(text: &str) -> String {
    let acts = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if acts(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.to_string() }).collect()
}

/// Writes the text into the directory `root`, in place of an earlier one of the agent's, and of nothing else.
///
/// # Errors
/// As of the calls.
pub(super) fn write(root: &OwnedFd, text: &str) -> Result<(), Errno> {
    for attempt in 0..NAMES {
        match put(root, &another(OsStr::new(NAME), attempt), FIRST, text) {
            Err(Errno::EXIST) => {}
            other => return other,
        }
    }
    Err(Errno::EXIST)
}

/// Writes a file of the agent's at once: who reads it sees the old one or the new. What is there stays, unless it begins
/// with `mark`.
///
/// # Errors
/// As of the calls; `EEXIST` when something else is there.
pub(super) fn put(root: &OwnedFd, name: &OsStr, mark: &str, text: &str) -> Result<(), Errno> {
    let ours = match read(root, name, mark.len()) {
        Err(Errno::NOENT) => false,
        Ok(begin) if begin == mark.as_bytes() => true,
        _ => return Err(Errno::EXIST),
    };
    // One that was left half written.
    match rustix::fs::unlinkat(root, NEW, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(root, NEW, flags, Mode::from(0o600))?;
    let mut file = std::fs::File::from(file);
    let io = |e: std::io::Error| e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    if ours { rustix::fs::renameat(root, NEW, root, name) } else { place((root, OsStr::new(NEW)), (root, name)) }
}

/// The first `most` bytes of a file. Nothing is followed, and a pipe holds nobody up.
///
/// # Errors
/// As of openat(2); `EINVAL` for what is no file.
pub(super) fn read(root: &OwnedFd, name: &OsStr, most: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::openat(root, name, flags, Mode::empty())?);
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(Errno::INVAL);
    }
    let mut bytes = Vec::new();
    file.take(most as u64)
        .read_to_end(&mut bytes)
        .map(|_| bytes)
        .map_err(|e| e.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error))
}

/// The names in a directory, `most` at most.
///
/// # Errors
/// As of the calls.
pub(super) fn names(directory: &OwnedFd, most: usize) -> Result<Vec<OsString>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let readable =
        rustix::fs::openat(directory, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)?.take(most) {
        out.push(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned());
    }
    Ok(out)
}
