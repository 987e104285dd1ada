//! A dead file server's place on this VM: its address, and what the kernel has open to it. Whoever has a server's address has
//! all its ports: what else of this VM speaks to that machine would meet this one, or a program of a user's that listens at
//! that port. So nothing is taken where anything else does.

use super::stand_in::StandIn;
use super::{LEASE, Server, is_kernels, kind};
use crate::config::settings::Kind;
use crate::share::observe::server as server_of;
use crate::sys::address;
use crate::sys::arp::Quiet;
use crate::sys::mountinfo::Mount;
use crate::sys::sockets::{self, Connection};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What else of this VM speaks to a server that is to be stood in for, in words: a mount, whoever made it, that is of another
/// port of that address or of another kind, or a connection of root's to another port, as the kernel's own are. Those of users do
/// not count: anybody could have a VM held up by one.
fn in_the_way(mounts: &[Mount], connections: &[Connection], server: Server) -> Option<String> {
    let (address, port) = (server.0.to_canonical(), server.1);
    let at = |mount: &Mount| mount.option("addr")?.parse::<IpAddr>().ok();
    let same =
        |mount: &Mount| kind(mount) == Some(Kind::Smb) && server_of(mount).is_some_and(|(_, other)| other == port);
    let of_it = |mount: &&Mount| at(mount).is_some_and(|other| other.to_canonical() == address);
    if let Some(mount) = mounts.iter().filter(of_it).find(|mount| !same(mount)) {
        return Some(format!("{} is mounted from that machine too ({})", mount.target.display(), mount.fs_type));
    }
    let to_it = |c: &&Connection| c.uid == 0 && c.remote == address && c.port != port;
    let connection = connections.iter().find(to_it)?;
    Some(format!("root has a connection to port {} of that machine", connection.port))
}

/// The places that were taken. They are given back when this is dropped.
#[derive(Debug, Default)]
pub struct Places {
    // In this order: neighbours are not to hear of an address as long as this VM has it.
    taken: Vec<Taken>,
    quiet: Option<Quiet>,
}

impl Places {
    /// Takes a dead server's place on this VM. What the kernel has open to it, or is about to open, ends, which it would not
    /// notice for minutes; what it opens from then on is refused ([`super::stand_in`]).
    ///
    /// # Errors
    /// In words, what else speaks to that machine, or as of the calls: somebody may listen at that port. Then nothing was changed.
    pub fn take(&mut self, server: Server, mounts: &[Mount]) -> io::Result<()> {
        if let Some(why) = in_the_way(mounts, &sockets::connections()?, server) {
            return Err(io::Error::other(why));
        }
        let (address, port) = server;
        // Whatever can fail comes before the address is this VM's. Nobody reaches the listener until then.
        let stand_in = StandIn::new(address::listen_ahead(address, port)?)?;
        if address.is_ipv4() && !address.is_loopback() && self.quiet.is_none() {
            self.quiet = Some(Quiet::new()?);
        }
        let taken = Taken::new(address, stand_in, format!("stand-in:{port}"));
        let lent = taken.and_then(|taken| renew(address).map(|()| taken));
        match lent {
            Ok(taken) => self.taken.push(taken),
            Err(e) => {
                self.quiet = self.quiet.take().filter(|_| !self.taken.is_empty());
                return Err(e);
            }
        }
        // One that cannot be seen or ended, or that is gone by itself: then the kernel notices later.
        for connection in sockets::connections().iter().flatten().filter(|c| is_kernels(c, server)) {
            let _ = sockets::destroy(connection);
        }
        Ok(())
    }
}

/// One place.
#[derive(Debug)]
struct Taken {
    address: IpAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Taken {
    /// Somebody who stands in there, as soon as the address is this VM's.
    fn new(address: IpAddr, stand_in: StandIn, name: String) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || stand_in.serve(address, stopped))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // First whoever asks for the address again and again.
        drop(self.stop.take());
        let _ = self.thread.take().map(JoinHandle::join);
        if !self.address.is_loopback() {
            // Otherwise it goes with its lease.
            let _ = address::take_back(self.address);
        }
    }
}

/// Takes a server's address for some time, or some time more.
///
/// # Errors
/// As of rtnetlink(7).
pub(super) fn renew(address: IpAddr) -> io::Result<()> {
    // One that is this VM's anyway is nobody else's server, and stays.
    if address.is_loopback() { Ok(()) } else { address::lend(address, LEASE) }
}

#[cfg(test)]
mod tests;
