//! The users' part of a pass: their jobs under way, where what is theirs lies, and what came of their jobs.

use super::engine::{Engine, unexpected};
use crate::share::model::{Attempt, Failure};
use crate::share::observe::mounted;
use crate::sys::mountinfo::Mount;
use crate::worker::job::{Answer, Job};
use crate::workspace::act::Wanted;
use crate::workspace::decide as workspace_decide;
use crate::workspace::memory::Record;
use crate::workspace::model::Directory;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

impl Engine {
    /// Which of the users' jobs are under way.
    pub(super) fn user_busy(&self) -> workspace_decide::Busy {
        let mut busy = workspace_decide::Busy::default();
        for job in self.under_way.values() {
            match job {
                Job::LayGuard | Job::MountPoints { .. } => busy.points = true,
                Job::Directories { .. } => busy.directories = true,
                Job::OwnDirectory { wanted, .. } => drop(busy.own.insert(wanted.directory.clone())),
                Job::Attach { wanted, .. } => drop(busy.mounts.insert(wanted.directory.clone().into())),
                Job::Detach { directory } => drop(busy.mounts.insert(directory.into())),
                Job::ShowAll { .. } | Job::HideAll => drop(busy.mounts.insert(PathBuf::new())),
                Job::Link { directory, .. } => busy.links.extend(self.of(directory).map(|r| r.key().to_owned())),
                _ => {}
            }
        }
        busy
    }

    /// Whose directory it is. Numbers are no answer: two accounts may have the same.
    pub(super) fn of(&self, directory: &str) -> Option<&Record> {
        self.users.of(directory.as_ref())
    }

    /// The link in the home to a user's directory, or to their place in a shared one.
    pub(super) fn link_of(&self, directory: &str) -> &str {
        let shared = crate::workspace::shared::whose(&self.settings.shared, directory);
        shared.map_or(&self.settings.workspace.link, |(setting, _)| &setting.link)
    }

    /// Where to look for mount points: the guard, and the directories in it with those that are not known to be there. It
    /// must be what lies there now: anything else may not answer.
    pub fn wants_points(&self, mounts: &[Mount]) -> Option<(PathBuf, BTreeSet<PathBuf>)> {
        let share = self.settings.share.as_ref().filter(|share| !share.is_open())?;
        let guard = mounted(share, mounts).guard?;
        let missing = self.users.all().filter(|r| r.point != Some(guard));
        let below = missing.map(|r| crate::share::model::parent_of(r.directory.as_ref()).to_owned()).collect();
        Some((share.mount_point.clone(), below))
    }

    /// A directory was mounted, or not.
    pub(super) fn absorb_mount(
        &mut self,
        directory: &str,
        result: Result<Answer, Failure>,
        now: Duration,
        jitter: u64,
    ) {
        let outcome = result.map(drop);
        if let Some(record) = self.users.of_mut(directory.as_ref()) {
            record.mounted(outcome, now, jitter);
        }
    }

    /// Directories on the share were made or looked at.
    pub(super) fn absorb_directories(
        &mut self,
        wanted: &[Wanted],
        result: Result<Answer, Failure>,
        now: Duration,
        jitter: u64,
    ) {
        let root = self.share.root_id.unwrap_or(0);
        let seen = match result {
            Ok(Answer::Directories(seen)) if seen.len() == wanted.len() => seen,
            other => vec![Directory::Failed { failure: unexpected(other) }; wanted.len()],
        };
        for (wanted, seen) in wanted.iter().zip(&seen) {
            if let Some(record) = self.users.of_mut(wanted.directory.as_ref()) {
                record.directory(root, seen, now, jitter);
            }
        }
    }
}

/// Whether somebody is said not to be, or no longer, who they were when the job was asked for.
pub(super) fn is_stale(result: &Result<Answer, Failure>) -> bool {
    let stale = |failure: &Failure| failure.attempt == Attempt::StaleAccount;
    match result {
        Err(failure) => stale(failure),
        Ok(Answer::Directories(seen)) => {
            seen.iter().any(|d| matches!(d, Directory::Failed { failure } if stale(failure)))
        }
        Ok(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::workspace::model::{Account, Found, Link, Person};

    const NOW: Duration = Duration::from_secs(1000);

    fn engine() -> Engine {
        let accounts = [("alice", 1001), ("bob", 1002)].map(|(name, uid)| Account::for_tests(name, uid));
        let mut engine = Engine::new(Settings::default(), None, 0);
        let found = Found { accounts: accounts.to_vec(), whole: true, ..Found::default() };
        workspace_decide::take(&mut engine.users, &Settings::default(), found, 1000, NOW);
        engine
    }

    #[test]
    fn whoever_is_told_that_an_account_is_gone_asks_for_everybody() {
        let told = |attempt| Failure::said(attempt, "uid 1001, gid 1001 is not, or no longer, alice");
        let ready = Directory::Ready { made: false };
        let seen = |attempt| Answer::Directories(vec![ready.clone(), Directory::Failed { failure: told(attempt) }]);
        let known = engine();
        let person = Person::new(1001, 1001, vec![1001], "/home/alice".into()).unwrap();
        let link = Job::Link { person, directory: "notebooks/alice".to_owned(), make: true };
        let wanted = |name: &str, uid| Wanted { directory: format!("notebooks/{name}"), uid, gid: uid, group: None };
        let both = Job::Directories { wanted: vec![wanted("bob", 1002), wanted("alice", 1001)], make: true };
        let attach = Job::Attach { wanted: wanted("alice", 1001), address: None };
        for (job, result, asks) in [
            (link.clone(), Err(told(Attempt::StaleAccount)), true),
            (attach, Err(told(Attempt::StaleAccount)), true),
            (both.clone(), Ok(seen(Attempt::StaleAccount)), true),
            // Nothing is known of whom the name services say nothing.
            (both, Ok(seen(Attempt::Account)), false),
            (link.clone(), Err(told(Attempt::Account)), false),
            (link.clone(), Ok(Answer::Link(Link::NoHome)), false),
        ] {
            let mut engine = known.clone();
            engine.absorb(1, &job, result.clone(), false, NOW);
            assert_eq!(engine.wants_accounts(NOW), asks, "{job:?} {result:?}");
        }
        let mut engine = known.clone();
        engine.users.doubt(NOW);
        engine.users.asking(true, NOW);
        engine.users.doubt(NOW);
        assert!(!engine.wants_accounts(NOW) && engine.next_look(NOW) == workspace_decide::DOUBT_AGAIN);
    }
}
