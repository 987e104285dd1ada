//! What to do while the mounted share does not answer: pure functions of memory and time.
//!
//! The kernel gives up on a silent server after three of its echo intervals, three minutes, and keeps to the address that
//! it knows. So: the server's name is looked up and connected to afresh, again and again; when that works, the kernel's
//! cache of names is cleared and its dead connections are closed, so that it opens new ones at once. Mounts of users are
//! `hard`: what was not written yet is written then. Nothing is unmounted under anybody.

use super::decide::{Busy, SILENT};
use super::diagnosis::diagnose;
use super::model::{Attempt, Failure, Memory, Search, ShareState, Step};
use crate::config::settings::{Kind, Share};
use crate::problem::Problem;
use crate::sys::sockets::Connection;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// The pause between two attempts to connect to a server that is away: people wait for it.
const KNOCK_AGAIN: Duration = Duration::from_secs(2);
/// The pause after closing connections, doubling: opening new ones, and a probe over them, takes its time.
const HEAL_AGAIN: Duration = Duration::from_secs(8);
/// The longest such pause.
const HEAL_AT_LEAST: Duration = Duration::from_secs(120);
/// The pause between two trials, doubling.
const TRY_AGAIN: Duration = Duration::from_secs(8);
/// The longest such pause: a new key, or a share that was restored, is noticed after it.
const TRY_AT_LEAST: Duration = Duration::from_secs(30);
/// So often connections are closed before the agent's own mount is given up, too.
const GIVE_UP_ROOT: u32 = 3;
/// Data sent so often without a sign of arrival is on a dead connection: some three seconds.
pub const STALLED: u8 = 4;
/// Who has given no sign of life for so long is not slow any more: every packet that arrives is acknowledged.
const SILENT_FOR: Duration = Duration::from_secs(8);
/// The port of NFS (nfs(5)), whose client sends everything again over a new connection, whatever became of the old one.
const NFS: u16 = 2049;

/// The steps of healing that a pass takes now.
pub fn steps(share: &Share, memory: &Memory, busy: Busy, now: Duration) -> Vec<Step> {
    let Some((host, port)) = share.server() else { return Vec::new() };
    let search = &memory.search;
    if memory.silent == 0 {
        // The agent's own connection is well. Those of users may not be.
        let stalled = memory.answered.is_some_and(|(_, p)| p.stalled > 0);
        let due = memory.tended.is_none_or(|at| now >= at + HEAL_AGAIN);
        let address = memory.reached.and_then(|(_, a)| a);
        return if stalled && due && !busy.heal { vec![Step::Heal { address, all: false }] } else { Vec::new() };
    }
    let mut out = Vec::new();
    if !busy.root && search.knocked.as_ref().is_none_or(|(at, _)| now >= *at + KNOCK_AGAIN) {
        out.push(Step::Reach { host: host.to_owned(), port });
    }
    let Some((_, Ok(address))) = &search.knocked else { return out };
    if !busy.heal && search.healed_at.is_none_or(|at| now >= at + pause(HEAL_AGAIN, HEAL_AT_LEAST, search.healed)) {
        out.push(Step::Heal { address: Some(*address), all: search.healed > 0 });
    }
    if share.kind() != Kind::Smb {
        return out;
    }
    // A probe that was refused, instead of staying without an answer, wants to know why at once.
    let refused = memory.failure.as_ref().and_then(|f| f.errno).is_some_and(|e| e != libc::ETIMEDOUT);
    let worth = memory.silent >= SILENT || refused;
    if worth && !busy.trial && search.tried.as_ref().is_none_or(|(at, _)| now >= *at + next_trial(search)) {
        out.push(Step::Trial { address: Some(*address) });
    }
    if matches!(search.tried, Some((_, Ok(())))) {
        // A new mount would work, this one does not: an old key, or something in the kernel that does not mend.
        if !search.rekeyed && !busy.keys {
            out.push(Step::Rekey { force: true });
        } else if search.rekeyed && search.healed >= GIVE_UP_ROOT && !busy.root && !busy.probe && now >= memory.next_try
        {
            out.push(Step::UnmountRoot);
        }
    }
    out
}

fn pause(first: Duration, longest: Duration, done: u32) -> Duration {
    (first * (1 << done.saturating_sub(1).min(6))).min(longest)
}

fn next_trial(search: &Search) -> Duration {
    pause(TRY_AGAIN, TRY_AT_LEAST, search.trials)
}

/// When something of it becomes due.
pub fn due(memory: &Memory) -> impl Iterator<Item = Duration> {
    let search = &memory.search;
    let silent = memory.silent > 0;
    let knock = search.knocked.as_ref().map(|(at, _)| *at + KNOCK_AGAIN);
    let heal = search.healed_at.map(|at| at + pause(HEAL_AGAIN, HEAL_AT_LEAST, search.healed));
    let trial = search.tried.as_ref().map(|(at, _)| *at + next_trial(search));
    [knock, heal, trial].into_iter().flatten().filter(move |_| silent)
}

/// What is said of a mounted share that does not answer; nothing while that may be one slow answer.
pub fn cause(share: &Share, memory: &Memory) -> Option<(ShareState, Problem)> {
    if memory.silent == 0 {
        return None;
    }
    let waits = |problem: Problem| Problem {
        summary: format!("{} What is open stays open; saving waits.", problem.summary),
        ..problem
    };
    match (&memory.search.knocked, &memory.search.tried) {
        (Some((_, Err(failure))), _) => {
            let diagnosis = diagnose(share, failure);
            Some((diagnosis.state, waits(diagnosis.problem)))
        }
        (_, Some((_, Err(failure)))) => {
            let diagnosis = diagnose(share, failure);
            let state = if diagnosis.state == ShareState::Mounted { ShareState::Hung } else { diagnosis.state };
            Some((state, diagnosis.problem))
        }
        _ if memory.silent >= SILENT => {
            let silence = Failure::said(Attempt::Probe, "no answer in time");
            let failure = memory.failure.as_ref().unwrap_or(&silence);
            Some((ShareState::Hung, diagnose(share, failure).problem))
        }
        _ => None,
    }
}

/// Which of the machine's connections are to be closed: of the kernel's own to `servers`, those whose data does not
/// arrive, and those being opened to where the server is not any more; or `all` of which nothing is heard.
///
/// None over which somebody is sending at this moment: Linux drops what cifs was about to write when sending it fails
/// with another error than "try again" (`__smb_send_rqst` of fs/smb/client/transport.c makes that ECONNABORTED, and
/// `netfs_write_subrequest_terminated` of fs/netfs/write_collect.c tries only EAGAIN again). Seen with Linux 6.12: holes of
/// zeros, and an error only when the file is closed. Nothing is held up for long: a sender whose buffer stays full
/// gives up by itself after 15 s, and the kernel then opens a new connection and sends all of it again.
pub fn dead(
    connections: Vec<Connection>,
    servers: &BTreeSet<(IpAddr, u16)>,
    present: Option<IpAddr>,
    all: bool,
) -> Vec<Connection> {
    // The kernel's are root's. What users' programs have open themselves is theirs.
    let ours = |c: &Connection| c.uid == 0 && servers.contains(&(c.remote, c.port));
    let elsewhere = |c: &Connection| present.is_some_and(|p| p != c.remote);
    let is_dead = |c: &Connection| {
        if c.is_opening() {
            elsewhere(c)
        } else {
            (c.port == NFS || c.rests(SILENT_FOR)) && (all || c.stalls(STALLED / 2))
        }
    };
    connections.into_iter().filter(|c| ours(c) && is_dead(c)).collect()
}

impl Memory {
    /// The server was connected to, or not, while the share is mounted.
    pub fn knocked(&mut self, result: Result<IpAddr, Failure>, now: Duration) {
        match &result {
            Ok(address) => self.reached = Some((now, Some(*address))),
            // It comes back as another one, perhaps: everything is tried from the start.
            Err(_) => (self.search.healed, self.search.healed_at, self.search.tried) = (0, None, None),
        }
        self.search.knocked = Some((now, result));
    }

    /// Dead connections were closed, or not.
    pub fn healed(&mut self, result: Result<(), Failure>, now: Duration) {
        self.search.unhealed = result.err().filter(|_| self.silent > 0);
        if self.silent == 0 {
            self.tended = Some(now);
            return;
        }
        self.search.healed_at = Some(now);
        self.search.healed = self.search.healed.saturating_add(1);
        // Whether it helped is worth knowing at once.
        self.probed_at = None;
    }

    /// The share was mounted for a trial, or not.
    pub fn tried(&mut self, result: Result<(), Failure>, now: Duration) {
        self.search.tried = Some((now, result));
        self.search.trials = self.search.trials.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Probe;
    use super::*;
    use rustix::io::Errno;

    const NOW: Duration = Duration::from_secs(1000);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 4));

    fn second(n: u64) -> Duration {
        NOW + Duration::from_secs(n)
    }

    fn silent() -> Memory {
        let mut memory = Memory { root_id: Some(7), ..Memory::default() };
        memory.probed(Err(Failure { attempt: Attempt::Probe, errno: Some(libc::ETIMEDOUT), details: vec![] }), NOW);
        memory
    }

    fn now(memory: &Memory, at: Duration) -> Vec<Step> {
        steps(&Share::smb_for_tests(), memory, Busy::default(), at)
    }

    fn reach() -> Step {
        Step::Reach { host: "h".into(), port: 445 }
    }

    #[test]
    fn a_share_that_answers_is_left_alone() {
        let mut memory = Memory::default();
        let probe = |stalled| Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled };
        memory.probed(Ok(probe(0)), NOW);
        assert_eq!((now(&memory, NOW), due(&memory).count()), (vec![], 0));
        memory.probed(Ok(probe(1)), NOW);
        assert_eq!(now(&memory, NOW), [Step::Heal { address: None, all: false }], "a user's connection is dead");
        memory.healed(Ok(()), NOW);
        assert_eq!(now(&memory, second(1)), []);
    }

    #[test]
    fn a_silent_one_is_knocked_at_until_it_is_back_and_its_connections_are_closed_then() {
        let mut memory = silent();
        assert_eq!(now(&memory, NOW), [reach()]);
        memory.knocked(Err(Failure::call(Attempt::Connect, Errno::TIMEDOUT)), second(3));
        assert_eq!(now(&memory, second(4)), []);
        assert_eq!(now(&memory, second(5)), [reach()], "no longer than two seconds later");
        memory.knocked(Ok(HERE), second(5));
        assert_eq!(now(&memory, second(5)), [Step::Heal { address: Some(HERE), all: false }]);
        memory.healed(Ok(()), second(6));
        assert_eq!(memory.probed_at, None, "asked at once whether it helped");
        assert_eq!(now(&memory, second(6)), []);
        let again = now(&memory, second(20));
        assert!(again.contains(&Step::Heal { address: Some(HERE), all: true }), "{again:?}");
        memory.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), second(21));
        assert_eq!((now(&memory, second(21)), memory.search), (vec![], Search::default()));
    }

    #[test]
    fn a_server_that_accepts_and_says_nothing_is_asked_less_and_less() {
        let mut memory = silent();
        memory.knocked(Ok(HERE), NOW);
        let (mut at, mut heals) = (NOW, Vec::new());
        while at < second(1200) {
            if now(&memory, at).iter().any(|s| matches!(s, Step::Heal { .. })) {
                memory.healed(Ok(()), at);
                heals.push((at - NOW).as_secs());
            }
            at += Duration::from_secs(1);
        }
        assert_eq!(heals[..5], [0, 8, 24, 56, 120]);
        assert!(heals.len() < 15 && heals.windows(2).all(|w| w[1] - w[0] <= 120), "{heals:?}");
    }

    #[test]
    fn a_refusal_is_looked_into_at_once_and_said_in_its_own_words() {
        let mut memory = Memory { root_id: Some(7), ..Memory::default() };
        memory.probed(Err(Failure::call(Attempt::Probe, Errno::ACCESS)), NOW);
        memory.knocked(Ok(HERE), NOW);
        let trial = Step::Trial { address: Some(HERE) };
        assert!(now(&memory, NOW).contains(&trial));
        assert_eq!(cause(&Share::smb_for_tests(), &memory), None, "one failure is no outage");
        for (errno, code, state) in [
            (Errno::ACCESS, "share.key-refused", ShareState::Refused),
            (Errno::NOENT, "share.not-found", ShareState::Refused),
            (Errno::OPNOTSUPP, "share.protocol-refused", ShareState::Refused),
        ] {
            memory.tried(Err(Failure::call(Attempt::Mount, errno)), NOW);
            let (seen, problem) = cause(&Share::smb_for_tests(), &memory).unwrap();
            assert_eq!((problem.code.as_str(), seen), (code, state));
            assert!(now(&memory, second(1)).iter().all(|s| !matches!(s, Step::Rekey { .. } | Step::UnmountRoot)));
        }
        assert!(now(&memory, second(31)).contains(&trial), "noticed within half a minute when it is put right");
    }

    #[test]
    fn where_a_new_mount_works_the_old_one_gets_the_keys_and_the_agents_own_is_replaced_at_last() {
        let mut memory = silent();
        memory.knocked(Ok(HERE), NOW);
        memory.tried(Ok(()), NOW);
        assert!(now(&memory, NOW).contains(&Step::Rekey { force: true }));
        memory.search.rekeyed = true;
        assert!(!now(&memory, NOW).contains(&Step::UnmountRoot));
        (0..GIVE_UP_ROOT).for_each(|_| memory.healed(Ok(()), NOW));
        assert!(now(&memory, NOW).contains(&Step::UnmountRoot));
        let busy = Busy { probe: true, ..Busy::default() };
        assert!(
            !steps(&Share::smb_for_tests(), &memory, busy, NOW).contains(&Step::UnmountRoot),
            "not while it is used"
        );
    }

    #[test]
    fn what_is_said_follows_what_is_known() {
        let share = Share::smb_for_tests();
        let mut memory = silent();
        assert_eq!(cause(&share, &memory), None, "one slow answer is no outage");
        memory.knocked(Err(Failure::call(Attempt::Connect, Errno::CONNREFUSED)), NOW);
        let (state, problem) = cause(&share, &memory).unwrap();
        assert_eq!((state, problem.code.as_str()), (ShareState::Unreachable, "share.unreachable"), "two signs are");
        assert!(problem.summary.contains("refuses connections") && problem.summary.contains("saving waits"));
        memory.knocked(Ok(HERE), NOW);
        assert_eq!(cause(&share, &memory), None);
        memory.probed(Err(Failure::said(Attempt::Probe, "again")), NOW);
        assert_eq!(cause(&share, &memory).unwrap().1.code, "share.hung");
    }

    #[test]
    fn only_the_kernels_dead_connections_to_these_servers_are_closed() {
        let connection = |state: u8, unanswered: u8, last: u8, uid: u32| {
            Connection::for_tests(state, unanswered, IpAddr::from([10, 0, 0, last]), uid)
        };
        let all = vec![
            connection(1, 0, 4, 0),
            connection(1, 6, 4, 0),
            connection(1, 6, 4, 1001),
            connection(1, 6, 9, 0),
            connection(2, 3, 4, 0),
            connection(2, 3, 5, 0),
        ];
        let servers = [4, 5].map(|n| (IpAddr::from([10, 0, 0, n]), 445)).into_iter().collect();
        let closed = |every| dead(all.clone(), &servers, Some(HERE), every);
        assert_eq!(closed(false), [all[1].clone(), all[5].clone()]);
        assert_eq!(closed(true), [all[0].clone(), all[1].clone(), all[5].clone()]);
        let others = [
            (Some(SILENT_FOR), Some(true)),
            (Some(Duration::from_secs(4)), Some(false)),
            (None, Some(false)),
            (Some(SILENT_FOR), None),
        ];
        for (heard, full) in others {
            let mut sending = vec![all[1].clone()];
            (sending[0].heard, sending[0].full) = (heard, full);
            assert_eq!(dead(sending.clone(), &servers, Some(HERE), true), [], "{heard:?} {full:?}");
            assert_eq!(dead(sending.clone(), &servers, Some(HERE), false), [], "{heard:?} {full:?}");
            sending[0].port = NFS;
            let nfs = [(IpAddr::from([10, 0, 0, 4]), NFS)].into_iter().collect();
            assert_eq!(dead(sending, &nfs, Some(HERE), false).len(), 1, "{heard:?} {full:?}");
        }
    }
}
