//! Who is served: from what the name services say to what is remembered of each user.

use super::problems::unwritable;
use crate::config::settings::{Settings, Workspace};
use crate::share::model::user_directory;
use crate::workspace::memory::{Memory, Record};
use crate::workspace::model::{Account, Person};
use crate::workspace::names;
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
            old => {
                let renumbered = old.is_some_and(|o| o.account.uid != account.uid);
                Record { renumbered, ..Record::new(account.clone(), directory) }
            }
        };
        memory.users.insert(account.name, record);
    }
    memory.index();
}
