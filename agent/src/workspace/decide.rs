//! Who is served, what is missing for them, and what is wrong, as pure functions of facts, memory and time.

use super::memory::{Memory, Record, Topic};
use super::model::{Account, Directory, Link, Person, Step};
use super::names;
use crate::config::settings::{MountWhen, Settings, Share, Workspace};
use crate::problem::Problem;
use crate::share::decide::differs;
use crate::share::model::{Failure, Mounted, UserMount, View, user_directory};
use crate::share::options::{self, For};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How often the link of a user who is here is looked at.
pub const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// How often the name services are asked without a reason.
pub const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// So many users in one worker.
const BATCH: usize = 64;

/// Accounts with a shell and a number like a person's that are none.
const SERVICES: [&str; 6] = ["nobody", "azfilesuser", "dsvm-agent", "jupyterhub", "_azbatch", "omsagent"];

/// The code of the problem that a directory belongs to another number.
pub const UID_DIFFERS: &str = "workspace.uid-differs";

/// Which of the users' jobs are under way: by name, `None` for the batch jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Busy {
    /// Mount points are being made.
    pub points: bool,
    /// Directories are being made.
    pub directories: bool,
    /// These users' links are being made.
    pub links: BTreeSet<String>,
    /// These directories are being mounted or unmounted.
    pub mounts: BTreeSet<std::path::PathBuf>,
}

/// Whether an account is a person that the settings serve.
pub fn is_served(workspace: &Workspace, account: &Account) -> bool {
    let no_shell = ["nologin", "false", "sync", "halt", "shutdown"];
    let shell = account.shell.file_name().and_then(|s| s.to_str()).unwrap_or_default();
    let listed = |list: &[String]| {
        list.iter().any(|entry| match entry.strip_prefix('@') {
            Some(group) => account.group_names.iter().any(|g| g == group),
            None => *entry == account.name,
        })
    };
    let a_person = !no_shell.contains(&shell)
        && !shell.is_empty()
        && account.home.is_absolute()
        && account.home != Path::new("/")
        && !account.home.starts_with("/nonexistent")
        && Person::new(account.uid, account.gid, Vec::new(), account.home.clone()).is_ok()
        && !SERVICES.contains(&account.name.as_str());
    a_person && !listed(&workspace.exclude) && (workspace.include.is_empty() || listed(&workspace.include))
}

/// Takes a new answer of the name services: new users are added, changed ones start afresh, gone ones are dropped. Accounts
/// below `lowest` are the system's: they come when somebody asked for them by name, and are not served.
pub fn take_accounts(
    memory: &mut Memory,
    settings: &Settings,
    accounts: Vec<Account>,
    odd: &[String],
    lowest: u32,
    now: Duration,
) {
    // An answer that may be older than a change does not count as one to it.
    (memory.known, memory.asked, memory.unknown) = (true, (!memory.changed).then_some(now), None);
    memory.unserved.clear();
    memory.refused = odd.iter().map(|name| unwritable(name)).collect();
    let mut left = std::mem::take(&mut memory.users);
    for account in accounts {
        if account.uid < lowest || !is_served(&settings.workspace, &account) {
            memory.unserved.insert(account.name);
            continue;
        }
        let Some(component) = names::escape(&account.name) else {
            memory.refused.push(unwritable(&account.name));
            continue;
        };
        let directory = user_directory(&settings.workspace.directory, &component).to_string_lossy().into_owned();
        let same =
            |r: &Record| r.directory == directory && r.account.uid == account.uid && r.account.gid == account.gid;
        let record = match left.remove(&account.name) {
            Some(old) if same(&old) => {
                let linked = old.linked.filter(|_| old.account.home == account.home);
                Record { account: account.clone(), linked, ..old }
            }
            old => Record {
                renumbered: old.is_some_and(|o| o.account.uid != account.uid),
                account: account.clone(),
                directory,
                point: None,
                made: None,
                linked: None,
                look: false,
                last_present: None,
                troubles: Default::default(),
            },
        };
        memory.users.insert(account.name, record);
    }
}

/// Forgets what was wrong and is so no longer, although nothing was done about it: a mount that came or went otherwise,
/// or is not wanted any more, a mount point that was found.
pub fn forget(memory: &mut Memory, workspace: &Workspace, mounted: &Mounted, guard: Option<u64>, now: Duration) {
    let is_mounted = |directory: &Path| mounted.users.iter().any(|m| m.directory == directory);
    memory.held.retain(|directory, _| is_mounted(directory));
    for record in memory.users.values_mut().filter(|r| !r.troubles.is_empty()) {
        if is_wanted(workspace, record, now) == is_mounted(Path::new(&record.directory)) {
            record.troubles.remove(&Topic::Mount);
        }
        if guard.is_some() && record.point == guard {
            record.troubles.remove(&Topic::Point);
        }
    }
}

/// Brings memory up to who is here.
pub fn refresh(memory: &mut Memory, present: Option<&BTreeSet<u32>>, now: Duration) {
    for record in memory.users.values_mut() {
        if present.is_none_or(|p| p.contains(&record.account.uid)) {
            record.last_present = Some(now);
        }
    }
}

/// Notes the mount points that were found in this guard: after a restart they need not be made again.
pub fn find_points(memory: &mut Memory, guard: Option<u64>, points: &BTreeSet<std::path::PathBuf>) {
    for record in memory.users.values_mut().filter(|r| r.point != guard) {
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
    let mut steps = detach(&settings.workspace, mounted, memory, busy, now);
    if share.guard.is_none() {
        return steps;
    }
    let unpointed = |r: &&Record| r.point != share.guard && r.due(Topic::Point, now);
    if !busy.points {
        batch(memory, unpointed, |names| steps.push(Step::MountPoints { names }));
    }
    if share.usable.is_some() && !busy.directories {
        let unmade = |r: &&Record| r.made != share.usable && r.due(Topic::Directory, now);
        batch(memory, unmade, |names| steps.push(Step::Directories { names }));
    }
    let (mut of_these, mut of_others) = (Vec::new(), Vec::new());
    for (name, record) in &memory.users {
        let present = record.last_present == Some(now);
        if record.point == share.guard && record.wants_link(present, now) && !busy.links.contains(name) {
            // Whoever is here comes first.
            let here = record.is_here(settings.workspace.linger, now);
            if here { &mut of_these } else { &mut of_others }.push(Step::Link { name: name.clone() });
        }
        if share.usable.is_some() && wants_mount(&settings.workspace, record, share, mounted, busy, now) {
            steps.push(Step::Attach { name: name.clone(), address: share.address });
        }
    }
    steps.append(&mut of_these);
    steps.append(&mut of_others);
    steps
}

fn batch(memory: &Memory, wanted: impl Fn(&&Record) -> bool, mut push: impl FnMut(Vec<String>)) {
    let names: Vec<String> = memory.users.values().filter(wanted).take(BATCH).map(|r| r.account.name.clone()).collect();
    if !names.is_empty() {
        push(names);
    }
}

fn wants_mount(
    workspace: &Workspace,
    record: &Record,
    share: &View,
    mounted: &Mounted,
    busy: &Busy,
    now: Duration,
) -> bool {
    let directory = Path::new(&record.directory);
    is_wanted(workspace, record, now)
        && record.made == share.usable
        && record.point == share.guard
        && record.due(Topic::Mount, now)
        && !mounted.users.iter().any(|m| m.directory == directory)
        && !busy.mounts.contains(directory)
}

/// Whether a user's directory is to be mounted, as far as it depends on them.
fn is_wanted(workspace: &Workspace, record: &Record, now: Duration) -> bool {
    workspace.mount == MountWhen::Always || record.is_here(workspace.linger, now)
}

/// Mounts that are nobody's, somebody else's, or no longer wanted. A name may be given to another number: a mount that
/// was made for the old one must not stay a moment longer than it is used.
fn detach(workspace: &Workspace, mounted: &Mounted, memory: &Memory, busy: &Busy, now: Duration) -> Vec<Step> {
    if !memory.known {
        return Vec::new();
    }
    let owner = |m: &UserMount| memory.users.values().find(|r| Path::new(&r.directory) == m.directory);
    let why = |m: &UserMount| match owner(m) {
        None => Some("the user is gone or not served"),
        Some(r) if m.uid.is_some_and(|uid| uid != r.account.uid) => Some("the user has another uid now"),
        Some(_) if m.is_removed() => Some("its directory was removed on the share"),
        Some(r) if r.is_foreign() => Some("the directory belongs to another uid"),
        Some(r) => (!is_wanted(workspace, r, now)).then_some("the user is not here"),
    };
    let held = |m: &UserMount| memory.held.get(&m.directory).is_some_and(|h| now < h.again);
    let free = |m: &&UserMount| !m.carries && !busy.mounts.contains(&m.directory) && !held(m);
    mounted
        .users
        .iter()
        .filter(free)
        .filter_map(|m| Some(Step::Detach { directory: m.directory.clone(), why: why(m)? }))
        .collect()
}

/// Problems of users, and of the mounts that they have.
pub fn problems(share: &Share, mounted: &Mounted, memory: &Memory) -> Vec<Problem> {
    let mut out: Vec<Problem> = memory.refused.clone();
    for record in memory.users.values() {
        out.extend(record.troubles.values().filter_map(|t| t.problem.clone()));
        let mount = mounted.users.iter().find(|m| m.directory == Path::new(&record.directory));
        out.extend(mount.filter(|m| m.is_removed()).map(|_| removed(&record.account.name)));
        let differences = mount.map(|m| mount_differences(share, record, m)).unwrap_or_default();
        if !differences.is_empty() {
            out.push(
                differs(&format!("{}'s notebooks", record.account.name), &differences).about(&record.account.name),
            );
        }
    }
    if let Some(failure) = &memory.unknown {
        let summary = format!("The machine's users cannot be asked for: {}.", failure.words());
        let remedy = "Users known before stay served. Check the name services: getent passwd";
        out.push(Problem::new("workspace.users-unknown", summary, remedy));
    }
    out
}

/// A directory that somebody removed while it was mounted: nothing can be saved in it any more.
fn removed(name: &str) -> Problem {
    let summary =
        format!("The directory of {name} was removed on the share while it was open here. Nothing can be saved in it.");
    let remedy = "A new one comes when the old one is left: close what is open in it (terminals, notebooks). \
                  What was in it: look for a snapshot of the share.";
    Problem::new("workspace.directory-removed", summary, remedy).about(name)
}

fn mount_differences(share: &Share, record: &Record, mount: &UserMount) -> Vec<String> {
    let whom = For::User { uid: record.account.uid, gid: record.account.gid };
    let as_mount = crate::sys::mountinfo::Mount {
        id: mount.id,
        parent: 0,
        device: String::new(),
        root: mount.root.clone(),
        target: mount.directory.clone(),
        attributes: mount.attributes.clone(),
        fs_type: String::new(),
        source: mount.source.clone().into(),
        options: mount.options.clone(),
    };
    options::differences(share, whom, &as_mount)
}

/// How long to wait after the `failures`th failure in a row.
pub fn pause(failures: u32, jitter: u64) -> Duration {
    let base = Duration::from_secs(5 << failures.min(6)).min(Duration::from_secs(300));
    base + base * u32::try_from(jitter % 200).unwrap_or(0) / 1000
}

fn unwritable(name: &str) -> Problem {
    let summary = "This user's name is too long, or not text, to be written as a directory's name on the share.";
    Problem::new("workspace.name", summary, "Rename the account, or list it in [workspace] exclude.").about(name)
}

/// What a failed step means for one user.
pub fn failed(name: &str, failure: &Failure) -> Problem {
    let summary = format!("The notebooks of {name} cannot be connected: {}. Nothing was changed.", failure.words());
    Problem::new("workspace.not-mounted", summary, "It is tried again by itself. If it lasts: sudo dsvm-agent doctor")
        .about(name)
}

/// A home that does not answer.
pub fn home_silent(name: &str, failure: &Failure) -> Problem {
    let summary = format!("The home of {name} does not answer: {}. Other users are not held up.", failure.words());
    Problem::new(
        "workspace.home-silent",
        summary,
        "Check the file system that the home is on. It is tried again by itself.",
    )
    .about(name)
}

/// What a user's directory on the share means; nothing when it is right.
pub fn directory_problem(account: &Account, directory: &str, seen: &Directory) -> Option<Problem> {
    let name = &account.name;
    let problem = match seen {
        Directory::Ready { .. } => return None,
        Directory::Missing => {
            failed(name, &Failure::call(crate::share::model::Attempt::Directory, rustix::io::Errno::NOENT))
        }
        Directory::Occupied => Problem::new(
            "workspace.directory-occupied",
            format!("On the share, {directory} is no directory. It was not touched and not followed."),
            format!("Look at who put it there; move it away, then {name} gets a directory."),
        ),
        Directory::Foreign { uid } => Problem::new(
            UID_DIFFERS,
            format!("{name} is uid {} here; on the share, {directory} belongs to uid {uid}. Not opened.", account.uid),
            format!("Give {name} uid {uid} on every VM, then start a fresh VM. Do not chown the share."),
        ),
        Directory::Failed { failure } => failed(name, failure),
    };
    Some(problem.about(name))
}

/// What lies where the link belongs, as a problem; nothing when it is right.
pub fn link_problem(account: &Account, link: &str, seen: &Link) -> Option<Problem> {
    let name = &account.name;
    let import = format!(
        "Move it away (mv ~/{link} ~/{link}.local), or ask an administrator to; the link is made by itself then."
    );
    let problem = match seen {
        Link::Right { .. } | Link::NoHome => return None,
        Link::Missing => Problem::new(
            "workspace.link-missing",
            format!("~/{link} of {name} is not there yet."),
            "It is made by itself.",
        ),
        Link::Elsewhere { target } => Problem::new(
            "workspace.link-elsewhere",
            format!("~/{link} of {name} leads to {}, not to the share. Nothing was touched.", target.display()),
            import,
        ),
        Link::Directory { entries } => Problem::new(
            "workspace.link-occupied",
            format!(
                "~/{link} is {name}'s own directory ({}), not the share. Nothing was touched; nothing in it is on the share.",
                count(*entries)
            ),
            import,
        ),
        Link::Other => Problem::new(
            "workspace.link-occupied",
            format!("~/{link} of {name} is a file, not the link to the share. Nothing was touched."),
            import,
        ),
        Link::Blocked { path, errno } => Problem::new(
            "workspace.home-blocked",
            format!(
                "The link cannot be made in the home of {name}: {}: {}.",
                path.display(),
                std::io::Error::from_raw_os_error(*errno)
            ),
            "Put it right as that user; it is tried again by itself.",
        ),
    };
    Some(problem.about(name))
}

fn count(entries: u64) -> String {
    match entries {
        0 => "empty".to_owned(),
        1 => "1 entry".to_owned(),
        n if n >= super::act::COUNTED => format!("{n} entries or more"),
        n => format!("{n} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Held;
    use super::*;
    use crate::share::model::{Attempt, ShareState};
    use rustix::io::Errno;

    const NOW: Duration = Duration::from_secs(1000);
    const VIEW: View =
        View { state: ShareState::Mounted, guard: Some(5), usable: Some(7), address: None, problems: Vec::new() };

    fn account(name: &str, uid: u32) -> Account {
        Account {
            name: name.to_owned(),
            uid,
            gid: uid,
            groups: vec![uid],
            group_names: Vec::new(),
            home: format!("/home/{name}").into(),
            shell: "/bin/bash".into(),
        }
    }

    /// Alice, linked, with a directory, and not here.
    fn memory() -> Memory {
        let mut memory = Memory::default();
        take_accounts(&mut memory, &Settings::default(), vec![account("alice", 1001)], &[], 1000, NOW);
        let alice = memory.users.get_mut("alice").unwrap();
        (alice.point, alice.made, alice.linked) = (Some(5), Some(7), Some(NOW));
        memory
    }

    fn mount(directory: &str) -> Mounted {
        let mount = UserMount {
            id: 9,
            directory: directory.into(),
            uid: None,
            source: String::new(),
            root: "/".into(),
            options: String::new(),
            attributes: String::new(),
            carries: false,
        };
        Mounted { guard: Some(5), users: vec![mount], ..Mounted::default() }
    }

    fn steps(memory: &Memory, mounted: &Mounted, linger: u64, now: Duration) -> Vec<Step> {
        let mut settings = Settings::default();
        settings.workspace.linger = Duration::from_secs(linger);
        decide(&settings, &VIEW, mounted, memory, &Busy::default(), now)
    }

    #[test]
    fn the_systems_accounts_are_known_and_not_served() {
        let mut memory = Memory::default();
        let mut no_one = account("dave", 1004);
        no_one.gid = 0;
        let accounts = vec![account("alice", 1001), account("root", 0), account("postgres", 110), no_one];
        take_accounts(&mut memory, &Settings::default(), accounts, &[], 1000, NOW);
        assert_eq!(memory.users.keys().collect::<Vec<_>>(), ["alice"]);
        assert_eq!(memory.unserved.iter().collect::<Vec<_>>(), ["dave", "postgres", "root"]);
    }

    #[test]
    fn an_answer_that_may_be_older_than_a_change_is_asked_for_again() {
        let mut memory = memory();
        assert_eq!(memory.asked, Some(NOW));
        memory.ask();
        take_accounts(&mut memory, &Settings::default(), Vec::new(), &[], 1000, NOW);
        assert_eq!(memory.asked, None);
    }

    #[test]
    fn the_names_to_ask_for_fit_into_one_message() {
        let mut memory = Memory::default();
        let all = (0..10_000).filter(|i| memory.name(&format!("contoso\\somebody-{i:05}"))).count();
        assert!((1000..10_000).contains(&all), "{all}");
        assert!(serde_json::to_vec(&memory.named).unwrap().len() < crate::worker::wire::LIMIT);
        assert!(memory.name("contoso\\somebody-00000"), "known already");
        assert!(!Memory::default().name(&"x".repeat(257)) && !Memory::default().name("a\nb"));
    }

    #[test]
    fn a_mount_in_use_is_tried_again_after_a_pause_whoever_it_is() {
        for directory in ["notebooks/alice", "notebooks/gone"] {
            let (mut memory, mounted) = (memory(), mount(directory));
            assert_eq!(steps(&memory, &mounted, 600, NOW).len(), 1, "{directory}");
            for errno in [Errno::BUSY, Errno::PERM] {
                let busy = Err(Failure::call(Attempt::Detach, errno));
                memory.detached(Path::new(directory), &busy, NOW, 0);
                forget(&mut memory, &Workspace::default(), &mounted, Some(5), NOW);
                assert_eq!(steps(&memory, &mounted, 600, NOW), [], "{directory}");
                assert_eq!(steps(&memory, &mounted, 600, NOW + Duration::from_secs(300)).len(), 1, "{directory}");
            }
            forget(&mut memory, &Workspace::default(), &Mounted::default(), Some(5), NOW);
            assert_eq!(memory.held, Default::default(), "gone is gone");
        }
    }

    #[test]
    fn a_mount_that_carries_another_stays() {
        let mut mounted = mount("notebooks/alice");
        mounted.users[0].carries = true;
        assert_eq!(steps(&memory(), &mounted, 600, NOW), []);
    }

    #[test]
    fn without_lingering_whoever_is_here_is_served() {
        let mut memory = memory();
        refresh(&mut memory, Some(&BTreeSet::from([1001])), NOW);
        assert!(matches!(steps(&memory, &Mounted::default(), 0, NOW)[..], [Step::Attach { .. }]));
        assert_eq!(steps(&memory, &mount("notebooks/alice"), 0, NOW), []);
        assert_eq!(steps(&memory, &mount("notebooks/alice"), u64::MAX, NOW + Duration::from_secs(1)), []);
        assert_eq!(steps(&memory, &mount("notebooks/alice"), 0, NOW + Duration::from_secs(1)).len(), 1);
    }

    #[test]
    fn what_is_wrong_no_longer_is_forgotten() {
        let failure = || Err(Failure::call(Attempt::Attach, Errno::TIMEDOUT));
        let (workspace, none) = (Workspace::default(), Mounted::default());
        for (here, mounted, forgotten) in
            [(true, &mount("notebooks/alice"), true), (false, &none, true), (true, &none, false)]
        {
            let mut memory = memory();
            let alice = memory.users.get_mut("alice").unwrap();
            alice.last_present = here.then_some(NOW);
            alice.mounted(failure(), NOW, 0);
            alice.pointed(4, failure(), NOW, 0);
            forget(&mut memory, &workspace, mounted, Some(5), NOW);
            assert_eq!(!memory.users["alice"].has_problem(), forgotten, "{here}");
        }
        let mut memory = memory();
        memory.held.insert("notebooks/alice".into(), Held { again: NOW, failures: 1 });
        forget(&mut memory, &workspace, &mount("notebooks/alice"), Some(5), NOW);
        assert_eq!(memory.held.len(), 1);
    }
}
