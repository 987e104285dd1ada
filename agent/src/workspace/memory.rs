//! What is remembered of each user from pass to pass. Everything here may be forgotten: it costs a new look.

use super::decide::{DOUBT_AGAIN, LOOK_AGAIN, pause};
use super::model::{Account, Directory, Link, Trouble};
use crate::problem::Problem;
use crate::share::model::{Attempt, Failure};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many bytes of names are asked for: three quarters of what a message to a worker may have.
const NAMED: usize = 96 * 1024;
/// The least time between two looks at one user because somebody asked.
pub const HURRY: Duration = Duration::from_secs(2);

/// So often a home that is missing is looked for: for five minutes, since an account comes before its home.
const HOMELESS: u32 = 6;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The account.
    pub account: Account,
    /// The directory's name on the share, relative to the share's root; of a shared one the user's place below the mount
    /// point.
    pub directory: String,
    /// It is a place in a shared directory.
    pub shared: Option<super::shared::Part>,
    /// The mount point was made in this guard.
    pub point: Option<u64>,
    /// The directory is there on this mount of the share's root.
    pub made: Option<u64>,
    /// When it was seen to be there, and theirs.
    pub checked: Option<Duration>,
    /// On this mount of the share's root, root may not make the directory: the user has to.
    pub squashed: Option<u64>,
    /// The link was right at this time.
    pub linked: Option<Duration>,
    /// Look at the link again then.
    pub look: Option<Duration>,
    /// When somebody asked for this user last, or when that is to take effect: see [`Record::hurry`].
    pub hurried: Option<Duration>,
    /// When the user was last present; nothing: not since the agent started.
    pub last_present: Option<Duration>,
    /// The name has another number than before, and the directory was not looked at since.
    pub renumbered: bool,
    /// What is wrong with their directory, link or mount.
    pub troubles: BTreeMap<Topic, Trouble>,
}

/// What a trouble is about: each has its own pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The mount point in the guard.
    Point,
    /// The directory on the share.
    Directory,
    /// The link in the home.
    Link,
    /// The mount.
    Mount,
}

/// All users.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// By log-in name: those who are served.
    pub users: BTreeMap<String, Record>,
    /// Places in shared directories, by [`Record::directory`].
    pub shared: BTreeMap<String, Record>,
    /// Problems of accounts that cannot be served.
    pub refused: Vec<Problem>,
    /// The name services have answered since the agent started.
    pub known: bool,
    /// When they answered last.
    pub asked: Option<Duration>,
    /// Their last failure.
    pub unknown: Option<Failure>,
    /// Names that are asked for although nothing enumerates them: whoever logged in.
    pub named: BTreeSet<String>,
    /// Accounts that there are and that are not served, such as root and services: their log-ins wait for nothing.
    pub unserved: BTreeSet<String>,
    /// Names that for sure were nobody's when they were asked for.
    pub absent: BTreeSet<String>,
    /// Names whose number is somebody else's by now: what was mounted for them would be the other's.
    pub displaced: BTreeSet<String>,
    /// Names of known users, or of owners of mounts, whom the name services did not mention: to be asked for by name.
    pub missing: BTreeSet<String>,
    /// When those were asked for last without an answer.
    pub missed: Option<Duration>,
    /// Something changed since the name services were asked last: what they answer may be older than that.
    pub changed: bool,
    /// A helper was told that somebody is not, or no longer, who they were: everybody is to be asked for then.
    pub doubt: Option<Duration>,
    /// When everybody was last asked for because of that.
    pub doubted: Option<Duration>,
    /// The names of each number: two accounts may have the same.
    by_uid: HashMap<u32, Vec<String>>,
    /// Whose a directory is: it is made of the name, so no two accounts have the same.
    by_directory: HashMap<String, String>,
    /// When it was seen last who is here.
    pub seen: Duration,
    /// What is known of users' files on this VM, by log-in name: of those only whose home was looked at.
    pub files: BTreeMap<String, super::rescue::watch::Files>,
    /// The VM is about to go: what is mounted meanwhile.
    pub closing: Option<Closing>,
    /// Why the whole share cannot be shown to everybody, where that is wanted.
    pub whole: Option<Trouble>,
    /// Mounts that could not be unmounted, mostly because somebody uses them: each has its pause, whoever's it is.
    pub held: BTreeMap<PathBuf, Held>,
}

/// What is mounted while the VM is about to go: nothing for anybody new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closing {
    /// What nobody uses goes.
    pub gone: bool,
    /// Whose directory is needed all the same, to copy their files to it: log-in names.
    pub needed: BTreeSet<String>,
}

/// A mount that could not be unmounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Not before then again.
    pub again: Duration,
    /// Failures in a row.
    pub failures: u32,
}

impl Memory {
    /// Remembers that `name` is to be asked for. Whether it will be: all names go into one message.
    pub fn name(&mut self, name: &str) -> bool {
        // As JSON, where some letters take two bytes; what is none of a name would take more.
        let size = |n: &str| 2 * n.len() + 3;
        let fits = || {
            name.len() <= 256
                && !name.chars().any(char::is_control)
                && self.named.iter().map(|n| size(n)).sum::<usize>() + size(name) <= NAMED
        };
        let known = self.named.contains(name) || fits();
        if known {
            self.named.insert(name.to_owned());
        }
        known
    }

    /// The name services are to be asked again.
    pub fn ask(&mut self) {
        (self.asked, self.changed, self.missed) = (None, true, None);
    }

    /// A helper was told that somebody is not, or no longer, who they were, although nothing told of a change: everybody
    /// is asked for, at once or when the last such time is long enough ago. A name service that confirms somebody only
    /// sometimes would otherwise be asked without end.
    pub fn doubt(&mut self, now: Duration) {
        if self.doubt.is_none() {
            self.doubt = Some(self.doubted.map_or(now, |last| now.max(last + DOUBT_AGAIN)));
        }
    }

    /// Whether it is time to ask for everybody because of that.
    pub fn is_doubtful(&self, now: Duration) -> bool {
        self.doubt.is_some_and(|at| now >= at)
    }

    /// The name services are asked now, for everybody or for some by name: the answer is newer than what was told before.
    pub fn asking(&mut self, everybody: bool, now: Duration) {
        self.changed = false;
        if everybody && self.doubt.take().is_some() {
            self.doubted = Some(now);
        }
    }

    /// Notes that these users are here now; all are, where it cannot be told.
    pub fn see(&mut self, present: Option<&BTreeSet<u32>>, now: Duration) {
        self.seen = now;
        let Some(present) = present else {
            self.all_mut().for_each(|r| r.last_present = Some(now));
            return;
        };
        for name in present.iter().filter_map(|uid| self.by_uid.get(uid)).flatten() {
            if let Some(record) = self.users.get_mut(name) {
                record.last_present = Some(now);
            }
        }
        self.see_shared();
    }

    /// Brings the indexes up to the users.
    pub fn index(&mut self) {
        (self.by_uid, self.by_directory) = Default::default();
        for (name, record) in &self.users {
            self.by_uid.entry(record.account.uid).or_default().push(name.clone());
            self.by_directory.insert(record.directory.clone(), name.clone());
        }
    }

    /// Whose directory it is. Numbers are no answer: two accounts may have the same.
    pub fn of(&self, directory: &Path) -> Option<&Record> {
        let directory = directory.to_str()?;
        self.by_directory.get(directory).and_then(|name| self.users.get(name)).or_else(|| self.shared.get(directory))
    }

    /// The same, to change.
    pub fn of_mut(&mut self, directory: &Path) -> Option<&mut Record> {
        let directory = directory.to_str()?;
        match self.by_directory.get(directory) {
            Some(name) => self.users.get_mut(name),
            None => self.shared.get_mut(directory),
        }
    }

    /// When those were here last who are here no more.
    pub fn gone(&self) -> impl Iterator<Item = Duration> {
        self.users.values().filter_map(|r| r.last_present).filter(|at| *at != self.seen)
    }

    /// A directory was unmounted, or not.
    pub fn detached(&mut self, directory: &Path, result: &Result<(), Failure>, now: Duration, jitter: u64) {
        if result.is_ok() {
            self.held.remove(directory);
        } else {
            let failures = self.held.get(directory).map_or(0, |h| h.failures);
            let again = now + pause(failures, jitter);
            self.held.insert(directory.to_owned(), Held { again, failures: failures.saturating_add(1) });
        }
        if let Some(record) = self.of_mut(directory) {
            record.mounted(result.clone(), now, jitter);
        }
    }
}

impl Record {
    /// Of an account that was just found, and of which nothing else is known.
    pub fn new(account: Account, directory: String) -> Self {
        Self {
            account,
            directory,
            shared: None,
            point: None,
            made: None,
            checked: None,
            squashed: None,
            linked: None,
            look: None,
            hurried: None,
            last_present: None,
            renumbered: false,
            troubles: BTreeMap::new(),
        }
    }

    fn trouble(&mut self, topic: Topic, problem: Option<Problem>, now: Duration, jitter: u64) {
        let mut trouble = super::decide::trouble(self.troubles.get(&topic), problem, now, jitter);
        // Who asked meanwhile waits for a look that begins after that.
        if let Some(look) = self.look.filter(|_| topic == Topic::Link) {
            trouble.again = trouble.again.min(look);
        }
        self.troubles.insert(topic, trouble);
    }

    /// Whether a person is needed.
    pub fn has_problem(&self) -> bool {
        self.troubles.values().any(|t| t.problem.is_some())
    }

    /// Whether what is mounted as this user's directory is, or may be, another number's.
    pub fn is_foreign(&self) -> bool {
        let differs = |t: &Trouble| {
            t.problem
                .as_ref()
                .is_some_and(|p| [super::decide::UID_DIFFERS, super::decide::NAME_RETIRED].contains(&p.code.as_str()))
        };
        self.renumbered || self.troubles.get(&Topic::Directory).is_some_and(differs)
    }

    /// Whether the directory was seen to be theirs lately enough to be mounted.
    pub fn is_checked(&self, now: Duration) -> bool {
        self.checked.is_some_and(|at| now < at + super::decide::CHECK_AGAIN)
    }

    /// Whether `topic` may be tried at `now`.
    pub fn due(&self, topic: Topic, now: Duration) -> bool {
        self.troubles.get(&topic).is_none_or(|t| now >= t.again)
    }

    /// Whether the user is here, or was until `linger` ago.
    pub fn is_here(&self, linger: Duration, now: Duration) -> bool {
        self.last_present.is_some_and(|at| at == now || now < at.saturating_add(linger))
    }

    /// Whether the link wants a look: never seen right, or long ago and the user is here.
    pub fn wants_link(&self, present: bool, now: Duration) -> bool {
        // A home that is not there after minutes comes with the first log-in: thousands of accounts may have none.
        let homeless = self.troubles.get(&Topic::Link).is_some_and(|t| t.problem.is_none() && t.failures >= HOMELESS);
        let asked = self.look.is_some_and(|at| now >= at);
        self.due(Topic::Link, now)
            && (asked || present || !homeless)
            && (asked || self.linked.is_none_or(|at| present && now >= at + LOOK_AGAIN))
    }

    /// Somebody waits for this user: everything is tried again at once, or when the last such time is long enough ago.
    /// Who asks without end would otherwise start processes without end. Returns whether it makes a difference.
    pub fn hurry(&mut self, now: Duration) -> bool {
        self.last_present = Some(now);
        let at = match self.hurried {
            Some(at) if at >= now => at,
            last => last.map_or(now, |last| now.max(last + HURRY)),
        };
        // A look that began in between, when a pause was over, has taken the order with it, and says nothing of what is now.
        if self.hurried == Some(at) && self.look.is_some_and(|look| look <= at) {
            return false;
        }
        (self.look, self.hurried) = (Some(self.look.map_or(at, |look| look.min(at))), Some(at));
        for trouble in self.troubles.values_mut() {
            trouble.again = trouble.again.min(at);
        }
        true
    }

    /// Whether the home was looked at and answers.
    pub fn has_home(&self) -> bool {
        use super::decide::{ACCOUNT_UNCONFIRMED, HOME_SILENT};
        let answered = |p: &Problem| ![ACCOUNT_UNCONFIRMED, HOME_SILENT].contains(&p.code.as_str());
        let trouble = self.troubles.get(&Topic::Link).and_then(|t| t.problem.as_ref());
        trouble.map_or(self.linked.is_some(), answered)
    }

    /// Whether the home was looked for and does not exist yet.
    pub fn is_homeless(&self) -> bool {
        self.linked.is_none() && self.troubles.get(&Topic::Link).is_some_and(|t| t.problem.is_none())
    }

    /// Whether the home was looked for twice in vain: useradd(8) makes it a moment after the account, so once is no time.
    pub fn is_homeless_for_now(&self) -> bool {
        self.is_homeless() && self.troubles.get(&Topic::Link).is_some_and(|t| t.failures > 1)
    }

    /// Something about this user changed on the share: their directory is looked at again, at once.
    pub fn recheck(&mut self, now: Duration) {
        (self.made, self.checked) = (None, None);
        for trouble in self.troubles.values_mut() {
            trouble.again = now;
        }
    }

    /// The mount points were made, or not.
    pub fn pointed(&mut self, guard: u64, result: Result<(), Failure>, now: Duration, jitter: u64) {
        match result {
            Ok(()) => {
                self.point = Some(guard);
                self.troubles.remove(&Topic::Point);
            }
            Err(failure) => {
                self.trouble(Topic::Point, Some(self.failed(&failure)), now, jitter);
            }
        }
    }

    /// The directory was made or looked at. `root` is the mount that it was done on.
    pub fn directory(&mut self, root: u64, seen: &Directory, now: Duration, jitter: u64) {
        if *seen == Directory::Squashed && self.squashed != Some(root) && self.shared.is_none() {
            // The next try is the user's own, and at once.
            self.squashed = Some(root);
            return;
        }
        let problem = match &self.shared {
            Some(part) => super::shared::directory_problem(&self.account, &self.directory, part, seen),
            None => super::decide::directory_problem(&self.account, &self.directory, seen),
        };
        match problem {
            None => {
                (self.made, self.checked, self.renumbered) = (Some(root), Some(now), false);
                self.troubles.remove(&Topic::Directory);
            }
            Some(problem) => {
                // Whatever was so before: it is not to be mounted now.
                (self.made, self.checked) = (None, None);
                self.trouble(Topic::Directory, Some(problem), now, jitter);
            }
        }
    }

    /// A worker looks at the link: who asks from now on waits for another look.
    pub fn link_begun(&mut self) {
        self.look = None;
    }

    /// The link was made or looked at.
    pub fn link(&mut self, link: &str, seen: &Link, now: Duration, jitter: u64) {
        match super::decide::link_problem(&self.account, link, seen, self.shared.is_none()) {
            // Made at the first log-in, most likely: nobody needs to do anything.
            None if *seen == Link::NoHome => {
                self.linked = None;
                self.trouble(Topic::Link, None, now, jitter);
            }
            None => {
                self.linked = Some(now);
                self.troubles.remove(&Topic::Link);
            }
            Some(problem) => {
                self.linked = None;
                self.trouble(Topic::Link, Some(problem), now, jitter);
            }
        }
    }

    /// The worker for the link did not come back.
    pub fn link_failed(&mut self, failure: &Failure, now: Duration, jitter: u64) {
        self.trouble(Topic::Link, Some(super::decide::home_silent(&self.account.name, failure)), now, jitter);
    }

    /// The directory was mounted or unmounted, or not.
    pub fn mounted(&mut self, result: Result<(), Failure>, now: Duration, jitter: u64) {
        match result {
            Ok(()) => {
                self.troubles.remove(&Topic::Mount);
            }
            // In use is no trouble of the user's: it is tried again after a pause.
            Err(f) if f.attempt == Attempt::Detach && f.errno == Some(libc::EBUSY) => {}
            Err(failure) => {
                if failure.errno == Some(libc::ENOENT) {
                    // The directory or the mount point went away under us: both are looked at again.
                    (self.made, self.point) = (None, None);
                }
                self.trouble(Topic::Mount, Some(self.failed(&failure)), now, jitter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mallory() -> Account {
        Account::for_tests("mallory", 1001)
    }

    #[test]
    fn asking_without_end_starts_no_helpers_without_end() {
        let mut record = Record::new(mallory(), "notebooks/mallory".to_owned());
        let (mut looks, second) = (0, Duration::from_secs(1));
        record.linked = Some(second);
        for ms in 1000..61_000_u64 {
            let now = Duration::from_millis(ms);
            record.hurry(now);
            if record.wants_link(true, now) {
                looks += 1;
                record.link_begun();
                record.link("notebooks/remote", &Link::Right { made: false }, now, 0);
            }
        }
        assert_eq!(looks, 30, "one in two seconds");
        // A pause after a failure is cut short, and no more often either.
        record.trouble(Topic::Link, None, second * 100, 0);
        assert!(record.hurry(second * 100) && record.wants_link(true, second * 100));
        record.link_begun();
        record.link("notebooks/remote", &Link::NoHome, second * 100, 0);
        assert!(record.hurry(second * 101) && !record.hurry(second * 101));
        assert!(!record.wants_link(true, second * 101) && record.wants_link(true, second * 102));
    }
    #[test]
    fn who_asks_while_a_helper_looks_is_not_forgotten() {
        let mut record = Record::new(mallory(), "notebooks/mallory".to_owned());
        let second = Duration::from_secs(1);
        for failures in 0..20 {
            record.trouble(Topic::Link, None, second * failures, 0);
        }
        record.hurry(second * 100);
        record.link_begun();
        // Their home was as it was; they mend it and ask again before the helper is back.
        assert!(record.hurry(second * 101));
        record.link("notebooks/remote", &Link::Other, second * 110, 0);
        assert!(record.wants_link(true, second * 110));
    }

    #[test]
    fn who_asks_after_a_look_that_came_before_its_time_is_not_forgotten() {
        let mut record = Record::new(mallory(), "notebooks/mallory".to_owned());
        let tenths = |n: u32| Duration::from_millis(100) * n;
        record.hurry(tenths(10));
        record.link_begun();
        assert!(record.hurry(tenths(20)), "it is to take effect after three seconds");
        // A pause is over before that, and the helper finds things as they were.
        record.link_begun();
        record.link("notebooks/remote", &Link::Other, tenths(25), 0);
        assert!(record.hurry(tenths(26)) && !record.hurry(tenths(27)));
        assert!(!record.wants_link(true, tenths(29)) && record.wants_link(true, tenths(30)));
    }
}
