//! Carries out the workspaces' steps, in a worker. In a home everything is done as the user; on the share everything
//! goes through descriptors below its verified root.

use super::identities::{Entry, Holder, Ledger, Verdict};
use super::model::{Directory, Link};
use super::shared;
use crate::config::settings::Shared;
use crate::share::act::open_root;
use crate::share::model::{Attempt, Failure, parent_of};
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// Entries of a directory in the way are counted up to this.
pub const COUNTED: u64 = 1000;
/// Directories within directories are counted up to this.
const DEPTH: u32 = 16;

/// Whose directory on the share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Relative to the share's root.
    pub directory: String,
    /// Its owner, where the share knows owners.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The group that a shared directory is for.
    #[serde(default)]
    pub group: Option<u32>,
}

impl Wanted {
    /// How the user sees the shared directory of this setting.
    pub fn view(&self, setting: &Shared) -> crate::share::shared::Shared {
        crate::share::shared::Shared::new(self.uid, self.gid, self.group, setting.read_only)
    }
}

/// Looks at users' directories on the share and, with `make`, makes those that are missing.
///
/// # Errors
/// When the share's root cannot be opened at all; what concerns one user only is in their answer.
pub fn directories(wanted: &[Wanted], shared: &[Shared], owners: bool, make: bool) -> Result<Vec<Directory>, Failure> {
    let root = open_root(Attempt::Directory)?;
    directories_on(&root, wanted, shared, owners, make)
}

/// The same on a share whose root is `root`.
pub(super) fn directories_on(
    root: &OwnedFd,
    wanted: &[Wanted],
    shared: &[Shared],
    owners: bool,
    make: bool,
) -> Result<Vec<Directory>, Failure> {
    // Where files have no owners the ledger has retired names alone: only an administrator begins it.
    let ledger = match Ledger::open(root, owners, make && owners) {
        // A server that gives root no rights (root squash) takes no records: the owner of a directory is all that counts.
        // One that others could have written in is another error.
        Err(Errno::ACCESS) if owners => None,
        other => other.map_err(ledger_failed)?,
    };
    Ok(wanted
        .iter()
        .map(|w| {
            let seen = match shared::whose(shared, &w.directory) {
                Some((setting, _)) => {
                    let view = w.view(setting);
                    shared::directory(root, Path::new(&setting.directory), view, owners, make)
                }
                None => admitted(root, ledger.as_ref(), w, owners, make),
            };
            seen.unwrap_or_else(|failure| Directory::Failed { failure })
        })
        .collect())
}

fn ledger_failed(errno: Errno) -> Failure {
    let details = vec!["the records of who is who on the share, .dsvm-agent".to_owned()];
    Failure { details, ..Failure::call(Attempt::Directory, errno) }
}

/// Whose directory it is, before it is looked at or made: the owner of one that is there is the truth, the ledger the
/// cross-check.
fn admitted(
    root: &OwnedFd,
    ledger: Option<&Ledger>,
    wanted: &Wanted,
    owners: bool,
    make: bool,
) -> Result<Directory, Failure> {
    let name = Path::new(&wanted.directory).file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let Some(ledger) = ledger else { return directory(root, wanted, owners, make) };
    if !owners {
        let retired = ledger.retired(name).map_err(ledger_failed)?;
        return retired.map_or_else(|| directory(root, wanted, owners, make), Ok);
    }
    let there = directory(root, wanted, owners, false)?;
    if let Directory::Foreign { uid, .. } = there {
        return Ok(match ledger.name(name).map_err(ledger_failed)? {
            Some(Entry { value: Holder::Retired, recorded }) => Directory::Retired { recorded },
            Some(Entry { value: Holder::Number(n), recorded }) if n == uid => Directory::Foreign { uid, recorded },
            _ => Directory::Foreign { uid, recorded: None },
        });
    }
    let verdict = match ledger.judge(name, wanted.uid).map_err(ledger_failed)? {
        Verdict::Free if make && matches!(there, Directory::Missing | Directory::Ready { .. }) => {
            match ledger.claim(name, wanted.uid) {
                Ok(verdict) => verdict,
                // A share that is full or read-only takes no records. Whoever has a directory has it all the same.
                Err(_) if matches!(there, Directory::Ready { .. }) => Verdict::Free,
                Err(e) => return Err(ledger_failed(e)),
            }
        }
        verdict => verdict,
    };
    match (verdict, there) {
        (Verdict::Refused(why), _) => Ok(why),
        // One that is there is looked at again: only now that it is known whose it is, it may be closed to others.
        (_, Directory::Missing | Directory::Ready { .. }) if make => directory(root, wanted, owners, true),
        (_, there) => Ok(there),
    }
}

/// Whether somebody else than root could put one directory in the place of another in a directory like this: its owner
/// can, and whoever may write in it unless it is sticky (inode(7)). What a server makes of root is as good as root.
pub(super) fn is_exposed(uid: u32, mode: u32) -> bool {
    const SQUASHED: u32 = 65534;
    !matches!(uid, 0 | SQUASHED) || (mode & 0o022 != 0 && mode & 0o1000 == 0)
}

fn directory(root: &OwnedFd, wanted: &Wanted, owners: bool, make: bool) -> Result<Directory, Failure> {
    let fail = |e| Failure::call(Attempt::Directory, e);
    let path = Path::new(&wanted.directory);
    let (parent_path, name) = (parent_of(path), path.file_name().ok_or_else(|| fail(Errno::INVAL))?);
    let parent = if make {
        parent_of_all(root, parent_path)
    } else if parent_path.as_os_str().is_empty() {
        rustix::io::fcntl_dupfd_cloexec(root, 3)
    } else {
        open::below(root, parent_path)
    };
    let parent = match parent {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(Directory::Missing),
        Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Directory::Occupied),
        Err(e) if owners && is_refusal(e) => return Ok(Directory::Squashed),
        Err(e) => return Err(fail(e)),
    };
    if owners && !parent_path.as_os_str().is_empty() {
        let stat = rustix::fs::fstat(&parent).map_err(fail)?;
        if is_exposed(stat.st_uid, stat.st_mode) {
            return Ok(Directory::Exposed { uid: stat.st_uid, mode: stat.st_mode & 0o7777 });
        }
    }
    let closed = |made: bool| {
        let done = if make && owners { close(&parent, name, wanted) } else { Ok(()) };
        match done {
            Ok(()) => Ok(Directory::Ready { made }),
            // Its owner can.
            Err(e) if is_refusal(e) => Ok(Directory::Squashed),
            Err(e) => Err(fail(e)),
        }
    };
    match look(&parent, name, wanted, owners) {
        Ok(Directory::Ready { made }) => return closed(made),
        Err(Errno::NOENT) if make => {}
        Err(Errno::NOENT) => return Ok(Directory::Missing),
        Err(e) if owners && is_refusal(e) => return Ok(Directory::Squashed),
        Err(e) => return Err(fail(e)),
        Ok(seen) => return Ok(seen),
    }
    match rustix::fs::mkdirat(&parent, name, Mode::from(0o700)) {
        // Another VM may have been faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) if owners && is_refusal(e) => return Ok(Directory::Squashed),
        Err(e) => return Err(fail(e)),
    }
    if owners {
        let own = open::below(&parent, Path::new(name)).map_err(fail)?;
        if rustix::fs::fstat(&own).map_err(fail)?.st_uid == 0 {
            // Made by root just now, or half made by a VM that died: an empty directory of root's is nobody's yet.
            hand_over(&own, wanted).map_err(fail)?;
        }
    }
    match look(&parent, name, wanted, owners).map_err(fail)? {
        Directory::Ready { .. } => closed(true),
        other => Ok(other),
    }
}

/// A server that takes root for nobody (root squash) answers root so. Of a disk of this machine it cannot come.
pub(super) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

/// Opens the directory that holds all users' own, and makes it when it is missing: root's, others may pass, not list.
pub(super) fn parent_of_all(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    if path.as_os_str().is_empty() {
        return rustix::io::fcntl_dupfd_cloexec(root, 3);
    }
    // One that is there is not asked for again: a server that lets nobody write here would refuse before it looks.
    match open::below(root, path) {
        Err(Errno::NOENT) => open::make_below(root, path, Mode::from(0o711)).map(|(fd, _)| fd),
        other => other,
    }
}

/// Makes a user's directory below the share's root as that user, whom this process already is. One that is there is
/// looked at: where everybody may make directories, somebody else may have made it.
pub fn own_directory(root: &OwnedFd, wanted: &Wanted) -> Directory {
    let path = Path::new(&wanted.directory);
    let attempt = || {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = match parent_of(path) {
            above if above.as_os_str().is_empty() => rustix::io::fcntl_dupfd_cloexec(root, 3)?,
            above => open::below(root, above)?,
        };
        let made = match rustix::fs::mkdirat(&parent, name, Mode::from(0o700)) {
            Ok(()) => true,
            // A server may refuse to make what is there before it says that it is there.
            Err(e) => rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|_| false).map_err(|_| e)?,
        };
        Ok(match look(&parent, name, wanted, true)? {
            Directory::Ready { .. } => {
                close(&parent, name, wanted)?;
                Directory::Ready { made }
            }
            other => other,
        })
    };
    match attempt() {
        Ok(seen) => seen,
        Err(Errno::LOOP | Errno::NOTDIR) => Directory::Occupied,
        Err(e) if is_refusal(e) || e == Errno::NOENT => Directory::Squashed,
        Err(e) => Directory::Failed { failure: Failure::call(Attempt::Directory, e) },
    }
}

fn hand_over(own: &OwnedFd, wanted: &Wanted) -> Result<(), Errno> {
    let readable = rustix::fs::openat(own, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let empty = rustix::fs::Dir::read_from(&readable)?
        .all(|e| e.is_ok_and(|e| matches!(e.file_name().to_bytes(), b"." | b"..")));
    if !empty {
        return Ok(());
    }
    let (uid, gid) = (rustix::fs::Uid::from_raw(wanted.uid), rustix::fs::Gid::from_raw(wanted.gid));
    rustix::fs::fchown(&readable, Some(uid), Some(gid))
}

/// Closes a user's own directory to everybody else: one that came from elsewhere, or that was opened on another VM, would
/// be shown to all here. What is for several is for `[[shared]]`.
fn close(parent: &OwnedFd, name: &std::ffi::OsStr, wanted: &Wanted) -> Result<(), Errno> {
    let is_closed = |stat: &rustix::fs::Stat| stat.st_uid != wanted.uid || stat.st_mode & 0o077 == 0;
    // Most are, and a root that is nobody to the server may look at one, and not open it.
    if is_closed(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?) {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let own = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&own)?;
    if is_closed(&stat) {
        return Ok(());
    }
    rustix::fs::fchmod(&own, Mode::from_raw_mode(stat.st_mode & 0o7700))
}

fn look(parent: &OwnedFd, name: &std::ffi::OsStr, wanted: &Wanted, owners: bool) -> Result<Directory, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Directory::Occupied);
    }
    if owners && stat.st_uid != wanted.uid {
        // Root's own and still empty: taken for half made, and handed over by `directory`.
        let half_made = stat.st_uid == 0
            && match is_empty(parent, name) {
                // Root's, and closed to this root: another one's.
                Err(e) if is_refusal(e) => false,
                other => other?,
            };
        return if half_made { Err(Errno::NOENT) } else { Ok(Directory::Foreign { uid: stat.st_uid, recorded: None }) };
    }
    Ok(Directory::Ready { made: false })
}

pub(super) fn is_empty(parent: &OwnedFd, name: &std::ffi::OsStr) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    Ok(rustix::fs::Dir::read_from(&readable)?
        .all(|e| e.is_ok_and(|e| matches!(e.file_name().to_bytes(), b"." | b".."))))
}

/// Looks at the link in the home of the user that this process already is and, with `make`, makes it when nothing is
/// there. Nothing that exists is ever changed.
pub fn link(home: &Path, link: &Path, target: &Path, make: bool) -> Link {
    match try_link(home, link, target, make) {
        Ok(seen) => seen,
        Err((path, errno)) => Link::Blocked { path, errno: errno.raw_os_error() },
    }
}

fn try_link(home: &Path, link: &Path, target: &Path, make: bool) -> Result<Link, (PathBuf, Errno)> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut so_far = home.to_owned();
    // As the user we may follow what the user may follow.
    let mut here = match rustix::fs::open(home, directory, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(Link::NoHome),
        Err(e) => return Err((so_far, e)),
    };
    let name = link.file_name().ok_or((link.to_owned(), Errno::INVAL))?;
    for component in parent_of(link).components() {
        let Component::Normal(part) = component else { return Err((link.to_owned(), Errno::INVAL)) };
        so_far.push(part);
        here = match rustix::fs::openat(&here, part, directory, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if !make => return Ok(Link::Missing),
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&here, part, Mode::from(0o755)).map_err(|e| (so_far.clone(), e))?;
                rustix::fs::openat(&here, part, directory | OFlags::NOFOLLOW, Mode::empty())
                    .map_err(|e| (so_far.clone(), e))?
            }
            Err(e) => return Err((so_far, e)),
        };
    }
    so_far.push(name);
    match seen(&here, name, target).map_err(|e| (so_far.clone(), e))? {
        Link::Missing if make => {}
        other => return Ok(other),
    }
    match rustix::fs::symlinkat(target, &here, name) {
        Ok(()) => Ok(Link::Right { made: true }),
        Err(Errno::EXIST) => seen(&here, name, target).map_err(|e| (so_far, e)),
        Err(e) => Err((so_far, e)),
    }
}

fn seen(parent: &OwnedFd, name: &std::ffi::OsStr, target: &Path) -> Result<Link, Errno> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Link::Missing),
        Err(e) => return Err(e),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            use std::os::unix::ffi::OsStrExt;
            let leads = rustix::fs::readlinkat(parent, name, Vec::new())?;
            let leads = Path::new(std::ffi::OsStr::from_bytes(leads.to_bytes())).to_owned();
            if leads == target { Link::Right { made: false } } else { Link::Elsewhere { target: leads } }
        }
        FileType::Directory => {
            let mut seen = Counted::default();
            seen.add(parent, name, 0);
            Link::Directory { files: seen.files, bytes: seen.bytes, more: seen.more }
        }
        _ => Link::Other,
    })
}

/// What is in a directory, as far as it is counted.
#[derive(Debug, Default)]
struct Counted {
    entries: u64,
    files: u64,
    bytes: u64,
    more: bool,
}

impl Counted {
    /// Adds what is in the directory `name`. Nothing is followed.
    fn add(&mut self, parent: &OwnedFd, name: &std::ffi::OsStr, depth: u32) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name, flags, Mode::empty());
        let Some((directory, entries)) =
            opened.and_then(|d| Ok((rustix::fs::Dir::read_from(&d)?, d))).ok().map(|(e, d)| (d, e))
        else {
            self.more = true;
            return;
        };
        for entry in entries.flatten().filter(|e| !matches!(e.file_name().to_bytes(), b"." | b"..")) {
            self.entries += 1;
            if self.entries > COUNTED || depth > DEPTH {
                self.more = true;
                return;
            }
            let below = {
                use std::os::unix::ffi::OsStrExt;
                std::ffi::OsStr::from_bytes(entry.file_name().to_bytes())
            };
            match rustix::fs::statat(&directory, below, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    self.add(&directory, below, depth + 1);
                }
                Ok(stat) => {
                    self.files += 1;
                    self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                }
                Err(_) => self.more = true,
            }
        }
    }
}
