//! Idleness in the daemon: when a look is taken, what is remembered across restarts, keeps, and what people are told.

use super::accounts::{Accounts, STRANGER};
use super::engine::Engine;
use super::request::{Reply, Request};
use super::senses::Senses;
use crate::config::settings::Idle as Settings;
use crate::idle::decide::{self, commit, decide};
use crate::idle::keeps::{Keeps, Process};
use crate::idle::memory::Memory;
use crate::idle::model::{Decision, Leave, Refused, Sample, Seen, Source};
use crate::idle::observe::sense::{Humans, Sense, is_person};
use crate::idle::observe::{self, Observer, People, process, unsaved};
use crate::problem::Problem;
use crate::share::model::Failure;
use crate::status::idle::{IdleView, KeepView, LeaveView, RiskView, SeenFromView, SourceView};
use crate::sys::clock::rfc3339;
use crate::worker::job::{Answer, Job};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

mod announce;
mod end;

/// The file with what outlives a restart, beside the status.
pub const FILE: &str = "use-memory.json";
/// So much earlier a look may be, in seconds.
const SLACK: f64 = 1.0;
/// So many samples are kept for whoever records.
const MOST_SAMPLES: usize = 64;
/// So long after somebody asked for samples they are kept, in seconds.
const RECORDING: f64 = 120.0;
/// The most samples in one answer: it must stay below what a client reads.
const AT_A_TIME: usize = 4;

/// What outlives a restart of the agent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    memory: Memory,
    keeps: Keeps,
    /// The last announcement that people at terminals were told of.
    #[serde(default)]
    told: Option<u64>,
}

/// Whoever acts on idle asked for the epoch of an announcement.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Asked {
    epoch: u64,
    at: f64,
}

/// Everything about idleness that lives as long as the brain.
#[derive(Debug)]
pub struct Idle {
    /// The ids of ordinary users.
    pub range: RangeInclusive<u32>,
    /// Who is somebody.
    pub accounts: Accounts,
    observer: Observer,
    /// How long it took last, in milliseconds.
    sample_ms: f64,
    file: PathBuf,
    kept: Kept,
    decision: Option<Decision>,
    /// When the next look is due, by the boot-time clock in seconds; the second: of what is looked at seldom.
    due: (f64, f64),
    senses: Senses,
    asked: Option<Asked>,
    committed: Option<u64>,
    telling: announce::Telling,
    watch: announce::Watch,
    arrivals: announce::Arrivals,
    check: Option<end::Check>,
    samples: VecDeque<Sample>,
    recorded_until: f64,
}

impl Idle {
    /// Goes on from what a predecessor of this boot wrote into `directory`.
    pub fn restore(directory: &Path, boot_id: &str) -> Self {
        let file = directory.join(FILE);
        let text = std::fs::read(&file).ok();
        Self::known(text.as_deref(), boot_id, file)
    }

    /// Goes on from the text of what a predecessor wrote into `file`, if it is of this boot.
    pub fn known(text: Option<&[u8]>, boot_id: &str, file: PathBuf) -> Self {
        let kept = text.and_then(|text| serde_json::from_slice::<Kept>(text).ok());
        let kept = kept.filter(|k| k.memory.boot_id == boot_id && !boot_id.is_empty());
        let kept = kept.unwrap_or_else(|| Kept { memory: Memory::new(boot_id), ..Kept::default() });
        Self {
            range: 1000..=60000,
            accounts: Accounts::default(),
            observer: Observer::default(),
            sample_ms: 0.0,
            file,
            kept,
            decision: None,
            due: (0.0, 0.0),
            senses: Senses::default(),
            asked: None,
            committed: None,
            telling: announce::Telling::default(),
            watch: announce::Watch::default(),
            arrivals: announce::Arrivals::default(),
            check: None,
            samples: VecDeque::new(),
            recorded_until: 0.0,
        }
    }

    /// Whether a user id is a person's.
    pub fn is_human(&self, uid: u32) -> bool {
        is_person(*self.range.start(), uid)
    }

    /// What was decided last.
    pub fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// How long until the next look is due.
    pub fn next(&self, now: Duration) -> Duration {
        Duration::try_from_secs_f64(self.soonest() - now.as_secs_f64()).unwrap_or_default()
    }

    /// How long until a worker's next look is due; for ever while all are under way.
    pub fn next_sense(&self, settings: &Settings, now: Duration) -> Duration {
        let pause = (self.senses.next(settings) - now.as_secs_f64()).max(0.0);
        Duration::try_from_secs_f64(pause).unwrap_or(Duration::MAX)
    }

    /// The looks of workers' that are due now, as jobs.
    pub fn jobs(&self, engine: &Engine, now: Duration) -> Vec<(Sense, Job)> {
        let due = self.senses.due(&engine.settings.idle, now.as_secs_f64());
        let others = || {
            let ids = engine.users.users.values().map(|r| r.account.uid);
            ids.filter(|uid| !self.range.contains(uid)).collect()
        };
        let humans = || Humans { from: *self.range.start(), to: *self.range.end(), others: others() };
        due.into_iter().map(|sense| (sense, Job::Sense { sense, humans: humans() })).collect()
    }

    /// A worker was asked for, or could not be.
    pub fn started(&mut self, sense: Sense, worker: Result<u64, String>, settings: &Settings, now: Duration) {
        let now = now.as_secs_f64();
        match worker {
            Ok(id) => self.senses.started(id, sense, settings, now),
            Err(why) => {
                let seen = self.senses.refused(sense, &why, settings, now);
                self.take(seen, settings);
            }
        }
    }

    /// Takes what a worker saw. `waiting` are those whose programs may wait for a share that does not answer.
    pub fn sensed(
        &mut self,
        sense: Sense,
        (result, stuck): (Result<Answer, Failure>, bool),
        waiting: &BTreeSet<Option<u32>>,
        settings: &Settings,
        now: Duration,
    ) {
        let mut seen = self.senses.take(sense, result, stuck, settings, now.as_secs_f64());
        if let Some(unsaved) = seen.remove(&Source::Unsaved) {
            seen.insert(Source::Unsaved, unsaved::with_waiting(unsaved, waiting));
        }
        // The settings may have changed meanwhile.
        if sense.is_wanted(settings) {
            self.take(seen, settings);
        }
    }

    /// A stuck worker is gone at last.
    pub fn freed(&mut self, id: u64) {
        self.senses.freed(id);
    }

    /// Looks, if it is time, and decides. `who` says what a user is called.
    pub fn pass(&mut self, settings: &Settings, people: &People<'_>, who: decide::Names<'_>, now: Duration) {
        let now = now.as_secs_f64();
        self.kept.keeps.refresh(now, |pid| process::started(&self.observer.roots.proc, pid));
        self.glimpse(people, now);
        // The settings may have become shorter since the last look.
        self.due.0 = self.due.0.min(now + settings.tuning.sample.as_secs_f64());
        self.due.1 = self.due.1.min(now + settings.tuning.window.as_secs_f64());
        // What is due soon is done when the agent is awake anyway.
        if now + SLACK.min(settings.tuning.sample.as_secs_f64() / 4.0) >= self.due.0 {
            self.observe(settings, people, now);
        }
        let decision = decide(&self.kept.memory, settings, now, who);
        decide::note(&mut self.kept.memory, &decision);
        self.settle(&decision, settings, now);
        self.decision = Some(decision);
    }

    /// Asks for leave to act on idle, as announced with this epoch. Everything is looked at once more before it is given
    /// ([`Idle::committed`]); whoever comes meanwhile stops it.
    pub fn ask(&mut self, epoch: u64, now: Duration) {
        if self.asked.is_none_or(|asked| asked.epoch != epoch) {
            let at = now.as_secs_f64();
            (self.asked, self.due) = (Some(Asked { epoch, at }), (at, at));
            self.senses.hurry(at);
        }
    }

    /// The epoch for which leave was given, and still is.
    pub fn committed(&self) -> Option<u64> {
        self.committed
    }

    /// Looks, if it is time, for the engine's users, and decides. Whether there is news.
    pub fn look(&mut self, engine: &Engine, now: Duration) -> bool {
        let before = self.news();
        let lowest = *self.range.start();
        let is_human = |uid: u32| is_person(lowest, uid);
        // The brain's parent is the workers' too.
        let launcher = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
        let people = People { is_human: &is_human, launcher };
        self.pass(&engine.settings.idle, &people, &names(engine), now);
        before != self.news()
    }

    /// What needs a person.
    pub fn problems(&self) -> Vec<Problem> {
        self.decision.as_ref().map(|d| d.problems.clone()).unwrap_or_default()
    }

    /// What everybody should be told of at once.
    fn news(&self) -> impl PartialEq + use<> {
        let told = self.decision.as_ref().map(|d| {
            let due = matches!(d.leave, Leave::Due { .. });
            (d.verdict, d.leave.epoch(), due, d.problems.len())
        });
        (told, self.kept.keeps.0.len(), self.committed, self.is_checked())
    }

    /// What people are told, with the names that the engine knows.
    pub fn told(&self, engine: &Engine, wall: SystemTime, now: Duration) -> Option<IdleView> {
        self.view(&engine.settings.idle, &names(engine), wall, now)
    }

    /// Answers a request of `uid`; whether it needs a look.
    pub fn answer(&mut self, uid: u32, request: Request, settings: &Settings, now: Duration) -> (Reply, bool) {
        let error = |error: String| Reply::Error { error };
        match request {
            Request::Keep { seconds, reason, pid } if seconds.is_finite() && seconds > 0.0 => {
                match self.keep(uid, (seconds, reason, pid), settings, now) {
                    Ok(kept_s) => (Reply::Keep { kept_s }, true),
                    Err(why) => (error(why), false),
                }
            }
            Request::EndKeep => (Reply::EndKeep { ended: self.end_keeps(uid, now) }, true),
            Request::Samples { after } if uid == 0 => (Reply::Samples { samples: self.samples(after, now) }, false),
            Request::Samples { .. } => (error("samples are root's to see".to_owned()), false),
            _ => (error("this makes no sense".to_owned()), false),
        }
    }

    fn observe(&mut self, settings: &Settings, people: &People<'_>, now: f64) {
        let began = std::time::Instant::now();
        let mut seen = self.observer.often(people, now);
        if now + SLACK >= self.due.1 {
            seen.extend(self.observer.seldom(people));
            self.due.1 = now + settings.tuning.window.as_secs_f64();
        }
        self.sample_ms = (began.elapsed().as_secs_f64() * 10_000.0).round() / 10.0;
        if let Some(typing) = seen.get_mut(&Source::Typing) {
            self.with_arrivals(typing);
        }
        seen.insert(Source::Keep, self.kept.keeps.seen());
        // What the settings no longer ask for is not there: every time, since nobody looks any more who would say so.
        let known = |s: &&Source| self.kept.memory.looks.contains_key(s);
        let unwanted = Sense::ALL.into_iter().filter(|s| !s.is_wanted(settings)).flat_map(Sense::sources);
        seen.extend(unwanted.filter(known).map(|s| (*s, Seen::Absent)));
        self.due.0 = now + settings.tuning.sample.as_secs_f64();
        self.take(seen, settings);
        if let Err(e) = self.save() {
            tracing::warn!("{}: {e}", self.file.display());
        }
    }

    /// Folds in what was seen just now.
    fn take(&mut self, seen: BTreeMap<Source, Seen>, settings: &Settings) {
        let sample = observe::sample(seen);
        self.kept.memory.take(&sample, &settings.tuning);
        if sample.at < self.recorded_until {
            self.samples.push_back(sample.without_words());
            if self.samples.len() > MOST_SAMPLES {
                self.samples.pop_front();
            }
        } else {
            self.samples.clear();
        }
    }

    fn settle(&mut self, decision: &Decision, settings: &Settings, now: f64) {
        if self.committed.is_some_and(|epoch| commit(&self.kept.memory, decision, epoch, 0.0).is_err()) {
            self.committed = None;
        }
        self.settle_check(settings, now);
        let Some(asked) = self.asked else { return };
        let fresh = self.senses.are_fresh(settings, asked.at);
        match commit(&self.kept.memory, decision, asked.epoch, asked.at) {
            Ok(()) if !fresh => self.due.0 = self.due.0.min(now + 1.0),
            Ok(()) => (self.committed, self.asked) = (Some(asked.epoch), None),
            Err(Refused::Over) => self.asked = None,
            Err(Refused::NotYet) => self.due.0 = self.due.0.min(now + 1.0),
        }
    }

    fn save(&self) -> std::io::Result<()> {
        let new = self.file.with_extension("new");
        // One that was left half written must not be in the way.
        let _ = std::fs::remove_file(&new);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(&self.kept)?)?;
        std::fs::rename(&new, &self.file)
    }

    /// Keeps the VM for `uid`. Returns for how many seconds.
    ///
    /// # Errors
    /// In words, for whoever asked.
    pub fn keep(
        &mut self,
        uid: u32,
        (seconds, reason, pid): (f64, Option<String>, Option<u32>),
        settings: &Settings,
        now: Duration,
    ) -> Result<f64, String> {
        let proc = &self.observer.roots.proc;
        let process = match pid {
            None => None,
            Some(pid) => {
                let owner = std::fs::metadata(proc.join(pid.to_string())).map(|m| m.uid());
                let started = process::started(proc, pid).filter(|_| owner.is_ok_and(|owner| owner == uid || uid == 0));
                Some(Process { pid, started: started.ok_or("that process is not yours")? })
            }
        };
        let (now, longest) = (now.as_secs_f64(), settings.keep_max.as_secs_f64());
        let before = self.kept.keeps.clone();
        let stranger = |uid: u32| self.accounts.whose(uid) == STRANGER;
        let until = self.kept.keeps.add(uid, seconds, reason, process, (now, longest), &stranger)?;
        // What is confirmed outlives a death at any moment from then on.
        if let Err(e) = self.save() {
            self.kept.keeps = before;
            return Err(format!("this VM is not kept, since that cannot be written down: {e}"));
        }
        self.due.0 = now;
        Ok(until - now)
    }

    /// Ends the keeps of `uid`; how many there were.
    pub fn end_keeps(&mut self, uid: u32, now: Duration) -> usize {
        self.due.0 = now.as_secs_f64();
        let ended = self.kept.keeps.end(uid);
        // One that comes back costs money and no work: who ends it is not held up.
        if let Err(e) = self.save() {
            tracing::warn!("{}: {e}", self.file.display());
        }
        ended
    }

    /// The samples after `after`, a few at a time, for whoever records.
    pub fn samples(&mut self, after: f64, now: Duration) -> Vec<Sample> {
        self.recorded_until = now.as_secs_f64() + RECORDING;
        self.samples.iter().filter(|s| s.at > after).take(AT_A_TIME).cloned().collect()
    }

    /// What people are told.
    pub fn view(
        &self,
        settings: &Settings,
        who: decide::Names<'_>,
        wall: SystemTime,
        now: Duration,
    ) -> Option<IdleView> {
        let decision = self.decision.as_ref()?;
        let time = |at: f64| {
            let ahead = at - now.as_secs_f64();
            let distance = Duration::try_from_secs_f64(ahead.abs()).ok()?;
            let moment = if ahead < 0.0 { wall.checked_sub(distance) } else { wall.checked_add(distance) };
            moment.map(rfc3339)
        };
        let name = |uid: Option<u32>| uid.map(|uid| who(uid).unwrap_or_else(|| uid.to_string()));
        let sources = decision.evidence.iter().map(|e| SourceView {
            name: e.source.name().to_owned(),
            state: e.state,
            last_busy: e.last_busy.and_then(time),
            since: time(e.since),
            until: e.until.and_then(time),
            observed: e.observed.map(rounded),
            threshold: e.threshold.map(rounded),
            unit: e.unit.to_owned(),
            uid: e.who,
            who: name(e.who),
            what: e.what.clone(),
            count: None,
        });
        let keeps = self.kept.keeps.0.iter().map(|k| KeepView {
            uid: Some(k.uid),
            who: name(Some(k.uid)),
            reason: k.reason.clone(),
            since: time(k.since),
            until: time(k.until),
            command: k.process.is_some(),
        });
        let at_risk = decision.at_risk.iter().map(|r| RiskView {
            kind: r.source.name().to_owned(),
            uid: r.who,
            who: name(r.who),
            value: rounded(r.value),
            unit: r.unit.to_owned(),
            what: r.what.clone(),
            count: None,
            files: None,
        });
        let leave = match decision.leave {
            Leave::No => None,
            Leave::Announced { epoch, at, until } => {
                Some(LeaveView { epoch, announced_at: time(at), until: time(until), due: false, committed: false })
            }
            Leave::Due { epoch, at } => Some(LeaveView {
                epoch,
                announced_at: time(at),
                until: None,
                due: true,
                committed: self.committed == Some(epoch),
            }),
        };
        Some(IdleView {
            verdict: decision.verdict,
            since: time(decision.since),
            idle_at: decision.idle_at.and_then(time),
            last_busy: decision.last_busy.and_then(time),
            seen_from: decision.seen_from.map(|from| SeenFromView {
                at: time(from.at),
                unread: from.unread.map(|source| decide::called(source).to_owned()),
            }),
            after_s: settings.after.as_secs(),
            needed_s: decision.needed as u64,
            window_s: settings.tuning.window.as_secs(),
            sample_ms: self.sample_ms,
            sources: sources.collect(),
            keeps: keeps.collect(),
            at_risk: at_risk.collect(),
            leave,
        })
    }
}

/// What users are called.
fn names(engine: &Engine) -> impl Fn(u32) -> Option<String> {
    |uid| {
        let known = engine.users.users.values().find(|r| r.account.uid == uid).map(|r| r.account.name.clone());
        known.or_else(|| (uid == 0).then(|| "root".to_owned()))
    }
}

/// Figures for people and programs need no more than three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
