//! Copying one file or link to the share and verifying it, and comparing what is there.

use super::survey::{Entry, Kind, Source};
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const CHUNK: usize = 1 << 20;

/// What a place on the share holds, compared with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) enum Seen {
    Nothing,
    Same,
    Other,
}

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::workspace) enum Copied {
    /// It is there, byte for byte.
    Verified,
    /// The original is not what it was: it is looked at anew.
    Changed,
}

/// The directory above `path`, and its own name.
pub(in crate::workspace) fn split(path: &Path) -> (&Path, &std::ffi::OsStr) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}

pub(in crate::workspace) fn parent_below(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    if path.as_os_str().is_empty() { rustix::io::fcntl_dupfd_cloexec(root, 3) } else { open::below(root, path) }
}

/// What lies at `path` below `root`, against `entry`.
pub(in crate::workspace) fn compare(
    source: &Source,
    entry: &Entry,
    root: &OwnedFd,
    path: &Path,
) -> Result<Seen, Errno> {
    if path.as_os_str().is_empty() {
        return Ok(Seen::Same);
    }
    let (above, name) = split(path);
    let parent = match parent_below(root, above) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Ok(Seen::Other),
        Err(e) => return Err(e),
    };
    let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(e) => return Err(e),
    };
    let same = match (&entry.kind, FileType::from_raw_mode(stat.st_mode)) {
        (Kind::Directory, FileType::Directory) => true,
        (Kind::Link(target), FileType::Symlink) => {
            rustix::fs::readlinkat(&parent, name, Vec::new())?.to_bytes() == target.as_os_str().as_bytes()
        }
        (Kind::File, FileType::RegularFile) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            u64::try_from(stat.st_size).is_ok_and(|size| size == entry.size)
                && match source.open(&entry.path, OFlags::RDONLY) {
                    Ok(original) => {
                        let there = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
                        sum(&original)? == sum(&there)?
                    }
                    // Vanished: the next look will say so.
                    Err(_) => false,
                }
        }
        _ => false,
    };
    Ok(if same { Seen::Same } else { Seen::Other })
}

/// The sum of a file's content, and its length.
fn sum(file: &OwnedFd) -> Result<([u8; 32], u64), Errno> {
    let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0u8; CHUNK], 0u64);
    loop {
        match rustix::io::pread(file, &mut buffer, length) {
            Ok(0) => return Ok((hash.finalize().into(), length)),
            Ok(n) => {
                hash.update(buffer.get(..n).unwrap_or_default());
                length += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Copies a file to `name` in `parent`, which holds nothing of that name, and reads it back from the share. `progress`
/// is told of the bytes.
pub(in crate::workspace) fn file(
    source: &Source,
    entry: &Entry,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    smb: bool,
    progress: &mut dyn FnMut(u64) -> Result<(), Errno>,
) -> Result<Copied, Errno> {
    let original = match source.open(&entry.path, OFlags::RDONLY) {
        Ok(original) => original,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::XDEV | Errno::ACCESS | Errno::NXIO) => {
            return Ok(Copied::Changed);
        }
        Err(e) => return Err(e),
    };
    if !entry.is(&rustix::fs::fstat(&original)?) {
        return Ok(Copied::Changed);
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let copy = rustix::fs::openat(parent, name, flags, Mode::from(0o600))?;
    let (mut hash, mut buffer, mut length) = (Sha256::new(), vec![0u8; CHUNK], 0u64);
    loop {
        let n = match rustix::io::pread(&original, &mut buffer, length) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(e) => return Err(e),
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        hash.update(rest);
        while !rest.is_empty() {
            let written = rustix::io::pwrite(&copy, rest, length)?;
            length += written as u64;
            rest = rest.get(written..).unwrap_or_default();
        }
        progress(n as u64)?;
        // One that grows without end is not waited for.
        if length > entry.size {
            return Ok(Copied::Changed);
        }
    }
    if !smb {
        rustix::fs::fchmod(&copy, Mode::from(entry.mode))?;
    }
    match times(&copy, entry) {
        // On a share that is everybody's each file is root's, and nobody else may say when it was changed (utimensat(2)).
        Ok(()) | Err(Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    // What the server has counts, not what this machine remembers of it.
    rustix::fs::fsync(&copy)?;
    let _ = rustix::fs::fadvise(&copy, 0, None, rustix::fs::Advice::DontNeed);
    if sum(&copy)? != (hash.finalize().into(), entry.size) {
        let unchanged = entry.is(&rustix::fs::fstat(&original)?);
        return if unchanged { Err(Errno::IO) } else { Ok(Copied::Changed) };
    }
    Ok(if entry.is(&rustix::fs::fstat(&original)?) { Copied::Verified } else { Copied::Changed })
}

/// The time of the last change is worth keeping: people sort by it.
fn times(copy: &OwnedFd, entry: &Entry) -> Result<(), Errno> {
    let time = rustix::fs::Timespec { tv_sec: entry.modified.0, tv_nsec: entry.modified.1.try_into().unwrap_or(0) };
    rustix::fs::futimens(copy, &rustix::fs::Timestamps { last_access: time, last_modification: time })
}

/// Renames `from` to `to`, which must be free.
///
/// # Errors
/// `EEXIST` when it is not.
pub(in crate::workspace) fn place(
    from: (&OwnedFd, &std::ffi::OsStr),
    to: (&OwnedFd, &std::ffi::OsStr),
) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // NFS does not know it; it has links, which are made over nothing either. They are made of what may be a link
        // itself (AT_SYMLINK_FOLLOW is not asked for).
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
            rustix::fs::unlinkat(from.0, from.1, AtFlags::empty())
        }
        other => other,
    }
}
