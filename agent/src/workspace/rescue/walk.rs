//! The look at a home: bounded, following nothing, and never on another file system.

use super::environment::{self, Tool};
use super::rule::{self, Likeness, Seen, Skel, Zone};
use super::{Place, UNREAD};
use crate::share::model::parent_of;
use crate::sys::clock::boottime;
use crate::sys::open;
use crate::workspace::import::kept;
use crate::workspace::import::survey::{Entry, Kind, Source};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// So many entries are looked at in one home: more are no notebooks, and each costs somebody's processor a microsecond or
/// two.
const MOST: usize = 100_000;
/// So many files may `/etc/skel` have that are known again.
const MOST_SKEL: usize = 1000;
/// Directories within directories.
const DEEPEST: usize = 32;
/// So many bytes of paths are remembered: names may be long.
const MOST_PATHS: usize = 8 << 20;
/// Files up to this are compared with `/etc/skel` by what is in them.
const COMPARED: u64 = 1 << 20;

/// Kinds of file systems that lie on other machines (statfs(2), and magic.h of the kernel): they do not go with the VM.
const ELSEWHERE: [u64; 9] = [
    0x6969,      // NFS
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and later
    0x517b,      // SMB of old
    0x00c3_6400, // Ceph
    0x5346_414f, // AFS
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x0102_1997, // 9P
];

/// A part of a home.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    /// Where it lies in the home.
    pub(super) at: PathBuf,
    zone: Zone,
}

/// A file that is on this VM only.
#[derive(Debug)]
pub(super) struct Found {
    /// Which part it is in.
    pub(super) part: usize,
    /// It, relative to that part.
    pub(super) entry: Entry,
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) parts: Vec<Part>,
    pub(super) files: Vec<Found>,
    /// Directories, relative to the home, in which not everything could be looked at: [`UNREAD`] at most.
    pub(super) unread: Vec<PathBuf>,
    /// Nothing was left out.
    pub(super) whole: bool,
}

impl Walked {
    /// Where a file lies, relative to the home.
    pub(super) fn path(&self, found: &Found) -> PathBuf {
        self.parts.get(found.part).map_or_else(PathBuf::new, |part| part.at.join(&found.entry.path))
    }
}

/// Looks at everything in the home, until `until` by the boot-time clock at the latest.
///
/// # Errors
/// When the home itself cannot be looked at. One that is not there has nothing in it.
pub(super) fn walk(place: &Place, until: Duration) -> Result<Walked, Errno> {
    // As the user we may follow what the user may follow, up to the home.
    let home = match follow(rustix::fs::CWD, &place.home) {
        Err(Errno::NOENT) => return Ok(Walked { whole: true, ..Walked::default() }),
        other => other?,
    };
    let made = born(&home).unwrap_or(place.booted);
    let mut walked = Walked { parts: parts(place, home)?, ..Walked::default() };
    let (skel, unread) = (skel(&place.skel), Vec::new());
    let mut walk = Walk { place, made, skel, until, entries: 0, paths: 0, unread, whole: true };
    for number in 0..walked.parts.len() {
        let Some(part) = walked.parts.get(number) else { break };
        let files = walk.part(part);
        walked.files.extend(files.into_iter().map(|entry| Found { part: number, entry }));
    }
    (walked.whole, walked.unread) = (walk.whole, walk.unread);
    Ok(walked)
}

fn follow(base: impl rustix::fd::AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(base, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The parts, most important first: should there be too much, it is what matters less that is not looked at.
fn parts(place: &Place, home: OwnedFd) -> Result<Vec<Part>, Errno> {
    let above = parent_of(&place.link);
    let mut parts = Vec::new();
    if !above.as_os_str().is_empty() {
        // It may be a link to a larger disk. Somebody else's directory is nobody's notebooks then; one that lies in the home
        // itself is, whoever made it.
        let own = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok_and(|s| s.st_uid == rustix::process::geteuid().as_raw());
        if let Some(notebooks) = open::below(&home, above).ok().or_else(|| follow(&home, above).ok().filter(own)) {
            parts.push(part(notebooks, above, Zone::Notebooks));
        }
    }
    parts.push(part(home, Path::new(""), Zone::Home));
    let mut here = Vec::new();
    for part in parts {
        let kind = rustix::fs::fstatfs(&part.source.parent)?.f_type;
        if !ELSEWHERE.contains(&(kind as u64 & 0xffff_ffff)) {
            here.push(part);
        }
    }
    Ok(here)
}

fn part(parent: OwnedFd, at: &Path, zone: Zone) -> Part {
    Part { source: Source { parent, name: ".".into(), single: false }, at: at.to_owned(), zone }
}

/// When a directory was made, in seconds since 1970, where its file system knows (statx(2)).
fn born(directory: &OwnedFd) -> Option<i64> {
    let seen = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    (seen.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(seen.stx_btime.tv_sec)
}

/// What is in `/etc/skel`, which is root's.
fn skel(path: &Path) -> Skel {
    let mut out = Skel::default();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let entries = std::fs::read_dir(path.join(&below)).into_iter().flatten().flatten();
        for entry in entries {
            let (at, Ok(meta)) = (below.join(entry.file_name()), entry.metadata()) else { continue };
            if out.0.len() + waiting.len() >= MOST_SKEL {
                return out;
            }
            if meta.is_dir() {
                waiting.push(at);
            } else if meta.is_file() {
                let modified = (meta.mtime(), meta.mtime_nsec());
                out.0.insert(at, (meta.len(), modified));
            }
        }
    }
    out
}

/// A directory that is still to be looked at.
#[derive(Debug, Default)]
struct Waiting {
    /// Relative to the part.
    path: PathBuf,
    depth: usize,
    /// Until when everything in it was copied to the share, where it was.
    copied: Option<i64>,
    /// The environment that it is in.
    environment: Option<Rc<Environment>>,
}

/// A directory that tools made an environment.
#[derive(Debug)]
struct Environment {
    /// Relative to the part.
    path: PathBuf,
    tools: Vec<&'static Tool>,
}

struct Walk<'a> {
    place: &'a Place,
    made: i64,
    skel: Skel,
    until: Duration,
    entries: usize,
    paths: usize,
    unread: Vec<PathBuf>,
    whole: bool,
}

impl Environment {
    /// Whether what lies at `path`, relative to the part, is installed again with it.
    fn made(&self, path: &Path) -> bool {
        path.strip_prefix(&self.path).is_ok_and(|path| environment::made(&self.tools, path))
    }
}

/// The environment that a directory is, if it is one. A home is none: what lies in its `bin` is its owner's.
fn own_environment(part: &Part, path: &Path, directory: &OwnedFd) -> Option<Environment> {
    if part.at.as_os_str().is_empty() && path.as_os_str().is_empty() {
        return None;
    }
    let has = |name: &str| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let tools = environment::tools(has);
    (!tools.is_empty()).then(|| Environment { path: path.to_owned(), tools })
}

impl Walk<'_> {
    /// The files of one part, directories that are near before those that are deep.
    fn part(&mut self, part: &Part) -> Vec<Entry> {
        let mut files = Vec::new();
        let mut waiting = VecDeque::from([Waiting::default()]);
        while let Some(Waiting { path, depth, copied, environment }) = waiting.pop_front() {
            if boottime() >= self.until {
                self.whole = false;
                break;
            }
            let directory = match part.source.open(&path, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(directory) => directory,
                // Another file system, or gone, or swapped for something else this moment.
                Err(Errno::XDEV | Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
                Err(_) => {
                    self.cannot_read(part, &path);
                    continue;
                }
            };
            let copied = copied.or_else(|| self.copied_until(part, &path, &directory));
            let environment = own_environment(part, &path, &directory).map(Rc::new).or(environment);
            let Ok(entries) = rustix::fs::Dir::read_from(&directory) else {
                self.cannot_read(part, &path);
                continue;
            };
            for entry in entries {
                let Ok(entry) = entry else {
                    self.cannot_read(part, &path);
                    break;
                };
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                self.entries += 1;
                if self.entries > MOST || self.entries.is_multiple_of(1024) && boottime() >= self.until {
                    self.whole = false;
                    return files;
                }
                // Links, pipes, sockets and devices hold nothing.
                if !matches!(entry.file_type(), FileType::Directory | FileType::RegularFile | FileType::Unknown) {
                    continue;
                }
                let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    // Another file system may lie there, whose program or server is gone, or that is somebody else's (fuse(4)).
                    Err(Errno::NOENT | Errno::NOTCONN | Errno::STALE) => continue,
                    Err(Errno::ACCESS) if rustix::fs::statat(&directory, c".", AtFlags::empty()).is_ok() => continue,
                    // It may be listed and not entered (path_resolution(7)).
                    Err(_) => {
                        self.cannot_read(part, &path);
                        continue;
                    }
                };
                let below = path.join(name);
                if environment.as_ref().is_some_and(|environment| environment.made(&below)) {
                    continue;
                }
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory if self.enters(part, &below) => {
                        if depth >= DEEPEST || !self.remembers(&below) {
                            self.whole = false;
                            continue;
                        }
                        // One that was moved in is new, but nothing in it is.
                        let copied = copied.filter(|until| kept::is_copied(stat.st_ctime, *until));
                        let environment = environment.clone();
                        waiting.push_back(Waiting { path: below, depth: depth + 1, copied, environment });
                    }
                    FileType::RegularFile if self.counts(part, &below, &stat, copied) => {
                        if !self.remembers(&below) {
                            self.whole = false;
                            continue;
                        }
                        files.push(Entry::new(below, Kind::File, &stat));
                    }
                    _ => {}
                }
            }
        }
        files
    }

    fn cannot_read(&mut self, part: &Part, path: &Path) {
        self.whole = false;
        let path = part.at.join(path);
        if self.unread.len() < UNREAD && self.unread.last() != Some(&path) {
            self.unread.push(path);
        }
    }

    fn enters(&self, part: &Part, below: &Path) -> bool {
        let at = part.at.join(below);
        // The other part is looked at by itself.
        let apart = part.zone == Zone::Home && at == parent_of(&self.place.link);
        !apart && rule::enters(part.zone, &at)
    }

    fn remembers(&mut self, path: &Path) -> bool {
        self.paths += path.as_os_str().len() + std::mem::size_of::<Entry>();
        self.paths <= MOST_PATHS
    }

    /// Until when all in `directory` was copied, where it is what an import kept.
    fn copied_until(&self, part: &Part, path: &Path, directory: &OwnedFd) -> Option<i64> {
        let beside = part.at.join(parent_of(path)) == parent_of(&self.place.link);
        let is_kept = beside && rule::is_kept(self.place.link.file_name()?, path.file_name()?);
        is_kept.then(|| kept::copied_until(directory))?
    }

    fn counts(&self, part: &Part, below: &Path, stat: &Stat, copied: Option<i64>) -> bool {
        let at = part.at.join(below);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let modified = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        let seen = Seen { path: &at, size, modified, changed: stat.st_ctime };
        // Renaming what is above a file does not change the file.
        let is_copied = copied.is_some_and(|until| kept::is_copied(stat.st_ctime, until));
        if is_copied || !rule::counts(part.zone, seen, self.made) {
            return false;
        }
        match self.skel.likeness(seen) {
            Likeness::Own => true,
            Likeness::Untouched => false,
            Likeness::Perhaps => !self.is_as_in_skel(part, below, &at, size),
        }
    }

    fn is_as_in_skel(&self, part: &Part, below: &Path, at: &Path, size: u64) -> bool {
        if size > COMPARED {
            return false;
        }
        let read = |file: std::fs::File| {
            let mut bytes = Vec::new();
            file.take(COMPARED + 1).read_to_end(&mut bytes).ok().map(|_| bytes)
        };
        let own = part.source.open(below, OFlags::RDONLY).ok().map(std::fs::File::from);
        let own = own.filter(|f| f.metadata().is_ok_and(|m| m.is_file())).and_then(read);
        let theirs = std::fs::File::open(self.place.skel.join(at)).ok().and_then(read);
        own.is_some() && own == theirs
    }
}
