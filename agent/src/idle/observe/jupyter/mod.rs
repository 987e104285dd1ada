//! Jupyter kernels and terminals, as each user's own servers tell of them.
//!
//! A server is asked by a worker that has become its user, with the token that the server was started with: what it gets
//! to know is that user's already. No token that opens more than one user's server is ever sent to one, since its owner's
//! program could keep it. What a server says is that user's evidence and nobody else's: it can make the VM busy, or
//! unknown, and never idle.
//!
//! Asking is no use: `no_track_activity` keeps a request out of the server's own `last_activity` (jupyter_server,
//! base/handlers.py, since 2019), which is what JupyterHub is told; and nothing goes through the hub's proxy.

pub mod answer;
pub mod ask;
pub mod find;

use crate::idle::model::{Level, Seen, Source, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most servers of one user that are asked.
pub const MOST_SERVERS: usize = 8;
/// The most kernels and terminals of one server that are read: one that names more makes no sense.
pub const MOST_THINGS: usize = 128;
/// How long one answer may take.
pub const ANSWER: Duration = Duration::from_secs(3);
/// How long all servers of one user may take together.
pub const USER: Duration = Duration::from_secs(8);
/// After this long with others, nobody is begun with: whoever is left cannot be told of.
pub const ENOUGH: Duration = Duration::from_secs(30);
/// How long everybody may take together: those who were begun with last are heard out.
pub const EVERYBODY: Duration = Duration::from_secs(ENOUGH.as_secs() + USER.as_secs() + 4);

/// A kernel or terminal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thing {
    /// A number for it that has no word of a user's.
    pub id: u64,
    /// What it is, for a person: a user's words, shortened.
    pub what: String,
    /// It says that it is at work.
    pub busy: bool,
    /// When it was used last, by its server's wall clock: seconds since 1970.
    pub last_activity: f64,
}

/// What one server said, or why that cannot be told.
pub type Told = Result<Vec<Thing>, String>;

/// What the servers of one user said: none when there are none; or why it cannot be told whether there are any.
pub type OfUser = Result<Vec<Told>, String>;

/// The evidence in what users' servers said.
pub fn seen(users: &BTreeMap<u32, OfUser>) -> BTreeMap<Source, Seen> {
    if users.values().all(|told| told.as_ref().is_ok_and(Vec::is_empty)) {
        return [Source::Kernel, Source::Notebook].map(|source| (source, Seen::Absent)).into();
    }
    let levels = users.iter().filter_map(|(uid, told)| level(*uid, told)).collect();
    let stamps = users.iter().flat_map(|(uid, told)| told.iter().flatten().flatten().flatten().map(|t| stamp(*uid, t)));
    [(Source::Kernel, Seen::Levels(levels)), (Source::Notebook, Seen::Stamps(stamps.collect()))].into()
}

/// Whether a kernel of this user's is at work. What is seen to be at work is, whatever cannot be read beside it.
fn level(uid: u32, told: &OfUser) -> Option<Level> {
    let servers = told.as_ref().map(Vec::as_slice).unwrap_or_default();
    let busy = servers.iter().flatten().flatten().find(|thing| thing.busy);
    let why = told.as_ref().err().or_else(|| servers.iter().find_map(|s| s.as_ref().err()));
    let level = Level { who: Some(uid), ..Level::default() };
    match (busy, why) {
        (Some(thing), _) => Some(Level { value: 1.0, what: Some(thing.what.clone()), ..level }),
        (None, Some(why)) => Some(Level { unknown: true, what: Some(why.clone()), ..level }),
        (None, None) => (!servers.is_empty()).then_some(level),
    }
}

fn stamp(uid: u32, thing: &Thing) -> Stamp {
    Stamp {
        id: format!("{uid}:{:x}", thing.id),
        who: Some(uid),
        value: thing.last_activity,
        what: Some(thing.what.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(id: u64, busy: bool) -> Thing {
        Thing { id, what: format!("{id}.ipynb"), busy, last_activity: 7.0 }
    }

    fn levels(users: &[(u32, OfUser)]) -> Vec<(Option<u32>, f64, bool)> {
        match &seen(&users.iter().cloned().collect())[&Source::Kernel] {
            Seen::Levels(levels) => levels.iter().map(|l| (l.who, l.value, l.unknown)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_server_is_a_fact() {
        for users in [vec![], vec![(1001, Ok(vec![]))]] {
            let seen = seen(&users.into_iter().collect());
            assert_eq!(seen[&Source::Kernel], Seen::Absent);
            assert_eq!(seen[&Source::Notebook], Seen::Absent);
        }
    }

    #[test]
    fn what_cannot_be_told_is_of_its_user_alone() {
        let garbage = || Err("it makes no sense".to_owned());
        let users = [
            (1001, Ok(vec![Ok(vec![thing(1, false), thing(2, true)])])),
            (1002, Ok(vec![garbage()])),
            (1003, Err("no answer".to_owned())),
            (1004, Ok(vec![garbage(), Ok(vec![thing(1, true)])])),
            (1005, Ok(vec![Ok(vec![thing(1, false)]), Ok(vec![])])),
            (1006, Ok(vec![])),
        ];
        let expected = [
            (Some(1001), 1.0, false),
            (Some(1002), 0.0, true),
            (Some(1003), 0.0, true),
            (Some(1004), 1.0, false),
            (Some(1005), 0.0, false),
        ];
        assert_eq!(levels(&users), expected);
        let Seen::Stamps(stamps) = &seen(&users.into_iter().collect())[&Source::Notebook] else { panic!() };
        let whose: Vec<_> = stamps.iter().map(|s| (s.id.as_str(), s.who)).collect();
        let expected = [("1001:1", 1001), ("1001:2", 1001), ("1004:1", 1004), ("1005:1", 1005)];
        assert_eq!(whose, expected.map(|(id, uid)| (id, Some(uid))));
    }
}
