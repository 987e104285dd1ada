//! The brain's part in what happens before the VM is deleted or restarts: facts in, jobs out, answers back.

use super::super::notice;
use super::people::Words;
use super::{Brain, Mode};
use crate::idle::model::Verdict;
use crate::problem::Problem;
use crate::scale_set::act::Ask;
use crate::scale_set::decide::drain::{Facts, Memory, Mounts, Outcome, Step};
use crate::scale_set::model::{Event, EventKind};
use crate::share::model::Failure;
use crate::status::model::DrainView;
use crate::sys::clock::{boottime, rfc3339};
use crate::worker::job::{Answer, Job};
use crate::worker::launcher::RUN;
use crate::workspace::memory::{Closing, Record};
use crate::workspace::model::Person;
use crate::workspace::observe;
use crate::workspace::rescue::watch::came;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The most of one user's files that is copied before the VM goes, in bytes: what a share takes in half a minute.
const MOST: u64 = 1 << 30;

/// Where it is kept what was done: the agent may be started anew in between.
fn file() -> PathBuf {
    Path::new(RUN).join("status/drain.json")
}

/// What a predecessor did.
pub(super) fn restore(boot_id: &str) -> Memory {
    Memory::restore(std::fs::read(file()).ok().as_deref(), boot_id)
}

impl Brain {
    /// Does what is due before an event of Azure's. Nothing once the agent is told to end.
    pub(super) fn tend_drain(&mut self) {
        if self.mode != Mode::Service || self.ending {
            return;
        }
        // What was seen before the end was announced says nothing of who came since.
        let end = self.drain_event().filter(|e| e.kind.is_end()).map(|e| e.id);
        self.idle.check(end.as_deref(), boottime());
        let facts = self.drain_facts();
        for step in self.drain.decide(&facts) {
            self.drain_step(step, &facts);
        }
        self.tell_rescued();
        let closing = self.closing(&facts);
        if self.engine.users.closing != closing {
            self.engine.users.closing = closing;
            // What is held is tried once more.
            self.engine.users.held.values_mut().for_each(|held| held.again = facts.now);
            self.look_after(Duration::ZERO);
        }
        self.keep_drain();
    }

    fn drain_facts(&self) -> Facts {
        let events = self.scale_set.events().map(<[Event]>::to_vec);
        let ending = events.iter().flatten().any(|e| e.kind.is_end());
        // Afresh: who came a moment ago must not be overlooked now.
        let here = if ending { present_now() } else { None };
        let is_here = |uid: u32| here.as_ref().is_none_or(|here| here.contains(&uid));
        let came = |r: &Record| came(r, self.engine.users.files.get(&r.account.name)) || is_here(r.account.uid);
        let known = |r: &Record| self.drain.is_guest(&r.account.name);
        // Whose directory is not there for a reason that lasts has nowhere to save anything.
        let can = |r: &Record| r.made.is_some() || !r.has_problem();
        let wanted = |r: &&Record| ending && can(r) && (came(r) || known(r));
        let users = self.engine.users.users.values().filter(wanted).map(|r| r.account.name.clone()).collect();
        let mounted = self.last.as_ref().map(|(last, _)| last.mounted.users.as_slice()).unwrap_or_default();
        let all_known = self.engine.settings.share.is_none() || self.engine.users.known;
        let owned = mounted.iter().filter(|m| !all_known || self.engine.users.of(&m.directory).is_some());
        let mut mounts: BTreeSet<String> = owned.filter_map(|m| Some(m.directory.to_str()?.to_owned())).collect();
        let is_held = |m: &String| self.engine.users.held.contains_key(Path::new(m));
        let mut unused = mounts.iter().any(|m| !is_held(m));
        if mounted.iter().any(|m| m.directory.as_os_str().is_empty()) {
            // One mount for all: each writes what waits in their own directory on it.
            unused |= !is_held(&String::new());
            let guests = self.engine.users.users.values().filter(wanted);
            mounts.extend(guests.map(|r| r.directory.clone()));
        }
        let used = self.is_used(here.as_ref());
        Facts { events, wall: SystemTime::now(), now: boottime(), used, users, known: all_known, mounts, unused }
    }

    /// Whether anybody may be at work. Whoever is logged in may be, even if they were quiet for a while.
    fn is_used(&self, here: Option<&BTreeSet<u32>>) -> bool {
        if !self.idle.is_checked() {
            return true;
        }
        match self.idle.decision().map(|d| d.verdict) {
            Some(Verdict::Idle) => false,
            Some(Verdict::Quiet) => here.is_none_or(|here| here.iter().any(|uid| self.idle.is_human(*uid))),
            _ => true,
        }
    }

    fn closing(&self, facts: &Facts) -> Option<Closing> {
        let gone = match self.drain.mounts(facts.used) {
            Mounts::Usual => return None,
            mounts => mounts == Mounts::Gone,
        };
        // Who was here goes on as before, and what is theirs is copied there.
        let guests = facts.users.iter().filter(|user| !gone && self.drain.is_guest(user));
        let needed = guests.cloned().collect();
        Some(Closing { gone, needed })
    }

    fn drain_step(&mut self, step: Step, facts: &Facts) {
        match step {
            Step::Tell(notice) => {
                let event = self.drain_event();
                let text = notice::event(notice, event.as_ref(), facts.wall);
                self.say_to_people(Words::Notice(notice), &text, None);
            }
            Step::Refuse => {
                let event = self.drain_event();
                let refuse = Some(notice::log_in(event.as_ref(), facts.wall));
                self.start_drain(Job::LogIns { refuse });
            }
            Step::Admit => self.start_drain(Job::LogIns { refuse: None }),
            Step::Rescue { user } => match self.rescue_job(&user, facts) {
                Some(job) => self.start_drain(job),
                None => self.drain.rescue_done(&user, failed("their directory is not mounted".to_owned())),
            },
            Step::Flush { mount, within } => {
                let record = self.engine.users.of(Path::new(&mount));
                match record.and_then(person) {
                    Some(person) => {
                        let within = within.as_secs().max(1);
                        self.start_drain(Job::Flush { person, directory: mount, within });
                    }
                    None => self.drain.flush_done(&mount, Some("its user is not known".to_owned())),
                }
            }
            Step::Approve { ids } => self.start_drain(Job::ScaleSet(Box::new(Ask::Approve { ids }))),
        }
    }

    /// The event that is prepared for.
    fn drain_event(&self) -> Option<Event> {
        let events = self.scale_set.events()?.iter();
        events.filter(|e| e.kind != EventKind::Freeze).max_by_key(|e| e.kind).cloned()
    }

    /// The copy of a user's files, if it can begin now.
    fn rescue_job(&mut self, user: &str, facts: &Facts) -> Option<Job> {
        let node = self.scale_set.node(&self.identity.host).name;
        let into = self.drain.into.get_or_insert_with(|| format!("{}-{node}", day(facts.wall))).clone();
        let record = self.engine.users.users.get(user)?;
        let mounted = facts.mounts.contains(&record.directory);
        let job = Job::Rescue { person: person(record)?, directory: record.directory.clone(), into, limit: MOST };
        mounted.then_some(job)
    }

    fn start_drain(&mut self, job: Job) {
        match self.client.start(job.clone()) {
            Ok(id) => {
                if let Job::Rescue { directory, .. } = &job
                    && let Some(user) = self.owner(directory)
                {
                    self.rescues.insert(id, user);
                }
            }
            Err(e) => {
                self.take_drained(0, &job, Err(Failure::said(crate::share::model::Attempt::Worker, e.to_string())))
            }
        }
    }

    /// Whose directory it is.
    fn owner(&self, directory: &str) -> Option<String> {
        self.engine.users.of(Path::new(directory)).map(|r| r.account.name.clone())
    }

    /// Takes what came of a job of the drain; whether it is one.
    pub(super) fn drained(&mut self, id: u64, job: &Job, result: Result<Answer, Failure>) {
        self.take_drained(id, job, result);
        self.tend_drain();
        self.look_after(Duration::ZERO);
    }

    fn take_drained(&mut self, id: u64, job: &Job, result: Result<Answer, Failure>) {
        let now = boottime();
        let rescued = self.rescues.remove(&id);
        match job {
            Job::LogIns { refuse } => {
                let result = result.map(drop).map_err(|f| f.line());
                tracing::info!(refused = refuse.is_some(), "log-ins of all but root");
                self.drain.log_ins(refuse.is_some(), result, now);
            }
            Job::Flush { directory, .. } => self.drain.flush_done(directory, result.err().map(|f| f.line())),
            Job::Rescue { directory, .. } => {
                // Whoever is not known any more makes room for the next one all the same.
                let Some(user) = rescued.or_else(|| self.owner(directory)) else { return };
                let outcome = match result {
                    Ok(Answer::Rescued(done)) => Outcome {
                        files: done.files,
                        left: done.left.len() as u64 + done.more_left,
                        largest: done.left.iter().take(2).map(|l| (l.path.clone(), l.bytes)).collect(),
                        unread: done.unread,
                        failed: done.unfinished.map(|why| why.to_string()),
                        ..Outcome::default()
                    },
                    Ok(_) => failed("the helper answered something else".to_owned()),
                    Err(failure) => failed(failure.line()),
                };
                self.drain.rescue_done(&user, outcome);
            }
            Job::ScaleSet(ask) => {
                if let Ask::Approve { ids } = ask.as_ref() {
                    let result = match result {
                        Ok(Answer::ScaleSet(told)) => told.map(drop).map_err(|f| f.line()),
                        Ok(_) => Err("the helper answered something else".to_owned()),
                        Err(failure) => Err(failure.line()),
                    };
                    tracing::info!(taken = result.is_ok(), "Azure was told that it may begin");
                    self.drain.approve_done(ids, result, now);
                }
            }
            _ => {}
        }
    }

    /// Tells users at their terminals what was copied for them, one after the other.
    fn tell_rescued(&mut self) {
        if self.telling.is_some() || !self.drain.is_ending() {
            return;
        }
        let untold = |o: &Outcome| !o.told && (o.files > 0 || o.left > 0 || !o.unread.is_empty());
        let Some((user, outcome)) =
            self.drain.rescued.iter().find(|(_, o)| untold(o)).map(|(u, o)| (u.clone(), o.clone()))
        else {
            return;
        };
        let uid = self.engine.users.users.get(&user).map(|r| r.account.uid);
        let link = &self.engine.settings.workspace.link;
        let text = notice::rescued(&outcome, link, self.drain.into.as_deref().unwrap_or_default());
        self.say_to_people(Words::Rescued(user), &text, Some(uid.unwrap_or(u32::MAX)));
    }

    /// Keeps what was done, and has it told, if it is more than before.
    fn keep_drain(&mut self) {
        let bytes = serde_json::to_vec(&self.drain).unwrap_or_default();
        if bytes == self.drain_kept {
            return;
        }
        self.look_after(Duration::ZERO);
        let kept = (|| {
            let (file, new) = (file(), file().with_extension("new"));
            // One that was left half written must not be in the way.
            let _ = std::fs::remove_file(&new);
            let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            out.write_all(&bytes)?;
            std::fs::rename(&new, file)
        })();
        self.drain_kept = bytes;
        if let Err(e) = kept {
            tracing::warn!("{}: {e}", file().display());
        }
    }

    /// What the status says of it; nothing while no deletion is announced.
    pub(super) fn drain_view(&self) -> Option<DrainView> {
        let event = self.drain_event().filter(|e| e.kind.is_end() && self.drain.is_ending())?;
        let sum = |of: fn(&Outcome) -> u64| self.drain.rescued.values().map(of).sum();
        Some(DrainView {
            at: event.not_before.filter(|_| !event.started).map(rfc3339),
            log_ins_refused: self.drain.surely_refused,
            rescued: sum(|o| o.files),
            left: sum(|o| o.left),
            written: self.drain.is_written(),
            approved: self.drain.approved.contains(&event.id),
            shared: !event.alone,
        })
    }

    /// What could not be done.
    pub(super) fn drain_problems(&self) -> Vec<Problem> {
        let mut out = Vec::new();
        let drain = &self.drain;
        if let Some(why) = &drain.log_ins_failed {
            let summary = format!("Log-ins are not as they should be before this VM is deleted: {why}.");
            let remedy = "It is tried again by itself. If the VM stays and people cannot log in: sudo rm /run/nologin";
            out.push(Problem::new("scale-set.log-ins", summary, remedy));
        }
        if !drain.is_ending() {
            return out;
        }
        for (user, outcome) in &drain.rescued {
            if let Some(why) = &outcome.failed {
                let summary = format!(
                    "This VM is deleted soon, and files of {user} that are on it alone are not all copied to the share \
                     ({why}). Nothing was removed."
                );
                let remedy = "It is tried again until shortly before. Copy by hand what is needed from their home.";
                out.push(Problem::new("scale-set.not-rescued", summary, remedy).about(user));
            }
        }
        let mut flushes = drain.flushed.iter().filter_map(|(mount, (_, why))| Some((mount, why.as_ref()?)));
        if let Some((_, why)) = flushes.next() {
            let more = flushes.count() + 1;
            let summary =
                format!("What waits to be written to the share could not be written for {more} of the users: {why}.");
            let remedy = "It is tried again until the VM goes. Why the share does not answer: sudo dsvm-agent doctor";
            out.push(Problem::new("scale-set.not-flushed", summary, remedy));
        }
        if let Some(why) = &drain.unapproved {
            let summary = format!("Azure does not take it that the deletion of this VM may begin: {why}.");
            let remedy = "Nothing has to be done: it is tried again, and begins by itself when its notice is over.";
            out.push(Problem::new("scale-set.approval", summary, remedy));
        }
        out
    }
}

/// Who is here; nothing when that cannot be told.
fn present_now() -> Option<BTreeSet<u32>> {
    // The brain's parent is the workers' too.
    let launcher = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
    observe::present(Path::new("/proc"), Path::new("/sys/fs/cgroup"), launcher).ok()
}

fn person(record: &Record) -> Option<Person> {
    let a = &record.account;
    Person::new(a.uid, a.gid, a.groups.clone(), a.home.clone()).ok()
}

fn failed(why: String) -> Outcome {
    Outcome { failed: Some(why), ..Outcome::default() }
}

/// The day, as directories begin with it.
fn day(wall: SystemTime) -> String {
    rfc3339(wall).chars().take(10).collect()
}
