//! When the end of the VM is announced: whether it is used counts from then on by looks that are newer than that. Most
//! looks are taken once in a window, and whoever came back a minute ago to a tab that was left open must not be missed.

use super::Idle;
use crate::config::settings::Idle as Settings;
use crate::idle::decide::is_fresh;
use std::time::Duration;

/// A look at everything since an end was announced.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    /// The event.
    event: String,
    /// When this agent heard of it, by the boot-time clock in seconds.
    at: f64,
    /// All looks are newer than that. While one does not come back, nobody can tell: then the whole notice runs.
    done: bool,
}

impl Idle {
    /// The event with this id ends the VM, or none does any more. Everything is looked at anew, once for each event.
    pub fn check(&mut self, event: Option<&str>, now: Duration) {
        if self.check.as_ref().map(|c| c.event.as_str()) == event {
            return;
        }
        let at = now.as_secs_f64();
        self.check = event.map(|event| Check { event: event.to_owned(), at, done: false });
        if self.check.is_some() {
            self.due = (at, at);
            self.senses.hurry(at);
        }
    }

    /// Whether what was decided last is newer than the announced end of the VM.
    pub fn is_checked(&self) -> bool {
        self.check.as_ref().is_none_or(|check| check.done)
    }

    /// Notes whether everything was looked at.
    pub(super) fn settle_check(&mut self, settings: &Settings, now: f64) {
        let Some(check) = self.check.as_mut().filter(|check| !check.done) else { return };
        check.done = self.senses.are_fresh(settings, check.at) && is_fresh(&self.kept.memory, check.at);
        if !check.done {
            self.due.0 = self.due.0.min(now + 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::model::{Level, Seen, Source, Verdict};
    use crate::idle::observe::People;
    use crate::idle::observe::sense::Sense;
    use crate::sys::clock::boottime;
    use crate::worker::job::Answer;
    use std::collections::{BTreeMap, BTreeSet};

    fn settings() -> Settings {
        let (after, boot_grace) = (Duration::from_secs(1), Duration::ZERO);
        Settings { after, boot_grace, ..Settings::default() }
    }

    fn pass(idle: &mut Idle, now: Duration) {
        let people = People { is_human: &|_| false, launcher: None };
        idle.pass(&settings(), &people, &|_| None, now);
    }

    fn quiet(sense: Sense) -> BTreeMap<Source, Seen> {
        sense.sources().iter().map(|source| (*source, Seen::Absent)).collect()
    }

    /// Takes the looks that are due, all of which see nothing but what `jupyter` sees.
    fn look(idle: &mut Idle, kernels: &[Level], now: Duration) {
        let due = idle.senses.due(&settings(), now.as_secs_f64());
        due.iter().for_each(|sense| idle.started(*sense, Ok(1), &settings(), now));
        for sense in due {
            let mut seen = quiet(sense);
            if sense == Sense::Jupyter {
                seen.insert(Source::Kernel, Seen::Levels(kernels.to_vec()));
            }
            idle.sensed(sense, (Ok(Answer::Sensed(seen)), false), &BTreeSet::new(), &settings(), now);
        }
    }

    /// An agent whose VM was idle a moment ago.
    fn unused(dir: &std::path::Path) -> Idle {
        let mut idle = Idle::restore(dir, "boot-1");
        (idle.observer.roots.dev, idle.observer.roots.root) = (dir.to_owned(), dir.to_owned());
        pass(&mut idle, boottime());
        look(&mut idle, &[], boottime());
        std::thread::sleep(Duration::from_millis(1100));
        pass(&mut idle, boottime());
        assert_eq!(idle.decision().unwrap().verdict, Verdict::Idle);
        assert!(idle.is_checked(), "no end was announced");
        idle
    }

    #[test]
    fn a_cell_that_was_started_since_the_last_look_is_seen_before_anybody_acts_on_idle() {
        let dir = tempfile::tempdir().unwrap();
        let mut idle = unused(dir.path());
        let cell = Level { who: Some(1001), value: 1.0, ..Level::default() };
        idle.check(Some("e1"), boottime());
        pass(&mut idle, boottime());
        assert_eq!(idle.decision().unwrap().verdict, Verdict::Idle, "nothing new is known yet");
        assert!(!idle.is_checked());
        assert!(
            idle.senses.due(&settings(), boottime().as_secs_f64()).contains(&Sense::Jupyter),
            "all are due at once"
        );
        look(&mut idle, &[cell], boottime());
        pass(&mut idle, boottime());
        assert_eq!(idle.decision().unwrap().verdict, Verdict::Busy);
        assert!(idle.is_checked());
        idle.check(Some("e1"), boottime());
        assert!(idle.is_checked(), "once for each event");
        idle.check(Some("e2"), boottime());
        assert!(!idle.is_checked());
        idle.check(None, boottime());
        assert!(idle.is_checked());
    }

    #[test]
    fn what_was_not_looked_at_again_is_never_told_to_be_unused() {
        let dir = tempfile::tempdir().unwrap();
        let mut idle = unused(dir.path());
        let now = boottime();
        idle.check(Some("e1"), now);
        for later in [0, 90, 900] {
            let now = now + Duration::from_secs(later);
            idle.settle_check(&settings(), now.as_secs_f64());
            assert!(!idle.is_checked() && idle.next(now) <= Duration::from_secs(1), "{later}");
        }
    }
}
