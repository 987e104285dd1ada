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
        for step in turn::sorted(&decision.steps) {
            if self.can_wait(step) {
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
                self.engine.kept = Kept::Yes;
                self.start(Job::KeepSettings);
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
        let left = !self.knows_users() || decision.steps.iter().any(|step| !self.can_wait(step));
        turn::before_keeping(left, self.is_idle(), self.is_mounting(), self.began.elapsed())
    }

    /// Whether people may be waiting for their notebooks.
    pub(super) fn is_coming_up(&self) -> bool {
        self.mode == Mode::Service && !self.settled && !self.before_looks().is_zero()
    }

    /// Whether it is known who is to be served, or that nobody is, or why it is not.
    pub(super) fn knows_users(&self) -> bool {
        let engine = &self.engine;
        engine.users.known || engine.settings.share.is_none() || engine.users.unknown.is_some()
    }

    /// Whether nothing is under way, but what cannot be ended.
    pub(super) fn is_idle(&self) -> bool {
        self.engine.under_way.keys().all(|id| self.engine.stuck.contains_key(id))
    }

    /// Whether a step is put off while the agent comes up.
    pub(super) fn can_wait(&self, step: &Step) -> bool {
        self.is_coming_up() && turn::can_wait(step, self.engine.share.fresh || self.is_mounting())
    }

    /// Whether the share is being mounted.
    pub(super) fn is_mounting(&self) -> bool {
        self.engine.under_way.values().any(|job| matches!(job, Job::MountRoot { .. }))
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
