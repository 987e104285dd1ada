//! What a process gives up about itself, and in which order.

use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::os::fd::RawFd;

/// Makes this process unreadable for debuggers and core dumps (PR_SET_DUMPABLE, prctl(2)): `LimitCORE=0` does not
/// keep memory out of a piped `core_pattern`.
///
/// # Errors
/// As of prctl(2).
pub fn hide() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// Asks the kernel to kill this process when its parent ends. Any change of user id clears that (prctl(2)): call it
/// again after one.
///
/// # Errors
/// As of prctl(2); `ESRCH` when the parent is gone already.
pub fn die_with_parent(parent: i32) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
    if now == parent { Ok(()) } else { Err(Errno::SRCH) }
}

/// Closes every descriptor above standard error.
pub fn close_others() {
    let first: RawFd = 3;
    // SAFETY: close_range(2) with no flags only closes descriptors. It is called first thing in a process of our own that
    // has been handed nothing above standard error, or in a copy of one that uses nothing of what its original owns.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Keeps only `keep` of the capabilities: everything else leaves the bounding set and this process's sets.
///
/// # Errors
/// As of capset(2) and prctl(2).
pub fn keep_capabilities(keep: CapabilitySet) -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    for capability in CapabilitySet::all().difference(keep).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // INVAL: newer than this kernel. PERM: we may not, and then have none to give away.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    let now = rustix::thread::capabilities(None)?;
    let kept = now.permitted.intersection(keep);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )
}

/// Becomes the given user for good. Order matters: groups while still root, then the group, then the user; then the
/// process is hidden and tied to its parent again, since a change of user id undoes both. Nothing is executed
/// afterwards: at the user's process limit that would fail, and a debugger of theirs could get in.
///
/// # Errors
/// As of the calls; the process must end then.
pub fn become_user(uid: u32, gid: u32, groups: &[u32], parent: i32) -> Result<(), Errno> {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let raw = |e: nix::errno::Errno| Errno::from_raw_os_error(e as i32);
    let list: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    setgroups(&list).map_err(raw)?;
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(group, group, group).map_err(raw)?;
    setresuid(user, user, user).map_err(raw)?;
    hide()?;
    keep_capabilities(CapabilitySet::empty())?;
    rustix::thread::set_no_new_privs(true)?;
    die_with_parent(parent)
}
