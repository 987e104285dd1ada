//! Writes this VM's row and reads everybody's, in a worker, through descriptors below the share's verified root.

use super::model::{File, Gathered, LARGEST, MOST_MARKS, Row, hex, mark};
use crate::share::act::open_root;
use crate::share::model::{Attempt, Failure};
use crate::share::own;
use crate::sys::{open, random};
use crate::workspace::names;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the rows are, in the agent's own directory.
const NODES: &str = "nodes";
/// Where the pool's salt is.
const POOL: &str = "pool";
/// How a row's file name ends.
pub const SUFFIX: &str = ".json";
/// How that of a row ends that is being written.
const NEW: &str = ".new";
/// So many files are read at once: on a share with latency a thousand rows take a sixteenth of the time.
const AT_ONCE: usize = 16;
/// So many files are read.
const MOST: usize = 4096;
/// So many bytes of all files together: the whole answer must fit into what is read of a worker's.
const ROOM: usize = 5 << 20;
/// After this no further file is begun. What was read until then is the answer.
pub const TIME: Duration = Duration::from_secs(10);
/// A row that no VM renewed for so long is removed, by the server's own clock.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// So many are removed at a time.
const MOST_REMOVED: usize = 200;
/// How often a rename is tried: on SMB, somebody who reads the old row is in its way for a moment.
const TRIES: u32 = 4;

/// The file of a VM's row.
///
/// # Errors
/// In `details`: the name cannot be written as a file's.
fn file_of(node: &str) -> Result<String, Failure> {
    let stem = names::escape(node).filter(|stem| stem.len() + SUFFIX.len() + NEW.len() < names::LONGEST);
    stem.map(|stem| stem + SUFFIX)
        .ok_or_else(|| Failure::said(Attempt::Directory, format!("{node:?} cannot be the name of a VM")))
}

/// Writes this VM's row. `present` are the directories of those who are here; `before` is a name that this VM had before.
/// With `sweep`, rows that nobody renewed for long are removed too.
///
/// # Errors
/// The call that failed.
pub fn write(row: &Row, present: &[String], before: Option<&str>, sweep: bool, owners: bool) -> Result<(), Failure> {
    write_below(&open_root(Attempt::Directory)?, row, present, before, sweep, owners)
}

fn write_below(
    root: &OwnedFd,
    row: &Row,
    present: &[String],
    before: Option<&str>,
    sweep: bool,
    owners: bool,
) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Directory, e);
    let file = file_of(&row.node)?;
    let salt = salt(root, owners).map_err(fail)?;
    let mut marks: Vec<String> = present.iter().take(MOST_MARKS).map(|directory| mark(&salt, directory)).collect();
    marks.sort_unstable();
    let row = Row { marks, ..row.clone() };
    let mut text = serde_json::to_vec(&row).map_err(|e| Failure::said(Attempt::Directory, e.to_string()))?;
    text.push(b'\n');
    let nodes = own::open(root, owners, NODES, true).map_err(fail)?.ok_or_else(|| fail(Errno::NOENT))?;
    put(&nodes, &file, &text).map_err(fail)?;
    if let Some(before) = before.filter(|before| *before != row.node) {
        let _ = rustix::fs::unlinkat(&nodes, file_of(before)?, AtFlags::empty());
    }
    if sweep {
        clear(&nodes, &file).map_err(fail)?;
    }
    Ok(())
}

/// Puts `text` in the place of the file `name`, at once: whoever reads sees the old one or the new one.
fn put(nodes: &OwnedFd, name: &str, text: &[u8]) -> Result<(), Errno> {
    let new = format!("{name}{NEW}");
    match rustix::fs::unlinkat(nodes, &new, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(nodes, &new, flags, Mode::from(0o600))?;
    let errno = |e: std::io::Error| Errno::from_io_error(&e).unwrap_or(Errno::IO);
    // Not synced: a row that is lost is written again before long.
    std::fs::File::from(file).write_all(text).map_err(errno)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match rustix::fs::renameat(nodes, &new, nodes, name) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS | Errno::BUSY | Errno::EXIST | Errno::STALE | Errno::TXTBSY) if tries < TRIES => {
                std::thread::sleep(Duration::from_millis(100 << tries));
            }
            Err(e) => {
                let _ = rustix::fs::unlinkat(nodes, &new, AtFlags::empty());
                return Err(e);
            }
        }
    }
}

/// The pool's salt, made by whoever is first: a directory with the value in its name, made whole aside and renamed to its
/// place, so that of many VMs exactly one makes it.
fn salt(root: &OwnedFd, owners: bool) -> Result<String, Errno> {
    let pool = own::open(root, owners, POOL, true)?.ok_or(Errno::NOENT)?;
    if let Some(salt) = read_salt(&pool)? {
        return Ok(salt);
    }
    let mut bytes = [0u8; 32];
    // It is a secret: without the kernel's generator there is none.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let aside = format!("new.{:016x}", random::seed());
    open::make_below(&pool, &std::path::Path::new(&aside).join(hex(&bytes)), Mode::from(0o700))?;
    match rustix::fs::renameat(&pool, &aside, &pool, SALT) {
        Ok(()) => {}
        // Somebody was faster, in whatever words the server says so: theirs is read.
        Err(_) => {
            let _ = rustix::fs::unlinkat(&pool, format!("{aside}/{}", hex(&bytes)), AtFlags::REMOVEDIR);
            let _ = rustix::fs::unlinkat(&pool, &aside, AtFlags::REMOVEDIR);
        }
    }
    read_salt(&pool)?.ok_or(Errno::NOENT)
}

/// The directory whose only entry is the salt.
const SALT: &str = "salt";

fn read_salt(pool: &OwnedFd) -> Result<Option<String>, Errno> {
    let whole = |name: &String| name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match open::below(pool, SALT.as_ref()) {
        Ok(directory) => Ok(list(&directory, 8)?.0.into_iter().find(whole)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The names in a directory, at most `most`, in order, and how many more there are.
fn list(directory: &OwnedFd, most: usize) -> Result<(Vec<String>, u64), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    let (mut out, mut more) = (Vec::new(), 0);
    for entry in rustix::fs::Dir::read_from(&readable)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            "." | ".." => {}
            _ if out.len() < most => out.push(name),
            _ => more += 1,
        }
    }
    out.sort_unstable();
    Ok((out, more))
}

/// Removes rows, and halves of rows, that no VM renewed for long. Their age is counted by the server's clock alone, from
/// this VM's own row `own`, which was written just now: a wrong clock of a VM removes nothing. What is no file stays.
fn clear(nodes: &OwnedFd, own: &str) -> Result<(), Errno> {
    let modified = |name: &str| {
        let stat = rustix::fs::statat(nodes, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok::<_, Errno>((is_file, stat.st_mtime))
    };
    let now = modified(own)?.1;
    let is_old = |at: i64| u64::try_from(now.saturating_sub(at)).is_ok_and(|age| age > KEPT.as_secs());
    let ours = |name: &&String| {
        let stem = name.strip_suffix(NEW).unwrap_or(name).strip_suffix(SUFFIX);
        stem.is_some_and(|stem| names::unescape(stem).is_some()) && *name != own
    };
    let old = |name: &&String| modified(name).is_ok_and(|(is_file, at)| is_file && is_old(at));
    for name in list(nodes, MOST)?.0.iter().filter(ours).filter(old).take(MOST_REMOVED) {
        let _ = rustix::fs::unlinkat(nodes, name, AtFlags::empty());
    }
    Ok(())
}

/// Reads everybody's rows.
///
/// # Errors
/// The call that failed; that single files cannot be read is part of the answer.
pub fn gather(owners: bool) -> Result<Gathered, Failure> {
    gather_below(&open_root(Attempt::Directory)?, owners, TIME)
}

fn gather_below(root: &OwnedFd, owners: bool, time: Duration) -> Result<Gathered, Failure> {
    let fail = |e| Failure::call(Attempt::Directory, e);
    let until = Instant::now() + time;
    let salt = match own::open(root, owners, POOL, false).map_err(fail)? {
        Some(pool) => read_salt(&pool).map_err(fail)?,
        None => None,
    };
    let Some(nodes) = own::open(root, owners, NODES, false).map_err(fail)? else {
        return Ok(Gathered { salt, ..Gathered::default() });
    };
    let (mut names, mut more) = list(&nodes, MOST).map_err(fail)?;
    names.retain(|name| !name.ends_with(NEW));
    let (next, room, gone) = (AtomicUsize::new(0), AtomicUsize::new(ROOM), AtomicUsize::new(0));
    let read = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(names.len()) {
            scope.spawn(|| {
                while Instant::now() < until
                    && let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let Some(text) = read_file(&nodes, name) else {
                        gone.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let size = name.len() + text.as_ref().map_or_else(String::len, String::len);
                    if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size)).is_err() {
                        break;
                    }
                    // Nobody panics with it.
                    read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((name.clone(), text));
                }
            });
        }
    });
    let read = read.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut files: Vec<File> = read.into_iter().map(|(name, text)| File { name, text }).collect();
    let left = names.len().saturating_sub(files.len()).saturating_sub(gone.into_inner());
    more += u64::try_from(left).unwrap_or(u64::MAX);
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Gathered { salt, files, more })
}

/// What is in a file, or why it cannot be a row; nothing when there is no file any more.
fn read_file(nodes: &OwnedFd, name: &str) -> Option<Result<String, String>> {
    // NONBLOCK: opening a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(nodes.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT) => return None,
        Err(e) => return Some(Err(std::io::Error::from(e).to_string())),
    };
    let mut bytes = Vec::new();
    let read = file.metadata().and_then(|meta| match meta.is_file() {
        true => file.take(LARGEST as u64 + 1).read_to_end(&mut bytes),
        false => Err(std::io::Error::other("is no file")),
    });
    // Control characters would take six times their room on the way.
    let odd = |b: &u8| b.is_ascii_control() && *b != b'\n';
    Some(match read {
        Err(e) => Err(e.to_string()),
        Ok(_) if bytes.len() > LARGEST => Err("is too large".to_owned()),
        Ok(_) if bytes.iter().any(odd) => Err("is no text".to_owned()),
        Ok(_) => String::from_utf8(bytes).map_err(|_| "is no text".to_owned()),
    })
}

#[cfg(test)]
mod tests;
