//! The share's part of a pass: its steps as jobs, its jobs under way, and what came of them.

use super::engine::{Engine, unexpected};
use crate::config::settings::Share;
use crate::share::decide::{Busy, SILENT};
use crate::share::model::{Failure, Step};
use crate::worker::job::{Answer, Job};
use std::time::Duration;

impl Engine {
    /// The job that carries out a step.
    pub(super) fn share_job(&self, step: &Step) -> Job {
        match step {
            Step::LayGuard => Job::LayGuard,
            Step::Reach { host, port } => Job::Reach { host: host.clone(), port: *port },
            Step::MountRoot { address } => Job::MountRoot { address: *address },
            Step::Probe => Job::Probe,
            Step::FetchKeys => Job::FetchKeys,
            Step::UnmountRoot => Job::UnmountRoot,
            Step::Heal { address, all } => Job::Heal { address: *address, all: *all },
            Step::Trial { address } => Job::Trial { address: *address },
            Step::Rekey { force } => Job::Rekey { force: *force, file: self.share.keys.file },
            Step::TakeDown { at } => Job::TakeDown { at: at.clone() },
            Step::ReadAhead { devices } => Job::ReadAhead { devices: devices.clone() },
        }
    }

    /// Fetches the key when it is time, and leaves out of `steps` what is of no use before there is one.
    pub(super) fn with_vault(&self, share: &Share, mut steps: Vec<Step>, now: Duration) -> Vec<Step> {
        // A predecessor's is good until another one is fetched.
        if self.vault.is_missing(share) && self.share.keys.file.is_none() {
            // Whether the server can be reached is of no use either once it is known why there is no key.
            steps.retain(|step| match step {
                Step::MountRoot { .. } => false,
                Step::Reach { .. } => self.vault.failure.is_none(),
                _ => true,
            });
        }
        if self.vault.is_due(share, now) && !self.under_way.values().any(|j| *j == Job::FetchKeys) {
            steps.push(Step::FetchKeys);
        }
        steps
    }

    /// Which of the share's jobs are under way.
    pub(super) fn share_busy(&self) -> Busy {
        let mut busy = Busy::default();
        for job in self.under_way.values() {
            match job {
                Job::LayGuard | Job::MountPoints { .. } => busy.guard = true,
                Job::Reach { .. } | Job::MountRoot { .. } | Job::UnmountRoot => busy.root = true,
                Job::Probe => busy.probe = true,
                Job::Heal { .. } => busy.heal = true,
                Job::Trial { .. } => busy.trial = true,
                Job::Rekey { .. } => busy.keys = true,
                _ => {}
            }
        }
        busy
    }

    /// Takes what came of a job of the share's into memory.
    pub(super) fn absorb_share(
        &mut self,
        job: &Job,
        result: Result<Answer, Failure>,
        stuck: bool,
        now: Duration,
        jitter: u64,
    ) {
        match (job, result) {
            (Job::Reach { .. }, result) if self.share.silent > 0 => {
                let found = match result {
                    Ok(Answer::Reached { address }) => Ok(address),
                    other => Err(unexpected(other)),
                };
                self.share.knocked(found, now);
            }
            (Job::Reach { .. }, Ok(Answer::Reached { address })) => self.share.reached(address, now),
            (Job::Heal { .. }, result) => {
                self.share.healed(result.map(drop), now);
            }
            (Job::Trial { .. }, result) => self.share.tried(result.map(drop), now),
            (Job::Rekey { force, file }, result) => {
                let done = match result {
                    Ok(Answer::Rekeyed(done)) => Ok(done),
                    other => Err(unexpected(other)),
                };
                self.share.rekeyed(done, *file, *force, now);
            }
            (Job::FetchKeys, result) => {
                let result = result.map(drop);
                if !self.vault.present {
                    match &result {
                        Ok(()) => (self.share.next_try, self.share.failure) = (Duration::ZERO, None),
                        Err(failure) => self.share.failure = Some(failure.clone()),
                    }
                }
                self.vault.fetched(result, now, jitter);
            }
            (Job::LayGuard | Job::MountRoot { .. } | Job::UnmountRoot, Ok(_)) => {
                self.share.succeeded();
                self.share.fresh = matches!(job, Job::MountRoot { .. }) && self.share.probed_at.is_none();
            }
            // One of the agent's own workers is at it: that ends before long.
            (Job::UnmountRoot, _) => self.share.next_try = now + Duration::from_secs(5),
            (Job::Reach { .. } | Job::LayGuard | Job::MountRoot { .. }, result) => {
                self.share.failed(unexpected(result), now, jitter);
            }
            (Job::Probe, Ok(Answer::Alive(probe))) => self.share.probed(Ok(probe), now),
            (Job::Probe, result) => {
                self.share.probed(Err(unexpected(result)), now);
                if stuck {
                    // No other one is started beside it: nothing more can be found out.
                    self.share.silent = self.share.silent.max(SILENT);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::share::model::Probe;

    /// A mount is seen as soon as it is there, and may have been asked before its maker has ended: it is not asked again just
    /// now, and who waits for its answer would wait a whole pause.
    #[test]
    fn what_has_answered_is_not_fresh_whichever_helper_ends_first() {
        const NOW: Duration = Duration::from_secs(1000);
        let mounting = || (Job::MountRoot { address: None }, Answer::Done);
        let probe = Probe { ms: 0.1, bytes_total: 1, bytes_free: 1, stalled: 0 };
        let probing = || (Job::Probe, Answer::Alive(probe));
        for (ends, fresh) in
            [(vec![mounting()], true), (vec![mounting(), probing()], false), (vec![probing(), mounting()], false)]
        {
            let mut engine = Engine::new(Settings::default(), None, 0);
            for (job, answer) in ends.clone() {
                engine.absorb_share(&job, Ok(answer), false, NOW, 0);
            }
            assert_eq!(engine.share.fresh, fresh, "{ends:?}");
        }
    }
}
