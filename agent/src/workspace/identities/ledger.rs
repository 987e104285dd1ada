//! The ledger on the share, through descriptors below its verified root.

use super::{Entry, Holder, Recorded, Verdict, judge, read_record, record_name};
use crate::share::own;
use crate::sys::clock::rfc3339;
use crate::sys::{open, random};
use crate::workspace::model::Directory;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::SystemTime;

const NAMES: &str = "names";
const NUMBERS: &str = "numbers";
const NEW: &str = "new";
const LOG: &str = "log";
const RETIRED: &str = "retired";
const PARTS: [&str; 4] = [NAMES, NUMBERS, NEW, LOG];

/// The ledger, open.
#[derive(Debug)]
pub struct Ledger {
    base: OwnedFd,
    /// Where this VM's records say that they come from.
    here: Recorded,
}

impl Ledger {
    /// Opens the ledger on the share whose root is `root`. Nothing when there is none, unless `make` says to make it.
    /// Where the share has `owners`, it must be root's and nobody else's.
    ///
    /// # Errors
    /// As of the calls; `EPERM` for one that others could have written in, `ELOOP` or `ENOTDIR` for what is none.
    pub fn open(root: impl AsFd, owners: bool, make: bool) -> Result<Option<Self>, Errno> {
        let Some(base) = own::open(root, owners, "identities", make)? else { return Ok(None) };
        if make {
            for part in PARTS {
                open::make_below(&base, Path::new(part), Mode::from(0o700))?;
            }
        }
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Some(Self { base, here: Recorded { since: rfc3339(SystemTime::now()), node } }))
    }

    /// What is recorded for `name`, as a directory's name is written.
    ///
    /// # Errors
    /// As of the calls.
    pub fn name(&self, name: &str) -> Result<Option<Entry<Holder>>, Errno> {
        let value = |text: &str| match text {
            RETIRED => Some(Holder::Retired),
            number => number.parse().ok().map(Holder::Number),
        };
        self.entry(NAMES, name, value)
    }

    /// What is recorded for `number`.
    ///
    /// # Errors
    /// As of the calls.
    pub fn number(&self, number: u32) -> Result<Option<Entry<String>>, Errno> {
        self.entry(NUMBERS, &number.to_string(), |name| Some(name.to_owned()))
    }

    /// The names that are recorded, at most `most`.
    ///
    /// # Errors
    /// As of the calls.
    pub fn all(&self, most: usize) -> Result<Vec<String>, Errno> {
        self.list(Path::new(NAMES), most)
    }

    /// What the ledger says to `name` with `uid`.
    ///
    /// # Errors
    /// As of the calls.
    pub fn judge(&self, name: &str, uid: u32) -> Result<Verdict, Errno> {
        let number = uid.to_string();
        // The usual case takes two calls: an entry has one value.
        if self.has(&[NAMES, name, &number])? && self.has(&[NUMBERS, &number, name])? {
            return Ok(Verdict::Bound);
        }
        Ok(judge(name, uid, self.name(name)?.as_ref(), self.number(uid)?.as_ref()))
    }

    /// Whether `name` is retired: all that counts where names are the only identity.
    ///
    /// # Errors
    /// As of the calls.
    pub fn retired(&self, name: &str) -> Result<Option<Directory>, Errno> {
        if !self.has(&[NAMES, name, RETIRED])? {
            return Ok(None);
        }
        Ok(Some(Directory::Retired { recorded: self.name(name)?.and_then(|e| e.recorded) }))
    }

    /// Binds `name` and `uid` to each other, if nobody was faster. What the ledger says then is the answer: whoever lost
    /// has changed nothing.
    ///
    /// # Errors
    /// As of the calls. Half a binding may be left; the next call completes it.
    pub fn claim(&self, name: &str, uid: u32) -> Result<Verdict, Errno> {
        let number = uid.to_string();
        let named = self.make(NAMES, name, &number)?;
        if named || self.has(&[NAMES, name, &number])? {
            self.make(NUMBERS, &number, name)?;
        }
        let verdict = self.judge(name, uid)?;
        if named && matches!(verdict, Verdict::Refused(_)) {
            // Ours for a moment only: nobody had it before.
            self.discard(NAMES, name)?;
        }
        Ok(verdict)
    }

    /// Records that `name` is nobody's any more, in place of what was recorded.
    ///
    /// # Errors
    /// As of the calls; `EEXIST` when another VM changes it at this moment.
    pub fn retire(&self, name: &str) -> Result<(), Errno> {
        self.replace(NAMES, name, RETIRED)
    }

    /// Binds `name` and `uid` to each other in place of what was recorded for either.
    ///
    /// # Errors
    /// As of the calls; `EEXIST` when another VM changes it at this moment.
    pub fn bind(&self, name: &str, uid: u32) -> Result<(), Errno> {
        let number = uid.to_string();
        self.replace(NAMES, name, &number)?;
        self.replace(NUMBERS, &number, name)
    }

    /// Takes what is recorded for `name` away.
    ///
    /// # Errors
    /// As of the calls.
    pub fn forget(&self, name: &str) -> Result<(), Errno> {
        self.discard(NAMES, name)
    }

    /// Writes a record of what an administrator does: one file of its own, never over another.
    ///
    /// # Errors
    /// As of the calls.
    pub fn note(&self, text: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = format!("{}.{:016x}.json", record_name(&self.here.since, &self.here.node), random::seed());
        let file = rustix::fs::openat(&self.base, Path::new(LOG).join(name), flags, Mode::from(0o600))?;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        // The record must not be lost with this VM.
        rustix::fs::fsync(&file)
    }

    fn has(&self, path: &[&str]) -> Result<bool, Errno> {
        let path: std::path::PathBuf = path.iter().collect();
        match rustix::fs::statat(&self.base, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn entry<T>(&self, part: &str, key: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<Entry<T>>, Errno> {
        let path = Path::new(part).join(key);
        let values = match self.list(&path, 8) {
            Err(Errno::NOENT) => return Ok(None),
            other => other?,
        };
        // An entry is made with its value. What has none, or one that makes no sense, is no entry.
        let Some((text, value)) = values.iter().find_map(|text| Some((text, read(text)?))) else { return Ok(None) };
        let records = self.list(&path.join(text), 8).unwrap_or_default();
        Ok(Some(Entry { value, recorded: records.iter().find_map(|r| read_record(r)) }))
    }

    fn list(&self, path: &Path, most: usize) -> Result<Vec<String>, Errno> {
        let directory = open::below(&self.base, path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(&directory, c".", flags, Mode::empty())?;
        let mut out = Vec::new();
        for entry in rustix::fs::Dir::read_from(&readable)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | "..") && out.len() < most {
                out.push(name);
            }
        }
        out.sort();
        Ok(out)
    }

    /// Makes the entry `key` with `value`, whole or not at all. Whether it was made: not when there is one.
    fn make(&self, part: &str, key: &str, value: &str) -> Result<bool, Errno> {
        let target = Path::new(part).join(key);
        if self.has(&[part, key, value])? {
            return Ok(false);
        }
        let (temporary, name) = self.temporary();
        let record = record_name(&self.here.since, &self.here.node);
        open::make_below(&self.base, &temporary.join(value).join(record), Mode::from(0o700))?;
        match rustix::fs::renameat(&self.base, &temporary, &self.base, &target) {
            Ok(()) => Ok(true),
            // SMB refuses to replace any directory, an empty one too (ACCESS in some servers' words).
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                self.clear(&name);
                Ok(false)
            }
            Err(e) => {
                self.clear(&name);
                if self.has(&[part, key])? { Ok(false) } else { Err(e) }
            }
        }
    }

    /// Puts the entry `key` with `value` in the place of what is there.
    fn replace(&self, part: &str, key: &str, value: &str) -> Result<(), Errno> {
        if self.has(&[part, key, value])? {
            return Ok(());
        }
        self.discard(part, key)?;
        if self.make(part, key, value)? || self.has(&[part, key, value])? { Ok(()) } else { Err(Errno::EXIST) }
    }

    /// Takes an entry away: it is moved aside whole, so that nobody ever sees half of one.
    fn discard(&self, part: &str, key: &str) -> Result<(), Errno> {
        let (temporary, name) = self.temporary();
        match rustix::fs::renameat(&self.base, Path::new(part).join(key), &self.base, &temporary) {
            Ok(()) => {
                self.clear(&name);
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn temporary(&self) -> (std::path::PathBuf, String) {
        let name = format!("{}.{:016x}", record_name(&self.here.since, &self.here.node), random::seed());
        (Path::new(NEW).join(&name), name)
    }

    /// Removes what lies in `new` under this name. What is left over harms nobody.
    fn clear(&self, name: &str) {
        let top = Path::new(NEW).join(name);
        for value in self.list(&top, 8).unwrap_or_default() {
            let value = top.join(value);
            for record in self.list(&value, 8).unwrap_or_default() {
                let _ = rustix::fs::unlinkat(&self.base, value.join(record), AtFlags::REMOVEDIR);
            }
            let _ = rustix::fs::unlinkat(&self.base, &value, AtFlags::REMOVEDIR);
        }
        let _ = rustix::fs::unlinkat(&self.base, &top, AtFlags::REMOVEDIR);
    }
}
