//! The pass without its effects: facts in, jobs out, answers into memory. Nothing here touches the machine.

use super::orders::Kept;
use super::users::is_stale;
use crate::config::Settings;
use crate::config::settings::Share;
use crate::problem::Problem;
use crate::share::decide as share_decide;
use crate::share::model::{
    Attempt, Failure, FileMark, Memory as ShareMemory, Mounted, ShareState, Step as ShareStep, View,
};
use crate::share::observe::mounted;
use crate::share::old;
use crate::share::vault;
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

/// So many of them for single users at most: whatever hangs for them, the share itself is still looked after.
const FOR_USERS: usize = 6;
/// So many homes at once: they may all lie on the same dead server.
const HOMES: usize = 4;
/// So many looks for files at once: nobody waits for them.
const SURVEYS: usize = 1;
/// So many looks at once for what was rescued: all may wait for the same dead server.
const LAST_TIMES: usize = 2;
/// So many unmounts at once: each may take a minute when the server is away.
const UNMOUNTS: usize = 2;

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
    /// The credentials' file, when there is one and it can be looked at.
    pub keys: Option<FileMark>,
    /// File systems of the share's from which too little is read ahead, named as in mountinfo.
    pub short: Vec<String>,
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
    /// Ask for everybody.
    AskAccounts,
    /// Ask for those who were not mentioned.
    AskNames,
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
    /// Whether the settings in force are kept for when the files have a mistake.
    pub kept: Kept,
    /// The share.
    pub share: ShareMemory,
    /// Key Vault.
    pub vault: vault::Memory,
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
        let kept = Kept::Yes;
        let (vault, under_way, stuck) = Default::default();
        Self { settings, mistake, kept, share, vault, users, under_way, stuck, seed }
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
        self.share.keys.file = facts.keys;
        share_decide::refresh(&mut self.share, &mounted);
        // Numbers of mounts are given out again: what was found on one that is gone is not on the next of its number.
        if mounted.guard.is_none() {
            self.users.all_mut().for_each(|r| r.point = None);
        }
        if mounted.root.is_none() {
            self.users.all_mut().for_each(|r| (r.made, r.squashed) = (None, None));
        }
        self.users.see(facts.present.as_ref(), now);
        workspace_decide::find_points(&mut self.users, mounted.guard, &facts.points);
        if share.is_open() {
            // There are none: users' directories are where the share has them.
            self.users.all_mut().for_each(|r| r.point = mounted.guard);
        }
        workspace_decide::forget(&mut self.users, &self.settings.workspace, &mounted, mounted.guard, now);
        let (view, share_steps) = share_decide::decide(&share, &mounted, &self.share, self.share_busy(), now);
        self.share.note(view.state, now);
        let share_steps = self.with_vault(&share, share_steps, now);
        let mut steps: Vec<Step> = share_steps.into_iter().map(Step::Share).collect();
        let old = old::find(&share, mounts);
        if old::is_due(&old, self.share.old, now) {
            steps.extend(old.iter().map(|o| Step::Share(ShareStep::TakeDown { at: o.at.clone() })));
        }
        if !facts.short.is_empty() {
            steps.push(Step::Share(ShareStep::ReadAhead { devices: facts.short.clone() }));
        }
        workspace_decide::look_for_owners(&mut self.users, &self.settings, &mounted);
        if self.wants_accounts(now) {
            steps.push(Step::Accounts(AskAccounts::AskAccounts));
        } else if self.wants_names(now) {
            steps.push(Step::Accounts(AskAccounts::AskNames));
        }
        let user_steps = workspace_decide::decide(&self.settings, &view, &mounted, &self.users, &self.user_busy(), now);
        steps.extend(user_steps.into_iter().map(Step::User));
        let mut problems = self.problems(&share, &view, &mounted);
        problems.extend(old::problems(&share, &old));
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
            "See: sudo journalctl -u dsvm-agent",
        );
        let view = View { state, guard: None, usable: None, address: None, problems: Vec::new() };
        Decision { view, mounted: Mounted::default(), steps: Vec::new(), problems: vec![problem] }
    }

    fn problems(&self, share: &Share, view: &View, mounted: &Mounted) -> Vec<Problem> {
        let mut out: Vec<Problem> = self.mistake.iter().cloned().collect();
        out.extend(view.problems.iter().cloned());
        out.extend(self.vault.problem(share));
        out.extend(workspace_decide::problems(share, mounted, &self.users));
        for id in self.stuck.keys() {
            if let Some(job) = self.under_way.get(id) {
                out.push(self.stuck_problem(job));
            }
        }
        out
    }

    /// Whether everybody is to be asked for.
    pub(super) fn wants_accounts(&self, now: Duration) -> bool {
        let old = self.users.asked.is_none_or(|at| now >= at + workspace_decide::ASK_AGAIN);
        (old || self.users.is_doubtful(now)) && !self.under_way.values().any(|j| matches!(j, Job::Accounts { .. }))
    }

    /// Whether those are to be asked for by name whom the name services did not mention.
    fn wants_names(&self, now: Duration) -> bool {
        let due = self.users.missed.is_none_or(|at| now >= at + workspace_decide::MISSING_AGAIN);
        due && !self.users.missing.is_empty() && !self.under_way.values().any(|j| matches!(j, Job::Accounts { .. }))
    }

    /// The job that carries out a step; nothing when what it speaks of is gone.
    pub fn job(&self, step: &Step, range: &RangeInclusive<u32>, act: bool) -> Option<Job> {
        let record = |name: &String| self.users.get(name);
        let person = |r: &Record| {
            let a = &r.account;
            Person::new(a.uid, a.gid, a.groups.clone(), a.home.clone()).ok()
        };
        let wanted = |r: &Record| {
            let group = r.shared.as_ref().and_then(|part| Some(part.group.as_ref()?.1));
            Wanted { directory: r.directory.clone(), uid: r.account.uid, gid: r.account.gid, group }
        };
        Some(match step {
            Step::Accounts(AskAccounts::AskAccounts) => {
                let names = self.users.named.iter().cloned().collect();
                Job::Accounts { from: *range.start(), to: *range.end(), names }
            }
            Step::Accounts(AskAccounts::AskNames) => {
                let names = self.users.missing.iter().take(workspace_decide::NAMES_AT_ONCE).cloned().collect();
                Job::Accounts { from: *range.start(), to: 0, names }
            }
            Step::Share(step) => self.share_job(step),
            Step::User(UserStep::MountPoints { names }) => {
                Job::MountPoints { directories: names.iter().filter_map(record).map(|r| r.directory.clone()).collect() }
            }
            Step::User(UserStep::Directories { names }) => {
                Job::Directories { wanted: names.iter().filter_map(record).map(wanted).collect(), make: act }
            }
            Step::User(UserStep::OwnDirectory { name }) => {
                let r = record(name)?;
                Job::OwnDirectory { person: person(r)?, wanted: wanted(r) }
            }
            Step::User(UserStep::Link { name }) => {
                let r = record(name)?;
                Job::Link { person: person(r)?, directory: r.directory.clone(), make: act }
            }
            Step::User(UserStep::Attach { name, address }) => {
                Job::Attach { wanted: wanted(record(name)?), address: *address }
            }
            Step::User(UserStep::ShowAll { address }) => Job::ShowAll { address: *address },
            Step::User(UserStep::Detach { directory, .. }) if directory.as_os_str().is_empty() => Job::HideAll,
            Step::User(UserStep::Detach { directory, .. }) => Job::Detach { directory: directory.to_str()?.to_owned() },
        })
    }

    /// Whether one more home may be seen to beside those under way. Stuck ones do not count.
    pub fn has_room_for_homes(&self) -> bool {
        let homes = |(id, j): &(&u64, &Job)| !self.stuck.contains_key(id) && matches!(j, Job::Link { .. });
        self.under_way.iter().filter(homes).count() < HOMES
    }

    /// Whether a worker for `job` may be asked for beside those under way. Stuck ones do not count.
    pub fn has_room(&self, job: &Job) -> bool {
        let count = |kind: fn(&Job) -> bool| {
            self.under_way.iter().filter(|(id, j)| !self.stuck.contains_key(id) && kind(j)).count()
        };
        let is_users = |j: &Job| {
            let looks = matches!(j, Job::Survey { .. } | Job::LastTime { .. });
            looks || matches!(j, Job::Link { .. } | Job::Attach { .. } | Job::Detach { .. } | Job::OwnDirectory { .. })
        };
        let target = job.target();
        let free = match job {
            Job::Link { .. } => self.has_room_for_homes(),
            Job::Detach { .. } => count(|j| matches!(j, Job::Detach { .. })) < UNMOUNTS,
            Job::Survey { .. } => count(|j| matches!(j, Job::Survey { .. })) < SURVEYS,
            Job::LastTime { .. } => count(|j| matches!(j, Job::LastTime { .. })) < LAST_TIMES,
            _ => true,
        };
        free && count(|_| true) < AT_ONCE
            && (!is_users(job) || count(is_users) < FOR_USERS)
            && !self.under_way.values().any(|j| j.target() == target)
    }

    /// Takes what came of a job into memory.
    pub fn absorb(&mut self, id: u64, job: &Job, result: Result<Answer, Failure>, stuck: bool, now: Duration) {
        if stuck {
            if self.under_way.contains_key(&id) {
                self.stuck.insert(id, now);
            }
        } else {
            self.under_way.remove(&id);
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let jitter = self.seed >> 33;
        if is_stale(&result) {
            self.users.doubt(now);
        }
        match (job, result) {
            (Job::Accounts { from, .. }, Ok(Answer::Accounts(found))) => {
                workspace_decide::take(&mut self.users, &self.settings, found, *from, now);
            }
            (Job::Accounts { .. }, result) => {
                // Asked again before long: half of the usual pause.
                self.users.asked = Some(now.saturating_sub(workspace_decide::ASK_AGAIN - Duration::from_secs(30)));
                self.users.unknown = Some(unexpected(result));
            }
            (job, result) if job.is_shares() => self.absorb_share(job, result, stuck, now, jitter),
            (Job::MountPoints { directories }, result) => {
                let each = match result {
                    Ok(Answer::MountPoints(each)) if each.len() == directories.len() => each,
                    other => vec![Some(unexpected(other)); directories.len()],
                };
                let guard = self.guard();
                for (directory, failure) in directories.iter().zip(each) {
                    if let Some(record) = self.users.of_mut(directory.as_ref()) {
                        record.pointed(guard, failure.map_or(Ok(()), Err), now, jitter);
                    }
                }
            }
            (Job::Directories { wanted, .. }, result) => self.absorb_directories(wanted, result, now, jitter),
            (Job::OwnDirectory { wanted, .. }, result) => {
                self.absorb_directories(std::slice::from_ref(wanted), result, now, jitter);
            }
            (Job::TakeDown { .. }, result) => self.share.old.tried(&result.map(drop), now),
            // The next look sees what came of it.
            (Job::ReadAhead { .. }, _) => {}
            (Job::Attach { wanted, .. }, result) => self.absorb_mount(&wanted.directory, result, now, jitter),
            (Job::Detach { directory }, result) => {
                self.users.detached(directory.as_ref(), &result.map(drop), now, jitter);
            }
            (Job::ShowAll { .. }, result) => self.users.shown(result.map(drop), now, jitter),
            (Job::HideAll, result) => self.users.detached("".as_ref(), &result.map(drop), now, jitter),
            (Job::Link { directory, .. }, result) => {
                let link = self.link_of(directory).to_owned();
                if let Some(record) = self.users.of_mut(directory.as_ref()) {
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
            (job @ (Job::Survey { .. } | Job::LastTime { .. }), result) => self.absorb_files(job, result, now),
            (Job::KeepSettings, result) => self.kept = self.kept.took(result.map(drop), now),
            _ => {}
        }
    }

    /// How long nothing becomes due by itself but a probe: a pause after a failure ends, or somebody is long gone.
    pub fn next_look(&self, now: Duration) -> Duration {
        let pauses = self.users.all().flat_map(|r| r.troubles.values()).map(|t| t.again);
        let due = pauses
            .chain(self.users.held.values().map(|h| h.again))
            .chain(self.users.all().filter_map(|r| r.look))
            .chain(self.users.gone().map(|at| at.saturating_add(self.settings.workspace.linger)))
            .chain(self.users.whole.iter().map(|t| t.again))
            .chain([self.share.old.again])
            .chain(self.kept.again())
            .chain(share_decide::due(&self.share))
            .chain([self.vault.next])
            .chain(self.users.doubt)
            .chain(
                self.users
                    .missed
                    .filter(|_| !self.users.missing.is_empty())
                    .map(|at| at + workspace_decide::MISSING_AGAIN),
            )
            .filter(|at| *at > now)
            .min();
        due.map_or(Duration::MAX, |at| at - now)
    }

    /// The guard that mount points were just made in. Should it have been laid anew meanwhile, the next pass sees that.
    fn guard(&self) -> u64 {
        self.share.guard_id.unwrap_or(0)
    }
}

pub(super) fn unexpected(result: Result<Answer, Failure>) -> Failure {
    result.err().unwrap_or_else(|| Failure::said(Attempt::Worker, "it answered something else"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::model::Account;
    use crate::workspace::model::Link;

    const NOW: Duration = Duration::from_secs(1000);

    fn engine(names: &[(&str, u32)]) -> Engine {
        let mut engine = Engine::new(Settings::default(), None, 0);
        let accounts = names.iter().map(|(name, uid)| Account::for_tests(name, *uid));
        workspace_decide::take_accounts(&mut engine.users, &Settings::default(), accounts.collect(), &[], 1000, NOW);
        engine
    }

    fn link(engine: &Engine, name: &str) -> Job {
        engine.job(&Step::User(UserStep::Link { name: name.to_owned() }), &(1000..=60000), true).unwrap()
    }

    #[test]
    fn hanging_homes_and_unmounts_leave_room_for_others() {
        let users: Vec<(String, u32)> = (0..20).map(|i| (format!("u{i}"), 1001 + i)).collect();
        let users: Vec<(&str, u32)> = users.iter().map(|(n, u)| (n.as_str(), *u)).collect();
        let mut engine = engine(&users);
        let mut fill = |jobs: Vec<Job>| {
            for (id, job) in jobs.into_iter().enumerate() {
                if engine.has_room(&job) {
                    engine.under_way.insert(id as u64 + 1000 * engine.under_way.len() as u64, job);
                }
            }
            engine.under_way.len()
        };
        let known = super::tests::engine(&users);
        assert_eq!(fill(users.iter().map(|(n, _)| link(&known, n)).collect()), 4);
        assert_eq!(fill((0..20).map(|i| Job::Detach { directory: i.to_string() }).collect()), 6);
        assert_eq!(fill(vec![Job::Probe, Job::Probe]), 7);
    }

    #[test]
    fn two_accounts_of_one_number_have_a_link_each() {
        let mut engine = engine(&[("alice", 1001), ("alice-too", 1001)]);
        let job = link(&engine, "alice");
        engine.absorb(1, &job, Ok(Answer::Link(Link::Right { made: true })), false, NOW);
        assert!(engine.users.users["alice"].linked.is_some() && engine.users.users["alice-too"].linked.is_none());
    }

    #[test]
    fn a_probe_that_cannot_be_ended_makes_the_share_hung() {
        let mut engine = engine(&[]);
        engine.under_way.insert(1, Job::Probe);
        engine.absorb(1, &Job::Probe, Err(Failure::said(Attempt::Probe, "given up")), true, NOW);
        assert!(engine.share.silent >= share_decide::SILENT && engine.stuck.contains_key(&1));
        engine.absorb(9, &Job::Probe, Err(Failure::said(Attempt::Probe, "given up")), true, NOW);
        assert!(engine.stuck.len() <= engine.under_way.len());
    }
}
