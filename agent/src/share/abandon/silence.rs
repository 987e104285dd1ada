//! When a server is dead to a VM that goes down.

use crate::share::model::{Attempt, Failure};
use std::time::Duration;

/// A server that has not answered for so long, and so often, is dead to a VM that goes down: one that is only being
/// restarted, or a packet that was lost, must not cost what can still be written; and all of a shutdown should take half a minute.
const PATIENCE: Duration = Duration::from_secs(10);
/// So often at least.
const LOOKS: u32 = 3;
/// So many bytes from one look to the next are work. Fewer are what a client and a server say when they meet, which ones that
/// are as good as dead can go on with for ever.
const WORK: u64 = 64 * 1024;
/// What connect(2), read(2) and write(2) say of a server that is not there or gives no answer (tcp(7), ip(7)), and of a
/// network that is not there, over which nothing could be written either.
const SILENT: [i32; 8] = [
    libc::ETIMEDOUT,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EPIPE,
    libc::EHOSTUNREACH,
    libc::EHOSTDOWN,
    libc::ENETUNREACH,
    libc::ENETDOWN,
];

/// Whether a server that was greeted in vain is there all the same. A refusal is a sign of life. What this VM is the
/// cause of says nothing, because any of its users can bring that about: by taking all ports, all memory, all
/// descriptors.
pub fn shown_by(failure: &Failure) -> Option<bool> {
    match failure {
        Failure { attempt: Attempt::Mount, errno: Some(libc::EPROTONOSUPPORT), .. } => Some(true),
        Failure { attempt: Attempt::Connect | Attempt::Mount, errno: Some(errno), .. } => {
            SILENT.contains(errno).then_some(false)
        }
        _ => None,
    }
}

/// A look at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When it began.
    pub began: Duration,
    /// Whether the server answered a question.
    pub answered: bool,
    /// So many bytes the kernel's connections to it have moved so far, as far as they are known.
    pub moved: u64,
}

/// A server's silence so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Silence {
    since: Option<Duration>,
    looks: u32,
    moved: Option<u64>,
}

impl Silence {
    /// After one more look. A server that is too busy with what is being written to it to answer is not dead.
    #[must_use]
    pub fn after(self, look: Look) -> Self {
        let moved = Some(look.moved);
        if look.answered || self.moved.is_some_and(|before| look.moved >= before.saturating_add(WORK)) {
            return Self { moved, ..Self::default() };
        }
        let since = Some(self.since.unwrap_or(look.began));
        Self { since, looks: self.looks.saturating_add(1), moved }
    }

    /// Whether nothing is to be hoped for any more.
    pub fn is_death(self, now: Duration) -> bool {
        self.looks >= LOOKS && self.since.is_some_and(|since| now >= since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_own_silence_is_silence() {
        let failed = |attempt, errno: i32| Failure { attempt, errno: Some(errno), details: Vec::new() };
        let silent = [
            libc::ETIMEDOUT,
            libc::ECONNREFUSED,
            libc::ECONNRESET,
            libc::EPIPE,
            libc::EHOSTUNREACH,
            libc::EHOSTDOWN,
            libc::ENETUNREACH,
            libc::ENETDOWN,
        ];
        // What this VM, or a user of it, is the cause of.
        let own = [
            libc::EADDRNOTAVAIL,
            libc::EADDRINUSE,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOBUFS,
            libc::ENOMEM,
            libc::EAGAIN,
            libc::EPERM,
            libc::EACCES,
            libc::EINTR,
            libc::EINVAL,
        ];
        for attempt in [Attempt::Connect, Attempt::Mount] {
            for (errnos, expected) in [(&silent[..], Some(false)), (&own[..], None)] {
                for errno in errnos {
                    assert_eq!(shown_by(&failed(attempt, *errno)), expected, "{attempt:?} {errno}");
                }
            }
        }
        // It refuses, or it is no file server: it is there.
        assert_eq!(shown_by(&failed(Attempt::Mount, libc::EPROTONOSUPPORT)), Some(true));
        assert_eq!(shown_by(&failed(Attempt::Worker, libc::ETIMEDOUT)), None);
        assert_eq!(shown_by(&Failure::said(Attempt::Connect, "x")), None);
    }

    #[test]
    fn a_server_is_dead_after_some_time_and_some_looks() {
        let s = Duration::from_secs;
        // When each look began, whether it was answered, and whether nothing is hoped for any more at some time.
        for (looks, now, dead) in [
            (&[][..], 100, false),
            (&[(0, false)], 100, false),
            (&[(0, false), (4, false)], 100, false),
            (&[(0, false), (4, false), (8, false)], 9, false),
            (&[(0, false), (4, false), (8, false)], 11, true),
            (&[(0, false), (1, false), (2, false), (3, false)], 4, false),
            (&[(0, false), (4, true), (8, false), (9, false), (10, false)], 12, false),
            (&[(0, false), (4, true), (8, false), (9, false), (10, false)], 18, true),
            (&[(0, true), (4, true), (8, true), (12, true)], 100, false),
        ] {
            let look = |all: Silence, (at, answered): &(u64, bool)| {
                all.after(Look { began: s(*at), answered: *answered, moved: 0 })
            };
            assert_eq!(looks.iter().fold(Silence::default(), look).is_death(s(now)), dead, "{looks:?} at {now}");
        }
    }

    #[test]
    fn a_server_that_takes_what_is_written_is_not_dead() {
        let s = Duration::from_secs;
        // In units of 64 KiB.
        for (moved, dead) in [
            ([7.0, 7.0, 7.0, 7.0, 7.0], true),
            ([0.0, 0.0, 0.0, 0.0, 0.0], true),
            ([7.0, 8.0, 9.0, 10.0, 11.0], false),
            ([7.0, 7.0, 7.0, 8.0, 8.0], false),
            ([7.0, 7.1, 7.2, 7.3, 7.4], true),
            // The kernel opened a new connection, over which nothing goes.
            ([7.0, 0.0, 0.0, 0.0, 0.0], true),
        ] {
            let bytes = |units: f64| (units * 65536.0) as u64;
            let look =
                |all: Silence, (at, units)| all.after(Look { began: s(at), answered: false, moved: bytes(units) });
            let silence = (0..).step_by(4).zip(moved).fold(Silence::default(), look);
            assert_eq!(silence.is_death(s(19)), dead, "{moved:?}");
        }
    }
}
