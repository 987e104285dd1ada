//! How much was rescued to a directory already: what is copied together has one limit, whatever ended the runs before.

use crate::sys::clock::boottime;
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many entries are looked at: as many as a home may have to be looked at whole.
const MOST: usize = 100_000;

/// The bytes in all files below `root`, without the agent's own at the top, as far as they can be looked at until `until` by
/// the boot-time clock.
pub(super) fn held(root: &OwnedFd, until: Duration) -> u64 {
    let (mut bytes, mut seen) = (0u64, 0usize);
    let mut waiting = vec![PathBuf::new()];
    while let Some(path) = waiting.pop() {
        let Ok(entries) = list(root, &path) else { continue };
        for (name, kind, size) in entries {
            seen += 1;
            if seen > MOST || seen.is_multiple_of(256) && boottime() >= until {
                return bytes;
            }
            let own = path.as_os_str().is_empty() && name.as_bytes().starts_with(b".");
            match kind {
                FileType::Directory => waiting.push(path.join(name)),
                FileType::RegularFile if !own => bytes = bytes.saturating_add(size),
                _ => {}
            }
        }
    }
    bytes
}

fn list(root: &OwnedFd, path: &Path) -> Result<Vec<(std::ffi::OsString, FileType, u64)>, Errno> {
    let directory = if path.as_os_str().is_empty() { None } else { Some(open::below(root, path)?) };
    let directory = directory.as_ref().unwrap_or(root);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable)?.take(MOST) {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        out.push((name.to_owned(), kind, u64::try_from(stat.st_size).unwrap_or(0)));
    }
    Ok(out)
}
