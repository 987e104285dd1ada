//! The kernel's table of TCP connections, and ending one of them: netlink's sock_diag(7). Listing needs no privilege;
//! ending (`SOCK_DESTROY`, linux/sock_diag.h, Linux 4.5 with CONFIG_INET_DIAG_DESTROY) needs CAP_NET_ADMIN.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use rustix::fd::{AsRawFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// `TCP_ESTABLISHED` of net/tcp_states.h.
const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT` of net/tcp_states.h.
const SYN_SENT: u8 = 2;
/// `TCP_LISTEN` of net/tcp_states.h.
const LISTEN: u8 = 10;
/// The states of what carries data or will, as a mask.
const OPEN: u32 = 1 << ESTABLISHED | 1 << SYN_SENT;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    family: u8,
    /// As the kernel numbers states: 1 established, 2 being opened.
    pub state: u8,
    /// So many times in a row what was sent was sent again, without a sign that it arrived.
    pub unanswered: u8,
    /// The other side.
    pub remote: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whose: root's, for the kernel's own connections to file servers.
    pub uid: u32,
    /// The number of the socket's inode, by which a process's descriptors name it (proc_pid_fd(5)).
    pub inode: u32,
    /// Bytes that the other side has acknowledged, and that came from it, since it was opened (`struct tcp_info` of
    /// linux/tcp.h, Linux 4.1); nothing when they were not asked for.
    pub moved: Option<u64>,
    /// How long ago the other side gave its last sign of life (`tcpi_last_data_recv` and `tcpi_last_ack_recv` there);
    /// nothing when it was not asked for.
    pub heard: Option<Duration>,
    /// Whether what waits to be sent or acknowledged fills its buffer (`sk_wmem_queued` and `sk_sndbuf`, sock_diag(7)):
    /// then whoever sends more is held up in the middle of it; nothing when it was not asked for.
    pub full: Option<bool>,
    /// What the kernel knows it by: `struct inet_diag_sockid`.
    id: [u8; 48],
}

impl Connection {
    /// Whether it carries data, and nothing of it arrives: after `unanswered` repetitions, of which the first comes
    /// after some 0.2 s and each later one after twice the time.
    pub fn stalls(&self, unanswered: u8) -> bool {
        self.state == ESTABLISHED && self.unanswered >= unanswered
    }

    /// Whether it is still being opened.
    pub fn is_opening(&self) -> bool {
        self.state == SYN_SENT
    }

    /// Whether closing it takes nothing from anybody who sends over it at this moment: nothing was heard of the other side
    /// for `time`, and its buffer has room. What is not known is not so.
    pub fn rests(&self, time: Duration) -> bool {
        self.heard.is_some_and(|heard| heard >= time) && self.full == Some(false)
    }

    /// Whether it is open to another machine.
    pub fn leads_elsewhere(&self) -> bool {
        self.state == ESTABLISHED && !self.remote.is_loopback()
    }

    /// The kernel's number for the socket, which no later one has (`idiag_cookie`).
    pub fn cookie(&self) -> u64 {
        self.id.last_chunk::<8>().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// What waits for connections, where this is none.
    fn listener(&self) -> Option<Listener> {
        let (port, own) = (u16::from_be_bytes([self.id[0], self.id[1]]), self.id.get(4..20)?);
        let address = address(self.family, own)?;
        (self.state == LISTEN).then_some(Listener { address, port, uid: self.uid, inode: self.inode })
    }

    /// One to port 445.
    #[cfg(test)]
    pub(crate) fn for_tests(state: u8, unanswered: u8, remote: IpAddr, uid: u32) -> Self {
        let (inode, moved) = (0, None);
        let (heard, full) = (Some(Duration::from_secs(60)), Some(false));
        Self { family: 2, state, unanswered, remote, port: 445, uid, inode, moved, heard, full, id: [unanswered; 48] }
    }

    /// An open one that moved so many bytes, with a number of its own.
    #[cfg(test)]
    pub(crate) fn moving_for_tests(inode: u32, remote: IpAddr, uid: u32, moved: u64) -> Self {
        let mut id = [0; 48];
        id[40..44].copy_from_slice(&inode.to_ne_bytes());
        Self { inode, moved: Some(moved), id, ..Self::for_tests(ESTABLISHED, 0, remote, uid) }
    }
}

/// A socket that waits for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The address that it is bound to; an unspecified one: every address of the machine.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whose.
    pub uid: u32,
    /// The number of its inode, by which a process's descriptors name it (proc_pid_fd(5)).
    pub inode: u32,
}

/// `struct inet_diag_req_v2` behind its `struct nlmsghdr`. All numbers are in the machine's own order, but ports.
fn request(kind: u16, flags: u16, family: u8, more: u8, states: u32, id: &[u8; 48]) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let mut out = Vec::with_capacity(72);
    out.extend(72u32.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((REQUEST | flags).to_ne_bytes());
    out.extend([0; 8]);
    let protocol = u8::try_from(libc::IPPROTO_TCP).unwrap_or(6);
    out.extend([family, protocol, more, 0]);
    out.extend(states.to_ne_bytes());
    out.extend(id);
    out
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    /// A socket.
    One(Connection),
    /// The last one.
    End,
    /// With the error's number; zero for "done as asked".
    Error(i32),
    /// Something that was not asked for.
    Other,
}

/// Takes a datagram of messages apart (netlink(7)). What is cut off is left out.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut out = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0), bytes.get(4..6)) {
        let length = length as usize;
        let (Some(body), kind) = (bytes.get(16..length), u16::from_ne_bytes([kind[0], kind[1]])) else { break };
        out.push(match kind {
            SOCK_DIAG_BY_FAMILY => connection(body).map_or(Message::Other, Message::One),
            3 => Message::End,
            2 => Message::Error(number(body, 0).map_or(0, |n| n.cast_signed().saturating_neg())),
            _ => Message::Other,
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_SKMEMINFO: u16 = 7;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// `struct inet_diag_msg` of linux/inet_diag.h.
fn connection(body: &[u8]) -> Option<Connection> {
    let [family, state, timer, retransmits] = *body.first_chunk::<4>()?;
    let id: [u8; 48] = body.get(4..52)?.try_into().ok()?;
    let port = u16::from_be_bytes([id[2], id[3]]);
    let remote = address(family, id.get(20..36)?)?.to_canonical();
    // The count means repetitions of data only while that timer (1) runs.
    let unanswered = if timer == 1 { retransmits } else { 0 };
    let (uid, inode) = (number(body, 64)?, number(body, 68)?);
    let More { moved, heard, full } = more(body.get(72..)?);
    Some(Connection { family, state, unanswered, remote, port, uid, inode, moved, heard, full, id })
}

/// An address as it stands in `struct inet_diag_sockid`: 16 bytes, of which IPv4 takes the first four.
fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        libc::AF_INET6 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

/// What is told of a connection only when it is asked for.
#[derive(Default)]
struct More {
    moved: Option<u64>,
    heard: Option<Duration>,
    full: Option<bool>,
}

/// From the attributes behind a message (rtnetlink(7)): `struct tcp_info` of linux/tcp.h, and the memory of a socket, which
/// is an array of 32-bit numbers (linux/sock_diag.h).
fn more(mut attributes: &[u8]) -> More {
    let mut out = More::default();
    while let Some(head) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(body) = attributes.get(4..length) else { break };
        match u16::from_ne_bytes([head[2], head[3]]) {
            INET_DIAG_INFO => {
                let long = |at: usize| body.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
                out.moved =
                    long(120).zip(long(128)).map(|(acknowledged, received)| acknowledged.saturating_add(received));
                out.heard = number(body, 52).zip(number(body, 56)).map(|(d, a)| Duration::from_millis(d.min(a).into()));
            }
            INET_DIAG_SKMEMINFO => {
                out.full = number(body, 12).zip(number(body, 20)).map(|(buffer, queued)| queued >= buffer);
            }
            _ => {}
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    out
}

fn open() -> io::Result<OwnedFd> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    // The kernel answers at once, or never.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
    Ok(socket)
}

/// All connections that are open or being opened, of this network namespace.
///
/// # Errors
/// As of sock_diag(7).
pub fn connections() -> io::Result<Vec<Connection>> {
    list(0, OPEN)
}

/// The same, with the bytes that each has moved, what was heard of the other side, and whether its buffer is full.
///
/// # Errors
/// As of sock_diag(7).
pub fn traffic() -> io::Result<Vec<Connection>> {
    list(1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1), OPEN)
}

/// All sockets that wait for connections, of this network namespace.
///
/// # Errors
/// As of sock_diag(7).
pub fn listeners() -> io::Result<Vec<Listener>> {
    Ok(list(0, 1 << LISTEN)?.iter().filter_map(Connection::listener).collect())
}

fn list(more: u8, states: u32) -> io::Result<Vec<Connection>> {
    const DUMP: u16 = 0x300;
    let socket = open()?;
    let mut out = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).unwrap_or_default();
        send(
            socket.as_raw_fd(),
            &request(SOCK_DIAG_BY_FAMILY, DUMP, family, more, states, &[0; 48]),
            MsgFlags::empty(),
        )?;
        let mut buffer = vec![0u8; 64 * 1024];
        'dump: loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                match message {
                    Message::One(connection) => out.push(connection),
                    Message::End => break 'dump,
                    Message::Error(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    Message::Other => {}
                }
            }
        }
    }
    Ok(out)
}

/// Ends a connection, as if the other side had: whoever has it open gets an error and may open a new one.
///
/// # Errors
/// As of sock_diag(7): `ENOENT` when it is gone already, `EOPNOTSUPP` when the kernel cannot.
pub fn destroy(connection: &Connection) -> io::Result<()> {
    const ACKNOWLEDGE: u16 = 4;
    let socket = open()?;
    let request = request(SOCK_DESTROY, ACKNOWLEDGE, connection.family, 0, OPEN, &connection.id);
    acknowledged(&socket, &request)
}

/// Sends the kernel a request that it acknowledges (netlink(7)), and waits for that.
///
/// # Errors
/// What the kernel has against it, or as of the calls.
pub(super) fn acknowledged(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    send(socket.as_raw_fd(), request, MsgFlags::empty())?;
    let mut buffer = [0u8; 4096];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    match messages(buffer.get(..length).unwrap_or_default()).first() {
        Some(Message::Error(0)) => Ok(()),
        Some(Message::Error(errno)) => Err(io::Error::from_raw_os_error(*errno)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, TcpStream};

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut out: Vec<u8> = length.to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend([0; 10]);
        out.extend(body);
        out
    }

    fn body(family: i32, state: u8, timer: u8, retransmits: u8, remote: &[u8]) -> Vec<u8> {
        let mut out = vec![u8::try_from(family).unwrap(), state, timer, retransmits];
        out.extend([0, 1]);
        out.extend(445u16.to_be_bytes());
        out.extend([0; 16]);
        out.extend(remote);
        out.resize(72, 0);
        out
    }

    #[test]
    fn a_connection_whose_data_does_not_arrive_is_told_from_one_that_rests() {
        let mut bytes = message(SOCK_DIAG_BY_FAMILY, &body(libc::AF_INET, 1, 1, 5, &[10, 0, 0, 4]));
        bytes.extend(message(SOCK_DIAG_BY_FAMILY, &body(libc::AF_INET, 1, 2, 5, &[10, 0, 0, 5])));
        let mapped = Ipv4Addr::new(10, 0, 0, 6).to_ipv6_mapped().octets();
        bytes.extend(message(SOCK_DIAG_BY_FAMILY, &body(libc::AF_INET6, 2, 1, 1, &mapped)));
        bytes.extend(message(3, &[0; 4]));
        let seen: Vec<_> = messages(&bytes)
            .into_iter()
            .filter_map(|m| match m {
                Message::One(c) => Some((c.remote.to_string(), c.port, c.stalls(4), c.is_opening())),
                _ => None,
            })
            .collect();
        let expected = [("10.0.0.4", true, false), ("10.0.0.5", false, false), ("10.0.0.6", false, true)];
        assert_eq!(seen, expected.map(|(a, stalls, opening)| (a.to_owned(), 445, stalls, opening)));
        assert_eq!(messages(&message(2, &(-libc::EPERM).to_ne_bytes())), [Message::Error(libc::EPERM)]);
    }

    #[test]
    fn a_connection_of_ones_own_is_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _stream = TcpStream::connect(address).unwrap();
        let own = connections().unwrap();
        let own: Vec<_> = own.iter().filter(|c| c.port == address.port()).collect();
        assert_eq!(own.len(), 1);
        assert!(own[0].remote == address.ip() && !own[0].stalls(1) && own[0].state == ESTABLISHED);
    }

    #[test]
    fn what_a_connection_moves_is_counted_and_it_is_told_from_others() {
        use std::io::{Read, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mut near, mut far) = (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
        near.write_all(&[0; 5000]).unwrap();
        far.read_exact(&mut [0; 5000]).unwrap();
        far.write_all(&[0; 300]).unwrap();
        near.read_exact(&mut [0; 300]).unwrap();
        let seen = traffic().unwrap();
        let near = seen.iter().find(|c| c.port == address.port()).unwrap();
        // The first byte of a connection (SYN) is acknowledged too on some kernels.
        assert!((5300..=5302).contains(&near.moved.unwrap()), "{near:?}");
        assert!(near.inode != 0 && near.cookie() != 0 && !near.leads_elsewhere());
        assert_eq!(seen.iter().filter(|c| c.cookie() == near.cookie()).count(), 1);
        assert!(near.heard.is_some_and(|h| h < Duration::from_secs(60)) && near.full == Some(false), "{near:?}");
        assert!(connections().unwrap().iter().all(|c| c.moved.is_none() && c.full.is_none()));
    }

    #[test]
    fn a_connection_with_a_full_buffer_does_not_rest() {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(address).unwrap();
        // Nobody reads at the other end.
        let _far = listener.accept().unwrap();
        let seen = || traffic().unwrap().into_iter().find(|c| c.port == address.port()).unwrap();
        assert!(seen().rests(Duration::ZERO) && !seen().rests(Duration::from_secs(600)), "{:?}", seen());
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 65536]).is_ok() {}
        assert!(seen().full == Some(true) && !seen().rests(Duration::ZERO), "{:?}", seen());
        let unknown = connections().unwrap().into_iter().find(|c| c.port == address.port()).unwrap();
        assert!(!unknown.rests(Duration::ZERO));
    }

    #[test]
    fn what_waits_for_connections_is_listed_with_its_address_and_owner() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let own: Vec<_> =
            listeners().unwrap().into_iter().filter(|l| l.port == port && l.address.is_loopback()).collect();
        let uid = rustix::process::getuid().as_raw();
        assert!(own.iter().any(|l| l.address == four.local_addr().unwrap().ip() && l.uid == uid && l.inode != 0));
        assert!(connections().unwrap().iter().all(|c| c.listener().is_none()));
    }

    proptest! {
        #[test]
        fn never_panics_and_ends(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = messages(&bytes);
        }
    }
}
