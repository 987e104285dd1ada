//! Makes and verifies shared directories on the share, in a worker, through descriptors below its verified root.

use crate::share::model::{Attempt, Failure, parent_of};
use crate::share::shared::Shared;
use crate::sys::open;
use crate::workspace::act::{is_empty, is_exposed, is_refusal, parent_of_all};
use crate::workspace::model::Directory;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::Path;

/// Looks at the directory `path` of the share and, with `make`, makes it when it is missing. Where the share has
/// `owners`, its owner, group and mode must keep what `shared` promises; nothing of one that holds anything is changed.
///
/// # Errors
/// The call that failed.
pub fn directory(root: &OwnedFd, path: &Path, shared: Shared, owners: bool, make: bool) -> Result<Directory, Failure> {
    match attempt(root, path, shared, owners, make) {
        Ok(seen) => Ok(seen),
        Err(Errno::LOOP | Errno::NOTDIR) => Ok(Directory::Occupied),
        Err(e) if owners && is_refusal(e) => Ok(Directory::Squashed),
        Err(e) => Err(Failure::call(Attempt::Directory, e)),
    }
}

fn attempt(root: &OwnedFd, path: &Path, shared: Shared, owners: bool, make: bool) -> Result<Directory, Errno> {
    let (above, name) = (parent_of(path), path.file_name().ok_or(Errno::INVAL)?);
    let parent = if make {
        parent_of_all(root, above)?
    } else if above.as_os_str().is_empty() {
        rustix::io::fcntl_dupfd_cloexec(root, 3)?
    } else {
        match open::below(root, above) {
            Err(Errno::NOENT) => return Ok(Directory::Missing),
            other => other?,
        }
    };
    if owners && !above.as_os_str().is_empty() {
        let stat = rustix::fs::fstat(&parent)?;
        if is_exposed(stat.st_uid, stat.st_mode) {
            return Ok(Directory::Exposed { uid: stat.st_uid, mode: stat.st_mode & 0o7777 });
        }
    }
    let mut made = false;
    match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => return Ok(Directory::Occupied),
        Ok(_) => {}
        Err(Errno::NOENT) if !make => return Ok(Directory::Missing),
        Err(Errno::NOENT) => match rustix::fs::mkdirat(&parent, name, Mode::from(0o700)) {
            Ok(()) => made = true,
            // Another VM may have been faster.
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        },
        Err(e) => return Err(e),
    }
    if !owners {
        return Ok(Directory::Ready { made });
    }
    let stat = rustix::fs::fstat(&open::below(&parent, Path::new(name))?)?;
    // Made by root just now, or half made by a VM that died: an empty directory of root's alone is nobody's yet.
    let unfinished = stat.st_uid == 0 && stat.st_mode & 0o7777 == 0o700 && is_empty(&parent, name)?;
    let stat = match unfinished {
        true if make => finish(&parent, name, shared)?,
        true => return Ok(Directory::Missing),
        false => stat,
    };
    Ok(match shared.is_kept_by(stat.st_uid, stat.st_gid, stat.st_mode) {
        true => Directory::Ready { made },
        false => Directory::Unfit { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 },
    })
}

/// Gives a new directory to its group. Only then others are let in.
fn finish(parent: &OwnedFd, name: &OsStr, shared: Shared) -> Result<rustix::fs::Stat, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if shared.closed {
        rustix::fs::fchown(&own, None, Some(Gid::from_raw(shared.gid)))?;
    }
    rustix::fs::fchmod(&own, Mode::from(shared.mode()))?;
    rustix::fs::fstat(&own)
}
