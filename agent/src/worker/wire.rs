//! What the brain and the launcher say to each other: one datagram each on a socket pair (`SOCK_SEQPACKET`, unix(7)).

use super::job::Job;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};

/// Longest datagram: a batch of names with long paths stays well below it.
pub const LIMIT: usize = 128 * 1024;

/// So many descriptors fit into one message (unix(7)): with room for all of them none is left over without an owner.
const SCM_MAX_FD: usize = 253;

/// From the brain to the launcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// Start a worker; the descriptor for its answer comes along.
    Start {
        /// The brain's number for it.
        id: u64,
        /// What to do.
        job: Job,
    },
    /// Tell systemd that the service is ready.
    Ready,
    /// Tell systemd that the brain is alive.
    Alive,
    /// The sentence for `systemctl status`.
    Status(String),
}

/// From the launcher to the brain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Tell {
    /// A worker ended, or was not started at all.
    Ended {
        /// The brain's number for it.
        id: u64,
        /// How.
        how: Ending,
    },
    /// A worker that could not be killed is gone at last.
    Freed {
        /// The brain's number for it.
        id: u64,
    },
    /// Read the configuration again.
    Reload,
    /// End.
    Terminate,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself: its answer is complete or worthless.
    Ended,
    /// It was killed at its deadline.
    Late,
    /// It was killed at its deadline and does not die: it is waited for no longer.
    Stuck,
    /// It was not started.
    Refused(String),
}

/// Sends one datagram, with a descriptor or without.
///
/// # Errors
/// As of sendmsg(2).
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptor: Option<&OwnedFd>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let raw: Vec<i32> = descriptor.iter().map(|d| d.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one datagram; nothing when the other side is gone. What does not parse is `InvalidData`.
///
/// # Errors
/// As of recvmsg(2): `WouldBlock` when nothing is there on a non-blocking socket.
pub fn receive<T: for<'de> Deserialize<'de>>(socket: impl AsFd) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut buffer = vec![0u8; LIMIT];
    let mut space = nix::cmsg_space!([i32; SCM_MAX_FD]);
    let (length, truncated, mut descriptors) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel has just put these descriptors into this process for us, and nobody else has them.
                descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC), descriptors)
    };
    if length == 0 {
        return Ok(None);
    }
    let text = buffer.get(..length).filter(|_| !truncated);
    let text = text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the message is too long"))?;
    Ok(Some((serde_json::from_slice(text)?, descriptors.pop())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn a_job_and_its_descriptor_arrive_whole() {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        let ask = Ask::Start { id: 7, job: Job::Probe };
        send(&a, &ask, Some(&write)).unwrap();
        drop(write);
        let (got, descriptor) = receive::<Ask>(&b).unwrap().unwrap();
        assert_eq!(got, ask);
        nix::unistd::write(descriptor.unwrap(), b"x").unwrap();
        let mut buffer = [0u8; 4];
        assert_eq!(nix::unistd::read(&read, &mut buffer).unwrap(), 1);
        drop(a);
        assert!(receive::<Ask>(&b).unwrap().is_none());
    }

    #[test]
    fn nonsense_is_an_error_and_not_the_end() {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        send(&a, &"hello", None).unwrap();
        assert_eq!(receive::<Ask>(&b).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
