//! The brain's dealings with workers that look for use of the VM.

use super::{Brain, Mode};
use crate::idle::observe::sense::Sense;
use crate::share::model::Failure;
use crate::sys::clock::boottime;
use crate::worker::job::Answer;
use std::time::Duration;

impl Brain {
    /// Starts the looks that are due. A round that ends by itself waits for none.
    pub(super) fn tend_idle(&mut self) {
        if self.mode != Mode::Service || self.ending {
            return;
        }
        for (sense, job) in self.idle.jobs(&self.engine, boottime()) {
            let worker = self.client.start(job).map_err(|e| e.to_string());
            self.idle.started(sense, worker, &self.engine.settings.idle, boottime());
        }
    }

    /// Takes what a worker saw. Everything is looked at only if there is news to tell.
    pub(super) fn sensed(&mut self, sense: Sense, result: Result<Answer, Failure>, stuck: bool) {
        self.idle.sensed(sense, result, stuck, &self.engine.settings.idle, boottime());
        if self.idle.look(&self.engine, boottime()) {
            self.look_after(Duration::ZERO);
        }
    }

    /// How long until the next look for use is due.
    pub(super) fn idle_due(&self, now: Duration) -> Duration {
        let own = self.idle.next(now);
        match self.mode {
            Mode::Service => own.min(self.idle.next_sense(&self.engine.settings.idle, now)),
            _ => own,
        }
    }
}
