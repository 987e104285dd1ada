//! What there is to import, and what of it cannot be copied as it is.

use super::{DEEPEST, Event, MOST, kept, refused_by_smb, stays_inside};
use crate::workspace::import::Refused;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What one entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::workspace) enum Kind {
    Directory,
    File,
    Link(PathBuf),
}

/// One entry. Two surveys differ where their entries do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::workspace) struct Entry {
    /// Below what is imported; empty for itself, when that is a directory.
    pub(in crate::workspace) path: PathBuf,
    pub(in crate::workspace) kind: Kind,
    pub(in crate::workspace) mode: u32,
    pub(in crate::workspace) size: u64,
    pub(in crate::workspace) inode: u64,
    pub(in crate::workspace) modified: (i64, u64),
    pub(in crate::workspace) changed: (i64, u64),
}

impl Entry {
    pub(in crate::workspace) fn new(path: PathBuf, kind: Kind, stat: &Stat) -> Self {
        Self {
            path,
            kind,
            mode: stat.st_mode & 0o777,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            inode: stat.st_ino,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a file that was opened is the one that was surveyed, unchanged.
    pub(in crate::workspace) fn is(&self, stat: &Stat) -> bool {
        let now = Entry::new(self.path.clone(), self.kind.clone(), stat);
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && now == *self
    }
}

/// What is imported: a name in a directory that the user may have got to by any way that is theirs.
#[derive(Debug)]
pub(in crate::workspace) struct Source {
    pub(in crate::workspace) parent: OwnedFd,
    pub(in crate::workspace) name: PathBuf,
    /// It is a file, not a directory.
    pub(in crate::workspace) single: bool,
}

impl Source {
    /// The path of an entry below `parent`.
    fn path(&self, entry: &Path) -> PathBuf {
        if self.single || entry.as_os_str().is_empty() { self.name.clone() } else { self.name.join(entry) }
    }

    /// Opens an entry, following nothing and leaving neither the source nor its file system.
    pub(in crate::workspace) fn open(&self, entry: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        // A FIFO that was swapped in must not hold us up.
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.parent, self.path(entry), flags, Mode::empty(), resolve)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Directories before what is in them.
    pub(super) entries: Vec<Entry>,
    pub(super) refused: Vec<Refused>,
}

struct Walk<'a> {
    source: &'a Source,
    smb: bool,
    out: Survey,
    step: &'a mut dyn FnMut(&Event) -> Result<(), Errno>,
}

/// Looks at everything. What cannot be copied is listed, all of it.
///
/// # Errors
/// When `step` says so.
pub(super) fn survey(
    source: &Source,
    smb: bool,
    step: &mut dyn FnMut(&Event) -> Result<(), Errno>,
) -> Result<Survey, Errno> {
    let mut walk = Walk { source, smb, out: Survey::default(), step };
    if source.single {
        let name = source.name.clone();
        walk.file(name)?;
    } else {
        walk.directory(Path::new(""), 0)?;
    }
    Ok(walk.out)
}

/// As a person reads it.
pub(super) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.to_string_lossy().into_owned() }
}

impl Walk<'_> {
    fn refuse(&mut self, path: &Path, why: impl Into<String>) {
        self.out.refused.push(Refused { path: shown(path), why: why.into() });
    }

    fn cannot(&mut self, path: &Path, errno: Errno) {
        let why = match errno {
            Errno::XDEV => "another file system is mounted there".to_owned(),
            other => format!("cannot be read: {}", std::io::Error::from_raw_os_error(other.raw_os_error())),
        };
        self.refuse(path, why);
    }

    fn directory(&mut self, path: &Path, depth: usize) -> Result<(), Errno> {
        (self.step)(&Event::Looking { entries: self.out.entries.len() as u64 })?;
        let opened = self.source.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let read = opened.and_then(|fd| Ok((rustix::fs::fstat(&fd)?, names(&fd)?, attributes(&fd)?, fd)));
        let (stat, names, odd, directory) = match read {
            Ok(read) => read,
            Err(e) => {
                self.cannot(path, e);
                return Ok(());
            }
        };
        self.out.entries.push(Entry::new(path.to_owned(), Kind::Directory, &stat));
        self.note_attributes(path, &odd);
        if depth >= DEEPEST {
            self.refuse(path, format!("lies more than {DEEPEST} directories deep"));
            return Ok(());
        }
        if self.out.entries.len() + names.len() > MOST {
            self.refuse(path, format!("has more than {MOST} files: copy them by hand"));
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        for name in names {
            let name = OsStr::from_bytes(&name);
            let below = path.join(name);
            if self.smb {
                if let Some(why) = refused_by_smb(name) {
                    self.refuse(&below, why);
                }
                if !seen.insert(name.to_string_lossy().to_lowercase()) {
                    self.refuse(
                        &below,
                        "has a name that differs from another one's by case only, which is the same on SMB",
                    );
                }
            }
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(e) => {
                    self.cannot(&below, e);
                    continue;
                }
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(&below, depth + 1)?,
                FileType::RegularFile => self.file(below)?,
                FileType::Symlink => match rustix::fs::readlinkat(&directory, name, Vec::new()) {
                    Ok(target) => {
                        let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
                        if !stays_inside(&below, &target) {
                            self.refuse(&below, format!("is a link to {}, which leads out", target.display()));
                        }
                        self.out.entries.push(Entry::new(below, Kind::Link(target), &stat));
                    }
                    Err(e) => self.cannot(&below, e),
                },
                FileType::Fifo => self.refuse(&below, "is a pipe (FIFO)"),
                FileType::Socket => self.refuse(&below, "is a socket"),
                _ => self.refuse(&below, "is a device"),
            }
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf) -> Result<(), Errno> {
        if self.out.entries.len().is_multiple_of(256) {
            (self.step)(&Event::Looking { entries: self.out.entries.len() as u64 })?;
        }
        let opened = self.source.open(&path, OFlags::RDONLY);
        let read = opened.and_then(|fd| Ok((rustix::fs::fstat(&fd)?, attributes(&fd)?, fd)));
        let (stat, odd, file) = match read {
            Ok(read) => read,
            Err(e) => {
                self.cannot(&path, e);
                return Ok(());
            }
        };
        let entry = Entry::new(path, Kind::File, &stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            self.refuse(&entry.path, "is no file any more");
            return Ok(());
        }
        if stat.st_nlink > 1 {
            self.refuse(&entry.path, "has more than one name (hard links), of which a copy would make separate files");
        }
        let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
        if blocks.saturating_mul(512) < entry.size && has_hole(&file, entry.size) {
            self.refuse(&entry.path, "has holes (a sparse file): a copy would take its full size on the share");
        }
        self.note_attributes(&entry.path, &odd);
        self.out.entries.push(entry);
        Ok(())
    }

    fn note_attributes(&mut self, path: &Path, odd: &[String]) {
        if !odd.is_empty() {
            self.refuse(path, format!("has extended attributes, which are not copied: {}", odd.join(", ")));
        }
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut out = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." && out.len() <= MOST {
            out.push(name);
        }
    }
    out.sort();
    Ok(out)
}

/// The extended attributes (xattr(7)) that a person or program set; labels that a machine gives to everything are none.
fn attributes(file: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut buffer = vec![0u8; 64 * 1024];
    let length = match rustix::fs::flistxattr(file, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e),
    };
    let all = buffer.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|n| !n.is_empty());
    // The mark of an earlier import is nobody's but ours.
    let meant =
        |n: &&[u8]| n.starts_with(b"user.") && *n != kept::COPIED.as_bytes() || n.starts_with(b"system.posix_acl");
    Ok(all.filter(meant).map(|n| String::from_utf8_lossy(n).into_owned()).collect())
}

fn has_hole(file: &OwnedFd, size: u64) -> bool {
    // Where the file system knows of no holes, the first one is at the end (lseek(2)).
    rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(0)).is_ok_and(|hole| hole < size)
}
