//! Who there is and who is here: `/etc/login.defs`, the name services, the process table.

use super::groups::Groups;
use super::model::{Account, Found};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use users::os::unix::UserExt;

/// The range of ordinary users' ids, from the text of login.defs(5); 1000 to 60000 where it does not say, or says one that
/// nobody is in: with none, everybody could never be asked for, and would be again and again.
pub fn uid_range(login_defs: &str) -> RangeInclusive<u32> {
    let value = |key: &str| {
        let line = login_defs.lines().rev().map(str::trim_start).find(|l| l.split_whitespace().next() == Some(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let range = value("UID_MIN").unwrap_or(1000)..=value("UID_MAX").unwrap_or(60000);
    if range.is_empty() { 1000..=60000 } else { range }
}

/// The user ids that have a process or, by their slice, a log-in session: kernel's and systemd's word, no name service.
/// Only directories' owners and `stat` are looked at, nothing that a blocked process could hold up. The children of
/// `launcher` are the agent's own: one that works in a home has its user's number, and nobody came because of it.
///
/// # Errors
/// When the process table cannot be read or hides other users' processes (`hidepid`): then nobody is known to be gone.
pub fn present(proc: &Path, cgroup: &Path, launcher: Option<i32>) -> io::Result<BTreeSet<u32>> {
    // By descriptor: a path for each of hundreds of processes costs more than the look.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let table = rustix::fs::open(proc, flags, Mode::empty())?;
    let owner = |name: &CStr| rustix::fs::statat(&table, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| s.st_uid);
    if owner(c"1").is_err() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the process table hides other users' processes"));
    }
    let mut out = BTreeSet::new();
    for entry in rustix::fs::Dir::read_from(&table)?.flatten() {
        let name = entry.file_name();
        if name.to_bytes().first().is_some_and(u8::is_ascii_digit)
            && let Ok(uid) = owner(name)
            // One process of each user is enough, so that few are opened.
            && !out.contains(&uid)
            && (launcher.is_none() || parent(&proc.join(OsStr::from_bytes(name.to_bytes()))) != launcher)
        {
            out.insert(uid);
        }
    }
    // A session whose processes are all gone or hidden: its slice still tells.
    if let Ok(slices) = std::fs::read_dir(cgroup.join("user.slice")) {
        let uids = slices.flatten().filter_map(|e| slice_uid(e.file_name().to_str()?));
        out.extend(uids);
    }
    Ok(out)
}

fn parent(process: &Path) -> Option<i32> {
    parent_in(&std::fs::read(process.join("stat")).ok()?)
}

/// The parent of a process by its `stat` (proc_pid_stat(5)): the second field behind the name, which may hold anything.
pub fn parent_in(stat: &[u8]) -> Option<i32> {
    let name_end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The mount points in the directories `parents` of the guard at `mount_point`: names only, so that nothing mounted on one of them is
/// touched. Nothing when it cannot be read: then they are made again, which harms nobody.
pub fn points(mount_point: &Path, parents: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let entries = |parent: &Path| std::fs::read_dir(mount_point.join(parent)).into_iter().flatten().flatten();
    parents.iter().flat_map(|parent| entries(parent).map(|e| parent.join(e.file_name()))).collect()
}

/// The user whose slice of systemd's has this name (user@.service(5)).
pub fn slice_uid(name: &str) -> Option<u32> {
    name.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// Asks the name services for all accounts that they enumerate in `range`, and for each of `names`. May block for as
/// long as a name service likes and loads its libraries: only in a worker without privileges.
///
/// Accounts whose name or home is not UTF-8 come back as the second part, so that somebody is told.
///
/// An empty range enumerates nothing. An enumeration that a service broke off cannot be told from one that came to its
/// end (getpwent(3)); a look-up by name can (getpwnam_r(3)): only that says for sure that there is nobody of a name.
pub fn accounts(range: &RangeInclusive<u32>, names: &[String]) -> Found {
    let mut found = Found { whole: !range.is_empty(), ..Found::default() };
    let mut seen = BTreeSet::new();
    let groups = if found.whole { Groups::of_this_machine() } else { None };
    let mut take = |user: &users::User, found: &mut Found| match account(user, groups.as_ref()) {
        Some(account) if seen.insert(account.name.clone()) => found.accounts.push(account),
        Some(_) => {}
        None => found.odd.push(user.name().to_string_lossy().into_owned()),
    };
    if found.whole {
        // SAFETY: getpwent(3) has one position per process; this worker has one thread and calls it nowhere else.
        let all = unsafe { users::all_users() };
        all.filter(|u| range.contains(&u.uid())).for_each(|user| take(&user, &mut found));
    }
    for name in names {
        match users::get_user_by_name(name) {
            Some(user) => take(&user, &mut found),
            None if nobody_is(name) => found.absent.push(name.clone()),
            None => {}
        }
    }
    found
}

/// Whether all name services said that there is no such name. Not, if one of them could not be asked.
fn nobody_is(name: &str) -> bool {
    matches!(nix::unistd::User::from_name(name), Ok(None))
}

/// With the groups of `all`, where that has everybody's.
fn account(user: &users::User, all: Option<&Groups>) -> Option<Account> {
    let name = user.name().to_str()?.to_owned();
    let home = user.home_dir().to_str()?.into();
    let shell = user.shell().to_str()?.into();
    let (mut ids, named_groups) = match all {
        Some(all) => all.of(&name, user.primary_group_id()),
        None => {
            let groups = user.groups().unwrap_or_default();
            let named = groups.iter().filter_map(|g| Some((g.name().to_str()?.to_owned(), g.gid()))).collect();
            (groups.iter().map(users::Group::gid).collect::<Vec<u32>>(), named)
        }
    };
    if !ids.contains(&user.primary_group_id()) {
        ids.push(user.primary_group_id());
    }
    Some(Account { name, uid: user.uid(), gid: user.primary_group_id(), groups: ids, named_groups, home, shell })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_range_is_the_machines_own() {
        assert_eq!(uid_range(""), 1000..=60000);
        assert_eq!(uid_range("# UID_MIN 7\nUID_MIN\t\t 2000\nUID_MAX 90000 # high\nSYS_UID_MIN 100\n"), 2000..=90000);
        assert_eq!(uid_range("UID_MIN many\n"), 1000..=60000);
        // Nobody is in these.
        assert_eq!(uid_range("UID_MIN 100000\n"), 1000..=60000);
        assert_eq!(uid_range("UID_MIN 2000\nUID_MAX 1000\n"), 1000..=60000);
    }

    #[test]
    fn whoever_runs_the_tests_is_present() {
        let here = present(Path::new("/proc"), Path::new("/nonexistent"), None).unwrap();
        assert!(here.contains(&rustix::process::getuid().as_raw()));
        assert!(present(Path::new("/nonexistent"), Path::new("/nonexistent"), None).is_err());
    }

    #[test]
    fn a_session_without_readable_processes_counts() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "proc/1",
            "cgroup/user.slice/user-1002.slice",
            "cgroup/user.slice/user-x.slice",
            "cgroup/user.slice/user-.slice",
        ] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let here = present(&dir.path().join("proc"), &dir.path().join("cgroup"), None).unwrap();
        assert!(here.contains(&1002) && here.len() == 2);
    }

    #[test]
    fn the_agents_own_children_are_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let process = |pid: &str, stat: &str| {
            std::fs::create_dir_all(dir.path().join(pid)).unwrap();
            std::fs::write(dir.path().join(pid).join("stat"), stat).unwrap();
        };
        process("1", "1 (init) S 0 1 1 0");
        process("20", "20 (dsvm) S) S 7 1 1 0");
        assert_eq!(parent(&dir.path().join("20")), Some(7), "a name is only a name");
        assert!(!present(dir.path(), Path::new("/nonexistent"), Some(7)).unwrap().is_empty());
        std::fs::write(dir.path().join("1/stat"), "1 (init) S 7 1 1 0").unwrap();
        assert!(present(dir.path(), Path::new("/nonexistent"), Some(7)).unwrap().is_empty());
        assert_eq!(parent(&dir.path().join("none")), None);
    }

    #[test]
    fn whoever_is_asked_for_by_name_is_found_or_known_to_be_nobody() {
        let names = ["root", "nobody-is-called-this"].map(str::to_owned);
        #[allow(clippy::reversed_empty_ranges)]
        let found = accounts(&(1..=0), &names);
        assert!(!found.whole && found.odd.is_empty());
        assert_eq!(found.accounts.iter().map(|a| a.uid).collect::<Vec<_>>(), [0]);
        assert_eq!(found.absent, ["nobody-is-called-this"]);
        assert!(accounts(&(0..=0), &[]).whole);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_range(text in "\\PC{0,200}") {
            prop_assert!(!uid_range(&text).is_empty());
        }
    }
}
