//! Users' files that are on this VM only: whose homes are looked at, what came of it, and what is told of it. And what
//! was rescued from the VM before this one.

use super::engine::{Decision, Engine};
use crate::share::model::{Failure, ShareState};
use crate::status::idle::{FilesView, RiskView};
use crate::status::model::LastView;
use crate::sys::clock::rfc3339;
use crate::worker::job::{Answer, Job};
use crate::workspace::memory::Record;
use crate::workspace::model::Person;
use crate::workspace::rescue::RESCUED;
use crate::workspace::rescue::last::Last;
use crate::workspace::rescue::watch::Files;
use std::path::Path;
use std::time::{Duration, SystemTime};

impl Engine {
    /// The looks that are due: at homes, and at what lies on the share since an earlier VM went. `busy`: the VM computes.
    pub(super) fn looks_at_files(&mut self, decision: &Decision, busy: bool, now: Duration) -> Vec<Job> {
        let users = &mut self.users;
        if users.known {
            let is_there = |name: &String, f: &Files| users.users.get(name).is_some_and(|r| r.account.uid == f.uid);
            users.files.retain(|name, files| is_there(name, files));
        }
        let there = decision.mounted.by_directory();
        let answers = decision.view.state == ShareState::Mounted && self.share.silent == 0;
        let mut jobs = Vec::new();
        for (name, record) in &users.users {
            if record.last_present.is_none() {
                continue;
            }
            let Some(person) = person(record) else { continue };
            let nothing = Files::new(record.account.uid);
            let files = users.files.get(name).unwrap_or(&nothing);
            let directory = record.directory.clone();
            let mount = there.get(Path::new(&record.directory)).map(|m| m.mount.id).filter(|_| answers);
            if mount.is_some_and(|id| files.wants_last(id)) {
                jobs.push(Job::LastTime { person: person.clone(), directory: directory.clone() });
            }
            if record.has_home() && files.is_due(record.last_present, busy, now) {
                jobs.push(Job::Survey { person, directory });
            }
        }
        jobs
    }

    /// A look at files was begun.
    pub(super) fn files_begun(&mut self, job: &Job, decision: &Decision, now: Duration) {
        match job {
            Job::Survey { directory, .. } => self.files_of(directory, |files| files.begin(now)),
            Job::LastTime { directory, .. } => {
                let there = decision.mounted.by_directory();
                if let Some(mount) = there.get(Path::new(directory)) {
                    self.files_of(directory, |files| files.begin_last(mount.mount.id));
                }
            }
            _ => {}
        }
    }

    /// Takes what came of a look at files. One that failed says nothing: what was seen before stands.
    pub(super) fn absorb_files(&mut self, job: &Job, result: Result<Answer, Failure>, now: Duration) {
        match (job, result) {
            (Job::Survey { directory, .. }, Ok(Answer::Surveyed(seen))) => {
                self.files_of(directory, |files| files.seen = Some(seen));
            }
            (Job::LastTime { directory, .. }, result) => {
                let last = match result {
                    Ok(Answer::LastTime(last)) => last.map(|last| *last),
                    _ => None,
                };
                self.files_of(directory, |files| files.end_last(last, now));
            }
            _ => {}
        }
    }

    fn files_of(&mut self, directory: &str, change: impl FnOnce(&mut Files)) {
        let Some((name, uid)) = self.of(directory).map(|r| (r.account.name.clone(), r.account.uid)) else { return };
        change(self.users.files.entry(name).or_insert_with(|| Files::new(uid)));
    }

    /// What of users' files would be lost, for the status.
    pub(super) fn files_at_risk(&self) -> Vec<RiskView> {
        let row = |(name, files): (&String, &Files)| {
            let seen = files.seen.as_ref().filter(|s| s.files > 0)?;
            let newest: Vec<String> = seen.newest.iter().map(|path| format!("~/{path}")).collect();
            Some(RiskView {
                kind: "files".to_owned(),
                uid: Some(files.uid),
                who: Some(name.clone()),
                value: seen.files as f64,
                unit: "files".to_owned(),
                what: newest.first().cloned(),
                count: None,
                files: Some(FilesView { bytes: seen.bytes, newest, more: !seen.whole }),
            })
        };
        self.users.files.iter().filter_map(row).collect()
    }

    /// What is told to a user of what was rescued for them.
    pub(super) fn last_time(&self, record: &Record, now: Duration) -> Option<Box<LastView>> {
        let files = self.users.files.get(&record.account.name).filter(|f| f.uid == record.account.uid)?;
        let Last { node, at, files, left, into, whole, .. } = files.last(now)?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*at))?;
        Some(Box::new(LastView {
            node: node.clone(),
            at: rfc3339(at),
            files: *files,
            left: *left,
            whole: *whole,
            place: format!("~/{}/{RESCUED}/{into}", self.settings.workspace.link),
        }))
    }
}

fn person(record: &Record) -> Option<Person> {
    let a = &record.account;
    Person::new(a.uid, a.gid, a.groups.clone(), a.home.clone()).ok()
}
