//! Addresses of this machine: rtnetlink(7). Adding one, and taking it away, needs CAP_NET_ADMIN.

use super::sockets::acknowledged;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;
use rustix::net;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

/// The loopback's number in every network namespace (`LOOPBACK_IFINDEX` of the kernel's net/flow.h).
const LOOPBACK: u32 = 1;

/// Makes `address` one of this machine's own for `lease`, after which the kernel takes it away by itself: whoever wants it
/// for longer asks again. What is sent there from then on stays on this machine.
///
/// # Errors
/// As of rtnetlink(7).
pub fn lend(address: IpAddr, lease: Duration) -> io::Result<()> {
    // Request, acknowledge, replace, create.
    ask(&request(NEW_ADDRESS, 0x1 | 0x4 | 0x100 | 0x400, address, lease))
}

/// Takes away an address that was lent.
///
/// # Errors
/// As of rtnetlink(7): `EADDRNOTAVAIL` when it is gone already.
pub fn take_back(address: IpAddr) -> io::Result<()> {
    // Request, acknowledge.
    ask(&request(DELETE_ADDRESS, 0x1 | 0x4, address, Duration::ZERO))
}

fn ask(request: &[u8]) -> io::Result<()> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    // The kernel answers at once, or never.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
    acknowledged(&socket, request)
}

/// Listens at an address that this machine is to be lent. Nobody but this machine itself reaches it there: what comes from
/// elsewhere does not come over the loopback (`SO_BINDTODEVICE` of socket(7), which takes no privilege since Linux 5.7).
///
/// # Errors
/// As of the calls: `EADDRINUSE` when somebody listens at that port of all addresses.
pub fn listen_ahead(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { net::AddressFamily::INET } else { net::AddressFamily::INET6 };
    let socket = net::socket_with(family, net::SocketType::STREAM, net::SocketFlags::CLOEXEC, None)?;
    // Connections that end are no reason to wait, as of std's listeners.
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from("lo"))?;
    // One that this machine does not have, or that it does not use yet: `IP_FREEBIND` of ip(7), and the same of linux/in6.h.
    if address.is_ipv4() {
        net::sockopt::set_ip_freebind(&socket, true)?;
    } else {
        net::sockopt::set_ipv6_freebind(&socket, true)?;
    }
    net::bind(&socket, &SocketAddr::new(address, port))?;
    net::listen(&socket, libc::SOMAXCONN)?;
    Ok(socket.into())
}

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;

/// `RTM_NEWADDR` or `RTM_DELADDR` of linux/rtnetlink.h: `struct nlmsghdr`, `struct ifaddrmsg` of linux/if_addr.h, and its
/// attributes. One that is there gets the new lease.
fn request(kind: u16, flags: u16, address: IpAddr, lease: Duration) -> Vec<u8> {
    const HOST: u8 = 254;
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
    };
    let small = |n: i32| u8::try_from(n).unwrap_or_default();
    let bits = u8::try_from(bytes.len() * 8).unwrap_or_default();
    // Without asking the neighbours first whether one of them has it (`IFA_F_NODAD`): of IPv6, which waits for that.
    let at_once = if address.is_ipv6() { 0x02 } else { 0 };
    let mut body = vec![small(family), bits, at_once, HOST];
    body.extend(LOOPBACK.to_ne_bytes());
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend(u16::try_from(4 + value.len()).unwrap_or_default().to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
    };
    // IFA_ADDRESS, IFA_LOCAL and IFA_CACHEINFO: preferred and valid for so many seconds; the kernel fills in the rest.
    attribute(1, &bytes);
    attribute(2, &bytes);
    let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX - 1).to_ne_bytes();
    attribute(6, &[seconds, seconds, [0; 4], [0; 4]].concat());
    let mut out = u32::try_from(16 + body.len()).unwrap_or_default().to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_as_the_headers_say() {
        for (address, family, bits, length) in
            [("10.0.0.4", libc::AF_INET, 32, 24 + 8 + 8 + 20), ("fd00::4", libc::AF_INET6, 128, 24 + 20 + 20 + 20)]
        {
            let request = request(NEW_ADDRESS, 0, address.parse().unwrap(), Duration::from_secs(30));
            assert_eq!(request.len(), length);
            assert_eq!(u32::from_ne_bytes(request[..4].try_into().unwrap()), u32::try_from(length).unwrap());
            assert_eq!((i32::from(request[16]), request[17], request[19]), (family, bits, 254));
            assert_eq!(request[18], if family == libc::AF_INET6 { 2 } else { 0 });
            assert_eq!(u32::from_ne_bytes(request[20..24].try_into().unwrap()), LOOPBACK);
            assert_eq!(u32::from_ne_bytes(request[length - 16..length - 12].try_into().unwrap()), 30);
        }
    }
}
