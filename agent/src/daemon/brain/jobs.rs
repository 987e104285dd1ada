//! What a pass wants is asked for: as much of it as there is room for, and homes that wait for their turn as others end.

use super::super::engine::{AT_ONCE, Decision, Facts, Step};
use super::super::orders::Kept;
use super::super::turn;
use super::{Brain, Mode};
use crate::sys::clock::boottime;
use crate::sys::mountinfo;
use crate::worker::job::Job;
use crate::workspace::model::Step as UserStep;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

impl Brain {
    /// Starts what the pass decided, as far as there is room.
    pub(super) fn start_jobs(&mut self, decision: &Decision, facts: &Facts) {
        self.ahead.clear();
        let coming_up = self.is_coming_up();
        for step in turn::sorted(&decision.steps) {
            if coming_up && self.engine.can_wait(step) {
                continue;
            }
            if self.engine.under_way.len().saturating_sub(self.engine.stuck.len()) >= AT_ONCE {
                break;
            }
            let link = matches!(step, Step::User(UserStep::Link { .. }));
            if link && !self.engine.has_room_for_homes() {
                self.ahead.wait(step);
                continue;
            }
            let Some(job) = self.engine.job(step, &facts.range, true) else { continue };
            if !self.engine.has_room(&job) {
                continue;
            }
            self.start(job);
        }
        // Nobody waits for that, but a mistake may be written as soon as all is ready.
        if self.engine.kept.wants(facts.now) && self.engine.has_room(&Job::KeepSettings) {
            let pause = self.before_keeping(decision);
            if pause.is_zero() {
                self.engine.kept = Kept::begun(self.start(Job::KeepSettings), facts.now);
            } else {
                self.look_after(pause);
            }
        }
    }

    /// How long the settings are not kept yet.
    fn before_keeping(&self, decision: &Decision) -> Duration {
        if !self.is_coming_up() {
            return Duration::ZERO;
        }
        self.engine.before_keeping(&decision.steps, self.began.elapsed())
    }

    /// Whether people may be waiting for their notebooks.
    pub(super) fn is_coming_up(&self) -> bool {
        self.mode == Mode::Service && self.served.is_none() && !self.before_looks().is_zero()
    }

    /// Starts what others wait for the longest, before there is time for a whole pass.
    pub(super) fn start_first(&mut self) {
        let mounts = mountinfo::read().map_err(|e| e.to_string());
        let (now, keys, range) = (boottime(), self.key_file(), self.idle.range.clone());
        let nobody = Facts { now, mounts, present: None, range, points: BTreeSet::new(), keys, short: Vec::new() };
        let steps = self.engine.decide(&nobody).steps;
        for step in turn::sorted(&steps).into_iter().filter(|step| turn::is_first(step)) {
            if let Some(job) = self.engine.job(step, &nobody.range, true).filter(|job| self.engine.has_room(job)) {
                self.start(job);
            }
        }
    }

    /// Asks for a worker; whether that could be asked.
    pub(super) fn start(&mut self, job: Job) -> bool {
        // A message is a sign of life.
        self.told = Instant::now();
        match self.client.start(job.clone()) {
            Ok(id) => {
                if let Job::Accounts { from, to, .. } = job {
                    self.engine.users.asking(from <= to, boottime());
                }
                if let Job::Link { directory, .. } = &job
                    && let Some(record) = self.engine.users.of_mut(directory.as_ref())
                {
                    record.link_begun();
                }
                self.engine.under_way.insert(id, job);
                true
            }
            Err(e) => {
                tracing::warn!("no helper process could be asked for: {e}");
                false
            }
        }
    }

    /// A home was seen to, and `well`: the next one's turn comes, and everything else is looked at a little later. What
    /// the helper finds is what counts: the last pass is a moment old.
    pub(super) fn next_home(&mut self, well: bool) -> Duration {
        while well && let Some(job) = self.ahead.next(&self.engine, &self.idle.range) {
            self.start(job);
        }
        self.ahead.pause()
    }
}
