//! When homes are looked at, and what is remembered of it. Pure: times come in as arguments.
//!
//! A home changes when its owner is there, so one whose owner was not there since the last look is not looked at again,
//! and where nobody is nothing is looked at.

use super::Surveyed;
use super::last::Last;
use crate::workspace::memory::Record;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The least time between two looks at one home.
pub const AGAIN: Duration = Duration::from_secs(10 * 60);
/// The same while the VM computes: nothing is about to go then, and the look should not be in anybody's way.
pub const BUSY: Duration = Duration::from_secs(60 * 60);
/// The same when its owner asked how things are.
pub const ASKED: Duration = Duration::from_secs(20);
/// What was rescued is told for so long on one VM.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of one user's files on this VM. All times are by the boot-time clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Files {
    /// Whose: a name may be given to another number.
    pub uid: u32,
    /// When the last look began.
    looked: Option<Duration>,
    /// When their owner asked last.
    asked: Option<Duration>,
    /// What it saw.
    pub seen: Option<Surveyed>,
    // What follows is looked at again by a successor, since what is under way ends with the agent.
    /// The mount of their directory on which it is, or was, looked what was rescued.
    #[serde(skip)]
    begun: Option<u64>,
    /// The one on which that came to an end.
    #[serde(skip)]
    read: Option<u64>,
    /// What was found there, and when.
    #[serde(skip)]
    last: Option<(Duration, Last)>,
}

/// Whether a user was here since boot: as far as this agent saw, or one before it that looked at their files.
pub fn came(record: &Record, files: Option<&Files>) -> bool {
    let before = files.is_some_and(|files| files.uid == record.account.uid);
    record.last_present.is_some() || record.hurried.is_some() || before
}

impl Files {
    /// Of a user of whom nothing else is known.
    pub fn new(uid: u32) -> Self {
        Self { uid, ..Self::default() }
    }

    /// When the last look at their home began.
    pub fn looked(&self) -> Option<Duration> {
        self.looked
    }

    /// Whether their home is to be looked at. `present`: when they were here last. `busy`: the VM computes.
    pub fn is_due(&self, present: Option<Duration>, busy: bool, now: Duration) -> bool {
        let (Some(present), Some(looked)) = (present, self.looked) else { return present.is_some() };
        let asked = self.asked.is_some_and(|at| at >= looked);
        let pause = match (asked, busy) {
            (true, _) => ASKED,
            (_, true) => BUSY,
            _ => AGAIN,
        };
        present >= looked && now >= looked.saturating_add(pause)
    }

    /// Their owner asks how things are.
    pub fn ask(&mut self, now: Duration) {
        self.asked = Some(now);
    }

    /// A look begins.
    pub fn begin(&mut self, now: Duration) {
        self.looked = Some(now);
    }

    /// Everything may be otherwise than it was seen, which is what is known until it is looked at again.
    pub fn doubt(&mut self) {
        *self = Self { seen: self.seen.take(), ..Self::new(self.uid) };
    }

    /// Whether it is to be looked what was rescued, now that their directory is mounted as `mount`.
    pub fn wants_last(&self, mount: u64) -> bool {
        self.begun != Some(mount)
    }

    /// That look begins.
    pub fn begin_last(&mut self, mount: u64) {
        self.begun = Some(mount);
    }

    /// It is through. A failure is nobody's trouble: the next mount is the next chance.
    pub fn end_last(&mut self, last: Option<Last>, now: Duration) {
        self.read = self.begun;
        self.last = last.map(|last| (now, last));
    }

    /// Whether it is under way.
    pub fn is_reading(&self) -> bool {
        self.begun != self.read
    }

    /// What is to be told of an earlier VM.
    pub fn last(&self, now: Duration) -> Option<&Last> {
        self.last.as_ref().filter(|(at, _)| now < *at + DAY).map(|(_, last)| last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_home_is_looked_at_when_it_may_have_changed_and_not_often() {
        let looked = Files { looked: Some(s(1000)), ..Files::new(1001) };
        let asked = Files { asked: Some(s(1005)), ..looked.clone() };
        let answered = Files { asked: Some(s(900)), ..looked.clone() };
        for (files, present, busy, now, expected) in [
            (&Files::new(1001), None, false, 5000, false),
            (&Files::new(1001), Some(10), false, 5000, true),
            (&Files::new(1001), Some(10), true, 11, true),
            // Nobody was there since.
            (&looked, None, false, 5000, false),
            (&looked, Some(999), false, 90_000, false),
            // Somebody was, if only at that moment.
            (&looked, Some(1000), false, 1599, false),
            (&looked, Some(1000), false, 1600, true),
            (&looked, Some(1500), true, 1600, false),
            (&looked, Some(1500), true, 4600, true),
            (&asked, Some(1005), true, 1019, false),
            (&asked, Some(1005), true, 1020, true),
            (&answered, Some(1005), false, 1020, false),
        ] {
            assert_eq!(files.is_due(present.map(s), busy, s(now)), expected, "{files:?} {present:?} {busy} {now}");
        }
        let mut doubted = Files { begun: Some(1), seen: Some(Surveyed::default()), ..looked };
        doubted.doubt();
        assert!(doubted.seen.is_some() && !doubted.is_reading() && doubted.wants_last(1));
        assert!(doubted.is_due(Some(s(1)), false, s(2)) && !doubted.is_due(None, false, s(2)));
    }

    #[test]
    fn each_mount_is_asked_once_what_was_rescued() {
        let last = Last {
            node: "vm".to_owned(),
            at: 1,
            files: 1,
            bytes: 1,
            left: 0,
            whole: true,
            boot_id: String::new(),
            into: "d".to_owned(),
        };
        let mut files = Files::new(1001);
        assert!(files.wants_last(7) && !files.is_reading());
        files.begin_last(7);
        assert!(!files.wants_last(7) && files.is_reading());
        files.end_last(Some(last.clone()), s(100));
        assert!(!files.wants_last(7) && !files.is_reading() && files.wants_last(8));
        assert_eq!((files.last(s(101)), files.last(s(100 + 24 * 3600))), (Some(&last), None));
        files.begin_last(8);
        files.end_last(None, s(200));
        assert_eq!(files.last(s(201)), None);
    }
}
