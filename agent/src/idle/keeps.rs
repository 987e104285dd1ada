//! Keeps: what users asked for. Any user may, for as long as the settings allow; everybody sees them; they outlive the
//! agent and not the boot.

use super::model::{Level, Seen};
use serde::{Deserialize, Serialize};

/// The most keeps of one user's at once: each command that is kept is one.
pub const MOST_OF_ONE: usize = 16;
/// The most keeps at once of all together who are no account's: whoever has subordinate ids comes as any of thousands.
pub const MOST_OF_STRANGERS: usize = 64;
/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 200;

/// One keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keep {
    /// Whose.
    pub uid: u32,
    /// When it was asked for, by the boot-time clock.
    pub since: f64,
    /// When it ends at the latest.
    pub until: f64,
    /// Why, in the user's words.
    pub reason: Option<String>,
    /// It ends with this process.
    pub process: Option<Process>,
}

/// A process, told from a later one of the same number by when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks after boot (proc_pid_stat(5), field 22).
    pub started: u64,
}

/// All keeps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Keeps(pub Vec<Keep>);

impl Keeps {
    /// Adds a keep of `uid` for some seconds from now, at most `longest`. One without a process replaces the user's
    /// earlier one. `is_stranger` says whose number is no account's. Returns when it ends.
    ///
    /// # Errors
    /// In words, for whoever asked.
    pub fn add(
        &mut self,
        uid: u32,
        seconds: f64,
        reason: Option<String>,
        process: Option<Process>,
        (now, longest): (f64, f64),
        is_stranger: &dyn Fn(u32) -> bool,
    ) -> Result<f64, String> {
        let replaced = |k: &Keep| k.uid == uid && k.process.is_none() && process.is_none();
        if process.is_some() && self.0.iter().filter(|k| k.uid == uid).count() >= MOST_OF_ONE {
            return Err(format!("you keep this VM {MOST_OF_ONE} times already"));
        }
        let strangers = || self.0.iter().filter(|k| !replaced(k) && is_stranger(k.uid)).count();
        if is_stranger(uid) && strangers() >= MOST_OF_STRANGERS {
            return Err(format!("users who have no account here keep this VM {MOST_OF_STRANGERS} times already"));
        }
        self.0.retain(|k| !replaced(k));
        let reason = reason.map(|r| r.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect::<String>());
        let until = now + seconds.clamp(0.0, longest);
        self.0.push(Keep { uid, since: now, until, reason: reason.filter(|r| !r.trim().is_empty()), process });
        Ok(until)
    }

    /// Ends the keeps of `uid`, those of commands too. How many there were.
    pub fn end(&mut self, uid: u32) -> usize {
        let before = self.0.len();
        self.0.retain(|k| k.uid != uid);
        before - self.0.len()
    }

    /// Forgets what ended: by time, or with its process. `started` says when a process of that number was started;
    /// nothing when there is none.
    pub fn refresh(&mut self, now: f64, started: impl Fn(u32) -> Option<u64>) {
        self.0.retain(|k| now < k.until && k.process.is_none_or(|p| started(p.pid) == Some(p.started)));
    }

    /// What a sample says of them.
    pub fn seen(&self) -> Seen {
        if self.0.is_empty() {
            return Seen::Absent;
        }
        let level = |k: &Keep| Level {
            who: Some(k.uid),
            value: 1.0,
            until: Some(k.until),
            what: k.reason.clone(),
            ..Level::default()
        };
        Seen::Levels(self.0.iter().map(level).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody has an account.
    const NONE: &dyn Fn(u32) -> bool = &|_| false;

    #[test]
    fn whoever_comes_as_thousands_is_bounded_too() {
        let mut keeps = Keeps::default();
        let stranger = |uid: u32| uid > 60_000;
        for uid in 100_000..165_536 {
            let _ = keeps.add(uid, 1e9, Some("x".repeat(1000)), None, (0.0, 100.0), &stranger);
        }
        assert_eq!(keeps.0.len(), MOST_OF_STRANGERS);
        assert!(keeps.add(100_000, 5.0, None, None, (0.0, 100.0), &stranger).is_ok(), "one's own may be replaced");
        assert!(keeps.add(1001, 5.0, None, None, (0.0, 100.0), &stranger).is_ok(), "an account is not in their way");
        assert_eq!(keeps.0.len(), MOST_OF_STRANGERS + 1);
    }

    #[test]
    fn a_keep_is_bounded_replaced_and_ended() {
        let mut keeps = Keeps::default();
        assert_eq!(keeps.add(1001, 1e9, Some("x\u{1b}[31m".into()), None, (10.0, 100.0), NONE), Ok(110.0));
        assert_eq!(keeps.add(1001, 5.0, None, None, (20.0, 100.0), NONE), Ok(25.0));
        assert_eq!(keeps.add(1002, 50.0, Some("training".into()), None, (20.0, 100.0), NONE), Ok(70.0));
        assert_eq!((keeps.0.len(), keeps.0[0].until), (2, 25.0), "the later one of a user counts");
        keeps.refresh(25.0, |_| None);
        assert_eq!(keeps.0.len(), 1);
        assert_eq!((keeps.end(1001), keeps.end(1002)), (0, 1));
        assert_eq!(keeps.seen(), Seen::Absent);
    }

    #[test]
    fn a_kept_command_ends_with_its_process_and_no_other_of_its_number() {
        let mut keeps = Keeps::default();
        let process = Some(Process { pid: 7, started: 500 });
        for _ in 0..MOST_OF_ONE {
            keeps.add(1001, 50.0, None, process, (0.0, 100.0), NONE).unwrap();
        }
        assert!(keeps.add(1001, 50.0, None, process, (0.0, 100.0), NONE).is_err());
        keeps.refresh(1.0, |pid| (pid == 7).then_some(500));
        assert_eq!(keeps.0.len(), MOST_OF_ONE);
        keeps.refresh(1.0, |_| Some(501));
        assert!(keeps.0.is_empty());
    }
}
