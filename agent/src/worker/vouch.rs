//! Whether the numbers in a job are those of the user whose directory it speaks of.
//!
//! The brain says on whose behalf root acts, and the brain reads what others write: were it taken over, it could ask for
//! ada's directory with mallory's number. So whoever acts with root's rights asks again: the machine's own files, which are
//! root's, and only for what is not in them the name services. Those load foreign libraries and may block: a process
//! without privileges asks them, and this worker's deadline ends both.

use super::job::{Answer, Job};
use super::spawn;
use crate::workspace::act::Wanted;
use crate::workspace::model::{Account, Person};
use crate::workspace::names;
use std::path::{Path, PathBuf};

/// Who asks the name services: not the agent's own user, whose processes the brain could reach before they hide.
const NOBODY: (u32, u32) = (65534, 65534);

/// What a job says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim<'a> {
    name: String,
    uid: u32,
    gid: u32,
    /// More groups than the primary one, and the home, where the job becomes the user.
    person: Option<(&'a [u32], &'a Path)>,
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: PathBuf,
}

impl Claim<'_> {
    fn is_of(&self, known: &Known) -> bool {
        let groups = |g: &&u32| **g == known.gid || known.groups.contains(g);
        self.uid == known.uid
            && self.gid == known.gid
            && self
                .person
                .is_none_or(|(all, home)| all.iter().filter(|g| !groups(g)).count() == 0 && home == known.home)
    }
}

/// Makes sure that what `job` says of users is so. `template` is the setting that names their directories.
///
/// # Errors
/// In words: who is somebody else, or cannot be asked about.
pub fn vouch(job: &Job, template: &str, config: &Path) -> Result<(), String> {
    let claims = claims(job, template)?;
    if claims.is_empty() {
        return Ok(());
    }
    let text = |path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
    let open: Vec<Claim<'_>> = claims
        .into_iter()
        .filter(|claim| !local(&claim.name, &passwd, &group).is_some_and(|known| claim.is_of(&known)))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let accounts = ask(open.iter().map(|c| c.name.clone()).collect(), config)?;
    for claim in open {
        let account = accounts.iter().find(|a| a.name == claim.name);
        if !account.is_some_and(|a| claim.is_of(&known(a))) {
            return Err(format!("uid {}, gid {} is not, or no longer, {}", claim.uid, claim.gid, claim.name));
        }
    }
    Ok(())
}

fn known(account: &Account) -> Known {
    let Account { uid, gid, groups, home, .. } = account.clone();
    Known { uid, gid, groups, home }
}

/// What the job says of users. Where it names a directory that is nobody's, nothing can vouch for it.
fn claims<'a>(job: &'a Job, template: &str) -> Result<Vec<Claim<'a>>, String> {
    let whose = |directory: &str| {
        names::whose(template, directory).ok_or_else(|| format!("{directory:?} is no directory of a user's"))
    };
    let wanted = |w: &'a Wanted| whose(&w.directory).map(|name| Claim { name, uid: w.uid, gid: w.gid, person: None });
    match job {
        Job::Attach { wanted: one, .. } => wanted(one).map(|c| vec![c]),
        Job::Directories { wanted: all, .. } => all.iter().map(wanted).collect(),
        Job::Link { person, directory, .. }
        | Job::Survey { person, directory }
        | Job::Rescue { person, directory, .. }
        | Job::Flush { person, directory, .. }
        | Job::LastTime { person, directory } => whose(directory).map(|name| vec![as_person(name, person)]),
        _ => Ok(Vec::new()),
    }
}

fn as_person(name: String, person: &Person) -> Claim<'_> {
    Claim { name, uid: person.uid(), gid: person.gid(), person: Some((person.groups(), person.home())) }
}

/// What passwd(5) and group(5) say of `name`. The first line of a name counts, as for getpwnam(3).
fn local(name: &str, passwd: &str, group: &str) -> Option<Known> {
    let fields = passwd.lines().map(|line| line.split(':')).find_map(|mut f| (f.next() == Some(name)).then_some(f));
    let rest: Vec<&str> = fields?.collect();
    let [_, uid, gid, _, home, ..] = rest[..] else { return None };
    let groups = group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { return None };
        members.split(',').any(|m| m == name).then(|| gid.parse().ok())?
    });
    Some(Known { uid: uid.parse().ok()?, gid: gid.parse().ok()?, groups: groups.collect(), home: home.into() })
}

/// Asks the name services, in a process of its own that has no privilege.
fn ask(names: Vec<String>, config: &Path) -> Result<Vec<Account>, String> {
    // No range: only those who are named.
    match spawn::ask(&Job::Accounts { from: 1, to: 0, names }, NOBODY, config) {
        Ok(Answer::Accounts(found)) => Ok(found.accounts),
        Ok(_) => Err("the name services gave no answer".to_owned()),
        Err(why) => Err(format!("the name services: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nada:x:1001:1001:Ada,,,:/home/ada:/bin/bash\n\
                          mallory:x:1002:1002::/home/mallory:/bin/bash\nada:x:7:7::/:/bin/sh\nshort:x:9\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,ada\nlab:x:2000:mallory,ada\nbroken\n";

    fn is_local(job: &Job) -> bool {
        claims(job, "notebooks/{user}").unwrap().iter().all(|c| {
            let known = local(&c.name, PASSWD, GROUP);
            known.is_some_and(|known| c.is_of(&known))
        })
    }

    fn attach(directory: &str, uid: u32, gid: u32) -> Job {
        Job::Attach { wanted: Wanted { directory: directory.into(), uid, gid }, address: None }
    }

    fn link(directory: &str, uid: u32, groups: &[u32], home: &str) -> Job {
        let person = Person::new(uid, uid, groups.to_vec(), home.into()).unwrap();
        Job::Link { person, directory: directory.into(), make: true }
    }

    fn rescue(directory: &str, uid: u32, home: &str) -> Job {
        let person = Person::new(uid, uid, vec![uid], home.into()).unwrap();
        Job::Rescue { person, directory: directory.into(), into: "2026-03-04-vm".into(), limit: 1 }
    }

    #[test]
    fn only_a_users_own_numbers_will_do() {
        for (job, right) in [
            (attach("notebooks/ada", 1001, 1001), true),
            (attach("notebooks/ada", 1002, 1002), false),
            (attach("notebooks/ada", 1001, 1002), false),
            (attach("notebooks/nobody-here", 1001, 1001), false),
            (attach("notebooks/short", 9, 9), false),
            (link("notebooks/ada", 1001, &[1001, 4, 2000], "/home/ada"), true),
            (link("notebooks/ada", 1001, &[1001], "/home/ada"), true),
            (link("notebooks/ada", 1001, &[1001, 27], "/home/ada"), false),
            (link("notebooks/ada", 1001, &[1001], "/home/mallory"), false),
            (link("notebooks/mallory", 1001, &[1001], "/home/ada"), false),
            (rescue("notebooks/ada", 1001, "/home/ada"), true),
            (rescue("notebooks/ada", 1002, "/home/ada"), false),
            (rescue("notebooks/mallory", 1002, "/home/ada"), false),
            (Job::Probe, true),
        ] {
            assert_eq!(is_local(&job), right, "{job:?}");
        }
        let wanted = |directory: &str, uid| Wanted { directory: directory.into(), uid, gid: uid };
        let both = |uid| Job::Directories {
            wanted: vec![wanted("notebooks/ada", 1001), wanted("notebooks/mallory", uid)],
            make: true,
        };
        assert!(is_local(&both(1002)));
        assert!(!is_local(&both(1001)));
    }

    #[test]
    fn what_is_no_users_directory_is_nobodys() {
        for directory in ["notebooks", "elsewhere/ada", "notebooks/ada/x", "notebooks/Ada", "notebooks/%61da"] {
            assert!(claims(&attach(directory, 1001, 1001), "notebooks/{user}").is_err(), "{directory}");
        }
    }
}
