//! What is left where the mount point was before the configuration changed: it goes when nobody uses it, and is said until
//! then.

use super::model::{Attempt, Failure, GUARD_SOURCE};
use crate::config::settings::Share;
use crate::problem::Problem;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{mount, open};
use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// How long after a failed try the next one: somebody works there, most likely.
const AGAIN: Duration = Duration::from_secs(15);

/// A guard that lies where the settings have no mount point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// Where.
    pub at: PathBuf,
    /// How many mounts lie on it.
    pub mounts: usize,
}

/// What is remembered of it from pass to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Not before then again.
    pub again: Duration,
}

impl Memory {
    /// A try ended.
    pub fn tried(&mut self, result: &Result<(), Failure>, now: Duration) {
        self.again = if result.is_ok() { Duration::ZERO } else { now + AGAIN };
    }
}

fn is_guard(mount: &Mount) -> bool {
    mount.fs_type == "tmpfs" && mount.source == GUARD_SOURCE
}

/// The guards that are not where the settings want one.
pub fn find(share: &Share, mounts: &[Mount]) -> Vec<Old> {
    let guards = mounts.iter().filter(|m| is_guard(m) && m.target != share.mount_point);
    guards.map(|g| Old { at: g.target.clone(), mounts: mounts.iter().filter(|m| m.parent == g.id).count() }).collect()
}

/// Whether there is something to try now.
pub fn is_due(old: &[Old], memory: Memory, now: Duration) -> bool {
    !old.is_empty() && now >= memory.again
}

/// What people are told while it is there.
pub fn problems(share: &Share, old: &[Old]) -> Vec<Problem> {
    let tell = |old: &Old| {
        let (at, new) = (old.at.display(), share.mount_point.display());
        let summary =
            format!("The mount point was {at} before and is {new} now. What is still used there was left as it is.");
        let remedy = format!("It goes by itself when nobody uses it any more. Who does: sudo fuser -vm {at} {at}/*/*");
        Problem::new("share.old-mount-point", summary, remedy)
    };
    old.iter().map(tell).collect()
}

/// Unmounts the guard at `at` and what lies on it, as far as nobody uses it. Only what is a guard, and not the one in force.
///
/// # Errors
/// `EBUSY` while somebody uses it; `EINVAL` when it is none.
pub fn take_down(share: &Share, at: &Path) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Detach, e);
    // The same place has one name only without any `..`: another name must not lead to the guard in force.
    if !at.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_))) {
        return Err(fail(Errno::INVAL));
    }
    let name = at.file_name().ok_or(fail(Errno::INVAL))?;
    let above = open::directory(at.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
    let guard = open::directory(at).map_err(fail)?;
    let id = rustix::fs::statx(&guard, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map_err(fail)?.stx_mnt_id;
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Detach, e.to_string()))?;
    if at == share.mount_point || !mounts.iter().any(|m| m.id == id && is_guard(m)) {
        return Err(fail(Errno::INVAL));
    }
    let mut used = None;
    for own in mounts.iter().filter(|m| m.parent == id) {
        let result = detach(&guard, at, own, &mounts);
        used = used.or(result.err());
    }
    // A guard on which something lies is busy.
    drop(guard);
    match used {
        Some(failure) => Err(failure),
        None => mount::unmount_below(&above, name).map_err(|e| Failure::mount(Attempt::Detach, e)),
    }
}

fn detach(guard: &rustix::fd::OwnedFd, at: &Path, own: &Mount, mounts: &[Mount]) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Detach, e);
    let below = own.target.strip_prefix(at).map_err(|_| fail(Errno::INVAL))?;
    let name = below.file_name().ok_or(fail(Errno::INVAL))?;
    if mounts.iter().any(|m| m.parent == own.id) {
        return Err(fail(Errno::BUSY));
    }
    let parent = match below.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => open::below(guard, parent).map_err(fail)?,
        None => rustix::io::fcntl_dupfd_cloexec(guard, 3).map_err(fail)?,
    };
    mount::unmount_below(&parent, name).map_err(|e| Failure::mount(Attempt::Detach, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_guard_elsewhere_is_old_until_it_is_gone() {
        let share = Share::smb_for_tests();
        let text = "5 1 0:9 / /data ro - tmpfs dsvm-agent-guard rw\n\
            6 1 0:10 / /old ro - tmpfs dsvm-agent-guard rw\n\
            7 6 0:11 / /old/notebooks/alice rw - cifs //h/s rw\n\
            8 1 0:12 / /tmp rw - tmpfs tmpfs rw\n";
        let old = find(&share, &mountinfo::parse(text.as_bytes()).unwrap());
        assert_eq!(old, [Old { at: "/old".into(), mounts: 1 }]);
        let mut memory = Memory::default();
        assert!(is_due(&old, memory, NOW) && !is_due(&[], memory, NOW));
        memory.tried(&Err(Failure::call(Attempt::Detach, Errno::BUSY)), NOW);
        assert!(!is_due(&old, memory, NOW) && is_due(&old, memory, NOW + AGAIN));
        let said = problems(&share, &old);
        assert!(said[0].summary.contains("/old") && said[0].summary.contains("/data"), "{said:?}");
    }

    #[test]
    fn what_is_no_guard_is_never_taken_down() {
        let share = Share::smb_for_tests();
        for at in ["/", "/proc", "/tmp", "/nonexistent"] {
            let failure = take_down(&share, Path::new(at)).unwrap_err();
            assert!(matches!(failure.errno, Some(libc::EINVAL | libc::ENOENT)), "{at}: {failure:?}");
        }
    }
}
