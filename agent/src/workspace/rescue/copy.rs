//! One file to its place among what was rescued: beside whatever lies there, verified, and whole or not at all.

use super::rule::another;
use crate::sys::clock::boottime;
use crate::sys::open;
use crate::workspace::import::copy::{Copied, Seen, compare, file, parent_below, place, split};
use crate::workspace::import::survey::{Entry, Source};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is being copied has this name, and no user's file has: hidden files at the top of a home are not rescued.
const PART: &str = ".part";
/// So many names are tried for a file whose own is taken.
const NAMES: u32 = 20;
/// What is there already and larger is not read again, when its size and time are right: it was verified when it was made.
const TRUSTED: u64 = 16 << 20;
/// How often a file that changed meanwhile is copied anew.
const AGAIN: u32 = 2;

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was copied.
    Copied,
    /// It was there.
    Already,
    /// Time is up.
    Late,
    /// It changes all the time.
    Changing,
    /// The share is full, or would be too full for others.
    NoRoom,
    /// It is more than may be copied together.
    TooMuch,
    /// Its owner may not read it, or it is gone.
    Unreadable(Errno),
}

/// What may still be copied, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Of what may be copied together.
    pub(super) limit: u64,
    /// On the share.
    pub(super) space: u64,
}

impl Room {
    /// After so many more.
    pub(super) fn take(&mut self, bytes: u64) {
        self.limit = self.limit.saturating_sub(bytes);
        self.space = self.space.saturating_sub(bytes);
    }
}

/// Where copies go.
#[derive(Debug)]
pub(super) struct Copies<'a> {
    /// The directory of this rescue.
    pub(super) root: &'a OwnedFd,
    pub(super) smb: bool,
    pub(super) until: Duration,
}

impl Copies<'_> {
    /// Copies `entry` of `source` to `to` below the root, or, where that is taken, to a name like it. What is new has to find
    /// `room`.
    ///
    /// # Errors
    /// When the share does not take it.
    pub(super) fn copy(&self, source: &Source, entry: &Entry, to: &Path, room: Room) -> Result<Kept, Errno> {
        let (above, name) = split(to);
        let to = self.above(above)?.join(name);
        let mut entry = entry.clone();
        for _ in 0..=AGAIN {
            match self.once(source, &entry, &to, room) {
                Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Ok(Kept::NoRoom),
                Ok(Kept::Changing) => {}
                other => return other,
            }
            let now = source.open(&entry.path, OFlags::RDONLY).and_then(rustix::fs::fstat);
            match now {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    entry = Entry::new(entry.path, entry.kind, &stat);
                }
                Ok(_) => return Ok(Kept::Changing),
                Err(errno) => return Ok(Kept::Unreadable(errno)),
            }
        }
        Ok(Kept::Changing)
    }

    /// The directories on the way to a file, or, where something else has the name of one, others like them.
    fn above(&self, above: &Path) -> Result<PathBuf, Errno> {
        let is_free = |path: &Path| match parent_below(self.root, path) {
            Ok(_) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Ok(false),
            Err(e) => Err(e),
        };
        if is_free(above)? {
            return Ok(above.to_owned());
        }
        let mut here = PathBuf::new();
        'down: for name in above {
            for attempt in 0..NAMES {
                let next = here.join(another(name, attempt));
                if is_free(&next)? {
                    here = next;
                    continue 'down;
                }
            }
            return Err(Errno::EXIST);
        }
        Ok(here)
    }

    /// Whether the share takes anything at all.
    pub(super) fn takes(&self) -> bool {
        let tried = self.clear().and_then(|()| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(self.root, PART, flags, Mode::from(0o600))?;
            rustix::io::write(&file, b"?")?;
            rustix::fs::fsync(&file)
        });
        self.clear().and(tried).is_ok()
    }

    fn once(&self, source: &Source, entry: &Entry, to: &Path, room: Room) -> Result<Kept, Errno> {
        let (above, name) = split(to);
        let mut attempt = 0;
        let free = |from: u32| -> Result<Option<(u32, std::ffi::OsString)>, Errno> {
            for attempt in from..NAMES {
                let name = another(name, attempt);
                match self.seen(source, entry, &above.join(&name))? {
                    Seen::Same => return Ok(None),
                    Seen::Nothing => return Ok(Some((attempt, name))),
                    Seen::Other => {}
                }
            }
            Err(Errno::EXIST)
        };
        let Some(mut chosen) = free(attempt)? else { return Ok(Kept::Already) };
        if entry.size > room.limit {
            return Ok(Kept::TooMuch);
        }
        if entry.size > room.space {
            return Ok(Kept::NoRoom);
        }
        self.clear()?;
        let mut late = false;
        let copied = file(source, entry, self.root, OsStr::new(PART), self.smb, &mut |_| {
            late = boottime() >= self.until;
            if late { Err(Errno::CANCELED) } else { Ok(()) }
        });
        match copied {
            Ok(Copied::Verified) => {}
            other => {
                self.clear()?;
                return match other {
                    _ if late => Ok(Kept::Late),
                    Err(errno) => Err(errno),
                    Ok(_) => Ok(Kept::Changing),
                };
            }
        }
        let (parent, _) = match above.as_os_str().is_empty() {
            true => (parent_below(self.root, above)?, false),
            false => open::make_below(self.root, above, Mode::from(0o700))?,
        };
        loop {
            match place((self.root, OsStr::new(PART)), (&parent, &chosen.1)) {
                Ok(()) => return Ok(Kept::Copied),
                // Somebody was faster this moment.
                Err(Errno::EXIST) => attempt = chosen.0 + 1,
                Err(errno) => return Err(errno),
            }
            match free(attempt)? {
                Some(next) => chosen = next,
                None => {
                    self.clear()?;
                    return Ok(Kept::Already);
                }
            }
        }
    }

    /// What lies where the copy belongs.
    fn seen(&self, source: &Source, entry: &Entry, to: &Path) -> Result<Seen, Errno> {
        let (above, name) = split(to);
        let stat = match parent_below(self.root, above) {
            Ok(parent) => rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW),
            Err(Errno::NOENT) => return Ok(Seen::Nothing),
            Err(e) => return Err(e),
        };
        match stat {
            Err(Errno::NOENT) => Ok(Seen::Nothing),
            Err(e) => Err(e),
            Ok(stat) => {
                let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                // SMB keeps a tenth of a microsecond ([MS-DTYP] 2.3.3).
                let when = |seconds: i64, nanos: u64| (seconds, nanos / 100);
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let same_time = when(stat.st_mtime, stat.st_mtime_nsec) == when(entry.modified.0, entry.modified.1);
                if is_file && same_time && size == entry.size && size > TRUSTED {
                    return Ok(Seen::Same);
                }
                compare(source, entry, self.root, to)
            }
        }
    }

    /// Takes away half a copy.
    fn clear(&self) -> Result<(), Errno> {
        match rustix::fs::unlinkat(self.root, PART, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}
