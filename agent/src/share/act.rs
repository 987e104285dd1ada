//! Carries out the share's steps, in a worker. Each is idempotent, goes through descriptors, and fails with facts.

use super::credentials;
use super::model::{Attempt, Failure, GUARD_SOURCE, NOT_MOUNTED, NOT_MOUNTED_TEXT, Probe, ROOT, parent_of};
use super::nfs;
use super::options::{self, For};
use super::workstation;
use crate::config::settings::{Kind, Share, Source};
use crate::sys::mount::{self, FsOption, MountError};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::open;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Component, Path};
use std::time::{Duration, Instant};

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Finds an address of `host` on which the server accepts a connection.
///
/// # Errors
/// [`Attempt::Resolve`] or, with the last address tried, [`Attempt::Connect`].
pub fn reach(host: &str, port: u16) -> Result<IpAddr, Failure> {
    let addresses: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|e| Failure::said(Attempt::Resolve, e.to_string()))?.take(4).collect();
    let mut last = Failure::said(Attempt::Resolve, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(address.ip()),
            Err(e) => {
                let errno = e.raw_os_error().or((e.kind() == std::io::ErrorKind::TimedOut).then_some(libc::ETIMEDOUT));
                last = Failure { attempt: Attempt::Connect, errno, details: vec![address.ip().to_string()] };
            }
        }
    }
    Err(last)
}

/// Lays the guard: a read-only tmpfs over the empty mount point, which is made when it is missing.
///
/// # Errors
/// `ENOTEMPTY` with some names when something is in the mount point; else the call that failed.
pub fn lay_guard(share: &Share) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Guard, e);
    let target = make_mount_point(&share.mount_point).map_err(fail)?;
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Guard, e.to_string()))?;
    if is_guard(&mounts, mount_id(&target).map_err(fail)?) {
        return Ok(());
    }
    refuse_if_occupied(&target)?;
    let options = [
        FsOption::new("source", GUARD_SOURCE),
        FsOption::new("mode", "0755"),
        // A few thousand directories and one text; nobody can write, so nobody can fill it.
        FsOption::new("size", "16m"),
        FsOption::new("nr_inodes", "100k"),
    ];
    let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC | mount::SAFE;
    let guard = mount::make("tmpfs", &options, read_only).map_err(|e| Failure::mount(Attempt::Guard, e))?;
    mount::attach(&guard, &target).map_err(|e| Failure::mount(Attempt::Guard, e))
}

/// Opens the mount point, making missing directories as root's. Every directory on the way must be safe from users:
/// whoever could rename one of them could put another in its place.
fn make_mount_point(path: &Path) -> Result<OwnedFd, Errno> {
    let mut here = open::directory(Path::new("/"))?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            _ => return Err(Errno::INVAL),
        };
        match rustix::fs::mkdirat(&here, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        here = rustix::fs::openat(&here, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&here)?;
        // In the mount point itself nobody may make anything either: it would be hidden under the guard.
        let sticky = stat.st_mode & 0o1000 != 0 && components.peek().is_some();
        if stat.st_uid != 0 || (stat.st_mode & 0o022 != 0 && !sticky) {
            return Err(Errno::PERM);
        }
    }
    Ok(here)
}

fn refuse_if_occupied(directory: &OwnedFd) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Guard, e);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(directory, c".", flags, Mode::empty()).map_err(fail)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&readable).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
        if names.len() > 3 {
            names.pop();
            names.push("…".to_owned());
            break;
        }
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(Failure { attempt: Attempt::Guard, errno: Some(libc::ENOTEMPTY), details: names })
    }
}

/// Opens the guard itself and makes sure that it is the guard. The mounts, and its id among them, come along.
pub(super) fn open_guard(share: &Share, attempt: Attempt) -> Result<(OwnedFd, u64, Vec<Mount>), Failure> {
    let guard = open::directory(&share.mount_point).map_err(|e| Failure::call(attempt, e))?;
    let mounts = mountinfo::read().map_err(|e| Failure::said(attempt, e.to_string()))?;
    let id = mount_id(&guard).map_err(|e| Failure::call(attempt, e))?;
    if is_guard(&mounts, id) { Ok((guard, id, mounts)) } else { Err(Failure::said(attempt, "the guard is not there")) }
}

fn is_guard(mounts: &[Mount], id: u64) -> bool {
    mounts.iter().any(|m| m.id == id && m.fs_type == "tmpfs" && m.source == GUARD_SOURCE)
}

/// The id, as in mountinfo, of the mount that `directory` is open on (statx(2)).
pub(super) fn mount_id(directory: &OwnedFd) -> Result<u64, Errno> {
    rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID).map(|s| s.stx_mnt_id)
}

/// Makes empty mount points in the guard, each with the text that says what is missing. The guard is read-only to
/// everybody, us included: they are made through a writable clone of its mount, which is attached nowhere.
///
/// One answer for each, in order: one that cannot be made stops none of the others.
///
/// # Errors
/// That the guard cannot be written in at all.
pub fn make_mount_points(share: &Share, directories: &[String]) -> Result<Vec<Option<Failure>>, Failure> {
    let fail = |e| Failure::call(Attempt::MountPoints, e);
    let failed = |e: MountError| Failure::mount(Attempt::MountPoints, e);
    let (guard, ..) = open_guard(share, Attempt::MountPoints)?;
    let writable = mount::clone(&guard, MountAttrFlags::empty(), MountAttrFlags::MOUNT_ATTR_RDONLY).map_err(failed)?;
    let text = guard_text(&writable).map_err(fail)?;
    Ok(directories.iter().map(|d| make_mount_point_of(&writable, d, text).err().map(fail)).collect())
}

/// It gets its name with the text in it: whether the text is there cannot be seen any more once something is mounted, so
/// that one without would stay so.
fn make_mount_point_of(writable: &OwnedFd, directory: &str, text: &str) -> Result<(), Errno> {
    const NEW: &str = ".point.new";
    let path = Path::new(directory);
    let link = |point: &OwnedFd| match rustix::fs::linkat(writable, text, point, NOT_MOUNTED, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e),
    };
    match open::below(writable, path) {
        Err(Errno::NOENT) => {}
        there => return link(&there?),
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let (parent, _) = open::make_below(writable, parent, Mode::from(0o755))?;
    // One that a death left is taken up again.
    let (new, _) = open::make_below(writable, Path::new(NEW), Mode::from(0o755))?;
    link(&new)?;
    rustix::fs::renameat(writable, NEW, &parent, name)
}

/// The one file that all mount points link to: a thousand of them cost one page.
fn guard_text(writable: &OwnedFd) -> Result<&'static str, Errno> {
    const NAME: &str = ".share-not-mounted";
    let temporary = ".share-not-mounted.new";
    if rustix::fs::statat(writable, NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(NAME);
    }
    // One that a death left half written may only be read, also by us, who may not override that.
    match rustix::fs::unlinkat(writable, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(writable, temporary, flags, Mode::from(0o444))?;
    rustix::fs::fchmod(&file, Mode::from(0o444))?;
    let mut rest = NOT_MOUNTED_TEXT.as_bytes();
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest)?;
        rest = rest.get(n..).unwrap_or_default();
    }
    rustix::fs::renameat(writable, temporary, writable, NAME)?;
    Ok(NAME)
}

/// Mounts the share's root where only the agent can reach it.
///
/// # Errors
/// The call that failed with the kernel's messages.
pub fn mount_root(share: &Share, address: Option<IpAddr>) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Mount, e);
    let root = Path::new(ROOT);
    let (private, name) = (root.parent().unwrap_or(root), root.file_name().unwrap_or_default());
    // The launcher made the directory above it, for root alone.
    let parent = open::directory(private).map_err(fail)?;
    let stat = rustix::fs::fstat(&parent).map_err(fail)?;
    if stat.st_uid != 0 || stat.st_mode & 0o077 != 0 {
        return Err(fail(Errno::PERM));
    }
    let (target, _) = open::make_below(&parent, Path::new(name), Mode::from(0o700)).map_err(fail)?;
    let alone = share.kind() == Kind::Smb && !has_users(share)?;
    // Read before they are used: should they change in between, that shows as a change.
    let keys = if alone { obtain(share)? } else { None };
    let note = keys.map(|keys| super::repair::note(&keys));
    let tree = match &share.source {
        Source::Directory(path) => clone_source(share, path)?,
        _ => {
            workstation::keep();
            network(share, For::Agent, None, address, Attempt::Mount)?
        }
    };
    if let Some(note) = note {
        super::repair::keep(&note)?;
    }
    mount::attach(&tree, &target).map_err(|e| Failure::mount(Attempt::Mount, e))
}

/// Whether directories of users are mounted, perhaps with older keys.
fn has_users(share: &Share) -> Result<bool, Failure> {
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Mount, e.to_string()))?;
    Ok(!super::observe::mounted(share, &mounts).users.is_empty())
}

/// Unmounts the share's root, which only the agent uses. That it is not mounted is as good.
///
/// # Errors
/// `EBUSY` while one of the agent's own workers uses it.
pub fn unmount_root() -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Unmount, e);
    let root = Path::new(ROOT);
    let parent = open::directory(root.parent().unwrap_or(root)).map_err(fail)?;
    match mount::unmount_below(&parent, root.file_name().unwrap_or_default()) {
        Err(e) if e.errno != libc::EINVAL => Err(Failure::mount(Attempt::Unmount, e)),
        _ => Ok(()),
    }
}

/// A clone of the local directory that stands for the share.
pub(super) fn clone_source(share: &Share, path: &Path) -> Result<OwnedFd, Failure> {
    let fail = |e| Failure::call(Attempt::Source, e);
    let source = open::directory(path).map_err(fail)?;
    let parent = rustix::fs::openat(&source, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let id = |fd: &OwnedFd| {
        rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID).map(|s| s.stx_mnt_id)
    };
    let is_mount_point = id(&source).map_err(fail)? != id(&parent.map_err(fail)?).map_err(fail)?;
    if !is_mount_point && !share.directory.local {
        return Err(Failure::said(Attempt::Source, "nothing is mounted there"));
    }
    mount::clone(&source, mount::SAFE, MountAttrFlags::empty()).map_err(|e| Failure::mount(Attempt::Mount, e))
}

/// The present keys, where the share has any.
pub(super) fn obtain(share: &Share) -> Result<Option<credentials::Keys>, Failure> {
    share.credentials.as_ref().map(credentials::obtain).transpose()
}

/// A detached mount of the share, or of a directory on it, from the server.
pub(super) fn network(
    share: &Share,
    whom: For,
    below: Option<&str>,
    address: Option<IpAddr>,
    attempt: Attempt,
) -> Result<OwnedFd, Failure> {
    let kind = share.kind();
    if kind == Kind::Smb {
        workstation::take();
    }
    let keys = obtain(share)?;
    let mut all = options::source(share, below, address);
    if kind == Kind::Nfs {
        all.extend(client_address(share, address, attempt)?);
        if let Err(e) = nfs::send_numbers() {
            tracing::warn!("NFS sends names instead of numbers, and that cannot be changed: {e}");
        }
    }
    all.extend(keys.iter().flat_map(credentials::Keys::options));
    all.extend(options::build(share, whom));
    let name = if kind == Kind::Smb { "cifs" } else { "nfs4" };
    // Why a server refuses stands in the kernel's log alone.
    let log = crate::sys::kmsg::Log::from_now();
    let attributes = if whom == For::Agent { mount::SAFE } else { options::attributes(share) | whom.attributes() };
    let context = match mount::context(name, &all) {
        // Kernels before 6.9 do not know a second key: they use the first.
        Err(e) if e.call == "option password2" => {
            all.retain(|o| o.key != "password2");
            mount::context(name, &all)
        }
        other => other,
    };
    // The kernel has them. From here on somebody may be waited for, for as long as a server is silent.
    drop((all, keys));
    let made = context.and_then(|context| mount::create(name, &context, attributes)).map_err(|e| {
        let mut failure = Failure::mount(attempt, e);
        failure.details.extend(log.said());
        failure
    })?;
    if kind == Kind::Nfs
        && let Err(e) = nfs::device(&made).and_then(|device| nfs::read_more(&device))
    {
        // Slow reading is no reason to do without.
        tracing::debug!("read-ahead: {e}");
    }
    Ok(made)
}

/// NFS 4.1 wants to know the address that we are seen at: the one a connection to the server would have.
fn client_address(share: &Share, address: Option<IpAddr>, attempt: Attempt) -> Result<Option<FsOption>, Failure> {
    let (Some(address), Some((_, port))) = (address, share.server()) else { return Ok(None) };
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let local = std::net::UdpSocket::bind(any).and_then(|s| s.connect((address, port)).and_then(|()| s.local_addr()));
    let local = local.map_err(|e| Failure { attempt, errno: e.raw_os_error(), details: vec![address.to_string()] })?;
    Ok(Some(FsOption::new("clientaddr", local.ip().to_string())))
}

/// Reads further ahead from these file systems. Something of the distribution's may have set it back.
///
/// # Errors
/// The first that could not be set; the others are.
pub fn read_ahead(devices: &[String]) -> Result<(), Failure> {
    let results: Vec<std::io::Result<()>> = devices.iter().map(|d| nfs::read_more(d)).collect();
    let whole: std::io::Result<()> = results.into_iter().collect();
    whole.map_err(|e| Failure::said(Attempt::Mount, e.to_string()))
}

/// Asks the share for a sign of life: a call that no cache answers.
///
/// # Errors
/// The call that failed.
pub fn probe() -> Result<Probe, Failure> {
    let start = Instant::now();
    let root = open_root(Attempt::Probe)?;
    room(&root, start).map_err(|e| Failure::call(Attempt::Probe, e))
}

/// The size of what `directory` is open on, and the time since `start`.
pub(super) fn room(directory: &OwnedFd, start: Instant) -> Result<Probe, Errno> {
    let stat = rustix::fs::fstatfs(directory)?;
    let block = u64::try_from(stat.f_bsize).unwrap_or(0);
    let (total, free) = (stat.f_blocks.saturating_mul(block), stat.f_bavail.saturating_mul(block));
    let ms = start.elapsed().as_secs_f64() * 1000.0;
    Ok(Probe { ms, bytes_total: total, bytes_free: free, stalled: super::repair::stalled() })
}

/// Opens the share's root and makes sure that something is mounted there.
pub(crate) fn open_root(attempt: Attempt) -> Result<OwnedFd, Failure> {
    let fail = |e| Failure::call(attempt, e);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(ROOT, flags, Mode::empty()).map_err(fail)?;
    let id = |fd: &OwnedFd| {
        rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID).map(|s| s.stx_mnt_id)
    };
    let private = open::directory(Path::new(ROOT).parent().unwrap_or(Path::new("/"))).map_err(fail)?;
    if id(&root).map_err(fail)? == id(&private).map_err(fail)? {
        return Err(Failure::said(attempt, "the share is not mounted"));
    }
    Ok(root)
}

/// Mounts the `directory` of the share over a mount point in the guard, for whom it is there. One that is mounted already
/// is left alone.
///
/// # Errors
/// The call that failed; `EACCES` when the directory belongs to somebody else, or lets others in.
pub fn attach(share: &Share, point: &str, directory: &str, whom: For, address: Option<IpAddr>) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Attach, e);
    let (guard, id, mounts) = open_guard(share, Attempt::Attach)?;
    let target = match open::below(&guard, Path::new(point)) {
        Ok(target) => target,
        Err(Errno::XDEV) => {
            let target = share.mount_point.join(point);
            let there = mounts.iter().any(|m| m.parent == id && m.target == target);
            let other = || Failure::said(Attempt::Attach, "something that is not the agent's is mounted on the way");
            return if there { Ok(()) } else { Err(other()) };
        }
        Err(e) => return Err(fail(e)),
    };
    let tree = match share.kind() {
        // On NFS not a clone of the agent's own mount, which gives up in time: users' writes must not.
        Kind::Smb | Kind::Nfs => network(share, whom, Some(directory), address, Attempt::Attach)?,
        Kind::Directory => {
            let own = open::below(open_root(Attempt::Attach)?.as_fd(), Path::new(directory)).map_err(fail)?;
            let clone = mount::clone(&own, whom.attributes(), MountAttrFlags::empty());
            clone.map_err(|e| Failure::mount(Attempt::Attach, e))?
        }
    };
    // Where directories have owners, one that is somebody else's, or lets others in, is shown to nobody.
    let stat = rustix::fs::fstat(&tree).map_err(fail)?;
    let right = match whom {
        For::Shared(shared) => share.kind() == Kind::Smb || shared.is_kept_by(stat.st_uid, stat.st_gid, stat.st_mode),
        For::User { uid, .. } => stat.st_uid == uid && (share.kind() == Kind::Smb || stat.st_mode & 0o077 == 0),
        For::Agent => false,
    };
    if !right {
        return Err(fail(Errno::ACCESS));
    }
    mount::attach(&tree, &target).map_err(|e| Failure::mount(Attempt::Attach, e))
}

/// Where a user's directory is mounted, if it is.
///
/// # Errors
/// In `details`, when it is not.
pub fn user_mount(share: &Share, directory: &str) -> Result<std::path::PathBuf, Failure> {
    let mounts = mountinfo::read().map_err(|e| Failure::said(Attempt::Attach, e.to_string()))?;
    let seen = super::observe::mounted(share, &mounts);
    let target = share.mount_point.join(directory);
    let opened = open::directory(&target).and_then(|fd| mount_id(&fd));
    let own = seen.users.iter().find(|m| m.directory == Path::new(directory)).or(seen.whole());
    match own {
        Some(own) if opened == Ok(own.mount.id) => Ok(target),
        _ => Err(Failure::said(Attempt::Attach, "the user's directory on the share is not mounted")),
    }
}

/// Unmounts a user's directory, if nobody uses it. Only what lies on the guard itself is unmounted, and it is reached
/// through the guard: a path through a user's own directory may lead anywhere by the time that it is followed.
///
/// # Errors
/// `EBUSY` while somebody uses it or has something mounted on it or in it.
pub fn detach(share: &Share, directory: &str) -> Result<(), Failure> {
    let fail = |e| Failure::call(Attempt::Detach, e);
    let path = Path::new(directory);
    if !path.components().all(|c| matches!(c, Component::Normal(_))) {
        return Err(fail(Errno::INVAL));
    }
    let name = path.file_name().ok_or_else(|| fail(Errno::INVAL))?;
    let (guard, id, mounts) = open_guard(share, Attempt::Detach)?;
    let parent = match parent_of(path) {
        above if above.as_os_str().is_empty() => guard,
        above => open::below(&guard, above).map_err(fail)?,
    };
    let target = share.mount_point.join(path);
    let Some(own) = mounts.iter().find(|m| m.parent == id && m.target == target) else { return Ok(()) };
    if mounts.iter().any(|m| m.parent == own.id) {
        return Err(fail(Errno::BUSY));
    }
    mount::unmount_below(&parent, name).map_err(|e| Failure::mount(Attempt::Detach, e))
}
