//! Shared directories: each of those whom one is for has it at a place of their own below the mount point, and the link
//! to that in their home. A place is decided on like a workspace, with its user's presence and its own troubles.

mod act;
mod problems;

pub use act::directory;
pub use problems::{directory_problem, failed};

use super::memory::{Memory, Record};
use super::model::Account;
use super::names;
use crate::config::settings::{Settings, Shared as Setting};
use crate::share::model::{Failure, UserMount, user_directory};
use crate::share::options::{self, For};
use crate::share::shared::Shared;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What makes a place one in a shared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which of the settings' shared directories.
    pub index: usize,
    /// The group's name and number; nothing when it is everybody's.
    pub group: Option<(String, u32)>,
    /// Nobody can write.
    pub read_only: bool,
}

impl Part {
    /// How `account` sees it.
    pub fn shown_to(&self, account: &Account) -> Shared {
        Shared::new(account.uid, account.gid, self.group.as_ref().map(|(_, gid)| *gid), self.read_only)
    }
}

/// The part that `account` has in the directory of this setting; nothing when it is not for them.
pub fn part(index: usize, setting: &Setting, account: &Account) -> Option<Part> {
    let group = match &setting.group {
        Some(name) => Some((name.clone(), *account.named_groups.get(name)?)),
        None => None,
    };
    Some(Part { index, group, read_only: setting.read_only })
}

/// The shared directory that a place below the mount point belongs to, and whose place it is: a log-in name.
pub fn whose<'a>(shared: &'a [Setting], place: &str) -> Option<(&'a Setting, String)> {
    shared.iter().find_map(|setting| Some((setting, names::whose(&setting.template(), place)?)))
}

/// The log-in name whose place below the mount point this is, in a shared directory or their own.
pub fn owner_of(settings: &Settings, place: &Path) -> Option<String> {
    let place = place.to_str()?;
    names::whose(&settings.workspace.directory, place).or_else(|| Some(whose(&settings.shared, place)?.1))
}

impl Record {
    /// What steps call it: the log-in name, or a place in a shared directory, which has a slash.
    pub fn key(&self) -> &str {
        if self.shared.is_some() { &self.directory } else { &self.account.name }
    }

    /// What a failed step means.
    pub(super) fn failed(&self, failure: &Failure) -> crate::problem::Problem {
        match &self.shared {
            Some(_) => failed(&self.account.name, &self.directory, failure),
            None => super::decide::failed(&self.account.name, failure),
        }
    }

    /// Whether what is mounted at a place in a shared directory shows it otherwise than the settings ask for.
    pub fn is_otherwise(&self, mount: &UserMount) -> bool {
        let Some(part) = &self.shared else { return false };
        let shown = part.shown_to(&self.account);
        let read_only = mount.mount.attributes.split(',').any(|a| a == "ro");
        // Where directories have owners, they tell, and the mount does not.
        let seen = options::whom(&mount.mount).filter(|_| mount.mount.fs_type == "cifs");
        (part.read_only && !read_only) || seen.is_some_and(|seen| seen != For::Shared(shown))
    }

    /// For whom its mount is.
    pub fn whom(&self) -> For {
        match &self.shared {
            Some(part) => For::Shared(part.shown_to(&self.account)),
            None => For::User { uid: self.account.uid, gid: self.account.gid },
        }
    }
}

impl Memory {
    /// Users' own places, then those in shared directories.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.users.values().chain(self.shared.values())
    }

    /// The same, to change.
    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.users.values_mut().chain(self.shared.values_mut())
    }

    /// The place that [`Record::key`] names.
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.users.get(key).or_else(|| self.shared.get(key))
    }

    /// Somebody waits for this user: everything of theirs is tried again. Whether it makes a difference.
    pub fn hurry(&mut self, name: &str, now: Duration) -> bool {
        let Some(record) = self.users.get_mut(name) else { return false };
        let hurried = record.hurry(now);
        if hurried {
            self.shared.values_mut().filter(|r| r.account.name == name).for_each(|r| {
                r.hurry(now);
            });
        }
        hurried
    }

    /// Brings the places in shared directories up to the users and their groups.
    pub(super) fn share(&mut self, settings: &Settings) {
        let mut old = std::mem::take(&mut self.shared);
        for user in self.users.values() {
            let Some(component) = names::escape(&user.account.name) else { continue };
            for (index, setting) in settings.shared.iter().enumerate() {
                let Some(part) = part(index, setting, &user.account) else { continue };
                let place = user_directory(&setting.template(), &component).to_string_lossy().into_owned();
                let ids = |a: &Account| (a.uid, a.gid, a.home.clone());
                let same = |r: &Record| r.shared.as_ref() == Some(&part) && ids(&r.account) == ids(&user.account);
                let record = match old.remove(&place) {
                    Some(old) if same(&old) => Record { account: user.account.clone(), ..old },
                    _ => Record { shared: Some(part), ..Record::new(user.account.clone(), place.clone()) },
                };
                self.shared.insert(place, Record { last_present: user.last_present, ..record });
            }
        }
    }

    /// Whoever is here is here in all their places.
    pub(super) fn see_shared(&mut self) {
        let seen = self.seen;
        for record in self.shared.values_mut() {
            if self.users.get(&record.account.name).is_some_and(|user| user.last_present == Some(seen)) {
                record.last_present = Some(seen);
            }
        }
    }

    /// The whole share was mounted for everybody, or not.
    pub fn shown(&mut self, result: Result<(), Failure>, now: Duration, jitter: u64) {
        let before = self.whole.take();
        self.whole = result.err().map(|failure| {
            let summary = format!("The share cannot be shown to everybody: {}. Nothing was changed.", failure.words());
            let remedy = "It is tried again by itself. If it lasts: sudo dsvm-agent doctor";
            let problem = Some(crate::problem::Problem::new("workspace.not-mounted", summary, remedy));
            super::decide::trouble(before.as_ref(), problem, now, jitter)
        });
    }

    /// How many members have each shared directory at a place, what is wrong with it, and whether it is known to be there.
    pub fn parts(&self) -> BTreeMap<usize, Vec<&Record>> {
        let mut out: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
        for record in self.shared.values() {
            out.entry(record.shared.as_ref().map_or(0, |part| part.index)).or_default().push(record);
        }
        out
    }
}

#[cfg(test)]
mod tests;
