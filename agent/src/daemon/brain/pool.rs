//! The brain's dealings with the pool: it tells the other VMs of this one, and whoever asks of the others.

use super::super::pool::{Clocks, content};
use super::{Brain, Mode};
use crate::pool::decide::{Content, FRESH, RECENT};
use crate::pool::model::{MOST_MARKS, PoolView, Row};
use crate::share::model::{Failure, ShareState};
use crate::status::model::OwnView;
use crate::sys::clock::{boottime, rfc3339};
use crate::worker::job::{Answer, Job};
use std::time::{Duration, SystemTime};

/// So long it is waited for Azure to say what the VM is called; then the host's name will do. Should Azure say it later,
/// the row moves.
const NAMELESS: Duration = Duration::from_secs(30);

impl Brain {
    fn clocks(&self) -> Clocks {
        Clocks { now: boottime(), wall: SystemTime::now() }
    }

    fn pool_content(&self, now: Duration) -> Option<Content> {
        let draining = self.scale_set.is_ending();
        self.status.as_ref().map(|status| content(status, &self.engine.users, draining, now))
    }

    fn share_state(&self) -> ShareState {
        self.status.as_ref().map_or(ShareState::Unconfigured, |status| status.share.state)
    }

    /// Writes this VM's row, if it is time. Not before it is known what the VM is called, and by no round that ends by
    /// itself, as an image's recipe makes it.
    pub(super) fn tend_pool(&mut self) {
        let Clocks { now, wall } = self.clocks();
        let named = self.scale_set.knows_name(&self.engine.settings.scale_set) || self.began.elapsed() > NAMELESS;
        let there = self.share_state() == ShareState::Mounted && self.mode == Mode::Service;
        let content = self.pool_content(now).filter(|_| there && named && self.served.is_some() && !self.ending);
        let Some(content) = content else {
            self.pool.due = None;
            return;
        };
        if let Some(write) = self.pool.writing.wants(&content, now) {
            let row = Row { written_at: rfc3339(wall), ..content.row.clone() };
            let present = content.present.iter().take(MOST_MARKS).cloned().collect();
            let (before, sweep) = (write.before, write.sweep);
            let job = Job::Row { row: Box::new(row), present, before, sweep };
            if self.engine.has_room(&job) && self.start(job) {
                self.pool.writing.started(content.clone(), sweep);
            }
        }
        // Without a free worker it is tried again before long.
        self.pool.due = Some(self.pool.writing.due(&content).max(now + Duration::from_secs(1)));
    }

    /// Reads everybody's rows, if those that were read are older than `age`.
    fn read_pool(&mut self, age: Duration) {
        let wants = self.pool.wants_rows(self.share_state(), age, boottime());
        if wants && self.engine.has_room(&Job::Rows) && self.start(Job::Rows) {
            self.pool.started();
        }
    }

    /// The pool for `uid`. What was read is renewed: whoever wants to know that asks again.
    pub(super) fn pool_view(&mut self, uid: u32) -> Option<PoolView> {
        self.read_pool(FRESH);
        let clocks = self.clocks();
        let content = self.pool_content(clocks.now)?;
        Some(self.pool.view(self.share_state(), &self.engine.users, &content, uid, clocks))
    }

    /// Tells a user who asks how they are on which other VMs they are, too.
    pub(super) fn with_elsewhere(&mut self, mut own: OwnView) -> OwnView {
        let Some(directory) = own.user.as_ref().map(|user| user.directory.clone()) else { return own };
        self.read_pool(RECENT);
        let node = self.status.as_ref().map(|status| status.node.name.clone()).unwrap_or_default();
        own.elsewhere = self.pool.elsewhere(&directory, &node, self.clocks());
        own
    }

    /// Takes what came of a job about the pool; nothing follows from it for users.
    pub(super) fn pool_answered(&mut self, job: &Job, result: &Result<Answer, Failure>) {
        let now = boottime();
        let odd = || "the helper answered something else".to_owned();
        match job {
            Job::Row { .. } => {
                let result = match result {
                    Ok(Answer::Done) => Ok(()),
                    Ok(_) => Err(odd()),
                    Err(failure) => Err(failure.words()),
                };
                self.pool.writing.took(result, now, self.engine.seed >> 33);
            }
            Job::Rows => {
                let result = match result {
                    Ok(Answer::Rows(gathered)) => Ok(gathered.clone()),
                    Ok(_) => Err(odd()),
                    Err(failure) => Err(failure.words()),
                };
                self.pool.took(result, now);
            }
            _ => {}
        }
    }
}
