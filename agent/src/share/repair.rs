//! Mends what is mounted, in a worker: closes dead connections, mounts for a trial, gives new keys. Nothing is unmounted
//! that anybody uses.

use super::act::{detach, network, obtain, open_guard, unmount_root};
use super::credentials;
use super::heal;
use super::keys::{Given, mark, second};
use super::model::{Attempt, Failure, ROOT, Rekeyed, parent_of};
use super::observe::servers;
use super::options::{self, For};
use super::workstation;
use crate::config::settings::{Kind, Share};
use crate::sys::mount::{self, FsOption, MountError};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{keyring, open, random, sockets};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::net::IpAddr;
use std::path::Path;

/// What was given to what is mounted: beside the root's mount point, in root's own directory.
const GIVEN: &str = "keys";

fn said(attempt: Attempt) -> impl Fn(std::io::Error) -> Failure {
    move |e| Failure { attempt, errno: e.raw_os_error(), details: Vec::new() }
}

/// So many of the connections of the agent's mounts carry data of which nothing arrives.
pub fn stalled() -> u32 {
    let Ok(mounts) = mountinfo::read() else { return 0 };
    let servers = servers(&mounts);
    let stalled =
        |c: &sockets::Connection| c.stalls(heal::STALLED) && c.uid == 0 && servers.contains(&(c.remote, c.port));
    // What cannot be looked at is not dead.
    let count = sockets::connections().unwrap_or_default().iter().filter(|c| stalled(c)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Clears the kernel's cache of names, then closes dead connections to the servers of the agent's mounts.
///
/// # Errors
/// The first call that failed; the others were made.
pub fn heal(present: Option<IpAddr>, all: bool) -> Result<(), Failure> {
    let names = keyring::forget_names().map_err(said(Attempt::Heal));
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Heal, e.to_string()))?;
    let connections = sockets::traffic().map_err(said(Attempt::Heal))?;
    let mut result = names;
    for connection in heal::dead(connections, &servers(&mounts), present, all) {
        match sockets::destroy(&connection) {
            // Gone by itself meanwhile.
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            Err(e) => result = result.and(Err(said(Attempt::Heal)(e))),
        }
    }
    result
}

/// Mounts the share for a trial, attached nowhere and over a connection of its own: whether it would work now.
///
/// # Errors
/// As of mounting.
pub fn trial(share: &Share, address: Option<IpAddr>) -> Result<(), Failure> {
    network(share, For::Agent, None, address, Attempt::Mount).map(drop)
}

/// A note that everything has these keys.
pub(super) fn note(keys: &credentials::Keys) -> Given {
    let salt = random::seed();
    Given { salt, marks: marks(salt, keys), old: Vec::new() }
}

/// Keeps a note: when nothing else is mounted than what was just mounted with those keys.
pub(super) fn keep(note: &Given) -> Result<(), Failure> {
    write(note)
}

fn marks(salt: u64, keys: &credentials::Keys) -> Vec<u64> {
    present(keys).map(|key| mark(salt, key)).collect()
}

fn present(keys: &credentials::Keys) -> impl Iterator<Item = &str> {
    std::iter::once(keys.password.as_str()).chain(keys.password2.iter().map(|k| k.as_str()))
}

/// Gives the present keys to what is mounted, when they are others than before or by `force`. Where the kernel cannot,
/// what nobody uses is unmounted, to be mounted again with them.
///
/// # Errors
/// The first that failed, or that has other options afterwards than were asked for.
pub fn rekey(share: &Share, force: bool) -> Result<Rekeyed, Failure> {
    if share.kind() != Kind::Smb {
        return Ok(Rekeyed::default());
    }
    let Some(keys) = obtain(share)? else { return Ok(Rekeyed::default()) };
    let given = read();
    let salt = if given.marks.is_empty() { random::seed() } else { given.salt };
    let mine = marks(salt, &keys);
    let Some(place) = second(&given.marks, &mine, force) else {
        let left = free(share, &given.old)?;
        if left != given.old {
            write(&Given { old: left.clone(), ..given })?;
        }
        return Ok(Rekeyed { changed: false, left });
    };
    // What was kept may be gone.
    workstation::keep();
    workstation::take();
    let mounts = read_mounts()?;
    let own: Vec<&Mount> = own(share, &mounts);
    let mut cannot = Vec::new();
    let mut result = Ok(());
    // All users' mounts share one session: what one of them is given, the others have. By force nothing is assumed.
    let (mut given_to_users, mut covered) = (false, None);
    for mount in &own {
        let is_users = mount.target != Path::new(ROOT);
        if is_users && given_to_users && !force {
            continue;
        }
        match change(share, mount, &keys, place) {
            Ok(able) => {
                given_to_users |= is_users;
                if !able {
                    cannot.push(mount.id);
                }
            }
            // A user may mount something of theirs over their own: that must not keep the new key from all others.
            Err(failure) if is_users && failure.errno == Some(libc::ESTALE) => covered = Some(failure),
            Err(failure) => result = result.and(Err(failure)),
        }
    }
    result?;
    if let Some(failure) = covered.filter(|_| !given_to_users) {
        return Err(failure);
    }
    let mut old = given.old.clone();
    // The first key is what an old kernel uses. Only another one there is a reason to mount anew.
    if !cannot.is_empty() && (force || given.marks.first() != mine.first()) {
        old = own.iter().map(|m| m.id).collect();
    }
    // Before anything is unmounted: what is mounted from now on has the new ones.
    write(&Given { salt, marks: mine, old: old.clone() })?;
    let left = free(share, &old)?;
    if left != old {
        let given = read();
        write(&Given { old: left.clone(), ..given })?;
    }
    Ok(Rekeyed { changed: true, left })
}

fn read_mounts() -> Result<Vec<Mount>, Failure> {
    mountinfo::read().map_err(|e| Failure::said(Attempt::Rekey, e.to_string()))
}

/// The agent's own mounts of the share: the root's and those in the guard.
fn own<'a>(share: &Share, mounts: &'a [Mount]) -> Vec<&'a Mount> {
    let seen = super::observe::mounted(share, mounts);
    let users: Vec<u64> = seen.users.iter().filter(|u| !u.other).map(|u| u.mount.id).collect();
    let root = seen.root.filter(|r| r.other.is_none()).map(|r| r.id);
    mounts.iter().filter(|m| m.fs_type == "cifs" && (Some(m.id) == root || users.contains(&m.id))).collect()
}

/// Gives a mount the keys, with the complete set of its options: every one that is missing would fall back to the
/// kernel's default, others' right to read among them. Whether the kernel can do it at all.
fn change(share: &Share, mount: &Mount, keys: &credentials::Keys, place: usize) -> Result<bool, Failure> {
    let root = open_mount(share, mount)?;
    let below = options::below(share, mount);
    let Some(whom) = options::whom(mount) else { return Ok(true) };
    let address = mount.option("addr").and_then(|a| a.parse().ok());
    let rest = || {
        let second = present(keys).nth(place).unwrap_or_default();
        let mut all = options::source(share, below.as_deref(), address);
        all.push(FsOption { key: "username".into(), value: Some(keys.username.clone()) });
        all.push(FsOption::new("password2", second));
        all.extend(options::build(share, whom));
        all
    };
    // A session that lives takes no other first key; one that was refused does.
    let mut with_first = rest();
    with_first.push(FsOption { key: "password".into(), value: Some(keys.password.clone()) });
    let result = match mount::reconfigure(&root, &with_first) {
        Err(e) if e.call == "reconfigure" && e.errno == libc::EINVAL => mount::reconfigure(&root, &rest()),
        other => other,
    };
    match result {
        Ok(()) => verified(share, whom, mount.id).map(|()| true),
        Err(MountError { call, .. }) if call == "option password2" => Ok(false),
        Err(e) => Err(Failure::mount(Attempt::Rekey, e)),
    }
}

fn verified(share: &Share, whom: For, id: u64) -> Result<(), Failure> {
    let mounts = read_mounts()?;
    let differences =
        mounts.iter().find(|m| m.id == id).map(|m| options::differences(share, whom, m)).unwrap_or_default();
    if differences.is_empty() {
        Ok(())
    } else {
        Err(Failure { attempt: Attempt::Rekey, errno: None, details: differences })
    }
}

/// Opens the root of a mount of the agent's, by no path that a user can change, and makes sure that it is that mount.
fn open_mount(share: &Share, mount: &Mount) -> Result<OwnedFd, Failure> {
    let fail = |e| Failure::call(Attempt::Rekey, e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = if mount.target == Path::new(ROOT) {
        rustix::fs::open(ROOT, flags, Mode::empty()).map_err(fail)?
    } else {
        if mount.target == share.mount_point {
            let opened = open::directory(&share.mount_point).map_err(fail)?;
            return if mountinfo::id_of(&opened) == Some(mount.id) { Ok(opened) } else { Err(fail(Errno::STALE)) };
        }
        let (guard, ..) = open_guard(share, Attempt::Rekey)?;
        let below = mount.target.strip_prefix(&share.mount_point).map_err(|_| fail(Errno::INVAL))?;
        let parent = match parent_of(below) {
            above if above.as_os_str().is_empty() => guard,
            above => open::below(guard.as_fd(), above).map_err(fail)?,
        };
        let name = below.file_name().ok_or_else(|| fail(Errno::INVAL))?;
        rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(fail)?
    };
    if mountinfo::id_of(&opened) == Some(mount.id) { Ok(opened) } else { Err(fail(Errno::STALE)) }
}

/// Unmounts of `ids` what nobody uses, and says what is left.
fn free(share: &Share, ids: &[u64]) -> Result<Vec<u64>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = read_mounts()?;
    let mut left = Vec::new();
    for mount in own(share, &mounts).into_iter().filter(|m| ids.contains(&m.id)) {
        let result = match mount.target.strip_prefix(&share.mount_point) {
            Ok(below) if below.as_os_str().is_empty() => super::whole::hide(share),
            Ok(below) if mount.target != Path::new(ROOT) => detach(share, &below.to_string_lossy()),
            _ => unmount_root(),
        };
        match result {
            Ok(()) => {}
            Err(f) if f.errno == Some(libc::EBUSY) => left.push(mount.id),
            Err(f) => return Err(f),
        }
    }
    Ok(left)
}

fn private() -> Result<OwnedFd, Failure> {
    open::directory(Path::new(ROOT).parent().unwrap_or(Path::new("/"))).map_err(|e| Failure::call(Attempt::Rekey, e))
}

/// What cannot be read was never written: then nothing is known of what was given.
fn read() -> Given {
    let Ok(directory) = private() else { return Given::default() };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(&directory, GIVEN, flags, Mode::empty()) else { return Given::default() };
    serde_json::from_reader(std::io::BufReader::new(std::fs::File::from(file))).unwrap_or_default()
}

fn write(given: &Given) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Rekey, e);
    let directory = private()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, "keys.new", flags, Mode::from(0o600)).map_err(fail)?;
    rustix::fs::fchmod(&file, Mode::from(0o600)).map_err(fail)?;
    serde_json::to_writer(std::fs::File::from(file), given)
        .map_err(|e| Failure::said(Attempt::Rekey, e.to_string()))?;
    rustix::fs::renameat(&directory, "keys.new", &directory, GIVEN).map_err(fail)
}
