//! The rescue: what is at risk and small enough, copied to its owner's workspace.

use super::copy::{Copies, Kept, Room};
use super::held::held;
use super::last::{self, Last};
use super::rule::{on_share, urgency};
use super::survey::told;
use super::walk::{Found, Walked, walk};
use super::{LISTED, Left, Order, RESCUED, Rescued, Unfinished, note};
use crate::share::diagnosis::bytes as human;
use crate::sys::clock::boottime;
use crate::sys::open;
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many failures of the share's in a row, and it is asked whether it takes anything at all: each may have taken long.
const FAILURES: u32 = 3;
/// What comes of one place on the share, or of one file, and says nothing of what else it takes.
const OF_ONE: [Errno; 7] =
    [Errno::EXIST, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::XDEV, Errno::NAMETOOLONG, Errno::ILSEQ];

/// Copies, as the user that this process is, until `until` by the boot-time clock at the latest. Everything that was
/// copied is there for good the moment that it is: whatever ends this ends it between two files, or within one that does
/// not count yet.
///
/// # Errors
/// What could not even be begun, and why. The home then is as it was, as it always is.
pub fn rescue(order: &Order, until: Duration) -> Result<Rescued, (&'static str, Errno)> {
    let mut walked = walk(&order.place, until).map_err(|e| ("looking at the home", e))?;
    let mut files = std::mem::take(&mut walked.files);
    let out = Rescued {
        unread: walked.unread.iter().map(|path| told(path)).collect(),
        whole: walked.whole,
        unfinished: (!walked.whole && boottime() >= until).then_some(Unfinished::Time),
        ..Rescued::default()
    };
    if files.is_empty() {
        return Ok(out);
    }
    files.sort_by_cached_key(|f| (urgency(f.entry.size, f.entry.modified.0), walked.path(f)));
    let share = open::directory(&order.target).map_err(|e| ("opening the workspace on the share", e))?;
    let place = Path::new(RESCUED).join(&order.into);
    let (root, _) =
        open::make_below(&share, &place, Mode::from(0o700)).map_err(|e| ("making the directory on the share", e))?;
    let free = rustix::fs::fstatvfs(&root).map_or(0, |s| s.f_bavail.saturating_mul(s.f_frsize));
    let mut rescue = Rescue {
        order,
        until,
        copies: Copies { root: &root, smb: order.smb, until },
        walked: &walked,
        room: Room { limit: order.limit.saturating_sub(held(&root, until)), space: free / 2 },
        failures: 0,
        out,
        left: Vec::new(),
    };
    // Should this be ended, what is there says itself that it is not all.
    rescue.describe(&root, true);
    for found in &files {
        rescue.one(found);
    }
    rescue.describe(&root, false);
    Ok(rescue.finish())
}

struct Rescue<'a> {
    order: &'a Order,
    until: Duration,
    copies: Copies<'a>,
    walked: &'a Walked,
    /// What may be copied still: others use the share, too, and half of what is free is theirs.
    room: Room,
    /// Of the share's, in a row.
    failures: u32,
    out: Rescued,
    left: Vec<Left>,
}

impl Rescue<'_> {
    fn one(&mut self, found: &Found) {
        let size = found.entry.size;
        let why = if self.failures >= FAILURES {
            "the share did not take it".to_owned()
        } else if boottime() >= self.until {
            self.unfinished(Unfinished::Time);
            "there was no time left".to_owned()
        } else {
            match self.copy(found) {
                Ok(kept) => return self.keep(size, kept),
                Err(why) => why,
            }
        };
        self.left.push(Left { path: told(&self.walked.path(found)), bytes: size, why });
    }

    fn keep(&mut self, size: u64, kept: Kept) {
        self.failures = 0;
        if kept == Kept::Already {
            self.out.already += 1;
        } else {
            self.room.take(size);
        }
        self.out.files += 1;
        self.out.bytes = self.out.bytes.saturating_add(size);
    }

    fn unfinished(&mut self, why: Unfinished) {
        self.out.whole = false;
        self.out.unfinished.get_or_insert(why);
    }

    /// Copies one file.
    ///
    /// # Errors
    /// In words, why it is left.
    fn copy(&mut self, found: &Found) -> Result<Kept, String> {
        let part = self.walked.parts.get(found.part).ok_or("it cannot be found again")?;
        let names: Option<PathBuf> = self.walked.path(found).iter().map(|n| on_share(n, self.order.smb)).collect();
        let to = names.ok_or("its name is too long for the share")?;
        match self.copies.copy(&part.source, &found.entry, &to, self.room) {
            Ok(Kept::Late) => {
                self.unfinished(Unfinished::Time);
                Err("there was no time left".to_owned())
            }
            Ok(Kept::TooMuch) => Err(format!("all that is copied together may have {}", human(self.order.limit))),
            Ok(Kept::Changing) => Err("it changed while it was copied".to_owned()),
            Ok(Kept::NoRoom) => Err("the share has no room for it".to_owned()),
            Ok(Kept::Unreadable(errno)) => Err(format!("it cannot be read: {}", words(errno))),
            Ok(kept) => Ok(kept),
            Err(errno) => {
                if !OF_ONE.contains(&errno) {
                    self.unfinished(Unfinished::Share);
                    self.failures += 1;
                    if self.failures == FAILURES && self.copies.takes() {
                        self.failures = 0;
                    }
                }
                Err(format!("the share did not take it: {}", words(errno)))
            }
        }
    }

    /// Says in the directory itself, and to the next log-in, what is in it.
    fn describe(&mut self, root: &OwnedFd, under_way: bool) {
        self.left.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        let last = Last {
            node: self.order.node.clone(),
            at: self.order.now,
            files: self.out.files,
            bytes: self.out.bytes,
            left: self.left.len() as u64,
            whole: self.out.whole && !under_way,
            boot_id: self.order.boot_id.clone(),
            into: self.order.into.clone(),
        };
        // The copies count; that they cannot be described loses none of them.
        let _ = note::write(root, &note::text(&last, &self.left, &self.out.unread, under_way));
        let _ = last::write(root, &last);
    }

    fn finish(mut self) -> Rescued {
        self.out.more_left = self.left.len().saturating_sub(LISTED) as u64;
        self.left.truncate(LISTED);
        self.out.left = self.left;
        self.out
    }
}

fn words(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
