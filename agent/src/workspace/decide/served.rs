//! Who is served: from what the name services say to what is remembered of each user.

use super::problems::unwritable;
use crate::config::settings::{Settings, Workspace};
use crate::share::model::{Mounted, user_directory};
use crate::share::options;
use crate::workspace::memory::{Memory, Record};
use crate::workspace::model::{Account, Found, Person};
use crate::workspace::names;
use crate::workspace::shared::owner_of;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

/// Accounts with a shell and a number like a person's that are none.
const SERVICES: [&str; 6] = ["nobody", "azfilesuser", "dsvm-agent", "jupyterhub", "_azbatch", "omsagent"];

/// Whether an account is a person that the settings serve.
pub fn is_served(workspace: &Workspace, account: &Account) -> bool {
    let no_shell = ["nologin", "false", "sync", "halt", "shutdown"];
    let shell = account.shell.file_name().and_then(|s| s.to_str()).unwrap_or_default();
    let listed = |list: &[String]| {
        list.iter().any(|entry| match entry.strip_prefix('@') {
            Some(group) => account.named_groups.contains_key(group),
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

/// So many names are asked for at once, so that they fit into one message.
pub const NAMES_AT_ONCE: usize = 256;
/// How often those are asked for by name whom the name services did not mention, while these say nothing certain.
pub const MISSING_AGAIN: Duration = Duration::from_secs(60);

/// Takes an answer of the name services: new users are added, changed ones start afresh. Who is not mentioned any more is
/// gone only when that is said for sure: a service that is down, or lists nobody, must not take anybody's notebooks away.
/// Accounts below `lowest` are the system's: they come when somebody asked for them by name, and are not served.
pub fn take(memory: &mut Memory, settings: &Settings, found: Found, lowest: u32, now: Duration) {
    if found.whole {
        // An answer that may be older than a change does not count as one to it.
        (memory.known, memory.asked, memory.unknown) = (true, (!memory.changed).then_some(now), None);
        memory.unserved.clear();
        memory.absent.clear();
        memory.refused = found.odd.iter().map(|name| unwritable(name)).collect();
    } else {
        // Nothing learnt: they are asked again after a while.
        memory.missed = (found.accounts.is_empty() && found.absent.is_empty()).then_some(now);
    }
    let mut left = std::mem::take(&mut memory.users);
    for account in found.accounts {
        memory.missing.remove(&account.name);
        memory.displaced.remove(&account.name);
        if account.uid < lowest || !is_served(&settings.workspace, &account) {
            left.remove(&account.name);
            memory.unserved.insert(account.name);
            continue;
        }
        let place = |component: String| user_directory(&settings.workspace.directory, &component);
        let place = names::escape(&account.name).map(|component| place(component).to_string_lossy().into_owned());
        let has_room = |place: &String| settings.share.as_ref().is_none_or(|s| options::has_room(s, place));
        let Some(directory) = place.filter(has_room) else {
            memory.refused.push(unwritable(&account.name));
            continue;
        };
        let same =
            |r: &Record| r.directory == directory && r.account.uid == account.uid && r.account.gid == account.gid;
        let record = match left.remove(&account.name) {
            Some(old) if same(&old) => {
                let linked = old.linked.filter(|_| old.account.home == account.home);
                Record { account: account.clone(), linked, ..old }
            }
            old => {
                let renumbered = old.is_some_and(|o| o.account.uid != account.uid);
                Record { renumbered, ..Record::new(account.clone(), directory) }
            }
        };
        memory.users.insert(account.name, record);
    }
    for name in found.absent {
        left.remove(&name);
        memory.missing.remove(&name);
        memory.absent.insert(name);
    }
    // Whoever left is in between: not mentioned, and not known to be gone.
    if found.whole {
        memory.missing.extend(left.keys().cloned());
        memory.missed = None;
    }
    // A number that is somebody else's by now settles it: nobody may see what was mounted for the other.
    let uids: HashSet<u32> = memory.users.values().map(|r| r.account.uid).collect();
    let (displaced, mut left): (BTreeMap<_, _>, _) =
        left.into_iter().partition(|(_, old)| uids.contains(&old.account.uid));
    memory.displaced.extend(displaced.into_keys());
    memory.users.append(&mut left);
    memory.index();
    memory.share(settings);
}

/// Whether a mount without a known owner is for sure nobody's. After a start, somebody whom nothing enumerates may be at
/// work on it. Who is known has no place in a shared directory that is not for them, or not any more.
pub(super) fn is_nobodys(memory: &Memory, settings: &Settings, directory: &Path) -> bool {
    owner_of(settings, directory).is_none_or(|name| {
        memory.users.contains_key(&name)
            || [&memory.absent, &memory.unserved, &memory.displaced].iter().any(|names| names.contains(&name))
    })
}

/// Notes that the owners of mounts are to be asked for by name, where nothing is known of them.
pub fn look_for_owners(memory: &mut Memory, settings: &Settings, mounted: &Mounted) {
    let own = mounted.users.iter().filter(|m| !m.directory.as_os_str().is_empty());
    let unknown = own.filter(|m| memory.of(&m.directory).is_none());
    let names: Vec<String> = unknown.filter_map(|m| owner_of(settings, &m.directory)).collect();
    for name in names {
        let known = memory.users.contains_key(&name);
        if memory.known
            && !known
            && !memory.absent.contains(&name)
            && !memory.unserved.contains(&name)
            && memory.name(&name)
        {
            memory.missing.insert(name);
        }
    }
}

/// As if the name services had told all there is: whoever is not among `accounts` is gone.
#[cfg(test)]
pub(crate) fn take_accounts(
    memory: &mut Memory,
    settings: &Settings,
    accounts: Vec<Account>,
    odd: &[String],
    lowest: u32,
    now: Duration,
) {
    let absent = memory.users.keys().filter(|name| accounts.iter().all(|a| a.name != **name)).cloned().collect();
    take(memory, settings, Found { accounts, odd: odd.to_vec(), absent, whole: true }, lowest, now);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::model::UserMount;
    use crate::sys::mountinfo::Mount;

    const NOW: Duration = Duration::from_secs(1000);

    fn account(name: &str, uid: u32) -> Account {
        Account::for_tests(name, uid)
    }

    fn told(memory: &mut Memory, whole: bool, accounts: &[(&str, u32)], absent: &[&str]) {
        let accounts = accounts.iter().map(|(name, uid)| account(name, *uid)).collect();
        let absent = absent.iter().map(|n| (*n).to_owned()).collect();
        take(memory, &Settings::default(), Found { accounts, absent, whole, ..Found::default() }, 1000, NOW);
    }

    fn users(memory: &Memory) -> Vec<&str> {
        memory.users.keys().map(String::as_str).collect()
    }

    #[test]
    fn whoever_is_not_mentioned_is_asked_for_by_name_and_kept_until_it_is_sure() {
        let mut memory = Memory::default();
        told(&mut memory, true, &[("ada", 1001), ("bob", 1002), ("carol", 1003)], &[]);
        assert!(memory.missing.is_empty());
        // The directory service is down, or lists nobody.
        told(&mut memory, true, &[("ada", 1001)], &[]);
        assert_eq!(users(&memory), ["ada", "bob", "carol"]);
        assert_eq!(memory.missing.iter().collect::<Vec<_>>(), ["bob", "carol"]);
        // Asked by name it says nothing certain, then one thing for each.
        told(&mut memory, false, &[], &[]);
        assert_eq!((users(&memory), memory.missing.len()), (vec!["ada", "bob", "carol"], 2));
        told(&mut memory, false, &[("bob", 1002)], &["carol"]);
        assert_eq!((users(&memory), memory.missing.len()), (vec!["ada", "bob"], 0));
        assert!(memory.absent.contains("carol"));
    }

    #[test]
    fn a_number_that_is_somebody_elses_by_now_is_no_doubt() {
        let mut memory = Memory::default();
        told(&mut memory, true, &[("ada", 1001)], &[]);
        let (settings, ada) = (Settings::default(), Path::new("notebooks/ada"));
        assert!(!is_nobodys(&memory, &settings, Path::new("notebooks/bob")));
        // Nobody says that there is no ada any more, now or the next time: a directory service is down.
        for _ in 0..2 {
            told(&mut memory, true, &[("mallory", 1001)], &[]);
            assert_eq!(users(&memory), ["mallory"]);
            assert!(is_nobodys(&memory, &settings, ada), "it would be mallory's");
        }
        told(&mut memory, false, &[("ada", 1002)], &[]);
        assert!(memory.displaced.is_empty() && users(&memory) == ["ada", "mallory"]);
    }

    #[test]
    fn the_owner_of_a_mount_is_asked_for_before_it_goes() {
        let settings = Settings::default();
        let mount = UserMount {
            directory: "notebooks/%41da".into(),
            mount: Mount {
                id: 9,
                parent: 5,
                device: String::new(),
                root: "/".into(),
                target: "/data/notebooks/%41da".into(),
                attributes: String::new(),
                fs_type: String::new(),
                source: Default::default(),
                options: String::new(),
            },
            carries: false,
            other: false,
        };
        let mounted = Mounted { guard: Some(5), users: vec![mount], ..Mounted::default() };
        let mut memory = Memory::default();
        look_for_owners(&mut memory, &settings, &mounted);
        assert!(memory.missing.is_empty(), "first everybody is asked for");
        told(&mut memory, true, &[], &[]);
        look_for_owners(&mut memory, &settings, &mounted);
        assert_eq!(memory.missing.iter().collect::<Vec<_>>(), ["Ada"]);
        let at = Path::new("notebooks/%41da");
        assert!(!is_nobodys(&memory, &settings, at) && is_nobodys(&memory, &settings, Path::new("notebooks/Ada")));
        told(&mut memory, false, &[], &["Ada"]);
        assert!(is_nobodys(&memory, &settings, at));
        look_for_owners(&mut memory, &settings, &mounted);
        assert!(memory.missing.is_empty());
    }

    #[test]
    fn only_who_is_included_and_not_excluded_is_served() {
        let someone =
            Account { named_groups: ["users", "ds"].map(|g| (g.to_owned(), 7)).into(), ..account("ada", 1001) };
        let list = |entries: &[&str]| entries.iter().map(|e| (*e).to_owned()).collect::<Vec<String>>();
        for (include, exclude, expected) in [
            (&[][..], &[][..], true),
            (&["ada"][..], &[][..], true),
            (&["@ds"][..], &[][..], true),
            (&["bob", "@admins"][..], &[][..], false),
            (&[][..], &["ada"][..], false),
            (&["ada"][..], &["@users"][..], false),
            (&["ds"][..], &[][..], false),
            (&[][..], &["@ada"][..], true),
        ] {
            let workspace = Workspace { include: list(include), exclude: list(exclude), ..Workspace::default() };
            assert_eq!(is_served(&workspace, &someone), expected, "{include:?} {exclude:?}");
        }
        for (home, shell) in [
            ("/", "/bin/bash"),
            ("/nonexistent", "/bin/bash"),
            ("/home/a", "/usr/sbin/nologin"),
            ("/home/a", ""),
            ("home", "/bin/sh"),
        ] {
            let odd = Account { home: home.into(), shell: shell.into(), ..someone.clone() };
            assert!(!is_served(&Workspace::default(), &odd), "{home} {shell}");
        }
    }
}
