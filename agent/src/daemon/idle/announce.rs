//! Before the VM is given free: people at their terminals are told, once for each announcement. Afterwards: watching for
//! the first of them who comes back, so that the VM is protected again before autoscale looks.

use super::super::notice;
use super::Idle;
use crate::idle::model::{Leave, Seen, Stamp};
use crate::idle::observe::{People, typing};
use std::collections::BTreeMap;
use std::time::Duration;

/// When it could not be told, it is tried again after this, in seconds.
const AGAIN: f64 = 30.0;
/// So often it is looked at terminals, and at nothing else, while the VM is free to go, in seconds. That is one look at
/// the times of a few files, some 50 µs, of a VM that nobody uses: half a minute, as otherwise, would be most of the time
/// that it takes to protect the VM again.
const GLIMPSE: f64 = 2.0;

/// Telling people.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// It is under way.
    under_way: bool,
    /// Not before then.
    again: f64,
}

/// The watch on terminals.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the next look is due; nothing while there is nothing to watch for.
    due: Option<f64>,
    seen: Option<Seen>,
}

/// Who logged in since the last look, by the hook's word: when, by the wall clock.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<Option<u32>, f64>);

impl Idle {
    /// The announcement that stands and that people at terminals are to be told of now: its number, and the words.
    pub fn to_tell(&mut self, now: Duration) -> Option<(u64, String)> {
        let decision = self.decision.as_ref()?;
        let (epoch, until) = match decision.leave {
            Leave::No => return None,
            Leave::Announced { epoch, until, .. } => (epoch, Some(until)),
            Leave::Due { epoch, .. } => (epoch, None),
        };
        let now = now.as_secs_f64();
        if self.telling.under_way || self.kept.told == Some(epoch) || now < self.telling.again {
            return None;
        }
        self.telling.under_way = true;
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or_default();
        let unused = decision.last_busy.map(|at| seconds(now - at));
        Some((epoch, notice::may_go(unused, until.map(|at| seconds(at - now)), &decision.at_risk)))
    }

    /// What came of telling people. Nobody at a terminal is told as well.
    pub fn tell_done(&mut self, epoch: u64, told: bool, now: Duration) {
        self.telling.under_way = false;
        if told {
            self.kept.told = Some(epoch);
            if let Err(e) = self.save() {
                tracing::warn!("{}: {e}", self.file.display());
            }
        } else {
            self.telling.again = now.as_secs_f64() + AGAIN;
        }
    }

    /// The announcement that is due, if people were told of it.
    pub fn due_and_told(&self) -> Option<u64> {
        match self.decision.as_ref()?.leave {
            Leave::Due { epoch, .. } if self.kept.told == Some(epoch) => Some(epoch),
            _ => None,
        }
    }

    /// Somebody logged in, which is use of the VM whatever comes after it.
    pub fn came(&mut self, uid: Option<u32>, wall: f64, now: Duration) {
        self.arrivals.0.insert(uid, wall);
        self.due.0 = now.as_secs_f64();
    }

    /// The log-ins since the last look, among what is seen of terminals.
    pub(super) fn with_arrivals(&mut self, seen: &mut Seen) {
        let arrivals = std::mem::take(&mut self.arrivals.0);
        if let Seen::Stamps(stamps) = seen {
            stamps.extend(arrivals.into_iter().map(|(who, value)| Stamp {
                id: format!("log-in:{}", who.map_or_else(String::new, |uid| uid.to_string())),
                who,
                value,
                what: Some("log-in".to_owned()),
            }));
        }
    }

    /// Watches terminals, and Jupyter more often, while the VM is free to go, or stops that.
    pub fn watch(&mut self, on: bool, now: Duration) {
        self.senses.watch(on);
        match (on, self.watch.due) {
            (true, None) => self.watch.due = Some(now.as_secs_f64()),
            (false, Some(_)) => self.watch = Watch::default(),
            _ => {}
        }
    }

    /// Looks at terminals alone, if it is time. When anything is new there, everything is to be looked at.
    pub(super) fn glimpse(&mut self, people: &People<'_>, now: f64) {
        if self.watch.due.is_none_or(|at| now < at) {
            return;
        }
        let seen = typing::look(&self.observer.roots.dev, people.is_human);
        if self.watch.seen.as_ref().is_some_and(|before| *before != seen) {
            self.due.0 = now;
        }
        (self.watch.seen, self.watch.due) = (Some(seen), Some(now + GLIMPSE));
    }

    /// When something is due next, by the boot-time clock in seconds.
    pub(super) fn soonest(&self) -> f64 {
        self.watch.due.map_or(self.due.0, |at| at.min(self.due.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Idle as Settings;
    use crate::idle::model::Verdict;
    use std::fs::FileTimes;
    use std::time::SystemTime;

    fn everybody() -> People<'static> {
        People { is_human: &|_| true, launcher: None }
    }

    /// This machine's own programs are no use.
    fn people() -> People<'static> {
        People { is_human: &|_| false, launcher: None }
    }

    fn settings() -> Settings {
        let (after, announce, boot_grace) = (Duration::from_secs(1), Duration::from_secs(3600), Duration::ZERO);
        Settings { after, announce, boot_grace, ..Settings::default() }
    }

    fn now() -> Duration {
        crate::sys::clock::boottime()
    }

    /// An agent whose VM nobody uses.
    fn unused(dir: &std::path::Path) -> Idle {
        let mut idle = Idle::restore(dir, "boot-1");
        (idle.observer.roots.dev, idle.observer.roots.root) = (dir.to_owned(), dir.to_owned());
        idle
    }

    #[test]
    fn people_are_told_once_for_each_announcement_also_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut idle = unused(dir.path());
        idle.pass(&settings(), &people(), &|_| None, now());
        let (epoch, text) = idle.to_tell(now()).unwrap();
        assert!(text.contains("this VM may go") && text.contains("dsvm-agent keep 2h"), "{text}");
        assert_eq!(idle.to_tell(now()), None, "it is under way");
        idle.tell_done(epoch, false, now());
        assert_eq!(idle.to_tell(now()), None, "not at once again");
        let later = now() + Duration::from_secs(31);
        assert_eq!(idle.to_tell(later).map(|(e, _)| e), Some(epoch));
        assert_eq!(idle.due_and_told(), None);
        idle.tell_done(epoch, true, later);
        assert_eq!(idle.to_tell(later), None);
        let mut again = unused(dir.path());
        again.pass(&settings(), &people(), &|_| None, now());
        assert_eq!((again.decision().unwrap().leave.epoch(), again.to_tell(now())), (Some(epoch), None));
        // Somebody comes, and goes.
        again.came(Some(1001), 1e9, now());
        again.pass(&settings(), &people(), &|_| None, now());
        assert_eq!(again.decision().unwrap().verdict, Verdict::Busy);
        assert_eq!(again.to_tell(now()), None);
    }

    #[test]
    fn a_key_at_any_terminal_is_seen_at_the_next_glimpse() {
        let dir = tempfile::tempdir().unwrap();
        let pts = dir.path().join("pts");
        std::fs::create_dir(&pts).unwrap();
        let terminal = std::fs::File::create(pts.join("0")).unwrap();
        let mut idle = unused(dir.path());
        idle.pass(&settings(), &people(), &|_| None, now());
        let at = now();
        idle.watch(true, at);
        idle.glimpse(&everybody(), at.as_secs_f64());
        let calm = idle.due.0;
        assert!(calm > at.as_secs_f64() + GLIMPSE, "everything is looked at much later");
        assert!((idle.soonest() - at.as_secs_f64() - GLIMPSE).abs() < 1e-6);
        terminal.set_times(FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH)).unwrap();
        idle.glimpse(&everybody(), at.as_secs_f64() + GLIMPSE / 2.0);
        assert_eq!(idle.due.0.to_bits(), calm.to_bits(), "not yet");
        idle.glimpse(&everybody(), at.as_secs_f64() + GLIMPSE);
        assert!(idle.due.0 < calm);
        idle.watch(false, at);
        assert_eq!(idle.soonest().to_bits(), idle.due.0.to_bits());
    }
}
