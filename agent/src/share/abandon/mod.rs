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
//! The kernel's NFS client needs no stand-in: umount2(2) with `MNT_FORCE` fails what waits for an answer, as often as it is
//! called. What it does not reach is the end of the client itself: whoever unmounts the last of a server's file systems waits
//! for the answers to DESTROY_SESSION and DESTROY_CLIENTID (RFC 8881, 18.37 and 18.50), a minute each, when nothing is mounted
//! any more that could be told anything; seen with Linux 6.1, where systemd kills its umount(8) after 90 s. Since Linux 6.5 sysfs
//! has what fails these too ([`nfs::shut_down`]). An older kernel's file systems are held in use, so that nobody unmounts
//! them: systemd is refused at once and turns the power off. There is nothing left that could be written. Both come too late where
//! nobody uses the mounts: systemd unmounts them long before it can be known that the server is dead. Then whoever unmounts
//! is ended: [`unmounting`].

pub mod silence;
pub mod stand_in;
pub mod teller;
pub mod unmounting;

use super::nfs;
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
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use teller::{Deed, Teller};

/// How long is waited for what tells a file system that it ends. It takes a moment.
const BOUND: Duration = Duration::from_secs(1);
/// The server's address is this VM's own for so long after whoever asked for that is gone. A machine that after all goes on
/// (soft-reboot of systemctl(1)) finds its server again.
const LEASE: Duration = Duration::from_secs(30);

/// Where a server is: its address and port.
pub type Server = (IpAddr, u16);

/// The servers of the agent's mounts, and what they speak.
pub fn servers(mounts: &[Mount]) -> BTreeMap<Server, Kind> {
    own(mounts).filter_map(of).collect()
}

/// The server of a mount, and what it speaks.
fn of(mount: &Mount) -> Option<(Server, Kind)> {
    Some((server(mount)?, kind(mount)?))
}

fn kind(mount: &Mount) -> Option<Kind> {
    match mount.fs_type.as_str() {
        "cifs" => Some(Kind::Smb),
        "nfs4" => Some(Kind::Nfs),
        _ => None,
    }
}

/// So many bytes the kernel's own connections to a server have moved so far: acknowledged, or received.
pub fn moved(server: Server) -> u64 {
    let all = sockets::traffic().unwrap_or_default();
    all.iter().filter(|c| is_kernels(c, server)).filter_map(|c| c.moved).sum()
}

fn is_kernels(connection: &sockets::Connection, server: Server) -> bool {
    connection.uid == 0 && (connection.remote, connection.port) == server
}

/// The end of file systems whose server is dead.
#[derive(Debug, Default)]
pub struct Ending {
    teller: Teller,
    held: Held,
}

/// What keeps a file system in use until this VM is off, by its number.
type Held = Arc<Mutex<BTreeMap<String, Arc<OwnedFd>>>>;

impl Ending {
    /// Tells the file systems of the agent's mounts of a server that they end: what waits for it fails. It is to be told again
    /// and again. The server is not spoken to, but a file system may ask it all the same, and wait: that is not waited for.
    ///
    /// # Errors
    /// The first that failed, or that one has not ended; the others were told.
    pub fn tell(&mut self, mounts: &[Mount], of: Server) -> io::Result<()> {
        let deeds = file_systems(mounts, of).into_iter().map(|(device, mounts)| {
            let (held, of) = (Arc::clone(&self.held), device.clone());
            let deed: Deed = Box::new(move || end(&of, &mounts, &held));
            (device, deed)
        });
        self.teller.tell(deeds, BOUND)
    }
}

fn end(device: &str, mounts: &[Mount], held: &Held) -> io::Result<()> {
    let hold = || held.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = hold().get(device).map(Arc::clone);
    if let Some(kept) = kept {
        return fail_requests(&kept);
    }
    // Any mount of it will do, and the first may be covered.
    let none = Err(io::ErrorKind::NotFound.into());
    if let Some(handle) = mounts.iter().fold(none, |ended, mount| ended.or_else(|_| end_one(mount)))? {
        hold().insert(device.to_owned(), Arc::new(handle));
    }
    Ok(())
}

/// The agent's file systems of a server, each with its mounts.
fn file_systems(mounts: &[Mount], of: Server) -> BTreeMap<String, Vec<Mount>> {
    let mut all = BTreeMap::<String, Vec<Mount>>::new();
    for mount in own(mounts).filter(|m| server(m) == Some(of)) {
        all.entry(mount.device.clone()).or_default().push(mount.clone());
    }
    all
}

/// Ends the file system of a mount. Returns what is to be held.
fn end_one(mount: &Mount) -> io::Result<Option<OwnedFd>> {
    let handle = open::directory(&mount.target)?;
    // A user may have mounted something of their own over it.
    if mountinfo::id_of(&handle) != Some(mount.id) {
        return Err(Errno::STALE.into());
    }
    if kind(mount) == Some(Kind::Smb) {
        return shut_down(&handle).map(|()| None);
    }
    let shut = nfs::shut_down(&handle, &mount.device);
    fail_requests(&handle)?;
    Ok((!shut).then_some(handle))
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
/// would not notice for minutes. Nothing is changed before it is certain that this can be done.
///
/// # Errors
/// As of the calls: somebody else may listen there. Something else at that address is in use.
pub fn replace(mounts: &[Mount], server: Server) -> io::Result<TcpListener> {
    let connections = sockets::connections()?;
    if let Some(other) = others(mounts, &connections, server) {
        return Err(io::Error::other(format!("{other} is at the same address, and would be cut off")));
    }
    let (address, port) = server;
    let listener = listen(address, port)?;
    renew(address)?;
    for connection in connections.iter().filter(|c| is_kernels(c, server)) {
        // Gone by itself meanwhile, or the kernel cannot: then it notices later.
        let _ = sockets::destroy(connection);
    }
    Ok(listener)
}

/// What else the system uses at a server's address. Lent to this VM, every port of it is this VM's, and whoever listens there
/// (which any user may, from 1024 on) would be spoken to in the server's place: by the kernel, for another mount.
fn others(mounts: &[Mount], connections: &[sockets::Connection], (address, port): Server) -> Option<String> {
    let mount = mounts.iter().find(|m| server(m).is_some_and(|(a, p)| a == address && p != port));
    let connection = || {
        let all = connections.iter().filter(|c| c.uid == 0 && c.remote == address && c.port != port);
        all.map(|c| format!("what the system has open to port {}", c.port)).next()
    };
    mount.map(|m| format!("what is mounted on {}", m.target.display())).or_else(connection)
}

/// Waits for connections to an address that this machine need not have yet (ip(7), `IP_FREEBIND`; ipv6(7)). An IPv6 address
/// that was given to it a moment ago could not be bound otherwise.
fn listen(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else {
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::new(address, port))?;
    listen(&socket, 128)?;
    Ok(socket.into())
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

    #[test]
    fn an_address_at_which_anything_else_is_used_is_not_taken() {
        let line = |id: u32, target: &str, kind: &str, options: &str| {
            format!("{id} 1 0:{id} / {target} rw - {kind} h:/s rw,{options}\n")
        };
        let root = line(7, "/run/dsvm-agent/share/root", "cifs", "addr=10.0.0.4");
        let alice = line(8, "/data/notebooks/alice", "cifs", "addr=10.0.0.4");
        let nfs = line(9, "/mnt/nas", "nfs4", "addr=10.0.0.4");
        let elsewhere = line(10, "/mnt/x", "nfs4", "addr=10.0.0.5");
        let odd = line(11, "/mnt/y", "cifs", "addr=10.0.0.4,port=4450");
        let connection = |port: u16, uid: u32| {
            let mut connection = sockets::Connection::for_tests(1, 0, "10.0.0.4".parse().unwrap(), uid);
            connection.port = port;
            connection
        };
        for (lines, connections, what) in [
            (vec![&root, &alice, &elsewhere], vec![connection(445, 0)], None),
            (vec![&root, &nfs], vec![], Some("/mnt/nas")),
            (vec![&root, &odd], vec![], Some("/mnt/y")),
            (vec![&root], vec![connection(2049, 0)], Some("port 2049")),
            // A user's own, which ends as all of theirs does.
            (vec![&root], vec![connection(443, 1001)], None),
        ] {
            let text: String = lines.into_iter().map(String::as_str).collect();
            let mounts = mountinfo::parse(text.as_bytes()).unwrap();
            let found = others(&mounts, &connections, ("10.0.0.4".parse().unwrap(), 445));
            assert_eq!(found.is_some(), what.is_some(), "{found:?}");
            assert!(found.is_none_or(|found| found.contains(what.unwrap())));
        }
    }

    #[test]
    fn an_address_that_nobody_has_is_waited_at_unless_somebody_listens_there() {
        let any = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let taken = any.local_addr().unwrap().port();
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(listen(address, taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(any);
        assert_eq!(listen(address, taken).unwrap().local_addr().unwrap().ip(), address);
        if let Ok(listener) = listen("2001:db8::7".parse().unwrap(), taken) {
            assert!(listener.local_addr().unwrap().is_ipv6());
        }
    }

    #[test]
    fn a_file_system_is_told_once_however_often_it_is_mounted() {
        let guard = "5 1 0:9 / /data ro,nosuid,nodev,noexec - tmpfs dsvm-agent-guard rw\n";
        let root = "7 1 0:11 / /run/dsvm-agent/share/root rw - nfs4 h:/s rw,addr=10.0.0.6\n";
        let alice = "8 5 0:12 / /data/notebooks/alice rw - nfs4 h:/s/notebooks/alice rw,addr=10.0.0.6\n";
        let bob = "9 5 0:12 / /data/notebooks/bob rw - nfs4 h:/s/notebooks/bob rw,addr=10.0.0.6\n";
        let moved = "10 5 0:13 / /data/notebooks/carol rw - nfs4 h:/s/notebooks/carol rw,addr=10.0.0.7\n";
        let others = "11 1 0:14 / /mnt/x rw - nfs4 h:/x rw,addr=10.0.0.6\n";
        let below = "12 8 0:15 / /data/notebooks/alice/x rw - nfs4 h:/y rw,addr=10.0.0.6\n";
        let mounts = format!("{guard}{root}{alice}{bob}{moved}{others}{below}");
        let mounts = mountinfo::parse(mounts.as_bytes()).unwrap();
        for (address, expected) in [
            ("10.0.0.6", &[("0:11", &[7][..]), ("0:12", &[8, 9])][..]),
            ("10.0.0.7", &[("0:13", &[10])]),
            ("10.0.0.8", &[]),
        ] {
            let told = file_systems(&mounts, (address.parse().unwrap(), 2049));
            let told: Vec<(&str, Vec<u64>)> =
                told.iter().map(|(device, of)| (device.as_str(), of.iter().map(|m| m.id).collect())).collect();
            let expected: Vec<(&str, Vec<u64>)> = expected.iter().map(|(device, of)| (*device, of.to_vec())).collect();
            assert_eq!(told, expected, "{address}");
        }
    }
}
