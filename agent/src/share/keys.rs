//! Keys that change under a live mount: when to look, what was given before, and what to give now.
//!
//! A live SMB session takes no other first key, only a second one (`password2`, Linux 6.9): it is tried when the server
//! refuses the first. So the key that is new becomes the second. What was given is remembered as salted hashes in a file
//! that only root reads, in memory that goes with the boot.

use super::decide::Busy;
use super::model::{Failure, FileMark, Memory, Rekeyed, Step};
use crate::config::settings::{Credentials, Kind, Share};
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// The pause after keys could not be given, or while mounts keep an old one.
const AGAIN: Duration = Duration::from_secs(20);

/// The step about keys that a pass takes now.
pub fn step(share: &Share, memory: &Memory, busy: Busy, now: Duration) -> Option<Step> {
    let keys = &memory.keys;
    let wanted = share.kind() == Kind::Smb && !busy.keys && memory.root_id.is_some();
    let rested = keys.looked.is_none_or(|at| now >= at + AGAIN);
    let changed = keys.taken != Some(keys.file);
    let due = if keys.failure.is_some() || !keys.left.is_empty() { rested } else { changed };
    (wanted && (due || changed && rested)).then_some(Step::Rekey { force: false })
}

/// When something of it becomes due.
pub fn due(memory: &Memory) -> Option<Duration> {
    let keys = &memory.keys;
    let waits = keys.failure.is_some() || !keys.left.is_empty();
    keys.looked.filter(|_| waits).map(|at| at + AGAIN)
}

/// What a person needs to know of the keys. `names` are those of the directories whose mounts keep an old one.
pub fn problem(share: &Share, memory: &Memory, names: &[String]) -> Option<Problem> {
    if let Some(failure) = &memory.keys.failure {
        return Some(super::diagnosis::diagnose(share, failure).problem);
    }
    (!names.is_empty()).then(|| {
        let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 3 { ", …" } else { "" };
        Problem::new(
            "share.key-old",
            format!(
                "This kernel gives no new key to what is mounted. {} in use with the old one: {shown}{more}. \
                 Nothing was unmounted; saving there fails once the server drops the old key.",
                match names.len() {
                    1 => "One directory is".to_owned(),
                    n => format!("{n} directories are"),
                }
            ),
            "Ask them to save, and to close what is open there: the new key is in force then. Linux 6.9 needs no such pause.",
        )
    })
}

impl Memory {
    /// The present keys were given to what is mounted, or not; `file` is where they were from.
    pub fn rekeyed(&mut self, result: Result<Rekeyed, Failure>, file: Option<FileMark>, force: bool, now: Duration) {
        self.keys.looked = Some(now);
        if force {
            self.search.rekeyed = true;
        }
        match result {
            Ok(done) => {
                (self.keys.taken, self.keys.failure, self.keys.left) = (Some(file), None, done.left);
                if done.changed {
                    // What was refused for the old key's sake is tried again.
                    (self.search.tried, self.search.trials, self.next_try) = (None, 0, Duration::ZERO);
                }
            }
            Err(failure) => self.keys.failure = Some(failure),
        }
    }
}

/// The file that changes when the keys do.
pub fn file(credentials: Option<&Credentials>) -> Option<std::path::PathBuf> {
    credentials.map(super::credentials::place)
}

/// What was given to what is mounted: kept where only root reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Given {
    /// Random, so that what is below says nothing of the keys.
    pub salt: u64,
    /// The keys that were in force, first and second, as marks.
    pub marks: Vec<u64>,
    /// Mounts, by id, that keep an older key.
    pub old: Vec<u64>,
}

/// What one key is remembered by.
pub fn mark(salt: u64, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (salt, key).hash(&mut hasher);
    hasher.finish()
}

/// Which of the present keys, by place, a live session is to get as its second one: the one that it was not given before.
/// The other one may be what it is using. Nothing: it has them all.
pub fn second(given: &[u64], present: &[u64], force: bool) -> Option<usize> {
    present.iter().position(|m| !given.contains(m)).or((force || given.is_empty()).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::Attempt;

    const NOW: Duration = Duration::from_secs(1000);

    fn file_of(size: u64) -> Option<FileMark> {
        Some(FileMark { inode: 1, size, modified: (1, 0), changed: (1, 0) })
    }

    fn wants(memory: &Memory, at: u64) -> bool {
        step(&Share::smb_for_tests(), memory, Busy::default(), NOW + Duration::from_secs(at)).is_some()
    }

    #[test]
    fn keys_are_looked_at_once_and_again_when_their_file_changes() {
        let mut memory = Memory { root_id: Some(7), ..Memory::default() };
        memory.keys.file = file_of(80);
        assert!(wants(&memory, 0));
        memory.rekeyed(Ok(Rekeyed::default()), file_of(80), false, NOW);
        assert!(!wants(&memory, 0) && !wants(&memory, 3600));
        memory.keys.file = file_of(90);
        assert!(wants(&memory, 0), "at once");
        memory.root_id = None;
        assert!(!wants(&memory, 0), "a mount that comes has the new ones anyway");
    }

    #[test]
    fn what_was_half_written_is_read_again() {
        let mut memory = Memory { root_id: Some(7), ..Memory::default() };
        memory.keys.file = file_of(10);
        memory.rekeyed(Err(Failure::said(Attempt::Credentials, "there is no line password=")), file_of(10), false, NOW);
        assert!(!wants(&memory, 1) && wants(&memory, 20), "after a pause");
        assert_eq!(problem(&Share::smb_for_tests(), &memory, &[]).unwrap().code, "share.credentials");
        assert_eq!(due(&memory), Some(NOW + AGAIN));
    }

    #[test]
    fn the_key_that_is_new_becomes_the_second() {
        for (given, present, force, expected) in [
            // The first was regenerated; the session may be using the other.
            (&[1, 2][..], &[3, 2][..], false, Some(0)),
            // The second was.
            (&[1, 2], &[1, 3], false, Some(1)),
            (&[1], &[3], false, Some(0)),
            (&[1], &[1, 2], false, Some(1)),
            (&[1, 2], &[1, 2], false, None),
            (&[1, 2], &[2, 1], false, None),
            // Nothing is known of what it has, or it does not work.
            (&[], &[1, 2], false, Some(0)),
            (&[1, 2], &[1, 2], true, Some(0)),
        ] {
            assert_eq!(second(given, present, force), expected, "{given:?} {present:?}");
        }
    }

    #[test]
    fn a_kernel_that_cannot_is_said_with_whose_work_it_concerns() {
        let share = Share::smb_for_tests();
        let memory = Memory::default();
        assert_eq!(problem(&share, &memory, &[]), None);
        let names = ["notebooks/alice".to_owned()];
        let problem = problem(&share, &memory, &names).unwrap();
        assert!(problem.summary.contains("One directory is in use with the old one: notebooks/alice."));
        let mut left = Memory { root_id: Some(7), ..Memory::default() };
        left.rekeyed(Ok(Rekeyed { changed: true, left: vec![9] }), None, false, NOW);
        assert!(!wants(&left, 1) && wants(&left, 20), "tried again until they are free");
    }

    #[test]
    fn marks_tell_keys_apart_and_depend_on_the_salt() {
        assert_eq!(mark(1, "a"), mark(1, "a"));
        assert!(mark(1, "a") != mark(1, "b") && mark(1, "a") != mark(2, "a"));
    }
}
