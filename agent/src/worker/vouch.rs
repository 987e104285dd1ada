//! Whether the numbers in a job are those of the user whose directory it speaks of, and whether they are in the group that
//! a shared directory is for.
//!
//! The brain says on whose behalf root acts, and the brain reads what others write: were it taken over, it could ask for
//! ada's directory with mallory's number. So whoever acts with root's rights asks again: the machine's own files, which are
//! root's, and only for what is not in them the name services. Those load foreign libraries and may block: a process
//! without privileges asks them, and this worker's deadline ends both.

use super::job::{Answer, Job};
use super::spawn;
use crate::config::settings::{Settings, Shared};
use crate::share::model::{Attempt, Failure};
use crate::workspace::act::Wanted;
use crate::workspace::model::{Account, Directory, Found, Person};
use crate::workspace::{names, shared};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who asks the name services: not the agent's own user, whose processes the brain could reach before they hide.
const NOBODY: (u32, u32) = (65534, 65534);
/// The longest that the name services are waited for; never more than half of what the job may take, so that it is said
/// who did not answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A user whose account could not be confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Whose directory it is about, relative to the share's root.
    directory: String,
    /// The name services say for sure that it is not so.
    stale: bool,
    why: String,
}

impl Doubt {
    /// As what the job gives in this user's place.
    pub fn failure(&self) -> Failure {
        let attempt = if self.stale { Attempt::StaleAccount } else { Attempt::Account };
        Failure::said(attempt, self.why.clone())
    }
}

/// What a job says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim<'a> {
    directory: &'a str,
    name: String,
    uid: u32,
    gid: u32,
    /// The group that they must be in, and its number, where the job depends on that.
    group: Option<(&'a str, Option<u32>)>,
    /// More groups than the primary one, and the home, where the job becomes the user.
    person: Option<(&'a [u32], &'a Path)>,
}

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Groups by name.
    named: BTreeMap<String, u32>,
    home: PathBuf,
}

impl Claim<'_> {
    fn is_of(&self, known: &Known) -> bool {
        let groups = |g: &&u32| **g == known.gid || known.groups.contains(g);
        let member = |(name, gid): (&str, Option<u32>)| {
            let known = known.named.get(name);
            known.is_some() && gid.is_none_or(|gid| known == Some(&gid))
        };
        self.uid == known.uid
            && self.gid == known.gid
            && self.group.is_none_or(member)
            && self
                .person
                .is_none_or(|(all, home)| all.iter().filter(|g| !groups(g)).count() == 0 && home == known.home)
    }
}

/// Makes sure that what `job` says of users is so, and gives those of whom it is not, or of whom nobody says. The settings
/// name their directories, and whose the shared ones are.
///
/// # Errors
/// In words: a directory is no user's.
pub fn vouch(job: &Job, settings: &Settings, config: &Path) -> Result<Vec<Doubt>, String> {
    let claims = claims(job, settings)?;
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let text = |path| std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
    let open: Vec<Claim<'_>> = claims
        .into_iter()
        .filter(|claim| !local(&claim.name, &passwd, &group).is_some_and(|known| claim.is_of(&known)))
        .collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let within = PATIENCE.min(job.deadline() / 2);
    let said = ask(open.iter().map(|c| c.name.clone()).collect(), within, config);
    Ok(open.iter().filter_map(|claim| doubt(claim, &said)).collect())
}

/// Does `job` for those who are not in doubt: those who are have that as their answer and hold up nobody else.
pub fn for_the_others(doubts: &[Doubt], job: &Job, perform: impl FnOnce(&Job) -> Answer) -> Answer {
    let Some(first) = doubts.first() else { return perform(job) };
    let Job::Directories { wanted, make } = job else { return Answer::Failed(first.failure()) };
    let of = |w: &Wanted| doubts.iter().find(|d| d.directory == w.directory);
    let others = wanted.iter().filter(|w| of(w).is_none()).cloned().collect();
    match perform(&Job::Directories { wanted: others, make: *make }) {
        Answer::Directories(seen) => {
            let mut seen = seen.into_iter();
            let each = wanted.iter().filter_map(|w| match of(w) {
                Some(doubt) => Some(Directory::Failed { failure: doubt.failure() }),
                None => seen.next(),
            });
            Answer::Directories(each.collect())
        }
        failed => failed,
    }
}

/// What is in doubt after the name services answered, or did not; nothing when they confirm it.
fn doubt(claim: &Claim<'_>, said: &Result<Found, String>) -> Option<Doubt> {
    let Claim { name, uid, gid, .. } = claim;
    let (stale, why) = match said {
        Err(why) => (false, why.clone()),
        Ok(found) => match found.accounts.iter().find(|a| a.name == *name) {
            Some(account) if claim.is_of(&known(account)) => return None,
            None if !found.absent.contains(name) => (false, "the name services cannot say".to_owned()),
            _ => (true, format!("uid {uid}, gid {gid} is not, or no longer, {name}")),
        },
    };
    Some(Doubt { directory: claim.directory.to_owned(), stale, why })
}

fn known(account: &Account) -> Known {
    let Account { uid, gid, groups, named_groups, home, .. } = account.clone();
    Known { uid, gid, groups, named: named_groups, home }
}

/// What the job says of users. Where it names a directory that is nobody's, nothing can vouch for it.
fn claims<'a>(job: &'a Job, settings: &'a Settings) -> Result<Vec<Claim<'a>>, String> {
    type Whose<'a> = (String, Option<&'a Shared>);
    let whose = |place: &str| -> Result<Whose<'a>, String> {
        let own = || names::whose(&settings.workspace.directory, place).map(|name| (name, None));
        let shared = || shared::whose(&settings.shared, place).map(|(setting, name)| (name, Some(setting)));
        own().or_else(shared).ok_or_else(|| format!("{place:?} is no directory of a user's"))
    };
    let wanted = |w: &'a Wanted| {
        let (name, setting) = whose(&w.directory)?;
        let group = match setting {
            // What is everybody's has no group, whatever the job says.
            None | Some(Shared { group: None, .. }) if w.group.is_some() => {
                return Err(format!("{:?} is not for a group", w.directory));
            }
            Some(Shared { group: Some(_), .. }) if w.group.is_none() => {
                return Err(format!("{:?} is for a group", w.directory));
            }
            setting => setting.and_then(|s| Some((s.group.as_deref()?, w.group))),
        };
        Ok(Claim { directory: &w.directory, name, uid: w.uid, gid: w.gid, group, person: None })
    };
    let own = |directory: &'a str, person: &'a Person| match whose(directory)? {
        (name, None) => Ok(as_person(directory, name, None, person)),
        (_, Some(_)) => Err(format!("{directory:?} is not a user's own")),
    };
    match job {
        Job::Attach { wanted: one, .. } => wanted(one).map(|c| vec![c]),
        Job::Directories { wanted: all, .. } => all.iter().map(wanted).collect(),
        // Who is not in a group any more may still have what waits to be written.
        Job::Flush { person, directory, .. } => {
            whose(directory).map(|(name, _)| vec![as_person(directory, name, None, person)])
        }
        Job::Link { person, directory, .. } => {
            let (name, setting) = whose(directory)?;
            Ok(vec![as_person(directory, name, setting.and_then(|s| s.group.as_deref()), person)])
        }
        Job::Survey { person, directory }
        | Job::Rescue { person, directory, .. }
        | Job::LastTime { person, directory } => Ok(vec![own(directory, person)?]),
        Job::OwnDirectory { person, wanted: one } => Ok(vec![own(&one.directory, person)?, wanted(one)?]),
        _ => Ok(Vec::new()),
    }
}

fn as_person<'a>(directory: &'a str, name: String, group: Option<&'a str>, person: &'a Person) -> Claim<'a> {
    let (group, whole) = (group.map(|group| (group, None)), Some((person.groups(), person.home())));
    Claim { directory, name, uid: person.uid(), gid: person.gid(), group, person: whole }
}

/// What passwd(5) and group(5) say of `name`. The first line of a name counts, as for getpwnam(3).
fn local(name: &str, passwd: &str, group: &str) -> Option<Known> {
    let fields = passwd.lines().map(|line| line.split(':')).find_map(|mut f| (f.next() == Some(name)).then_some(f));
    let rest: Vec<&str> = fields?.collect();
    let [_, uid, gid, _, home, ..] = rest[..] else { return None };
    let gid = gid.parse().ok()?;
    let named: BTreeMap<String, u32> = group
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [called, _, id, members] = fields[..] else { return None };
            let id = id.parse().ok()?;
            (id == gid || members.split(',').any(|m| m == name)).then(|| (called.to_owned(), id))
        })
        .collect();
    Some(Known { uid: uid.parse().ok()?, gid, groups: named.values().copied().collect(), named, home: home.into() })
}

/// Asks the name services, in a process of its own that has no privilege.
fn ask(names: Vec<String>, within: Duration, config: &Path) -> Result<Found, String> {
    // No range: only those who are named.
    match spawn::ask_within(within, &Job::Accounts { from: 1, to: 0, names }, NOBODY, config) {
        Ok(Answer::Accounts(found)) => Ok(found),
        Ok(_) => Err("the name services gave no answer".to_owned()),
        Err(why) => Err(format!("the name services: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nada:x:1001:1001:Ada,,,:/home/ada:/bin/bash\n\
                          mallory:x:1002:1002::/home/mallory:/bin/bash\nada:x:7:7::/:/bin/sh\nshort:x:9\n\
                          eve:x:1003:1003::/home/eve:/bin/bash\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,ada\nlab:x:2000:mallory,ada\nbroken\n";

    fn is_local(job: &Job) -> bool {
        claims(job, &settings()).is_ok_and(|all| {
            all.iter().all(|c| {
                let known = local(&c.name, PASSWD, GROUP);
                known.is_some_and(|known| c.is_of(&known))
            })
        })
    }

    fn settings() -> Settings {
        let shared = |directory: &str, group: Option<&str>| Shared {
            directory: directory.to_owned(),
            link: directory.to_owned(),
            group: group.map(str::to_owned),
            read_only: false,
        };
        Settings { shared: vec![shared("projects", Some("lab")), shared("all", None)], ..Settings::default() }
    }

    fn attach(directory: &str, uid: u32, gid: u32) -> Job {
        attach_shared(directory, uid, None, gid)
    }

    fn attach_shared(directory: &str, uid: u32, group: Option<u32>, gid: u32) -> Job {
        Job::Attach { wanted: Wanted { directory: directory.into(), uid, gid, group }, address: None }
    }

    fn link(directory: &str, uid: u32, groups: &[u32], home: &str) -> Job {
        let person = Person::new(uid, uid, groups.to_vec(), home.into()).unwrap();
        Job::Link { person, directory: directory.into(), make: true }
    }

    fn own(directory: &str, uid: u32) -> Job {
        let person = Person::new(uid, uid, vec![uid], "/home/ada".into()).unwrap();
        Job::OwnDirectory { person, wanted: Wanted { directory: directory.into(), uid, gid: uid, group: None } }
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
            (own("notebooks/ada", 1001), true),
            (own("notebooks/mallory", 1001), false),
            (Job::Probe, true),
            (attach_shared("projects/ada", 1001, Some(2000), 1001), true),
            (attach_shared("projects/mallory", 1002, Some(2000), 1002), true),
            // Another group's number, or no group, would show it to others.
            (attach_shared("projects/ada", 1001, Some(4), 1001), false),
            (attach_shared("projects/ada", 1001, None, 1001), false),
            (attach_shared("projects/eve", 1003, Some(2000), 1003), false),
            (attach_shared("projects/ada", 1002, Some(2000), 1002), false),
            (attach_shared("all/eve", 1003, None, 1003), true),
            (attach_shared("all/eve", 1003, Some(2000), 1003), false),
            (attach_shared("notebooks/ada", 1001, Some(2000), 1001), false),
            (link("projects/ada", 1001, &[1001], "/home/ada"), true),
            (link("projects/eve", 1003, &[1003], "/home/eve"), false),
            (rescue("projects/ada", 1001, "/home/ada"), false),
        ] {
            assert_eq!(is_local(&job), right, "{job:?}");
        }
        let wanted = |directory: &str, uid| Wanted { directory: directory.into(), uid, gid: uid, group: None };
        let both = |uid| Job::Directories {
            wanted: vec![wanted("notebooks/ada", 1001), wanted("notebooks/mallory", uid)],
            make: true,
        };
        assert!(is_local(&both(1002)));
        assert!(!is_local(&both(1001)));
    }

    #[test]
    fn who_is_in_doubt_holds_up_nobody_else() {
        let wanted = |directory: &str, uid| Wanted { directory: directory.into(), uid, gid: uid, group: None };
        let all =
            vec![wanted("notebooks/ada", 1001), wanted("notebooks/erin", 70_001), wanted("notebooks/mallory", 1002)];
        let job = Job::Directories { wanted: all, make: true };
        let doubts = [Doubt { directory: "notebooks/erin".to_owned(), stale: false, why: "no answer".to_owned() }];
        let made = |job: &Job| {
            let Job::Directories { wanted, make: true } = job else { panic!("{job:?}") };
            assert_eq!(wanted.iter().map(|w| w.uid).collect::<Vec<_>>(), [1001, 1002]);
            Answer::Directories(vec![Directory::Ready { made: true }, Directory::Occupied])
        };
        let failure = Failure::said(Attempt::Account, "no answer");
        let each =
            vec![Directory::Ready { made: true }, Directory::Failed { failure: failure.clone() }, Directory::Occupied];
        assert_eq!(for_the_others(&doubts, &job, made), Answer::Directories(each));
        let alone = attach("notebooks/erin", 70_001, 70_001);
        assert_eq!(for_the_others(&doubts, &alone, |_| panic!("nothing is done")), Answer::Failed(failure));
        assert_eq!(for_the_others(&[], &alone, |_| Answer::Done), Answer::Done);
    }

    #[test]
    fn only_what_the_name_services_say_for_sure_is_taken_from_them() {
        let erin = |uid| Account {
            name: "erin".to_owned(),
            uid,
            gid: 70_000,
            groups: vec![70_000],
            named_groups: BTreeMap::new(),
            home: "/people/erin".into(),
            shell: "/bin/bash".into(),
        };
        let job = attach("notebooks/erin", 70_001, 70_000);
        let settings = Settings::default();
        let claim = &claims(&job, &settings).unwrap()[0];
        let found = |accounts, absent| Ok(Found { accounts, absent, ..Found::default() });
        let stale = "uid 70001, gid 70000 is not, or no longer, erin";
        for (said, why) in [
            (found(vec![erin(70_001)], vec![]), None),
            (found(vec![erin(70_002)], vec![]), Some((Attempt::StaleAccount, stale))),
            (found(vec![], vec!["erin".to_owned()]), Some((Attempt::StaleAccount, stale))),
            (found(vec![], vec![]), Some((Attempt::Account, "the name services cannot say"))),
            (Err("the name services: no answer".to_owned()), Some((Attempt::Account, "the name services: no answer"))),
        ] {
            let failure = doubt(claim, &said).map(|d| d.failure());
            assert_eq!(failure, why.map(|(attempt, why)| Failure::said(attempt, why)), "{said:?}");
        }
    }

    #[test]
    fn what_is_no_users_directory_is_nobodys() {
        for directory in ["notebooks", "elsewhere/ada", "notebooks/ada/x", "notebooks/Ada", "notebooks/%61da"] {
            assert!(claims(&attach(directory, 1001, 1001), &settings()).is_err(), "{directory}");
        }
    }
}
