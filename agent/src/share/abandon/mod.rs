//! What waits to be written to a file server that is dead is given up when the VM goes down, and only then.
//!
//! Users' mounts are `hard`: the kernel tries for ever, and whoever waits for that cannot be killed. A program ends only when
//! what it wrote is written, so systemd waits for a service three minutes, and as long again at the very end, for every VM
//! whose server is dead. Nothing that the kernel offers ends that by itself. Seen with Linux 6.1 and 6.12:
//!
//! - the thread that writes back waits in `cifs_wait_for_server_reconnect` until the server accepts a connection, and takes
//!   no signal;
//! - `CIFS_IOC_SHUTDOWN`, which makes the file system fail everything from now on, reaches what comes after that wait.
//!
//! Read in `smb2_reconnect` of their `fs/smb/client/smb2pdu.c`, and not tried: what umount2(2) wakes with `MNT_FORCE` looks again
//! and goes on waiting, and whether a mount is `hard` was asked before that loop began, so that changed options come too late.
//!
//! So both: the file system is told that it ends, and something on this VM itself accepts that connection in the
//! server's place, at its address, and refuses ([`stand_in`]). Then the kernel gives up within seconds, every program gets its
//! error and ends, and the shutdown goes on as any other. Without the former Linux 6.12 asks the stand-in for ever.
//!
//! The kernel's NFS client needs no stand-in: umount2(2) with `MNT_FORCE` fails what waits for an answer, as often as it is called.

pub mod silence;
pub mod stand_in;

use super::observe::{own, server};
use crate::config::settings::Kind;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::{address, open, sockets};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::time::Duration;

/// The server's address is this VM's own for so long after whoever asked for that is gone. A machine that after all goes on
/// (soft-reboot of systemctl(1)) finds its server again.
const LEASE: Duration = Duration::from_secs(30);

/// The servers of the agent's mounts, and what they speak.
pub fn servers(mounts: &[Mount]) -> BTreeMap<(IpAddr, u16), Kind> {
    own(mounts).filter_map(|m| Some((server(m)?, kind(m)?))).collect()
}

fn kind(mount: &Mount) -> Option<Kind> {
    match mount.fs_type.as_str() {
        "cifs" => Some(Kind::Smb),
        "nfs4" => Some(Kind::Nfs),
        _ => None,
    }
}

/// So many bytes the kernel's own connections to a server have moved so far: acknowledged, or received.
pub fn moved(server: (IpAddr, u16)) -> u64 {
    let all = sockets::traffic().unwrap_or_default();
    all.iter().filter(|c| is_kernels(c, server)).filter_map(|c| c.moved).sum()
}

fn is_kernels(connection: &sockets::Connection, server: (IpAddr, u16)) -> bool {
    connection.uid == 0 && (connection.remote, connection.port) == server
}

/// Tells the file systems of the agent's mounts of a server that they end: what waits for it fails. It is to be told again and
/// again. The server is not spoken to.
///
/// # Errors
/// The first that failed; the others were told.
pub fn end(mounts: &[Mount], of: (IpAddr, u16)) -> io::Result<()> {
    let theirs = own(mounts).filter(|m| server(m) == Some(of));
    theirs.map(end_one).fold(Ok(()), io::Result::and)
}

fn end_one(mount: &Mount) -> io::Result<()> {
    let handle = open::directory(&mount.target)?;
    // A user may have mounted something of their own over it.
    if mountinfo::id_of(&handle) != Some(mount.id) {
        return Err(Errno::STALE.into());
    }
    match kind(mount) {
        Some(Kind::Smb) => shut_down(&handle),
        _ => fail_requests(&handle),
    }
}

/// Fails every request to the server of an NFS mount that has not been answered (umount2(2), `MNT_FORCE`). Nothing is
/// unmounted by that, which could wait for the server itself: the handle keeps it in use.
fn fail_requests(handle: &OwnedFd) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    match rustix::mount::unmount(path, UnmountFlags::FORCE) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn shut_down(handle: &OwnedFd) -> io::Result<()> {
    /// `CIFS_IOC_SHUTDOWN` of fs/smb/client/cifs_ioctl.h, since Linux 5.13: `_IOR('X', 125, __u32)`.
    const SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
    /// `CIFS_GOING_FLAGS_NOLOGFLUSH` there: nothing is written first.
    const AT_ONCE: u32 = 2;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(format!("/proc/self/fd/{}", handle.as_raw_fd()), flags, Mode::empty())?;
    let how = AT_ONCE;
    // SAFETY: the kernel reads four bytes at the address of `how`, which lives until the call returns, and writes nothing.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN, &raw const how) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes a dead server's place on this VM: its address, and what the kernel has open to it or is about to open, which
/// would not notice for minutes.
///
/// # Errors
/// As of the calls: somebody else may listen there.
pub fn replace((address, port): (IpAddr, u16)) -> io::Result<TcpListener> {
    renew(address)?;
    let listener = TcpListener::bind((address, port))?;
    for connection in sockets::connections()?.iter().filter(|c| is_kernels(c, (address, port))) {
        // Gone by itself meanwhile, or the kernel cannot: then it notices later.
        let _ = sockets::destroy(connection);
    }
    Ok(listener)
}

/// Keeps its address for some time more.
///
/// # Errors
/// As of rtnetlink(7).
pub fn renew(address: IpAddr) -> io::Result<()> {
    // One that is this VM's anyway is nobody else's server, and stays.
    if address.is_loopback() { Ok(()) } else { address::lend(address, LEASE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_of_the_agents_own_mounts_are_looked_at() {
        let guard = "5 1 0:9 / /data ro,nosuid,nodev,noexec - tmpfs dsvm-agent-guard rw\n";
        let root = "7 1 0:11 / /run/dsvm-agent/share/root rw - cifs //h/s rw,addr=10.0.0.4\n";
        let user = "8 5 0:12 / /data/notebooks/alice rw - cifs //h/s/notebooks/alice rw,addr=10.0.0.5,port=4450\n";
        let nfs = "9 5 0:13 / /data/notebooks/bob rw - nfs4 h:/s rw,addr=10.0.0.6\n";
        let others = "10 1 0:14 / /mnt/x rw - cifs //other/s rw,addr=10.0.0.9\n";
        let mounts = mountinfo::parse(format!("{guard}{root}{user}{nfs}{others}").as_bytes()).unwrap();
        let expected = [("10.0.0.4", 445, Kind::Smb), ("10.0.0.5", 4450, Kind::Smb), ("10.0.0.6", 2049, Kind::Nfs)];
        let expected = expected.map(|(address, port, kind)| ((address.parse().unwrap(), port), kind));
        assert_eq!(servers(&mounts).into_iter().collect::<Vec<((IpAddr, u16), Kind)>>(), expected);
    }
}
