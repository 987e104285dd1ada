//! Who is served, what is missing for them, and what is wrong, as pure functions of facts, memory and time.

mod problems;
mod served;
mod whole;

pub use problems::{
    ACCOUNT_UNCONFIRMED, HOME_SILENT, NAME_RETIRED, UID_DIFFERS, directory_problem, failed, home_silent, link_problem,
    problems,
};
#[cfg(test)]
pub(crate) use served::take_accounts;
pub use served::{MISSING_AGAIN, NAMES_AT_ONCE, is_served, look_for_owners, take};
pub use whole::is_open;

use super::memory::{Closing, Memory, Record, Topic};
use super::model::{Step, Trouble};
use crate::config::settings::{MountWhen, Settings, Workspace};
use crate::problem::Problem;
use crate::share::model::{Mounted, UserMount, View};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

/// How often the link of a user who is here is looked at.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// How often the name services are asked without a reason.
pub const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// The least time between two askings for everybody because a helper was told that somebody is not who they were.
pub const DOUBT_AGAIN: Duration = Duration::from_secs(30);
/// A directory that was not looked at for so long is looked at before it is mounted: its user may have been given
/// another number or been retired meanwhile, from another VM.
pub const CHECK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// So many users in one worker.
const BATCH: usize = 64;

/// Which of the users' jobs are under way: by name, `None` for the batch jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Busy {
    /// Mount points are being made.
    pub points: bool,
    /// Directories are being made.
    pub directories: bool,
    /// These directories are being made by their users.
    pub own: BTreeSet<String>,
    /// These users' links are being made.
    pub links: BTreeSet<String>,
    /// These directories are being mounted or unmounted.
    pub mounts: BTreeSet<std::path::PathBuf>,
}

/// Forgets what was wrong and is so no longer, although nothing was done about it: a mount that came or went otherwise,
/// or is not wanted any more, a mount point that was found.
pub fn forget(memory: &mut Memory, workspace: &Workspace, mounted: &Mounted, guard: Option<u64>, now: Duration) {
    let there = mounted.by_directory();
    let is_mounted = |directory: &Path| there.contains_key(directory);
    let closing = memory.closing.clone();
    memory.held.retain(|directory, _| is_mounted(directory));
    for record in memory.all_mut().filter(|r| !r.troubles.is_empty()) {
        if is_wanted(closing.as_ref(), workspace, record, now) == is_mounted(Path::new(&record.directory)) {
            record.troubles.remove(&Topic::Mount);
        }
        if guard.is_some() && record.point == guard {
            record.troubles.remove(&Topic::Point);
        }
    }
}

/// Notes the mount points that were found in this guard: after a restart they need not be made again.
pub fn find_points(memory: &mut Memory, guard: Option<u64>, points: &BTreeSet<std::path::PathBuf>) {
    for record in memory.all_mut().filter(|r| r.point != guard) {
        if points.contains(Path::new(&record.directory)) {
            record.point = guard;
        }
    }
}

/// The steps that a pass takes now.
pub fn decide(
    settings: &Settings,
    share: &View,
    mounted: &Mounted,
    memory: &Memory,
    busy: &Busy,
    now: Duration,
) -> Vec<Step> {
    let mut steps = detach(settings, mounted, memory, busy, now);
    if share.guard.is_none() {
        return steps;
    }
    let there = mounted.by_directory();
    steps.extend(whole::show(settings, share, mounted, memory, busy, now));
    let each = !is_open(settings);
    let unpointed = |r: &&Record| r.point != share.guard && r.due(Topic::Point, now);
    if each && !busy.points {
        batch(memory, unpointed, |names| steps.push(Step::MountPoints { names }));
    }
    if share.usable.is_some() && !busy.directories {
        let unmade = |r: &&Record| {
            let out = is_wanted(memory.closing.as_ref(), &settings.workspace, r, now)
                && !there.contains_key(Path::new(&r.directory));
            let stale = out && !r.is_checked(now) && r.made.is_some();
            let missing = r.made != share.usable && r.squashed != share.usable;
            // A shared one is looked at when somebody wants it: it has many members.
            ((missing && (out || r.shared.is_none())) || stale) && r.due(Topic::Directory, now)
        };
        batch(memory, unmade, |names| steps.push(Step::Directories { names }));
    }
    let (mut of_these, mut of_others) = (Vec::new(), Vec::new());
    for record in memory.all() {
        let name = record.key();
        let present = record.last_present == Some(now);
        if record.point == share.guard && record.wants_link(present, now) && !busy.links.contains(name) {
            // Whoever is here comes first.
            let here = record.is_here(settings.workspace.linger, now);
            if here { &mut of_these } else { &mut of_others }.push(Step::Link { name: name.to_owned() });
        }
        if share.usable.is_some() && wants_own(record, share, busy, now) {
            steps.push(Step::OwnDirectory { name: name.to_owned() });
        }
        if each
            && share.usable.is_some()
            && wants_mount((memory, &settings.workspace), record, share, &there, busy, now)
        {
            steps.push(Step::Attach { name: name.to_owned(), address: share.address });
        }
    }
    steps.append(&mut of_these);
    steps.append(&mut of_others);
    steps
}

fn batch(memory: &Memory, wanted: impl Fn(&&Record) -> bool, mut push: impl FnMut(Vec<String>)) {
    let names: Vec<String> = memory.all().filter(wanted).take(BATCH).map(|r| r.key().to_owned()).collect();
    if !names.is_empty() {
        push(names);
    }
}

/// Whether a user's directory is to be made by a worker that is the user.
fn wants_own(record: &Record, share: &View, busy: &Busy, now: Duration) -> bool {
    record.shared.is_none()
        && record.made != share.usable
        && record.squashed == share.usable
        && record.due(Topic::Directory, now)
        && !busy.own.contains(&record.directory)
}

fn wants_mount(
    (memory, workspace): (&Memory, &Workspace),
    record: &Record,
    share: &View,
    there: &HashMap<&Path, &UserMount>,
    busy: &Busy,
    now: Duration,
) -> bool {
    let directory = Path::new(&record.directory);
    let needed = |c: &Closing| record.shared.is_none() && c.needed.contains(&record.account.name);
    let new = memory.closing.as_ref().is_none_or(needed);
    new && is_wanted(memory.closing.as_ref(), workspace, record, now)
        && record.made == share.usable
        && record.is_checked(now)
        && record.point == share.guard
        && record.due(Topic::Mount, now)
        && !there.contains_key(directory)
        && !busy.mounts.contains(directory)
}

/// Whether a user's directory is to be mounted, as far as it depends on them.
fn is_wanted(closing: Option<&Closing>, workspace: &Workspace, record: &Record, now: Duration) -> bool {
    if let Some(closing) = closing {
        let needed = closing.needed.contains(&record.account.name);
        if needed || closing.gone {
            return needed;
        }
    }
    workspace.mount == MountWhen::Always || record.is_here(workspace.linger, now)
}

/// Mounts that are nobody's, somebody else's, or no longer wanted. A name may be given to another number: a mount that
/// was made for the old one must not stay a moment longer than it is used.
fn detach(settings: &Settings, mounted: &Mounted, memory: &Memory, busy: &Busy, now: Duration) -> Vec<Step> {
    if !memory.known {
        return Vec::new();
    }
    let owner = |m: &UserMount| memory.of(&m.directory);
    let own_why = |m: &UserMount| match owner(m) {
        None => served::is_nobodys(memory, settings, &m.directory).then_some("it is for nobody who is served"),
        Some(r) if m.uid().is_some_and(|uid| uid != r.whom().uid()) => Some("the user has another uid now"),
        Some(r) if r.is_otherwise(m) => Some("the configuration or the group is another now"),
        Some(_) if m.other => Some("the configuration asks for another share"),
        Some(_) if m.is_removed() => Some("its directory was removed on the share"),
        Some(r) if r.is_foreign() => Some("it is not this user's, as far as is known"),
        Some(r) => {
            let why =
                if memory.closing.as_ref().is_some_and(|c| c.gone) { "the VM goes" } else { "the user is not here" };
            (!is_wanted(memory.closing.as_ref(), &settings.workspace, r, now)).then_some(why)
        }
    };
    let why = |m: &UserMount| whole::why(settings, memory, m).unwrap_or_else(|| own_why(m));
    let held = |m: &UserMount| memory.held.get(&m.directory).is_some_and(|h| now < h.again);
    let free = |m: &&UserMount| !m.carries && !busy.mounts.contains(&m.directory) && !held(m);
    mounted
        .users
        .iter()
        .filter(free)
        .filter_map(|m| Some(Step::Detach { directory: m.directory.clone(), why: why(m)? }))
        .collect()
}

/// What follows after it failed again, or for the first time. Pauses grow as they run out: what failed time and again within
/// seconds, because somebody asked or the configuration was read anew, may be over as soon as what failed once.
pub fn trouble(before: Option<&Trouble>, problem: Option<Problem>, now: Duration, jitter: u64) -> Trouble {
    let failures = before.map_or(0, |t| t.failures).saturating_add(1);
    let pauses = before.map_or(0, |t| t.pauses.saturating_add(u32::from(now >= t.until)));
    let until = now + pause(pauses, jitter);
    Trouble { problem, again: until, until, pauses, failures }
}

/// How long to wait after the `failures`th failure in a row.
pub fn pause(failures: u32, jitter: u64) -> Duration {
    let base = Duration::from_secs(5 << failures.min(6)).min(Duration::from_secs(300));
    base + base * u32::try_from(jitter % 200).unwrap_or(0) / 1000
}

#[cfg(test)]
mod tests;
