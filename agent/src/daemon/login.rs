//! Log-ins under way: who waits for their notebooks, and when each is answered. A log-in is never held up for what will
//! not come: the answer is given as soon as it is known.

use super::request::{LOGIN, Reply};
use crate::status::model::{ShareState, Status, UserState, UserView};
use crate::workspace::memory::Memory;
use crate::workspace::rescue::watch::Files;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What passes PAM for somebody who did not come: schedulers, and what a program or a typing person calls. The last one
/// is this program.
const NOBODY_COMES: [&str; 13] = [
    "cron",
    "crond",
    "anacron",
    "atd",
    "systemd-user",
    "sudo",
    "sudo-i",
    "su",
    "su-l",
    "runuser",
    "runuser-l",
    "polkit-1",
    "dsvm-agent",
];

/// Whether somebody came by this service of PAM's. One line of a crontab must not keep a VM for ever.
pub fn is_arrival(service: Option<&str>) -> bool {
    service.is_none_or(|service| !NOBODY_COMES.contains(&service))
}

/// Somebody who logs in.
#[derive(Debug)]
struct Waiter {
    user: String,
    asked: Duration,
    until: Instant,
    reply: oneshot::Sender<Reply>,
}

/// All who log in just now.
#[derive(Debug, Default)]
pub struct Waiters(Vec<Waiter>);

/// What an answer depends on.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    /// The user's row, if they are served.
    row: Option<&'a UserView>,
    /// Their home does not exist yet: nothing can be linked in it before PAM has made it, which asks again.
    homeless: bool,
    /// It is being looked what was rescued for them when an earlier VM went: they are told once they are in.
    reading: bool,
    /// The share is away.
    away: bool,
    /// The name services have answered since.
    told: bool,
}

impl Waiters {
    /// `user` asked at `now`, by the boot-time clock.
    pub fn add(&mut self, user: String, now: Duration, reply: oneshot::Sender<Reply>) {
        self.0.push(Waiter { user, asked: now, until: Instant::now() + LOGIN, reply });
    }

    /// When the first of them has waited long enough.
    pub fn soonest(&self) -> Option<Instant> {
        self.0.iter().map(|w| w.until).min()
    }

    /// Answers those of whom it is known what becomes of them.
    pub fn answer(&mut self, status: &Status, memory: &Memory) {
        let now = Instant::now();
        let away = matches!(status.share.state, ShareState::Unreachable | ShareState::Refused | ShareState::Hung);
        let mut waiting = Vec::new();
        for waiter in self.0.drain(..) {
            let seen = Seen {
                row: status.users.iter().find(|u| u.name == waiter.user),
                homeless: memory.users.get(&waiter.user).is_some_and(|r| r.is_homeless()),
                reading: memory.files.get(&waiter.user).is_some_and(Files::is_reading),
                away,
                told: memory.asked.is_some_and(|at| at >= waiter.asked),
            };
            match answer(seen).or_else(|| (now >= waiter.until).then_some(false)) {
                // Whoever hung up gets in all the same.
                Some(ready) => drop(waiter.reply.send(Reply::Login { ready })),
                None => waiting.push(waiter),
            }
        }
        self.0 = waiting;
    }
}

/// Whether the notebooks are there; nothing while that is still to be waited for.
fn answer(seen: Seen<'_>) -> Option<bool> {
    match seen.row {
        Some(user) if user.state == UserState::Ready && user.mounted && seen.reading && !seen.away => None,
        Some(user) if user.state == UserState::Ready && user.mounted => Some(true),
        Some(user) if user.state == UserState::Problem => Some(false),
        // Nothing will come within the time of a log-in, which asks several times.
        Some(_) if seen.away => Some(false),
        Some(user) if user.mounted && seen.homeless => Some(false),
        // The name services know nobody of that name who is served.
        None if seen.told => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixtures::user;

    #[test]
    fn a_scheduler_is_nobody() {
        assert!(is_arrival(None) && is_arrival(Some("sshd")) && is_arrival(Some("login")));
        assert!(!is_arrival(Some("cron")) && !is_arrival(Some("sudo")));
    }

    #[test]
    fn nobody_waits_for_what_does_not_come() {
        let row = |state, mounted| UserView { mounted, ..user("alice", 1001, state) };
        let nobody = Seen { row: None, homeless: false, reading: false, away: false, told: false };
        for (state, mounted, homeless, away, expected) in [
            (UserState::Ready, true, false, false, Some(true)),
            (UserState::Ready, true, false, true, Some(true)),
            (UserState::Ready, false, false, false, None),
            (UserState::Pending, false, false, false, None),
            (UserState::Pending, true, false, false, None),
            // The home comes later in the same log-in, which asks again then; but first the notebooks.
            (UserState::Pending, false, true, false, None),
            (UserState::Pending, true, true, false, Some(false)),
            (UserState::Pending, false, false, true, Some(false)),
            (UserState::Problem, true, false, false, Some(false)),
        ] {
            let row = row(state, mounted);
            let seen = Seen { row: Some(&row), homeless, away, ..nobody };
            assert_eq!(answer(seen), expected, "{seen:?}");
        }
        let ready = row(UserState::Ready, true);
        let reading = Seen { row: Some(&ready), reading: true, ..nobody };
        assert_eq!((answer(reading), answer(Seen { away: true, ..reading })), (None, Some(true)));
        assert_eq!(answer(nobody), None, "the name services are being asked");
        assert_eq!(answer(Seen { told: true, ..nobody }), Some(false));
    }
}
