//! What the share is, and what to do about it: pure functions of facts, memory and time.

use super::diagnosis::{diagnose, space};
use super::model::{Attempt, Failure, Memory, Mounted, Probe, Search, ShareState, Step, UserMount, View};
use super::{heal, keys};
use crate::config::settings::Share;
use crate::problem::Problem;
use std::net::IpAddr;
use std::time::Duration;

/// How often the share is asked for a sign of life.
pub const PROBE_EVERY: Duration = Duration::from_secs(18);
/// How soon again after one that failed.
pub const PROBE_AGAIN: Duration = Duration::from_secs(5);
/// So many failed probes in a row make it hung: one may be a slow server.
pub const SILENT: u32 = 2;
/// How long a found address is good for mounting without asking again.
const ADDRESS_FRESH: Duration = Duration::from_secs(30);
/// The longest pause between attempts to reach a server that is away: it should be back at once when the server is.
const PAUSE_AWAY: Duration = Duration::from_secs(8);
/// The longest pause after a refusal, which a person has to change.
const PAUSE_REFUSED: Duration = Duration::from_secs(30);

/// Which of the share's jobs are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Busy {
    /// The guard is being laid.
    pub guard: bool,
    /// The server is being reached, or the root mounted.
    pub root: bool,
    /// A probe is under way.
    pub probe: bool,
    /// Dead connections are being closed.
    pub heal: bool,
    /// The share is being mounted for a trial.
    pub trial: bool,
    /// Keys are being given.
    pub keys: bool,
}

/// Brings memory up to what is mounted now: what was known of a mount that is gone is forgotten.
pub fn refresh(memory: &mut Memory, mounted: &Mounted) {
    memory.guard_id = mounted.guard;
    let id = mounted.root.as_ref().map(|r| r.id);
    if memory.root_id != id {
        memory.root_id = id;
        (memory.answered, memory.probed_at, memory.silent) = (None, None, 0);
        memory.search = Search::default();
        memory.fresh &= id.is_some();
    }
    // What is not asked now has no next time: asked for by the clock alone, the brain would wake up for nothing without end.
    let asked = mounted.in_the_way.is_none()
        && mounted.guard.is_some()
        && mounted.root.as_ref().is_some_and(|root| root.other.is_none());
    if !asked {
        memory.probed_at = None;
    }
    let mounts: Vec<u64> = id.into_iter().chain(mounted.users.iter().map(|u| u.mount.id)).collect();
    memory.keys.left.retain(|id| mounts.contains(id));
    if let (Some(root), None) = (&mounted.root, memory.reached) {
        // After a restart the kernel still knows where the server was.
        memory.reached = root.address.map(|a| (Duration::ZERO, Some(a)));
    }
}

/// The share's state and problems, and the steps that a pass takes now.
pub fn decide(share: &Share, mounted: &Mounted, memory: &Memory, busy: Busy, now: Duration) -> (View, Vec<Step>) {
    let mut problems = Vec::new();
    let mut steps = Vec::new();
    let due = now >= memory.next_try;
    let state = if let Some(what) = &mounted.in_the_way {
        problems.push(taken(share, what));
        ShareState::Refused
    } else if mounted.guard.is_none() {
        if due && !busy.guard {
            steps.push(Step::LayGuard);
        }
        // The server is looked for meanwhile, unless something is wrong here. Nothing is mounted before the guard is there.
        if due && !busy.root && mounted.root.is_none() && memory.failure.is_none() {
            steps.extend(Some(towards_root(share, memory, now)).filter(|step| matches!(step, Step::Reach { .. })));
        }
        waiting(share, memory, &mut problems)
    } else if let Some(what) = mounted.root.as_ref().and_then(|r| r.other.as_ref()) {
        // Nobody but the agent uses it.
        if due && !busy.root && !busy.probe {
            steps.push(Step::UnmountRoot);
        }
        problems.push(another(share, what));
        ShareState::Refused
    } else if mounted.root.is_none() {
        if due && !busy.root {
            steps.push(towards_root(share, memory, now));
        }
        waiting(share, memory, &mut problems)
    } else {
        let pause = if memory.silent > 0 { PROBE_AGAIN } else { PROBE_EVERY };
        if !busy.probe && memory.probed_at.is_none_or(|at| now >= at + pause) {
            steps.push(Step::Probe);
        }
        steps.extend(heal::steps(share, memory, busy, now));
        steps.extend(keys::step(share, memory, busy, now));
        problems.extend(keys::problem(share, memory, &old_keys(mounted, memory)));
        alive(share, memory, &mut problems)
    };
    let old: Vec<&UserMount> = mounted.users.iter().filter(|u| u.other).collect();
    if let (Some(first), true) = (old.first(), mounted.root.as_ref().is_some_and(|r| r.other.is_none())) {
        problems.push(others(share, first, old.len()));
    }
    if let Some(root) = mounted.root.as_ref().filter(|r| !r.differences.is_empty()) {
        problems.push(differs("the agent's own mount of the share", &root.differences));
    }
    let usable = mounted.root.as_ref().filter(|_| state == ShareState::Mounted && memory.silent == 0).map(|r| r.id);
    let address = memory.reached.and_then(|(_, a)| a);
    (View { state, guard: mounted.guard, usable, address, problems }, steps)
}

/// When something about the share becomes due by itself, other than a probe.
pub fn due(memory: &Memory) -> impl Iterator<Item = Duration> {
    [Some(memory.next_try), keys::due(memory)].into_iter().flatten().chain(heal::due(memory))
}

fn towards_root(share: &Share, memory: &Memory, now: Duration) -> Step {
    match (share.server(), memory.reached) {
        (None, _) => Step::MountRoot { address: None },
        (Some(_), Some((at, address))) if at > Duration::ZERO && now < at + ADDRESS_FRESH => {
            Step::MountRoot { address }
        }
        (Some((host, port)), _) => Step::Reach { host: host.to_owned(), port },
    }
}

/// Not there yet, or not there any more: the last failure says why.
fn waiting(share: &Share, memory: &Memory, problems: &mut Vec<Problem>) -> ShareState {
    match &memory.failure {
        None => ShareState::Mounting,
        Some(failure) => {
            let diagnosis = diagnose(share, failure);
            problems.push(diagnosis.problem);
            diagnosis.state
        }
    }
}

/// Mounted: does it answer, and is there room?
fn alive(share: &Share, memory: &Memory, problems: &mut Vec<Problem>) -> ShareState {
    if let Some((state, problem)) = heal::cause(share, memory) {
        problems.push(problem);
        problems.extend(memory.search.unhealed.as_ref().map(|failure| diagnose(share, failure).problem));
        return state;
    }
    problems.extend(memory.answered.and_then(|(_, probe)| space(share, &probe)));
    ShareState::Mounted
}

/// The directories whose mounts keep an old key.
fn old_keys(mounted: &Mounted, memory: &Memory) -> Vec<String> {
    let left = mounted.users.iter().filter(|u| memory.keys.left.contains(&u.mount.id));
    left.map(|u| u.directory.display().to_string()).collect()
}

fn taken(share: &Share, what: &str) -> Problem {
    let at = share.mount_point.display();
    let summary = format!("{what} is mounted on {at}, where the agent would mount the share. Nothing was touched.");
    Problem::new(
        "share.mount-point-taken",
        summary,
        format!("Unmount it (sudo umount {at}), or choose another [share] mount_point."),
    )
}

fn another(share: &Share, what: &str) -> Problem {
    let summary = format!(
        "{what} is still mounted for the agent, and the configuration asks for {}. Nobody new is connected to either.",
        share.source
    );
    let remedy = "It is changed by itself as soon as the agent's own work there ends.";
    Problem::new("share.other-source", summary, remedy)
}

/// Users who still work on the share of an older configuration.
fn others(share: &Share, first: &UserMount, count: usize) -> Problem {
    let rest = match count {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let summary = format!(
        "{}{rest} is still open on another share ({}) than {}. Nothing was unmounted.",
        first.directory.display(),
        first.mount.source.to_string_lossy(),
        share.source
    );
    let remedy = "Each changes by itself when what is open there is closed: notebooks, terminals in that directory.";
    Problem::new("share.other-source", summary, remedy)
}

/// A mount whose options are not what was asked for.
pub fn differs(whose: &str, differences: &[String]) -> Problem {
    let summary = format!("The kernel has other options than asked for on {whose}: {}.", differences.join("; "));
    let remedy = "Take out what changes mounts behind the agent's back, then: sudo systemctl restart dsvm-agent";
    Problem::new("share.options-differ", summary, remedy)
}

/// How long to wait after the `failures`th failure in a row: doubling, bounded, up to a fifth longer by `jitter`, so
/// that the VMs of a pool do not knock all at once.
pub fn pause(attempt: Attempt, failures: u32, jitter: u64) -> Duration {
    let longest = if matches!(attempt, Attempt::Resolve | Attempt::Connect) { PAUSE_AWAY } else { PAUSE_REFUSED };
    let base = Duration::from_secs(1 << failures.min(6)).min(longest);
    let extra = u32::try_from(jitter % 200).unwrap_or(0);
    base + base * extra / 1000
}

impl Memory {
    /// The server was found and answers.
    pub fn reached(&mut self, address: IpAddr, now: Duration) {
        self.reached = Some((now, Some(address)));
    }

    /// The guard was laid or the root was mounted.
    pub fn succeeded(&mut self) {
        (self.failures, self.failure, self.next_try) = (0, None, Duration::ZERO);
    }

    /// Something on the way to a mounted share failed.
    pub fn failed(&mut self, failure: Failure, now: Duration, jitter: u64) {
        self.next_try = now + pause(failure.attempt, self.failures, jitter);
        self.failures = self.failures.saturating_add(1);
        if failure.attempt != Attempt::Resolve && failure.attempt != Attempt::Connect {
            self.reached = None;
        }
        self.failure = Some(failure);
    }

    /// A probe ended.
    pub fn probed(&mut self, result: Result<Probe, Failure>, now: Duration) {
        (self.probed_at, self.fresh) = (Some(now), false);
        match result {
            Ok(probe) => {
                self.answered = Some((now, probe));
                (self.silent, self.failure, self.search) = (0, None, Search::default());
            }
            Err(failure) => {
                self.silent = self.silent.saturating_add(1);
                self.failure = Some(failure);
            }
        }
    }

    /// Remembers the state, and since when it is so.
    pub fn note(&mut self, state: ShareState, now: Duration) {
        if self.state.is_none_or(|(s, _)| s != state) {
            self.state = Some((state, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::RootMount;
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn smb() -> Share {
        Share::smb_for_tests()
    }

    fn mounted(guard: bool, root: bool) -> Mounted {
        let root =
            root.then(|| RootMount { id: 7, other: None, address: None, differences: Vec::new(), protocol: None });
        Mounted { guard: guard.then_some(5), root, ..Mounted::default() }
    }

    fn steps(mounted: &Mounted, memory: &Memory) -> (ShareState, Vec<Step>) {
        let (view, steps) = decide(&smb(), mounted, memory, Busy::default(), NOW);
        (view.state, steps)
    }

    #[test]
    fn from_nothing_to_mounted_one_step_at_a_time() {
        let mut memory = Memory::default();
        let reach = Step::Reach { host: "h".into(), port: 445 };
        let both = vec![Step::LayGuard, reach.clone()];
        assert_eq!(steps(&mounted(false, false), &memory), (ShareState::Mounting, both));
        assert_eq!(steps(&mounted(true, false), &memory), (ShareState::Mounting, vec![reach]));
        let address = "10.0.0.4".parse().unwrap();
        memory.reached(address, NOW);
        assert_eq!(steps(&mounted(true, false), &memory).1, vec![Step::MountRoot { address: Some(address) }]);
        memory.keys.taken = Some(None);
        assert_eq!(steps(&mounted(true, true), &memory), (ShareState::Mounted, vec![Step::Probe]));
    }

    #[test]
    fn it_is_fresh_from_when_it_was_mounted_until_it_was_asked_or_is_gone() {
        let (seen, none) = (mounted(true, true), mounted(true, false));
        let mut memory = Memory { fresh: true, ..Memory::default() };
        // Seen after its helper has answered, and again.
        refresh(&mut memory, &none);
        refresh(&mut memory, &seen);
        refresh(&mut memory, &seen);
        assert!(memory.fresh);
        refresh(&mut memory, &none);
        assert!(!memory.fresh);
        for result in [
            Ok(Probe { ms: 1.0, bytes_total: 9, bytes_free: 9, stalled: 0 }),
            Err(Failure::said(Attempt::Probe, "no answer in 10 s")),
        ] {
            memory.fresh = true;
            memory.probed(result, NOW);
            assert!(!memory.fresh);
        }
    }

    #[test]
    fn no_share_is_mounted_before_the_guard_is_laid() {
        let mut found = Memory::default();
        found.reached("10.0.0.4".parse().unwrap(), NOW);
        for memory in [Memory::default(), found] {
            for state in [mounted(false, false), mounted(false, true)] {
                let (view, steps) = decide(&smb(), &state, &memory, Busy::default(), NOW);
                assert!(view.usable.is_none() && !steps.iter().any(|s| matches!(s, Step::MountRoot { .. })));
            }
        }
    }

    #[test]
    fn a_guard_that_cannot_be_laid_has_nobody_knock_at_the_server() {
        let mut memory = Memory::default();
        memory.failed(Failure::call(Attempt::Guard, rustix::io::Errno::NOTEMPTY), NOW - PAUSE_REFUSED * 2, 0);
        assert_eq!(steps(&mounted(false, false), &memory), (ShareState::Refused, vec![Step::LayGuard]));
    }

    #[test]
    fn what_is_mounted_in_the_way_stays() {
        let seen = Mounted { in_the_way: Some("//h/old (cifs)".into()), ..Mounted::default() };
        let (view, steps) = decide(&smb(), &seen, &Memory::default(), Busy::default(), NOW);
        assert_eq!((view.state, steps), (ShareState::Refused, vec![]));
        assert_eq!(view.problems[0].code, "share.mount-point-taken");
    }

    #[test]
    fn nothing_is_done_on_the_share_of_another_configuration() {
        let mut seen = mounted(true, true);
        seen.root.as_mut().unwrap().other = Some("//h/old (cifs)".into());
        let (view, steps) = decide(&smb(), &seen, &Memory::default(), Busy::default(), NOW);
        assert_eq!((view.state, view.usable, steps), (ShareState::Refused, None, vec![Step::UnmountRoot]));
        assert_eq!(view.problems[0].code, "share.other-source");
        let busy = Busy { probe: true, ..Busy::default() };
        assert_eq!(decide(&smb(), &seen, &Memory::default(), busy, NOW).1, vec![], "not while it is used");
    }

    #[test]
    fn one_slow_answer_is_no_outage_and_two_are() {
        let mut memory = Memory { root_id: Some(7), ..Memory::default() };
        let silence = || Err(Failure::said(Attempt::Probe, "no answer in 10 s"));
        memory.probed(silence(), NOW);
        let (view, _) = decide(&smb(), &mounted(true, true), &memory, Busy::default(), NOW);
        assert_eq!((view.state, view.usable), (ShareState::Mounted, None), "in doubt nothing new is started on it");
        memory.probed(silence(), NOW);
        let (view, steps) = decide(&smb(), &mounted(true, true), &memory, Busy::default(), NOW + PROBE_AGAIN);
        assert_eq!((view.state, view.usable, steps.first()), (ShareState::Hung, None, Some(&Step::Probe)));
        assert_eq!(view.problems[0].code, "share.hung");
        memory.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), NOW);
        assert_eq!(decide(&smb(), &mounted(true, true), &memory, Busy::default(), NOW).0.state, ShareState::Mounted);
    }

    #[test]
    fn a_silent_server_is_found_out_within_45_seconds() {
        let deadline = crate::worker::job::PROBE_DEADLINE;
        assert!(PROBE_EVERY + deadline + PROBE_AGAIN + deadline <= Duration::from_secs(45));
    }

    #[test]
    fn a_failure_is_said_and_tried_again_later() {
        let mut memory = Memory::default();
        memory.failed(Failure::call(Attempt::Connect, rustix::io::Errno::CONNREFUSED), NOW, 0);
        let (view, steps) = decide(&smb(), &mounted(true, false), &memory, Busy::default(), NOW);
        assert_eq!(
            (view.state, steps.len(), view.problems[0].code.as_str()),
            (ShareState::Unreachable, 0, "share.unreachable")
        );
        let later = NOW + PAUSE_AWAY * 2;
        assert_eq!(decide(&smb(), &mounted(true, false), &memory, Busy::default(), later).1.len(), 1);
    }

    proptest! {
        #[test]
        fn pauses_grow_and_stay_bounded(failures in 0u32..1000, jitter: u64) {
            let pause = pause(Attempt::Mount, failures, jitter);
            prop_assert!(pause >= Duration::from_secs(1) && pause <= PAUSE_REFUSED * 6 / 5);
        }

        #[test]
        fn while_a_job_is_under_way_no_second_one_is_started(guard: bool, root: bool) {
            let busy = Busy { guard: true, root: true, probe: true, heal: true, trial: true, keys: true };
            let (_, steps) = decide(&smb(), &mounted(guard, root), &Memory::default(), busy, NOW);
            prop_assert!(steps.is_empty());
        }
    }
}
