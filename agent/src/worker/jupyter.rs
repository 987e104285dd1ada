//! Asking everybody's Jupyter servers: a process of its own for each user, that has become that user.
//!
//! Whoever starts those processes may become anybody, and so speaks to nobody and opens no file of a user's: from the
//! kernel it takes who waits for connections, and with which groups their programs run.

use super::job::{Answer, Job};
use super::spawn;
use crate::idle::model::{Seen, Source};
use crate::idle::observe::jupyter::{self, OfUser};
use crate::idle::observe::sense::Humans;
use crate::sys::clock::boottime;
use crate::sys::sockets;
use crate::workspace::model::Person;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// So many users' servers are asked at once.
const AT_ONCE: usize = 8;

/// Looks. `config` is the configuration's file and `own` the agent's own user, for the processes that are started.
pub fn look(humans: &Humans, own: (u32, u32), config: &Path) -> BTreeMap<Source, Seen> {
    let listeners = match sockets::listeners() {
        Ok(listeners) => listeners,
        Err(e) => {
            let why = Seen::Unreadable(format!("who waits for connections: {e}"));
            return [(Source::Kernel, why.clone()), (Source::Notebook, why)].into();
        }
    };
    let uids: BTreeSet<u32> = listeners.iter().map(|l| l.uid).filter(|uid| humans.has(*uid)).collect();
    let people = people(Path::new("/proc"), &uids);
    let ask = |person: &Person| match spawn::ask(&Job::Jupyter { person: person.clone() }, own, config) {
        Ok(Answer::Jupyter(told)) => told,
        Ok(Answer::Failed(failure)) => Err(failure.line()),
        Ok(_) => Err("the helper process answered something else".to_owned()),
        Err(why) => Err(why),
    };
    jupyter::seen(&everybody(people, boottime() + jupyter::ENOUGH, &ask))
}

/// Asks all, a few at a time, and begins with nobody after `end`.
fn everybody(
    people: BTreeMap<u32, Result<Person, String>>,
    end: Duration,
    ask: &(dyn Fn(&Person) -> OfUser + Sync),
) -> BTreeMap<u32, OfUser> {
    let (left, told) = (Mutex::new(people.into_iter()), Mutex::new(BTreeMap::new()));
    let next = || left.lock().ok().and_then(|mut left| left.next());
    let work = || {
        while let Some((uid, person)) = next() {
            let answer = match person {
                Ok(_) if boottime() >= end => Err("there was no time left to ask Jupyter servers".to_owned()),
                Ok(person) => ask(&person),
                Err(why) => Err(why),
            };
            if let Ok(mut told) = told.lock() {
                told.insert(uid, answer);
            }
        }
    };
    std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    told.into_inner().unwrap_or_default()
}

/// Who the users are, with the groups that their programs have; or why theirs are not asked.
fn people(proc: &Path, uids: &BTreeSet<u32>) -> BTreeMap<u32, Result<Person, String>> {
    let mut out: BTreeMap<u32, Result<Person, String>> = BTreeMap::new();
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        let directory = proc.join(pid.to_string());
        let Some(uid) = std::fs::metadata(&directory).ok().map(|m| m.uid()).filter(|uid| uids.contains(uid)) else {
            continue;
        };
        let Ok(status) = std::fs::read_to_string(directory.join("status")) else { continue };
        if is_helper(&status) {
            // It is left behind, and cannot be ended: a second one would only be a second one.
            out.insert(uid, Err("the last helper process that asked Jupyter servers hangs".to_owned()));
        } else if !out.contains_key(&uid)
            && let Some(person) = person(&status, uid)
        {
            out.insert(uid, Ok(person));
        }
    }
    out
}

/// Whether it is a helper of an earlier look that is still there. One that ended and was not waited for is gone.
pub fn is_helper(status: &str) -> bool {
    let ended = status.lines().any(|line| line.starts_with("State:\tZ") || line.starts_with("State:\tX"));
    !ended && status.lines().next() == Some("Name:\tdsvm:jupyter")
}

/// The user of a process that runs as them and nobody else, with its real and supplementary groups
/// (proc_pid_status(5)): a program that was given another group for a while (setgid) passes none on.
pub fn person(status: &str, uid: u32) -> Option<Person> {
    let numbers = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().map(|n| n.parse::<u32>().ok()).collect::<Option<Vec<u32>>>()
    };
    let uids = numbers("Uid").filter(|all| all.len() == 4 && all.iter().all(|one| *one == uid))?;
    let gid = *numbers("Gid")?.first()?;
    Person::new(*uids.first()?, gid, numbers("Groups")?, "/".into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn status(name: &str, uids: &str, groups: &str) -> String {
        format!(
            "Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nUid:\t{uids}\nGid:\t1001\t50\t50\t50\nGroups:\t{groups} \n"
        )
    }

    #[test]
    fn a_user_is_who_the_kernel_says_with_the_groups_of_their_programs() {
        let found = person(&status("python3", "1001\t1001\t1001\t1001", "0 4 2000"), 1001).unwrap();
        assert_eq!((found.uid(), found.gid(), found.groups()), (1001, 1001, &[4, 2000][..]));
        for uids in ["1001\t0\t0\t0", "0\t1001\t0\t1001", "1001", "1002\t1002\t1002\t1002", "x"] {
            assert_eq!(person(&status("sudo", uids, ""), 1001), None, "{uids}");
        }
        assert!(person(&status("a", "0\t0\t0\t0", ""), 0).is_none(), "root is nobody");
    }

    #[test]
    fn where_a_helper_hangs_no_second_one_is_sent() {
        assert!(is_helper(&status("dsvm:jupyter", "1\t1\t1\t1", "")));
        assert!(!is_helper(&status("python3", "1\t1\t1\t1", "")));
        assert!(!is_helper(&status("dsvm:jupyter", "1\t1\t1\t1", "").replace("S (sleeping)", "Z (zombie)")));
        let uid = rustix::process::getuid().as_raw();
        let found = people(Path::new("/proc"), &[uid, 4_000_000].into());
        assert!(found.keys().all(|k| *k == uid) && (uid == 0 || found.len() == 1), "{found:?}");
    }

    #[test]
    fn everybody_is_asked_and_whoever_is_late_holds_up_nobody_else() {
        let people: BTreeMap<u32, Result<Person, String>> = (1001..1100)
            .map(|uid| (uid, Person::new(uid, uid, vec![], "/".into()).map_err(|_| "nobody".to_owned())))
            .collect();
        let asked = AtomicUsize::new(0);
        let ask = |person: &Person| {
            asked.fetch_add(1, Ordering::Relaxed);
            if person.uid() == 1001 { Err("late".to_owned()) } else { Ok(vec![]) }
        };
        let told = everybody(people.clone(), Duration::MAX, &ask);
        assert_eq!((told.len(), asked.load(Ordering::Relaxed)), (99, 99));
        assert_eq!(told.values().filter(|t| t.is_err()).count(), 1);
        let told = everybody(people, Duration::ZERO, &ask);
        assert!(told.len() == 99 && told.values().all(Result::is_err), "nobody is taken for quiet");
        assert_eq!(asked.load(Ordering::Relaxed), 99);
    }

    proptest! {
        #[test]
        fn any_status_is_a_person_or_none(text in ".{0,200}", uid in any::<u32>()) {
            let _ = (person(&text, uid), is_helper(&text));
        }
    }
}
