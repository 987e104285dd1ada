//! The pass without its effects: facts in, jobs out, answers into memory. Nothing here touches the machine.

use crate::config::Settings;
use crate::config::settings::Share;
use crate::problem::Problem;
use crate::share::decide as share_decide;
use crate::share::model::{Attempt, Failure, Memory as ShareMemory, Mounted, ShareState, Step as ShareStep, View};
use crate::share::observe::mounted;
use crate::sys::mountinfo::Mount;
use crate::worker::job::{Answer, Job};
use crate::workspace::act::Wanted;
use crate::workspace::decide as workspace_decide;
use crate::workspace::memory::{Memory as UserMemory, Record};
use crate::workspace::model::{Person, Step as UserStep};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// So many jobs at once: the launcher starts no more.
pub const AT_ONCE: usize = 8;

/// What a pass sees: a frozen picture. What could not be seen is in it as that.
#[derive(Debug, Clone)]
pub struct Facts {
    /// By the boot-time clock.
    pub now: Duration,
    /// The machine's mounts.
    pub mounts: Result<Vec<Mount>, String>,
    /// The users that are here; nothing when it cannot be told: then nobody is taken to be gone.
    pub present: Option<BTreeSet<u32>>,
    /// Ordinary users' ids.
    pub range: RangeInclusive<u32>,
    /// The mount points that are in the guard, when they were looked at.
    pub points: BTreeSet<PathBuf>,
}

/// One thing that a pass decided to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    /// About the share.
    Share(ShareStep),
    /// About users.
    User(UserStep),
    /// Ask who there is.
    Accounts(AskAccounts),
}

/// Ask the name services who there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum AskAccounts {
    /// Ask.
    AskAccounts,
}

/// What a pass decided.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The share.
    pub view: View,
    /// What is mounted.
    pub mounted: Mounted,
    /// What to do now.
    pub steps: Vec<Step>,
    /// What needs a person.
    pub problems: Vec<Problem>,
}

/// What is known from pass to pass.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The settings in force.
    pub settings: Settings,
    /// Why the configuration on disk is not in force.
    pub mistake: Option<Problem>,
    /// The share.
    pub share: ShareMemory,
    /// The users.
    pub users: UserMemory,
    /// Jobs under way, stuck ones too: their targets are taken.
    pub under_way: BTreeMap<u64, Job>,
    /// The targets whose worker cannot be ended.
    pub stuck: BTreeMap<u64, Duration>,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub fn new(settings: Settings, mistake: Option<Problem>, seed: u64) -> Self {
        let (share, users) = (ShareMemory::default(), UserMemory::default());
        Self { settings, mistake, share, users, under_way: BTreeMap::new(), stuck: BTreeMap::new(), seed }
    }

    /// Decides what a pass does now.
    pub fn decide(&mut self, facts: &Facts) -> Decision {
        let now = facts.now;
        let Some(share) = self.settings.share.clone() else {
            self.share.note(ShareState::Unconfigured, now);
            return self.unconfigured();
        };
        let mounts = match &facts.mounts {
            Ok(mounts) => mounts,
            Err(why) => return self.blind(why),
        };
        let mounted = mounted(&share, mounts);
        share_decide::refresh(&mut self.share, &mounted);
        workspace_decide::refresh(&mut self.users, facts.present.as_ref(), now);
        workspace_decide::find_points(&mut self.users, mounted.guard, &facts.points);
        workspace_decide::forget(&mut self.users, &self.settings.workspace, &mounted, mounted.guard, now);
        let (view, share_steps) = share_decide::decide(&share, &mounted, &self.share, self.share_busy(), now);
        self.share.note(view.state, now);
        let mut steps: Vec<Step> = share_steps.into_iter().map(Step::Share).collect();
        if self.wants_accounts(now) {
            steps.push(Step::Accounts(AskAccounts::AskAccounts));
        }
        let user_steps = workspace_decide::decide(&self.settings, &view, &mounted, &self.users, &self.user_busy(), now);
        steps.extend(user_steps.into_iter().map(Step::User));
        let problems = self.problems(&share, &view, &mounted);
        Decision { view, mounted, steps, problems }
    }

    fn unconfigured(&self) -> Decision {
        let view =
            View { state: ShareState::Unconfigured, guard: None, usable: None, address: None, problems: Vec::new() };
        let nothing = || {
            Problem::new(
                "share.unconfigured",
                "This VM has no /etc/dsvm-agent/agent.toml: nothing is mounted. Files saved here go away with the VM.",
                "Write the file (see /usr/share/doc/dsvm-agent), then: sudo systemctl reload dsvm-agent",
            )
        };
        let problems = vec![self.mistake.clone().unwrap_or_else(nothing)];
        Decision { view, mounted: Mounted::default(), steps: Vec::new(), problems }
    }

    /// Without the list of mounts nothing is done: everything would be a guess.
    fn blind(&self, why: &str) -> Decision {
        let state = self.share.state.map_or(ShareState::Mounting, |(s, _)| s);
        let problem = Problem::new(
            "share.mounts-unreadable",
            format!("The list of mounts cannot be read: {why}. Nothing is changed until it can."),
            "See: journalctl -u dsvm-agent",
        );
        let view = View { state, guard: None, usable: None, address: None, problems: Vec::new() };
        Decision { view, mounted: Mounted::default(), steps: Vec::new(), problems: vec![problem] }
    }

    fn problems(&self, share: &Share, view: &View, mounted: &Mounted) -> Vec<Problem> {
        let mut out: Vec<Problem> = self.mistake.iter().cloned().collect();
        out.extend(view.problems.iter().cloned());
        out.extend(workspace_decide::problems(share, mounted, &self.users));
        for id in self.stuck.keys() {
            if let Some(job) = self.under_way.get(id) {
                out.push(self.stuck_problem(job));
            }
        }
        out
    }

    fn wants_accounts(&self, now: Duration) -> bool {
        let old = self.users.asked.is_none_or(|at| now >= at + workspace_decide::ASK_AGAIN);
        old && !self.under_way.values().any(|j| matches!(j, Job::Accounts { .. }))
    }

    fn share_busy(&self) -> share_decide::Busy {
        let mut busy = share_decide::Busy::default();
        for job in self.under_way.values() {
            match job {
                Job::LayGuard | Job::MountPoints { .. } => busy.guard = true,
                Job::Reach { .. } | Job::MountRoot { .. } => busy.root = true,
                Job::Probe => busy.probe = true,
                _ => {}
            }
        }
        busy
    }

    fn user_busy(&self) -> workspace_decide::Busy {
        let mut busy = workspace_decide::Busy::default();
        for job in self.under_way.values() {
            match job {
                Job::LayGuard | Job::MountPoints { .. } => busy.points = true,
                Job::Directories { .. } => busy.directories = true,
                Job::Attach { wanted, .. } => drop(busy.mounts.insert(wanted.directory.clone().into())),
                Job::Detach { directory } => drop(busy.mounts.insert(directory.into())),
                Job::Link { person, .. } => {
                    busy.links.extend(self.by_uid(person.uid()).map(|r| r.account.name.clone()))
                }
                _ => {}
            }
        }
        busy
    }

    fn by_uid(&self, uid: u32) -> impl Iterator<Item = &Record> {
        self.users.users.values().filter(move |r| r.account.uid == uid)
    }

    /// Where to look for mount points: the guard, while somebody's is not known to be there.
    pub fn wants_points(&self) -> Option<(PathBuf, PathBuf)> {
        let share = self.settings.share.as_ref()?;
        let guard = self.share.guard_id?;
        let missing = self.users.users.values().find(|r| r.point != Some(guard))?;
        let below = crate::share::model::parent_of(missing.directory.as_ref()).to_owned();
        Some((share.mount_point.clone(), below))
    }

    /// The job that carries out a step; nothing when what it speaks of is gone.
    pub fn job(&self, step: &Step, range: &RangeInclusive<u32>, act: bool) -> Option<Job> {
        let record = |name: &String| self.users.users.get(name);
        let wanted = |r: &Record| Wanted { directory: r.directory.clone(), uid: r.account.uid, gid: r.account.gid };
        Some(match step {
            Step::Accounts(AskAccounts::AskAccounts) => {
                let names = self.users.named.iter().cloned().collect();
                Job::Accounts { from: *range.start(), to: *range.end(), names }
            }
            Step::Share(ShareStep::LayGuard) => Job::LayGuard,
            Step::Share(ShareStep::Reach { host, port }) => Job::Reach { host: host.clone(), port: *port },
            Step::Share(ShareStep::MountRoot { address }) => Job::MountRoot { address: *address },
            Step::Share(ShareStep::Probe) => Job::Probe,
            Step::User(UserStep::MountPoints { names }) => {
                Job::MountPoints { directories: names.iter().filter_map(record).map(|r| r.directory.clone()).collect() }
            }
            Step::User(UserStep::Directories { names }) => {
                Job::Directories { wanted: names.iter().filter_map(record).map(wanted).collect(), make: act }
            }
            Step::User(UserStep::Link { name }) => {
                let r = record(name)?;
                let a = &r.account;
                let person = Person::new(a.uid, a.gid, a.groups.clone(), a.home.clone()).ok()?;
                Job::Link { person, directory: r.directory.clone(), make: act }
            }
            Step::User(UserStep::Attach { name, address }) => {
                Job::Attach { wanted: wanted(record(name)?), address: *address }
            }
            Step::User(UserStep::Detach { directory, .. }) => Job::Detach { directory: directory.to_str()?.to_owned() },
        })
    }

    /// Takes what came of a job into memory.
    pub fn absorb(&mut self, id: u64, job: &Job, result: Result<Answer, Failure>, stuck: bool, now: Duration) {
        if stuck {
            self.stuck.insert(id, now);
        } else {
            self.under_way.remove(&id);
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let jitter = self.seed >> 33;
        match (job, result) {
            (Job::Accounts { .. }, Ok(Answer::Accounts { accounts, odd })) => {
                let settings = self.settings.clone();
                workspace_decide::take_accounts(&mut self.users, &settings, accounts, &odd, now);
            }
            (Job::Accounts { .. }, result) => {
                // Asked again before long: half of the usual pause.
                self.users.asked = Some(now.saturating_sub(workspace_decide::ASK_AGAIN - Duration::from_secs(30)));
                self.users.unknown = Some(unexpected(result));
            }
            (Job::Reach { .. }, Ok(Answer::Reached { address })) => self.share.reached(address, now),
            (Job::LayGuard | Job::MountRoot { .. }, Ok(_)) => self.share.succeeded(),
            (Job::Reach { .. } | Job::LayGuard | Job::MountRoot { .. }, result) => {
                self.share.failed(unexpected(result), now, jitter)
            }
            (Job::Probe, Ok(Answer::Alive(probe))) => self.share.probed(Ok(probe), now),
            (Job::Probe, result) => self.share.probed(Err(unexpected(result)), now),
            (Job::MountPoints { directories }, result) => {
                let outcome = result.map(drop);
                let guard = self.guard();
                for record in self.users.users.values_mut().filter(|r| directories.contains(&r.directory)) {
                    record.pointed(guard, outcome.clone(), now, jitter);
                }
            }
            (Job::Directories { wanted, .. }, result) => self.absorb_directories(wanted, result, now, jitter),
            (Job::Attach { wanted, .. }, result) => self.absorb_mount(&wanted.directory, result, now, jitter),
            (Job::Detach { directory }, result) => {
                self.users.detached(directory.as_ref(), &result.map(drop), now, jitter);
            }
            (Job::Link { person, directory, .. }, result) => {
                let link = self.settings.workspace.link.clone();
                // Two names may have one number, and each has a home and a link of its own.
                let meant = |r: &&mut Record| r.account.uid == person.uid() && r.directory == *directory;
                for record in self.users.users.values_mut().filter(meant) {
                    match &result {
                        Ok(Answer::Link(seen)) => record.link(&link, seen, now, jitter),
                        Ok(_) => record.link_failed(
                            &Failure::said(Attempt::Worker, "it answered something else"),
                            now,
                            jitter,
                        ),
                        Err(failure) => record.link_failed(failure, now, jitter),
                    }
                }
            }
            (Job::Identity { .. }, _) => {}
        }
    }

    /// How long nothing becomes due by itself: a pause after a failure ends, or the share is to be asked again.
    pub fn next_look(&self, now: Duration) -> Duration {
        let pauses = self.users.users.values().flat_map(|r| r.troubles.values()).map(|t| t.again);
        let probe = self
            .share
            .probed_at
            .map(|at| at + if self.share.silent > 0 { share_decide::PROBE_AGAIN } else { share_decide::PROBE_EVERY });
        let due = pauses
            .chain(self.users.held.values().map(|h| h.again))
            .chain(self.users.users.values().filter_map(|r| Some(r.last_present? + self.settings.workspace.linger)))
            .chain([self.share.next_try])
            .chain(probe)
            .filter(|at| *at > now)
            .min();
        due.map_or(Duration::MAX, |at| at - now)
    }

    fn absorb_mount(&mut self, directory: &str, result: Result<Answer, Failure>, now: Duration, jitter: u64) {
        let outcome = result.map(drop);
        for record in self.users.users.values_mut().filter(|r| r.directory == directory) {
            record.mounted(outcome.clone(), now, jitter);
        }
    }

    fn absorb_directories(&mut self, wanted: &[Wanted], result: Result<Answer, Failure>, now: Duration, jitter: u64) {
        use crate::workspace::model::Directory;
        let root = self.share.root_id.unwrap_or(0);
        let seen = match result {
            Ok(Answer::Directories(seen)) if seen.len() == wanted.len() => seen,
            other => vec![Directory::Failed { failure: unexpected(other) }; wanted.len()],
        };
        for (wanted, seen) in wanted.iter().zip(&seen) {
            for record in self.users.users.values_mut().filter(|r| r.directory == wanted.directory) {
                record.directory(root, seen, now, jitter);
            }
        }
    }

    /// The guard that mount points were just made in. Should it have been laid anew meanwhile, the next pass sees that.
    fn guard(&self) -> u64 {
        self.share.guard_id.unwrap_or(0)
    }
}

fn unexpected(result: Result<Answer, Failure>) -> Failure {
    result.err().unwrap_or_else(|| Failure::said(Attempt::Worker, "it answered something else"))
}

impl Engine {
    fn stuck_problem(&self, job: &Job) -> Problem {
        let of = |directory: &str| self.users.users.values().find(|r| r.directory == directory);
        let user = match job {
            Job::Link { person, .. } => self.by_uid(person.uid()).next(),
            Job::Attach { wanted, .. } => of(&wanted.directory),
            Job::Detach { directory } => of(directory),
            _ => None,
        };
        let what = match (job, user) {
            (Job::Link { .. }, _) => "a user's home",
            (_, Some(_)) => "a user's notebooks",
            _ => "the share",
        };
        let summary =
            format!("A helper process at work on {what} neither finishes nor can be ended. It is left alone.");
        let remedy = "It goes away when the file server or disk behind it answers again, or with the next reboot.";
        let problem = Problem::new("agent.helper-stuck", summary, remedy);
        match user {
            Some(record) => problem.about(&record.account.name),
            None => problem,
        }
    }
}
