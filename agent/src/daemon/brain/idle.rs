//! The brain's dealings with workers that look for use of the VM.

use super::{Brain, Mode};
use crate::idle::decide::first;
use crate::idle::observe::sense::Sense;
use crate::idle::observe::unsaved;
use crate::share::model::{Failure, ShareState, UserMount};
use crate::sys::clock::boottime;
use crate::worker::job::Answer;
use std::collections::BTreeSet;
use std::time::Duration;

impl Brain {
    /// Starts the looks that are due. A round that ends by itself waits for none.
    pub(super) fn tend_idle(&mut self) {
        if self.mode != Mode::Service || self.ending || !self.before_looks().is_zero() {
            return;
        }
        for (sense, job) in self.idle.jobs(&self.engine, boottime()) {
            let worker = self.client.start(job).map_err(|e| e.to_string());
            self.idle.started(sense, worker, &self.engine.settings.idle, boottime());
        }
    }

    /// How long everybody has been served.
    fn served_ago(&self) -> Option<Duration> {
        self.served.map(|at| at.elapsed())
    }

    /// How long no look for use is begun, and nothing asked of Azure.
    pub(super) fn before_looks(&self) -> Duration {
        first::before_looks(self.served_ago(), self.began.elapsed())
    }

    /// Takes what a worker saw. Everything is looked at only if there is news to tell.
    pub(super) fn sensed(&mut self, sense: Sense, result: Result<Answer, Failure>, stuck: bool) {
        let waiting = self.who_may_wait();
        self.idle.sensed(sense, (result, stuck), &waiting, &self.engine.settings.idle, boottime());
        if self.look_for_use(boottime()) {
            self.look_after(Duration::ZERO);
        }
    }

    /// Looks for use of the VM as far as that never blocks, once it is time for that; whether there is news to tell.
    pub(super) fn look_for_use(&mut self, now: Duration) -> bool {
        let may = self.mode != Mode::Service
            || first::may_look(self.served.is_some(), self.engine.is_mounting(), self.began.elapsed());
        may && self.idle.look(&self.engine, now)
    }

    /// Whose programs may wait for the share, while it does not answer. A mount without a known owner is everybody's.
    fn who_may_wait(&self) -> BTreeSet<Option<u32>> {
        let away = [ShareState::Unreachable, ShareState::Refused, ShareState::Hung];
        let Some((last, _)) = self.last.as_ref().filter(|(last, _)| away.contains(&last.view.state)) else {
            return BTreeSet::new();
        };
        let known = |m: &UserMount| self.engine.users.of(&m.directory).map(|record| record.account.uid);
        let is_human = |uid: u32| self.idle.is_human(uid);
        let own = |m: &&UserMount| !m.directory.as_os_str().is_empty();
        let owner =
            |m: &UserMount| Some(m).filter(own).and_then(|m| known(m).or_else(|| m.uid())).filter(|uid| is_human(*uid));
        let owners = last.mounted.users.iter().map(owner).collect();
        let present = self.present.as_ref().and_then(|(_, present)| present.as_ref());
        unsaved::may_wait(&owners, present, &is_human)
    }

    /// How long until the next look for use is due.
    pub(super) fn idle_due(&self, now: Duration) -> Duration {
        let own = self.idle.next(now);
        match self.mode {
            Mode::Service => {
                let due = own.min(self.idle.next_sense(&self.engine.settings.idle, now));
                first::next_look(due, self.served_ago(), self.began.elapsed())
            }
            _ => own,
        }
    }
}
