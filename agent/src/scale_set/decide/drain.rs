//! What happens between an event that Azure announces and its beginning: pure, and level by level, so that nothing is lost
//! by a restart of the agent. The event stays in Azure's list; what was done about it is in [`Memory`], which is a file.
//!
//! A deletion cannot be stopped. People are told, nobody new is let in, what lies on this VM only is copied to the share,
//! what waits to be written is written, and only then Azure is told that it may begin. Whoever works has the whole notice.

mod model;

pub use model::{Facts, Mounts, Notice, Outcome, Step};

use crate::scale_set::model::{Event, EventKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// How long before an event begins things are done at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Margins {
    /// Files that are on this VM only are copied for the last time.
    rescue: Duration,
    /// Copying is waited for no longer, and what waits to be written is written.
    flush: Duration,
    /// Everything is written once more: people have worked on.
    again: Duration,
    /// Nothing is waited for any longer: it may begin.
    approve: Duration,
}

/// A deletion is announced 5 to 15 minutes before. A copy ends by itself after two minutes, a write by its deadline.
const DELETION: Margins = margins(150, 60, 25, 10);
/// A Spot VM has 30 seconds, of which finding out takes two.
const EVICTION: Margins = margins(60, 14, 10, 5);

const fn margins(rescue: u64, flush: u64, again: u64, approve: u64) -> Margins {
    let s = Duration::from_secs;
    Margins { rescue: s(rescue), flush: s(flush), again: s(again), approve: s(approve) }
}

/// People are reminded so long before a deletion.
const REMIND: Duration = Duration::from_secs(120);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// So many users' files are copied at once; the others wait their turn.
const AT_ONCE: usize = 4;
/// The longest that one write may take.
const WRITE: Duration = Duration::from_secs(30);
/// While it cannot be long any more everything is written so often: who works loses no more than this when the power goes.
const OFTEN: Duration = Duration::from_secs(2);
/// A VM that restarts writes everything in the last minute before, this often.
const RESTART: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// A date that cannot be read, or cannot be: everything is done at once, and who works is left alone.
const NO_DATE: Duration = DELETION.flush;
/// How often it is looked whether something is due when it may be soon.
const TICK: Duration = Duration::from_secs(1);
/// An unmount of what nobody uses is waited for so long at most.
const UNMOUNT: Duration = Duration::from_secs(15);

/// What is under way. It ends with the agent, and is begun again by the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Busy {
    tell: bool,
    /// What people are being told is of an event that is over.
    tell_is_old: bool,
    log_ins: bool,
    approve: bool,
    rescue: BTreeMap<String, Duration>,
    flush: BTreeMap<String, Duration>,
}

/// What was done, over a restart of the agent too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The boot that it is of.
    pub boot_id: String,
    /// The event, its kind, and when it was first seen, by the boot-time clock.
    current: Option<(String, EventKind, Duration)>,
    /// Its date was over when it was first seen, and yet it had not begun: one of the clocks is wrong.
    #[serde(default)]
    undated: bool,
    /// Who was here when it was announced: they go on as before, and their files are copied. Nobody comes after them.
    guests: BTreeSet<String>,
    /// It was not known then who there is: who was here is still to be found out.
    #[serde(default)]
    guests_open: bool,
    /// The date that was announced, and when that is by the boot-time clock, as far as the wall clock said when it was first
    /// heard of.
    #[serde(default)]
    ends: Option<(SystemTime, Duration)>,
    /// What people were told of it.
    told: BTreeSet<Notice>,
    /// An event that was to end the VM vanished, and people are to hear of that.
    #[serde(default)]
    called_off: bool,
    /// Log-ins are refused, or may be.
    refused: bool,
    /// They are for sure.
    pub surely_refused: bool,
    /// Nobody uses the VM, or the end is near: since when.
    closing: Option<Duration>,
    /// The directory for what is copied, of each user.
    pub into: Option<String>,
    /// What came of copying, by user.
    pub rescued: BTreeMap<String, Outcome>,
    /// When the last write began, and why it failed, by mount.
    pub flushed: BTreeMap<String, (Duration, Option<String>)>,
    /// Since when nothing is left to be written but by who works on.
    written: Option<Duration>,
    /// The events that may begin, as far as Azure took it.
    pub approved: BTreeSet<String>,
    /// Why that failed.
    pub unapproved: Option<String>,
    /// Why log-ins could not be refused, or let in again.
    pub log_ins_failed: Option<String>,
    /// Nothing that failed is tried before.
    again: Duration,
    #[serde(skip)]
    busy: Busy,
    /// When something is due by itself.
    #[serde(skip)]
    due: Option<Duration>,
}

impl Memory {
    /// What a predecessor of this boot knew; nothing of another boot's counts.
    pub fn restore(text: Option<&[u8]>, boot_id: &str) -> Self {
        let known = text.and_then(|text| serde_json::from_slice::<Self>(text).ok());
        let fresh = || Self { boot_id: boot_id.to_owned(), ..Self::default() };
        known.filter(|m| m.boot_id == boot_id && !boot_id.is_empty()).unwrap_or_else(fresh)
    }

    /// Whether this VM is about to be deleted.
    pub fn is_ending(&self) -> bool {
        self.current.as_ref().is_some_and(|(_, kind, _)| kind.is_end())
    }

    /// Whether nothing is left to be written but by who works on.
    pub fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// What may be mounted. Nothing is unmounted while somebody works, even what is not open at that moment.
    pub fn mounts(&self, used: bool) -> Mounts {
        match (self.is_ending(), self.written) {
            (false, _) => Mounts::Usual,
            (true, Some(_)) if !used => Mounts::Gone,
            (true, _) => Mounts::NothingNew,
        }
    }

    /// Whether somebody was here when the end was announced.
    pub fn is_guest(&self, user: &str) -> bool {
        self.is_ending() && self.guests.contains(user)
    }

    fn guests_of(&self, facts: &Facts) -> BTreeSet<String> {
        self.guests.intersection(&facts.users).cloned().collect()
    }

    /// The steps of now. Each is to be begun, or said to have failed.
    pub fn decide(&mut self, facts: &Facts) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(events) = &facts.events else { return steps };
        let worst = events.iter().filter(|e| e.kind != EventKind::Freeze).max_by_key(|e| e.kind);
        self.follow(worst, facts);
        let date = worst.and_then(|e| e.not_before);
        if self.ends.map(|(date, _)| date) != date {
            let at = |date: SystemTime| facts.now.saturating_add(date.duration_since(facts.wall).unwrap_or_default());
            self.ends = date.map(|date| (date, at(date)));
        }
        if self.guests_open {
            self.guests.extend(facts.users.iter().cloned());
            self.guests_open = !facts.known;
        }
        if self.called_off {
            self.tell(Notice::CalledOff, &mut steps);
        }
        match worst {
            None => self.admit(facts, &mut steps),
            Some(event) if event.kind.is_end() => {
                // To approve an event is to approve it for every VM that it names, and others may be in use.
                let own = events.iter().filter(|e| e.kind.is_end() && e.alone);
                let ids = own.map(|e| e.id.clone()).collect();
                self.end(event, ids, facts, &mut steps);
            }
            Some(event) => {
                self.admit(facts, &mut steps);
                self.restart(event, facts, &mut steps);
            }
        }
        self.plan(worst, facts);
        steps
    }

    /// Another event than before, or none: what was done for the last one is not done for this one. What was copied for
    /// somebody stays copied.
    fn follow(&mut self, event: Option<&Event>, facts: &Facts) {
        let same = |(id, ..): &(String, EventKind, Duration)| event.is_some_and(|e| e.id == *id);
        if self.current.as_ref().is_some_and(same) || (self.current.is_none() && event.is_none()) {
            return;
        }
        let ended = self.is_ending() || self.called_off;
        let busy = std::mem::take(&mut self.busy);
        *self = Self {
            boot_id: std::mem::take(&mut self.boot_id),
            current: event.map(|e| (e.id.clone(), e.kind, facts.now)),
            undated: event.is_some_and(|e| !e.started && e.not_before.is_some_and(|at| at <= facts.wall)),
            guests: facts.users.clone(),
            guests_open: event.is_some() && !facts.known,
            refused: self.refused,
            surely_refused: self.surely_refused,
            busy: Busy { tell_is_old: busy.tell, ..busy },
            ..Self::default()
        };
        self.called_off = ended && !self.is_ending();
    }

    /// Nobody is kept out for an event that vanished.
    fn admit(&mut self, facts: &Facts, steps: &mut Vec<Step>) {
        if self.refused && !self.busy.log_ins && facts.now >= self.again {
            self.busy.log_ins = true;
            steps.push(Step::Admit);
        }
    }

    fn tell(&mut self, notice: Notice, steps: &mut Vec<Step>) {
        if !self.busy.tell && !self.told.contains(&notice) {
            self.busy.tell = true;
            steps.push(Step::Tell(notice));
        }
    }

    fn restart(&mut self, event: &Event, facts: &Facts, steps: &mut Vec<Step>) {
        self.tell(if event.kind == EventKind::Redeploy { Notice::Move } else { Notice::Restart }, steps);
        let left = self.left(event, facts.wall);
        if left <= RESTART.0 {
            self.flush(facts, Duration::ZERO, RESTART.1, left, steps);
        }
    }

    fn end(&mut self, event: &Event, ids: Vec<String>, facts: &Facts, steps: &mut Vec<Step>) {
        let (margins, now) = (if event.kind == EventKind::Preempt { EVICTION } else { DELETION }, facts.now);
        let left = self.left(event, facts.wall);
        // Who works on a Spot VM has no time that would be worth waiting for.
        let used = facts.used && event.kind != EventKind::Preempt;
        if !self.surely_refused && !self.busy.log_ins && now >= self.again {
            (self.refused, self.busy.log_ins) = (true, true);
            steps.push(Step::Refuse);
        }
        self.tell(Notice::Deletion, steps);
        if left <= REMIND && event.kind == EventKind::Terminate {
            self.tell(Notice::Reminder, steps);
        }
        let near = left <= margins.rescue;
        if near || !used {
            self.closing.get_or_insert(now);
        } else {
            // Somebody came: they have their time, and what they do is copied and written again.
            (self.closing, self.written) = (None, None);
        }
        let late = left <= margins.flush;
        // Without a date both copying and writing begin now, and the end of both is waited for.
        let open = self.is_undated(event, facts.wall);
        if !late || open {
            self.rescue(facts, steps);
        } else {
            self.too_late(facts);
        }
        let Some(closing) = self.closing else { return };
        // All of them, also who is not known at this moment: an agent that was just started knows nobody yet.
        let rescued = !self.guests_open && self.guests.iter().all(|user| self.is_rescued(user, closing));
        if late || rescued {
            // Who works on writes until the very end.
            let last = used && left <= margins.again;
            let since = if last { now.saturating_sub(margins.again.saturating_sub(left)) } else { closing };
            let often = if last || self.is_approved(&ids) { OFTEN } else { Duration::MAX };
            self.flush(facts, since, often, left.saturating_sub(margins.approve), steps);
            // What could not be written is waited for as long as there is time.
            let written =
                |(at, failed): &(Duration, Option<String>)| *at >= since && (failed.is_none() || (late && !open));
            let done =
                |mount: &String| self.flushed.get(mount).is_some_and(written) && !self.busy.flush.contains_key(mount);
            if (rescued || !open) && facts.mounts.iter().all(done) {
                self.written.get_or_insert(now);
            }
        }
        let unmounted = self.written.is_some_and(|at| !facts.unused || now >= at.saturating_add(UNMOUNT));
        // A clock that jumps takes nobody their notice.
        let over = left <= margins.approve && self.ends.is_none_or(|(_, at)| now + margins.approve >= at);
        if (over || (!used && unmounted)) && !ids.is_empty() && !self.is_approved(&ids) {
            self.approve(ids, now, steps);
        }
    }

    /// What could not be copied is tried for as long as there is time.
    fn is_rescued(&self, user: &str, closing: Duration) -> bool {
        !self.busy.rescue.contains_key(user)
            && self.rescued.get(user).is_some_and(|o| o.began >= closing && o.failed.is_none())
    }

    fn is_approved(&self, ids: &[String]) -> bool {
        !ids.is_empty() && ids.iter().all(|id| self.approved.contains(id))
    }

    /// Once at once, so that something is safe whatever happens, and once more when nobody works any more. Whoever finds no
    /// room has not failed: they come first when there is some. What fails is tried again after all others, and holds up nobody.
    fn rescue(&mut self, facts: &Facts, steps: &mut Vec<Step>) {
        let mut due: Vec<(Option<Duration>, String)> = Vec::new();
        for user in self.guests_of(facts) {
            let old = self.rescued.get(&user);
            let again = match (old, self.closing) {
                (None, _) => true,
                (Some(old), closing) => {
                    closing.is_some_and(|at| old.began < at)
                        || (old.failed.is_some() && facts.now >= old.began.saturating_add(AGAIN))
                }
            };
            if again && !self.busy.rescue.contains_key(&user) {
                due.push((old.map(|o| o.began), user));
            }
        }
        due.sort();
        for (_, user) in due.into_iter().take(AT_ONCE.saturating_sub(self.busy.rescue.len())) {
            self.busy.rescue.insert(user.clone(), facts.now);
            steps.push(Step::Rescue { user });
        }
    }

    /// It is too late to begin to copy: whose turn never came is to be told.
    fn too_late(&mut self, facts: &Facts) {
        for user in self.guests_of(facts) {
            if !self.busy.rescue.contains_key(&user) && !self.rescued.contains_key(&user) {
                let failed = Some("there was no time to begin".to_owned());
                self.rescued.insert(user, Outcome { began: facts.now, failed, ..Outcome::default() });
            }
        }
    }

    /// Everything that was not written since `since`, and what was written `often` ago.
    fn flush(&mut self, facts: &Facts, since: Duration, often: Duration, within: Duration, steps: &mut Vec<Step>) {
        for mount in &facts.mounts {
            let due = self.flushed.get(mount).is_none_or(|(at, failed)| {
                *at < since
                    || facts.now >= at.saturating_add(often)
                    || (failed.is_some() && facts.now >= at.saturating_add(AGAIN))
            });
            if due && !self.busy.flush.contains_key(mount) {
                self.busy.flush.insert(mount.clone(), facts.now);
                let within = within.clamp(Duration::from_secs(2), WRITE);
                steps.push(Step::Flush { mount: mount.clone(), within });
            }
        }
    }

    fn approve(&mut self, ids: Vec<String>, now: Duration, steps: &mut Vec<Step>) {
        if !self.busy.approve && now >= self.again {
            self.busy.approve = true;
            steps.push(Step::Approve { ids });
        }
    }

    /// People were told, or could not be: then they are told again.
    pub fn told(&mut self, notice: Notice, done: bool) {
        self.busy.tell = false;
        let old = std::mem::take(&mut self.busy.tell_is_old);
        if done && !old {
            self.told.insert(notice);
            self.called_off &= notice != Notice::CalledOff;
        }
    }

    /// What came of refusing log-ins, or of letting people in again.
    pub fn log_ins(&mut self, refuse: bool, result: Result<(), String>, now: Duration) {
        self.busy.log_ins = false;
        match result {
            Ok(()) => {
                (self.surely_refused, self.refused) = (refuse, refuse);
                self.log_ins_failed = None;
            }
            Err(why) => {
                // It may be done all the same.
                (self.surely_refused, self.refused) = (false, true);
                (self.log_ins_failed, self.again) = (Some(why), now + AGAIN);
            }
        }
    }

    /// What came of copying a user's files. One that failed takes nothing back of what an earlier one copied, and found too big.
    pub fn rescue_done(&mut self, user: &str, outcome: Outcome) {
        let Some(began) = self.busy.rescue.remove(user) else { return };
        let old = self.rescued.remove(user).unwrap_or_default();
        let mut outcome = outcome;
        if outcome.failed.is_some() {
            outcome.files = outcome.files.max(old.files);
            if outcome.left < old.left {
                (outcome.left, outcome.largest) = (old.left, old.largest);
            }
            if outcome.unread.is_empty() {
                outcome.unread = old.unread;
            }
        }
        let same = (old.files, old.left) == (outcome.files, outcome.left);
        self.rescued.insert(user.to_owned(), Outcome { began, told: old.told && same, ..outcome });
    }

    /// What came of writing.
    pub fn flush_done(&mut self, mount: &str, failed: Option<String>) {
        if let Some(began) = self.busy.flush.remove(mount) {
            self.flushed.insert(mount.to_owned(), (began, failed));
        }
    }

    /// What came of the approval. One that was lost is given again: Azure takes it twice.
    pub fn approve_done(&mut self, ids: &[String], result: Result<(), String>, now: Duration) {
        self.busy.approve = false;
        match result {
            Ok(()) => {
                self.approved.extend(ids.iter().cloned());
                self.unapproved = None;
            }
            Err(why) => (self.unapproved, self.again) = (Some(why), now + 2 * TICK),
        }
    }

    /// When something is due by itself.
    fn plan(&mut self, worst: Option<&Event>, facts: &Facts) {
        let failed = (self.refused && worst.is_none()).then_some(self.again);
        let pause = worst.map(|event| {
            let left = self.left(event, facts.wall);
            let calm = if event.kind.is_end() { DELETION.rescue } else { RESTART.0 };
            // The last minutes are counted in seconds; before them nothing changes by itself while somebody works.
            let waits = facts.used || !event.kind.is_end();
            if waits { left.saturating_sub(calm).max(TICK) } else { TICK }
        });
        self.due = pause.map(|pause| facts.now + pause).or(failed);
    }

    /// How long until something is due by itself.
    pub fn next(&self, now: Duration) -> Duration {
        self.due.map_or(Duration::MAX, |at| at.saturating_sub(now))
    }

    /// How long until it begins.
    fn left(&self, event: &Event, wall: SystemTime) -> Duration {
        match event.not_before {
            _ if event.started => Duration::ZERO,
            Some(at) if !self.is_undated(event, wall) => at.duration_since(wall).unwrap_or_default(),
            _ => NO_DATE,
        }
    }

    /// Whether it has no date, or one that cannot be. A clock that is put right says so from then on.
    fn is_undated(&self, event: &Event, wall: SystemTime) -> bool {
        !event.started && event.not_before.is_none_or(|at| self.undated && at <= wall)
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
