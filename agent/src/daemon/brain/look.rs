//! When the brain looks, and at how much.

use super::super::quiet::{ALIVE, PERIOD, PRESENCE, digest};
use super::Brain;
use crate::share::model::FileMark;
use crate::sys::clock::boottime;
use crate::sys::mountinfo;
use crate::worker::job::Job;
use crate::worker::wire::Ask;
use crate::workspace::observe;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// What is due within this is done when the brain is awake anyway.
const SLACK: Duration = Duration::from_secs(1);

impl Brain {
    /// Everything is to be looked at after `pause` at the latest.
    pub(super) fn look_after(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Whether everything is to be looked at now.
    pub(super) fn wants_look(&mut self) -> bool {
        let now = boottime();
        let over = self.waiters.soonest().is_some_and(|at| Instant::now() >= at);
        // A little early, when the brain is awake anyway, rather than to wake up for it in a moment.
        let due = self.last.as_ref().is_none_or(|(_, due)| now >= *due) || now + SLACK >= self.looked + PERIOD;
        let wanted = self.look_at.is_some_and(|at| Instant::now() >= at);
        // Somebody came or went.
        self.who_is_here(now) || wanted || due || over
    }

    /// Sees, if it is time, who is here; whether anybody came or went.
    pub(super) fn who_is_here(&mut self, now: Duration) -> bool {
        // With a probe, if one is due about now: both then stay together, and the brain wakes up once for both.
        let probe = self.engine.next_probe(now) <= SLACK;
        let pause = if probe { PRESENCE / 2 } else { PRESENCE - SLACK };
        if self.present.as_ref().is_some_and(|(at, _)| now < *at + pause) {
            return false;
        }
        // The brain's parent is the workers' too.
        let launcher = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
        let present = observe::present(Path::new("/proc"), Path::new("/sys/fs/cgroup"), launcher);
        let present = present.inspect_err(|e| tracing::debug!("who is here: {e}")).ok();
        let same = self.present.as_ref().is_some_and(|(_, before)| *before == present);
        if same {
            self.engine.users.see(present.as_ref(), now);
        }
        self.present = Some((now, present));
        !same
    }

    /// A look when nothing has changed: a probe of the share, if one is due.
    pub(super) fn glance(&mut self) {
        if self.look_for_use(boottime()) {
            return self.look_after(Duration::ZERO);
        }
        self.tend_idle();
        let now = boottime() + SLACK;
        // Mounts that come or go are told of; what else changes about them, such as that a directory was removed, is not.
        if mountinfo::text().ok().as_deref().map(digest) != self.mounts {
            return self.look_after(Duration::ZERO);
        }
        self.engine.share.keys.file = self.key_file();
        match self.last.as_ref().and_then(|(last, _)| self.engine.only_probes(last, now)) {
            Some(steps) => {
                let jobs: Vec<Job> = steps.iter().filter_map(|s| self.engine.job(s, &(0..=0), true)).collect();
                for job in jobs {
                    self.start(job);
                }
            }
            None => self.look_after(Duration::ZERO),
        }
        self.tell_people();
        self.tend_scale_set();
        self.tend_pool();
        self.tend_textfile();
        self.tend_drain();
        self.say_alive();
    }

    /// What the file with the share's key is like now, if there is one.
    pub(super) fn key_file(&self) -> Option<FileMark> {
        let credentials = self.engine.settings.share.as_ref().and_then(|s| s.credentials.as_ref());
        crate::share::keys::file(credentials).as_deref().and_then(crate::share::observe::file_mark)
    }

    /// When to look next if nothing happens; `at` is now.
    pub(super) fn next_look(&self, at: Instant) -> Instant {
        let now = boottime();
        let presence = self.present.as_ref().map_or(Duration::ZERO, |(at, _)| (*at + PRESENCE).saturating_sub(now));
        let due = self.last.as_ref().map_or(Duration::ZERO, |(_, due)| due.saturating_sub(now));
        let own = self.idle_due(now).min(self.scale_set_due()).min(self.drain.next(now)).min(self.pool.next_look(now));
        let pause = presence.min(due).min(self.engine.next_probe(now)).min(own);
        let waiters = self.waiters.soonest().into_iter();
        waiters.chain(self.look_at).fold(at + pause, Instant::min)
    }

    /// Tells the launcher that the brain is alive, if it would not hear of it in time by what is asked of it anyway.
    pub(super) fn say_alive(&mut self) {
        let now = Instant::now();
        if self.told.elapsed() + self.next_look(now).saturating_duration_since(now) >= ALIVE {
            self.say(&Ask::Alive);
        }
    }
}
