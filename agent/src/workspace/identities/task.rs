//! What an administrator asks of the ledger: `dsvm-agent workspace identity …`.

use super::{Entry, Holder, Ledger, Recorded};
use crate::share::act::open_root;
use crate::share::model::{Attempt, Failure};
use crate::sys::open;
use crate::workspace::names;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// So many entries are shown.
const SHOWN: usize = 10_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// What is recorded, for this log-in name or for all.
    Show {
        /// The log-in name.
        name: Option<String>,
    },
    /// Bind a log-in name to a number, in place of what was recorded, or, where names are the only identity, let a
    /// retired one be used again.
    Bind {
        /// The log-in name.
        name: String,
        /// The number; nothing: that of the directory's owner.
        uid: Option<u32>,
    },
    /// Let nobody have this log-in name again.
    Retire {
        /// The log-in name.
        name: String,
    },
}

/// One entry, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The log-in name.
    pub name: String,
    /// What is recorded for it.
    pub holder: Option<Holder>,
    /// Where that comes from.
    pub recorded: Option<Recorded>,
    /// The owner of its directory on the share, where files have owners and there is one.
    pub owner: Option<u32>,
    /// The name that its number is recorded for, where that is another one.
    pub other: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The entries, after what was done.
    pub lines: Vec<Line>,
    /// There are more.
    pub more: bool,
}

/// Does what is asked, on the share's root. `directory` says where a name's directory lies; `by` is who asks, in words.
///
/// # Errors
/// In `details`, for people, when it makes no sense; the call that failed else.
pub fn perform(
    task: &Task,
    owners: bool,
    directory: impl Fn(&str) -> std::path::PathBuf,
    by: &str,
) -> Result<Shown, Failure> {
    let root = open_root(Attempt::Directory)?;
    perform_on(&root, task, owners, directory, by)
}

pub(super) fn perform_on(
    root: &rustix::fd::OwnedFd,
    task: &Task,
    owners: bool,
    directory: impl Fn(&str) -> std::path::PathBuf,
    by: &str,
) -> Result<Shown, Failure> {
    let fail = |e| Failure::call(Attempt::Directory, e);
    let no = |why: String| Failure::said(Attempt::Directory, why);
    let written = |name: &str| names::escape(name).ok_or_else(|| no(format!("{name:?} cannot be a user's name")));
    let owner = |key: &str| match open::below(root, &directory(key)) {
        Ok(own) if owners => rustix::fs::fstat(&own).map(|s| Some(s.st_uid)).map_err(fail),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(fail(e)),
    };
    let changes = !matches!(task, Task::Show { .. });
    let Some(ledger) = Ledger::open(root, owners, changes).map_err(fail)? else {
        return Ok(Shown { lines: Vec::new(), more: false });
    };
    let note = |text: serde_json::Value| ledger.note(&format!("{text}\n")).map_err(fail);
    let line = |key: &str| -> Result<Line, Failure> {
        let entry = ledger.name(key).map_err(fail)?;
        let number = match entry {
            Some(Entry { value: Holder::Number(number), .. }) => ledger.number(number).map_err(fail)?,
            _ => None,
        };
        Ok(Line {
            name: names::unescape(key).unwrap_or_else(|| key.to_owned()),
            holder: entry.as_ref().map(|e| e.value),
            recorded: entry.and_then(|e| e.recorded),
            owner: owner(key)?,
            other: number.map(|e| e.value).filter(|n| n != key).map(|n| names::unescape(&n).unwrap_or(n)),
        })
    };
    let keys = match task {
        Task::Show { name: None } => ledger.all(SHOWN + 1).map_err(fail)?,
        Task::Show { name: Some(name) } => vec![written(name)?],
        Task::Retire { name } => {
            let key = written(name)?;
            note(serde_json::json!({"did": "retire", "name": name, "was": line(&key)?, "by": by}))?;
            ledger.retire(&key).map_err(fail)?;
            vec![key]
        }
        Task::Bind { name, uid } => {
            let key = written(name)?;
            let (was, owner) = (line(&key)?, owner(&key)?);
            let number = match (uid, owner) {
                _ if !owners => None,
                (Some(uid), Some(owner)) if *uid != owner => {
                    let directory = directory(&key);
                    let why = "The owner of a directory is who it belongs to, and is never changed";
                    return Err(no(format!("{} belongs to uid {owner}. {why}", directory.display())));
                }
                (Some(uid), _) => Some(*uid),
                (None, Some(owner)) => Some(owner),
                (None, None) => return Err(no(format!("{name} has no directory yet: say which number, --uid N"))),
            };
            if number == Some(0) {
                return Err(no("root has no notebooks".to_owned()));
            }
            note(serde_json::json!({"did": "bind", "name": name, "uid": number, "was": was, "by": by}))?;
            match number {
                Some(number) => ledger.bind(&key, number),
                // Where names are the only identity there is nothing to bind: it is free to be used.
                None => ledger.forget(&key),
            }
            .map_err(fail)?;
            vec![key]
        }
    };
    let more = keys.len() > SHOWN;
    let lines = keys.iter().take(SHOWN).map(|key| line(key)).collect::<Result<_, _>>()?;
    Ok(Shown { lines, more })
}
