//! The import from its beginning to its end.

use super::copy::{Copied, Seen, compare, file, parent_below, place, split};
use super::survey::{Entry, Kind, Source, Survey, shown, survey};
use super::{Event, LISTED, Order, Outcome, Refused, Tally, kept, kept_name};
use crate::share::model::parent_of;
use crate::sys::open;
use crate::workspace::act;
use crate::workspace::model::Link;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How often what changed meanwhile is copied again.
const ROUNDS: u32 = 3;
/// So many names for an original of one day.
const NAMES: u32 = 99;

/// How it ended before its end.
enum Stop {
    Outcome(Outcome),
    At(&'static str, Errno),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Stop::Outcome(outcome)
    }
}

fn at(what: &'static str) -> impl Fn(Errno) -> Stop {
    move |errno| Stop::At(what, errno)
}

type Step<'a> = &'a mut dyn FnMut(&Event) -> Result<(), Errno>;

/// Imports, as the user that this process is. `step` is told how far it is, often; an error of its ends it where it is.
pub fn run(order: &Order, step: Step<'_>) -> Outcome {
    match Import::begin(order).and_then(|import| import.run(step)) {
        Ok(outcome) | Err(Stop::Outcome(outcome)) => outcome,
        Err(Stop::At(what, errno)) => Outcome::Stopped { at: what.to_owned(), errno: errno.raw_os_error() },
    }
}

struct Import<'a> {
    order: &'a Order,
    source: Source,
    /// What is imported itself, locked for as long as it takes: two imports of one original would stumble over each other.
    original: OwnedFd,
    /// The workspace on the share.
    share: OwnedFd,
    /// Where copies lie until all of them are right, in the workspace.
    staging: String,
}

const LOOKING: &str = "looking at what there is";
const COPYING: &str = "copying to the share";
const PLACING: &str = "putting the copies in their places on the share";
const KEEPING: &str = "renaming the original";

impl<'a> Import<'a> {
    fn begin(order: &'a Order) -> Result<Self, Stop> {
        let looking = at(LOOKING);
        let name = order.link.file_name().ok_or(Errno::INVAL).map_err(&looking)?;
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // As the user we may follow what the user may follow, up to what is imported.
        let above = order.home.join(parent_of(&order.link));
        let nothing = |why: String| Stop::from(Outcome::Nothing { why });
        let link = order.link.display();
        let parent = match rustix::fs::open(&above, directory, Mode::empty()) {
            Err(Errno::NOENT) => return Err(nothing(format!("There is no {}.", above.display()))),
            other => other.map_err(&looking)?,
        };
        let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                return Err(nothing(format!("Nothing lies at ~/{link}: the link is made there by itself.")));
            }
            other => other.map_err(&looking)?,
        };
        let single = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => false,
            FileType::RegularFile => true,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&parent, name, Vec::new()).map_err(&looking)?;
                let target = target.to_string_lossy().into_owned();
                return Err(if Path::new(&target) == order.target {
                    nothing(format!("~/{link} leads to the share already."))
                } else {
                    refuse(
                        ".",
                        format!("~/{link} is a link to {target}. Move it away; what it leads to is not touched"),
                    )
                });
            }
            _ => return Err(refuse(".", format!("~/{link} is neither a directory nor a file"))),
        };
        let source = Source { parent, name: name.into(), single };
        let lock = match source.open(Path::new(""), OFlags::RDONLY) {
            Err(Errno::XDEV) => return Err(refuse(".", "another file system is mounted there")),
            other => other.map_err(&looking)?,
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(refuse(".", "another import of it is under way")),
            Err(e) => return Err(looking(e)),
        }
        let share = open::directory(&order.target).map_err(at("opening the workspace on the share"))?;
        let node: String = order.node.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        Ok(Self { order, source, original: lock, share, staging: format!(".dsvm-import-{}", node.to_lowercase()) })
    }

    fn run(self, step: Step<'_>) -> Result<Outcome, Stop> {
        let mut since = kept::now();
        let mut survey = self.survey(step)?;
        let mut placed = self.check(&mut survey, step)?;
        if !survey.refused.is_empty() {
            let more = survey.refused.len().saturating_sub(LISTED) as u64;
            survey.refused.truncate(LISTED);
            return Ok(Outcome::Refused { refused: survey.refused, more });
        }
        let all = tally(&survey.entries, &placed);
        let kept = self.free_name()?;
        if self.order.dry_run {
            return Ok(Outcome::Would { tally: all, kept });
        }
        let mut rounds = 0;
        loop {
            let changed = self.copy(&survey.entries, &placed, step)?;
            step(&Event::Checking).map_err(at(COPYING))?;
            let looked = kept::now();
            let again = self.survey(step)?;
            if changed.is_empty() && again.entries == survey.entries {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS {
                let mut paths = changed;
                paths.extend(differences(&survey.entries, &again.entries));
                paths.dedup();
                paths.truncate(10);
                return Ok(Outcome::Changing { paths });
            }
            (survey, since) = (again, looked);
            placed = self.check(&mut survey, step)?;
            if !survey.refused.is_empty() {
                return Ok(Outcome::Refused { refused: survey.refused, more: 0 });
            }
        }
        let tally = tally(&survey.entries, &placed);
        self.place(&survey.entries, &placed, step)?;
        self.mark(&survey.entries, since);
        step(&Event::Keeping).map_err(at(KEEPING))?;
        let kept = self.keep()?;
        let moved = Source { parent: dup(&self.source.parent)?, name: kept.clone().into(), single: self.source.single };
        let mut late = Vec::new();
        // Whatever this says, the import is done: it only tells what to look after.
        if let Ok(after) = survey_of(&moved, self.order.smb) {
            late = differences(&survey.entries, &rename(after.entries, &self.source, &kept));
            late.truncate(10);
        }
        step(&Event::Linking).map_err(at("making the link"))?;
        let link = act::link(&self.order.home, &self.order.link, &self.order.target, true);
        Ok(Outcome::Done { tally, kept, late, linked: matches!(link, Link::Right { .. }) })
    }

    fn survey(&self, step: Step<'_>) -> Result<Survey, Stop> {
        survey(&self.source, self.order.smb, step).map_err(at(LOOKING))
    }

    /// Where an entry belongs on the share.
    fn place_of(&self, entry: &Entry) -> PathBuf {
        match &self.order.into {
            Some(into) => Path::new(into).join(&entry.path),
            None => entry.path.clone(),
        }
    }

    /// Looks at what is on the share where the copies belong: what differs is refused, what is the same comes back.
    fn check(&self, survey: &mut Survey, step: Step<'_>) -> Result<BTreeSet<PathBuf>, Stop> {
        let looking = at("looking at what is on the share");
        let (mut placed, mut missing): (_, Option<PathBuf>) = (BTreeSet::new(), None);
        let mut refused = Vec::new();
        for (i, entry) in survey.entries.iter().enumerate() {
            if i % 64 == 0 {
                step(&Event::Looking { entries: i as u64 }).map_err(&looking)?;
            }
            // Below a directory that is not there is nothing.
            if missing.as_ref().is_some_and(|m| entry.path.starts_with(m)) {
                continue;
            }
            match compare(&self.source, entry, &self.share, &self.place_of(entry)).map_err(&looking)? {
                Seen::Same => drop(placed.insert(entry.path.clone())),
                Seen::Nothing if entry.kind == Kind::Directory && !entry.path.as_os_str().is_empty() => {
                    missing = Some(entry.path.clone());
                }
                Seen::Nothing => {}
                Seen::Other => {
                    let why = "is on the share already, and differs; nothing there is overwritten";
                    refused.push(Refused { path: shown(&entry.path), why: why.to_owned() });
                }
            }
        }
        if refused.is_empty() {
            let needed: u64 = files(&survey.entries).filter(|e| !placed.contains(&e.path)).map(|e| e.size).sum();
            let stat = rustix::fs::fstatvfs(&self.share).map_err(&looking)?;
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            if needed.saturating_sub(self.staged()) > free {
                let why = format!("needs {needed} bytes on the share, which has {free} free");
                refused.push(Refused { path: ".".to_owned(), why });
            }
        }
        survey.refused.append(&mut refused);
        Ok(placed)
    }

    /// What an import that was interrupted has copied already, roughly: it takes no further room.
    fn staged(&self) -> u64 {
        let Ok(staging) = open::below(&self.share, Path::new(&self.staging)) else { return 0 };
        let source = Source { parent: staging, name: ".".into(), single: false };
        survey_of(&source, false).map_or(0, |s| files(&s.entries).map(|e| e.size).sum())
    }

    /// Copies what is neither placed nor copied yet, and verifies it. What changed meanwhile comes back.
    fn copy(&self, entries: &[Entry], placed: &BTreeSet<PathBuf>, step: Step<'_>) -> Result<Vec<String>, Stop> {
        let copying = at(COPYING);
        let staging = Path::new(&self.staging);
        open::make_below(&self.share, staging, Mode::from(0o700)).map_err(&copying)?;
        let all = tally(entries, placed);
        let (mut done, mut changed) = (Tally::default(), Vec::new());
        for entry in entries.iter().filter(|e| e.kind == Kind::Directory || !placed.contains(&e.path)) {
            step(&Event::Copying { done, all }).map_err(&copying)?;
            let path = staging.join(&entry.path);
            if entry.kind == Kind::Directory {
                if !entry.path.as_os_str().is_empty()
                    && compare(&self.source, entry, &self.share, &path) != Ok(Seen::Same)
                {
                    self.clear(&path).map_err(&copying)?;
                    open::make_below(&self.share, &path, Mode::from(0o700)).map_err(&copying)?;
                }
                continue;
            }
            if compare(&self.source, entry, &self.share, &path).map_err(&copying)? != Seen::Same {
                self.clear(&path).map_err(&copying)?;
                if self.copy_one(entry, &path, &mut |n| {
                    let at = Tally { bytes: done.bytes + n, ..done };
                    done.bytes = at.bytes;
                    step(&Event::Copying { done: at, all })
                })? == Copied::Changed
                {
                    changed.push(shown(&entry.path));
                }
            } else {
                done.bytes += entry.size;
            }
            done.files += 1;
        }
        Ok(changed)
    }

    fn copy_one(
        &self,
        entry: &Entry,
        path: &Path,
        progress: &mut dyn FnMut(u64) -> Result<(), Errno>,
    ) -> Result<Copied, Stop> {
        let copying = at(COPYING);
        let (above, name) = split(path);
        let parent = parent_below(&self.share, above).map_err(&copying)?;
        match &entry.kind {
            Kind::Link(target) => {
                rustix::fs::symlinkat(target, &parent, name).map_err(&copying)?;
                Ok(Copied::Verified)
            }
            _ => file(&self.source, entry, &parent, name, self.order.smb, progress).map_err(&copying),
        }
    }

    /// Takes away a copy in the staging directory that is not right, or only half of one.
    fn clear(&self, path: &Path) -> Result<(), Errno> {
        let (above, name) = split(path);
        let parent = parent_below(&self.share, above)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            // Where there was a directory there is a file now: what is in it stays, under another name.
            Err(Errno::ISDIR | Errno::PERM) => {
                let aside = format!("{}.{:08x}", name.to_string_lossy(), crate::sys::random::seed() >> 32);
                rustix::fs::renameat(&parent, name, &parent, aside)
            }
            other => other,
        }
    }

    fn place(&self, entries: &[Entry], placed: &BTreeSet<PathBuf>, step: Step<'_>) -> Result<(), Stop> {
        let placing = at(PLACING);
        if let Some(into) = &self.order.into {
            open::make_below(&self.share, Path::new(into), Mode::from(0o700)).map_err(&placing)?;
        }
        let mut count = 0;
        for entry in entries.iter().filter(|e| !placed.contains(&e.path) && !e.path.as_os_str().is_empty()) {
            step(&Event::Placing { files: count }).map_err(&placing)?;
            let (from, to) = (Path::new(&self.staging).join(&entry.path), self.place_of(entry));
            if entry.kind == Kind::Directory {
                let (made, _) = open::make_below(&self.share, &to, Mode::from(0o700)).map_err(&placing)?;
                if !self.order.smb {
                    // Root's bits and the group's are the user's own; that they can write in it themselves must stay so
                    // until all is placed.
                    let readable = rustix::fs::openat(&made, c".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
                    readable.and_then(|d| rustix::fs::fchmod(&d, Mode::from(entry.mode | 0o700))).map_err(&placing)?;
                }
                continue;
            }
            let ((above, name), (to_above, to_name)) = (split(&from), split(&to));
            let parent = parent_below(&self.share, above).map_err(&placing)?;
            let target = parent_below(&self.share, to_above).map_err(&placing)?;
            match place((&parent, name), (&target, to_name)) {
                Ok(()) => count += 1,
                Err(Errno::EXIST) => {
                    return Err(refuse(
                        &shown(&entry.path),
                        "has appeared on the share meanwhile; nothing is overwritten",
                    ));
                }
                Err(e) => return Err(placing(e)),
            }
        }
        // Deepest first. What is left in one is no copy of anything any more, and stays.
        for entry in entries.iter().rev().filter(|e| e.kind == Kind::Directory) {
            let path = Path::new(&self.staging).join(&entry.path);
            let (above, name) = split(&path);
            if let Ok(parent) = parent_below(&self.share, above) {
                let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
            }
        }
        if self.source.single {
            let _ = rustix::fs::unlinkat(&self.share, &self.staging, AtFlags::REMOVEDIR);
        }
        Ok(())
    }

    /// Notes on the original itself that what was in it is on the share now. `since` is when the look began of which `entries`
    /// came, not the last one: what changes twice between two ticks of the clock has one time, and may have been copied in
    /// between. A note that cannot be made costs another copy of what is there already, at most.
    fn mark(&self, entries: &[Entry], since: i64) {
        let top = entries.first().filter(|e| e.kind == Kind::Directory && e.path.as_os_str().is_empty());
        // Somebody may have put another one in its place.
        let same = |e: &Entry| rustix::fs::fstat(&self.original).is_ok_and(|stat| stat.st_ino == e.inode);
        if top.is_some_and(same) {
            let _ = kept::mark(&self.original, since);
        }
    }

    /// The name that the original will have.
    fn free_name(&self) -> Result<String, Stop> {
        let name = self.source.name.to_string_lossy();
        let mut names = (0..NAMES).map(|n| kept_name(&name, &self.order.today, n));
        let free = |n: &String| {
            rustix::fs::statat(&self.source.parent, n.as_str(), AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
        };
        names.find(free).ok_or(Errno::EXIST).map_err(at(KEEPING))
    }

    fn keep(&self) -> Result<String, Stop> {
        loop {
            let kept = self.free_name()?;
            let parent = &self.source.parent;
            match rustix::fs::renameat_with(parent, &self.source.name, parent, &kept, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(kept),
                // Somebody took the name this moment.
                Err(Errno::EXIST) => {}
                // A home on NFS: the name was free a moment ago.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    rustix::fs::renameat(parent, &self.source.name, parent, &kept).map_err(at(KEEPING))?;
                    return Ok(kept);
                }
                Err(e) => return Err(at(KEEPING)(e)),
            }
        }
    }
}

fn refuse(path: &str, why: impl Into<String>) -> Stop {
    Outcome::Refused { refused: vec![Refused { path: path.to_owned(), why: why.into() }], more: 0 }.into()
}

fn survey_of(source: &Source, smb: bool) -> Result<Survey, Errno> {
    survey(source, smb, &mut |_| Ok(()))
}

fn dup(fd: &OwnedFd) -> Result<OwnedFd, Stop> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(at(KEEPING))
}

/// A single file is called by its own name, which has changed; and renaming something changes it, in a way.
fn rename(entries: Vec<Entry>, source: &Source, kept: &str) -> Vec<Entry> {
    let back = |mut e: Entry| {
        if source.single && e.path == Path::new(kept) {
            e.path.clone_from(&source.name);
        }
        e
    };
    entries.into_iter().map(back).collect()
}

/// What differs in content, as far as times and sizes tell.
fn differences(before: &[Entry], after: &[Entry]) -> Vec<String> {
    let key = |e: &Entry| (e.path.clone(), format!("{:?}", e.kind), e.size, e.inode, e.modified);
    let of = |all: &[Entry]| all.iter().filter(|e| e.kind != Kind::Directory).map(key).collect::<BTreeSet<_>>();
    let (before, after) = (of(before), of(after));
    let paths: BTreeSet<String> = before.symmetric_difference(&after).map(|(path, ..)| shown(path)).collect();
    paths.into_iter().collect()
}

fn files(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|e| e.kind == Kind::File)
}

fn tally(entries: &[Entry], placed: &BTreeSet<PathBuf>) -> Tally {
    let real = || entries.iter().filter(|e| e.kind != Kind::Directory);
    Tally {
        files: real().count() as u64,
        bytes: files(entries).map(|e| e.size).sum(),
        already: real().filter(|e| placed.contains(&e.path)).count() as u64,
        programs: files(entries).filter(|e| e.mode & 0o111 != 0).count() as u64,
    }
}
