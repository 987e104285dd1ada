//! `[share.smb] isolation = "open"`: the whole share, shown to everybody at the mount point, over the guard. For those who
//! want what the script before this agent did: every user reads and changes everything of everybody.

use super::act::{mount_id, network, open_guard};
use super::model::{Attempt, Failure, Mounted, UserMount};
use super::observe::plain;
use super::options::For;
use super::shared::Shared;
use crate::config::settings::Share;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{mount, open};
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::Path;

/// For everybody: everything is root's, and all may do everything with it.
pub const EVERYBODY: For = For::Shared(Shared { uid: 0, gid: 0, closed: false, read_only: false });

impl Mounted {
    /// The mount of the whole share, if it is there.
    pub fn whole(&self) -> Option<&UserMount> {
        self.users.iter().find(|m| m.directory.as_os_str().is_empty())
    }
}

/// Whether a mount at the mount point, on the guard with the id `guard`, is the agent's own of the whole share.
pub(super) fn is_whole(share: &Share, mount: &Mount, guard: Option<u64>) -> bool {
    guard == Some(mount.parent)
        && mount.fs_type == "cifs"
        && plain(&mount.source.to_string_lossy()) == plain(&share.source.to_string())
}

/// Mounts the whole share over the guard. Not over anything in it: that would be hidden.
///
/// # Errors
/// The call that failed; `EBUSY` while something is mounted in the guard; `EINVAL` where the settings do not want it: who
/// asks reads what others write, and is not asked whether everybody may see everything.
pub fn show(share: &Share, address: Option<IpAddr>) -> Result<(), Failure> {
    if !share.is_open() {
        return Err(Failure::call(Attempt::Attach, Errno::INVAL));
    }
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Attach, e.to_string()))?;
    if super::observe::mounted(share, &mounts).whole().is_some() {
        return Ok(());
    }
    let (guard, id, mounts) = open_guard(share, Attempt::Attach)?;
    if mounts.iter().any(|m| m.parent == id) {
        return Err(Failure::call(Attempt::Attach, Errno::BUSY));
    }
    let tree = network(share, EVERYBODY, None, address, Attempt::Attach)?;
    mount::attach(&tree, &guard).map_err(|e| Failure::mount(Attempt::Attach, e))
}

/// Unmounts it, if nobody uses it. Only what is it.
///
/// # Errors
/// `EBUSY` while somebody uses it.
pub fn hide(share: &Share) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Detach, e);
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Detach, e.to_string()))?;
    let seen = super::observe::mounted(share, &mounts);
    let Some(whole) = seen.whole() else { return Ok(()) };
    let top = open::directory(&share.mount_point).and_then(|fd| mount_id(&fd)).map_err(fail)?;
    if top != whole.mount.id || whole.carries {
        return Err(fail(Errno::BUSY));
    }
    // The mount point lies in directories that nobody but root can change.
    let above = open::directory(share.mount_point.parent().unwrap_or(Path::new("/"))).map_err(fail)?;
    let name = share.mount_point.file_name().ok_or_else(|| fail(Errno::INVAL))?;
    mount::unmount_below(&above, name).map_err(|e| Failure::mount(Attempt::Detach, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_each_users_own_is_never_shown_to_all() {
        let refused = show(&Share::smb_for_tests(), None).unwrap_err();
        assert_eq!(refused.errno, Some(libc::EINVAL));
    }
}
