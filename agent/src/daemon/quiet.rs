//! When everything is looked at, and when there is nothing to look at. Most of the time nothing changes, and then a
//! look costs next to nothing, however many users there are: who is here, what is mounted, and a sign of life from the
//! share.

use super::engine::{Decision, Engine, Step};
use crate::share::decide as share_decide;
use crate::share::model::Step as ShareStep;
use crate::status::model::{ShareView, Status};
use std::time::Duration;

/// Everything is looked at so often at least: what no trigger told of is found then. The status is renewed with it.
pub const PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked who is here: not everybody who comes is announced.
pub const PRESENCE: Duration = Duration::from_secs(18);
/// The launcher is told that the brain is alive so often at least: systemd waits for it for a minute.
pub const ALIVE: Duration = Duration::from_secs(20);

/// The least time between the end of a pass and the next: what comes meanwhile is taken together.
const REST: Duration = Duration::from_millis(2);
/// So much of the brain's time may passes take one right after the other: about what a start needs on a slow machine, when
/// everybody waits for their notebooks.
const BURST: Duration = Duration::from_secs(5);

/// Passes leave half of the time to others, whatever happens how often, but for a burst after some quiet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breath {
    /// So much of it is left.
    burst: Duration,
    /// When the pause after the last pass ended.
    rested: Duration,
}

impl Breath {
    /// Before the first pass.
    pub fn new(now: Duration) -> Self {
        Self { burst: BURST, rested: now }
    }

    /// How long no other pass is made after one from `began` to `ended`.
    pub fn after(&mut self, began: Duration, ended: Duration) -> Duration {
        let (quiet, took) = (began.saturating_sub(self.rested), ended.saturating_sub(began));
        self.burst = (self.burst + quiet).min(BURST);
        let rest = match self.burst.checked_sub(took) {
            Some(left) => {
                self.burst = left;
                REST
            }
            None => took.clamp(REST, PERIOD),
        };
        self.rested = ended + rest;
        rest
    }
}

impl Engine {
    /// The share's part of a pass alone, over what the last whole one saw. Nothing: more than that has to be done.
    pub fn only_probes(&self, last: &Decision, now: Duration) -> Option<Vec<Step>> {
        let Some(share) = &self.settings.share else { return Some(Vec::new()) };
        let (view, steps) = share_decide::decide(share, &last.mounted, &self.share, self.share_busy(), now);
        let probes = view == last.view && steps.iter().all(|step| matches!(step, ShareStep::Probe));
        probes.then(|| steps.into_iter().map(Step::Share).collect())
    }

    /// Whether the share answers as it did before: then nothing follows from one more answer.
    pub fn is_calm(&self) -> bool {
        let well = self.share.answered.is_some_and(|(_, probe)| probe.stalled == 0);
        self.share.silent == 0 && well && self.share.failure.is_none()
    }

    /// How long until the share is to be asked for a sign of life; for ever while it is being asked.
    pub fn next_probe(&self, now: Duration) -> Duration {
        if self.share_busy().probe {
            return Duration::MAX;
        }
        let pause = if self.share.silent > 0 { share_decide::PROBE_AGAIN } else { share_decide::PROBE_EVERY };
        self.share.probed_at.map_or(Duration::MAX, |at| (at + pause).saturating_sub(now))
    }
}

/// A number that differs when the text differs, for comparing long texts that need not be kept.
pub fn digest(text: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(text);
    hasher.finish()
}

/// Whether two statuses tell the same. What every look and every probe counts anew is not compared.
pub fn tells_the_same(a: &Status, b: &Status) -> bool {
    let lasting =
        |share: &ShareView| ShareView { probe_ms: None, bytes_total: None, bytes_free: None, ..share.clone() };
    a.health == b.health
        && a.counts == b.counts
        && a.problems == b.problems
        && lasting(&a.share) == lasting(&b.share)
        && a.node == b.node
        && a.workspace == b.workspace
        && a.users == b.users
        && match (&a.idle, &b.idle) {
            (Some(a), Some(b)) => crate::status::idle::tells_the_same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
        && a.scale_set.as_ref().map(|s| s.lasting()) == b.scale_set.as_ref().map(|s| s.lasting())
}

#[cfg(test)]
mod tests {
    use super::super::engine::Facts;
    use super::*;
    use crate::config::settings::{Settings, Share};
    use crate::share::model::{Attempt, Failure, Probe};
    use crate::status::age::STALE_AFTER;
    use crate::sys::mountinfo;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn passes_leave_half_of_the_time_to_others_but_not_at_a_start() {
        let ms = Duration::from_millis;
        // One pass right after the other, each as long as that: how many begin within a minute, and how many of them
        // within the first four seconds.
        for (took, all, first) in [(ms(100), 325, 40), (ms(1000), 33, 4), (ms(6000), 5, 1)] {
            let (mut breath, mut now, mut began) = (Breath::new(NOW), NOW, Vec::new());
            while now < NOW + ms(60_000) {
                began.push(now);
                now += took + breath.after(now, now + took);
            }
            let early = began.iter().filter(|at| **at < NOW + ms(4000)).count();
            assert_eq!((began.len(), early), (all, first), "{took:?}");
        }
    }

    #[test]
    fn what_was_left_to_others_may_be_taken_again_later() {
        let s = Duration::from_secs;
        let mut breath = Breath::new(NOW);
        assert_eq!(breath.after(NOW, NOW + s(4)), REST);
        assert_eq!(breath.after(NOW + s(4), NOW + s(8)), s(4), "one second was left of it");
        assert_eq!(breath.after(NOW + s(60), NOW + s(64)), REST);
        assert_eq!(breath.after(NOW + s(64), NOW + s(200)), PERIOD, "never longer than that");
    }

    const MOUNTS: &str = "5 1 0:9 / /data ro,nosuid,nodev,noexec - tmpfs dsvm-agent-guard rw\n\
        6 1 0:10 / /run/dsvm-agent/share/root rw,nosuid,nodev - cifs //h/s rw\n";

    fn facts(now: Duration) -> Facts {
        let mounts = Ok(mountinfo::parse(MOUNTS.as_bytes()).unwrap());
        Facts {
            now,
            mounts,
            present: Some(Default::default()),
            range: 1000..=60000,
            points: Default::default(),
            keys: None,
            short: Vec::new(),
        }
    }

    fn mounted() -> Engine {
        let settings = Settings { share: Some(Share::smb_for_tests()), ..Settings::default() };
        let mut engine = Engine::new(settings, None, 0);
        engine.share.keys.taken = Some(None);
        engine.decide(&facts(NOW));
        engine.share.probed(Ok(Probe { ms: 1.0, bytes_total: 1, bytes_free: 1, stalled: 0 }), NOW);
        engine
    }

    #[test]
    fn a_share_that_answers_is_asked_again_and_nothing_else_is_done() {
        let mut engine = mounted();
        let last = engine.decide(&facts(NOW));
        assert!(engine.is_calm());
        assert_eq!(engine.only_probes(&last, NOW), Some(Vec::new()));
        assert_eq!(engine.next_probe(NOW), share_decide::PROBE_EVERY);
        let later = NOW + share_decide::PROBE_EVERY;
        assert_eq!(engine.only_probes(&last, later), Some(vec![Step::Share(ShareStep::Probe)]));
    }

    #[test]
    fn a_share_that_goes_silent_is_looked_at_whole() {
        let mut engine = mounted();
        let last = engine.decide(&facts(NOW));
        engine.share.probed(Err(Failure::said(Attempt::Probe, "no answer")), NOW);
        assert!(!engine.is_calm());
        assert_eq!(engine.only_probes(&last, NOW), None);
        assert_eq!(engine.next_probe(NOW), share_decide::PROBE_AGAIN);
    }

    #[test]
    fn what_is_in_the_way_keeps_nobody_awake() {
        let mut engine = mounted();
        let over = format!("{MOUNTS}9 5 0:12 / /data rw - cifs //h/old rw\n");
        let mounts = Ok(mountinfo::parse(over.as_bytes()).unwrap());
        let later = NOW + share_decide::PROBE_EVERY;
        let last = engine.decide(&Facts { mounts, ..facts(later) });
        assert_eq!(engine.only_probes(&last, later), Some(Vec::new()));
        assert!(engine.next_probe(later) > Duration::ZERO);
        // It is gone again, and the share is asked at once.
        let last = engine.decide(&facts(later));
        assert!(last.steps.contains(&Step::Share(ShareStep::Probe)));
    }

    #[test]
    fn a_living_agent_is_never_taken_for_dead() {
        // A look may take long, and the one before it may have just missed a renewal.
        assert!(2 * PERIOD < STALE_AFTER);
        assert!(2 * ALIVE < Duration::from_secs(60), "WatchdogSec= of the unit");
    }

    #[test]
    fn what_every_look_counts_anew_is_no_news() {
        let old = crate::status::fixtures::status();
        let mut new = old.clone();
        new.agent.pass += 1;
        new.share.probe_ms = Some(17.0);
        assert!(tells_the_same(&old, &new));
        new.counts.present += 1;
        assert!(!tells_the_same(&old, &new));
    }
}
