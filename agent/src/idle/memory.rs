//! What is remembered from sample to sample. A sample is folded in by [`Memory::take`]; nothing else changes what is known
//! of use. It outlives a restart of the agent, as a file, and not a reboot.

mod row;

pub use row::{Hidden, Look, Row};

use super::limits::{self, Limit, Rule};
use super::model::{Counter, Leave, Level, Sample, Seen, Source, Stamp, Verdict};
use crate::config::settings::Tuning;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The most rows that are remembered. Of what is neither used now nor unknown, that which was used longest ago is forgotten
/// first.
const MOST_ROWS: usize = 512;
/// The most sleeps of the VM that are told apart.
const MOST_SLEEPS: usize = 32;
/// A difference of the two clocks that is no sleep, in seconds.
const NO_SLEEP: f64 = 1.0;

/// Everything that is known of use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The kernel's id of the boot that it is of.
    pub boot_id: String,
    /// The clocks of the last sample; nothing before the first.
    pub last: Option<Clocks>,
    /// Nothing is known of before: quiet counts from here at the earliest.
    pub floor: f64,
    /// What could not be read until then; nothing when nobody looked.
    #[serde(default)]
    pub unread: Option<Source>,
    /// When the VM slept, and how long: that time is not quiet time.
    pub sleeps: Vec<(f64, f64)>,
    /// Last values of counters and stamps.
    pub marks: BTreeMap<String, f64>,
    /// When each source was looked at, and what is wrong with it.
    pub looks: BTreeMap<Source, Look>,
    /// What is known of each source and user.
    pub rows: Vec<Row>,
    /// Since when it is busy, or was again and again, without anybody there and with little computing.
    pub lonely_since: Option<f64>,
    /// The verdict, and since when.
    pub verdict: Option<(Verdict, f64)>,
    /// The number of the last announcement.
    pub epoch: u64,
    /// How far it is with leaving.
    pub leave: Option<Leave>,
}

/// Both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Clocks {
    /// Boot-time clock.
    pub at: f64,
    /// The clock that stands still in sleep.
    pub awake: f64,
}

impl Memory {
    /// Nothing is known of this boot.
    pub fn new(boot_id: &str) -> Self {
        Self { boot_id: boot_id.to_owned(), ..Self::default() }
    }

    /// Folds a sample in. One that is not later than the last is left out: times only grow.
    pub fn take(&mut self, sample: &Sample, tuning: &Tuning) {
        let (at, window) = (sample.at, tuning.window.as_secs_f64());
        match self.last {
            None => self.floor = at,
            Some(last) if at <= last.at => return,
            Some(last) => self.note_gap(last, sample, tuning),
        }
        self.last = Some(Clocks { at, awake: sample.awake });
        for limit in limits::table(tuning) {
            let Some(seen) = sample.seen.get(&limit.source) else { continue };
            let before = self.looks.get(&limit.source).and_then(|l| l.read_at);
            self.look(limit.source, seen, at, window);
            match seen {
                Seen::Absent => self.levels(&limit, &[], at, window),
                Seen::Unreadable(_) => {}
                Seen::Counters(counters) => self.counters(&limit, counters, before, at, window),
                Seen::Stamps(stamps) => self.stamps(&limit, stamps, before.is_none(), sample),
                Seen::Levels(levels) => self.levels(&limit, levels, at, window),
            }
        }
        self.note_lonely(at);
        self.forget(at);
    }

    /// How long it was quiet at `now` when it was last busy at `since`: sleeps of the VM do not count.
    pub fn quiet(&self, since: f64, now: f64) -> f64 {
        let slept: f64 = self.sleeps.iter().filter(|(at, _)| *at > since).map(|(_, long)| long).sum();
        (now - since - slept).max(0.0)
    }

    /// The inverse: when it will have been quiet for `long` since `since`.
    pub fn quiet_at(&self, since: f64, long: f64) -> f64 {
        let slept: f64 = self.sleeps.iter().filter(|(at, _)| *at > since).map(|(_, long)| long).sum();
        since + long + slept
    }

    /// Time that passed since the last sample: the VM slept, or nobody looked.
    fn note_gap(&mut self, last: Clocks, sample: &Sample, tuning: &Tuning) {
        let (passed, awake) = (sample.at - last.at, (sample.awake - last.awake).max(0.0));
        let slept = passed - awake;
        if slept > NO_SLEEP {
            self.sleeps.push((sample.at, slept));
            if self.sleeps.len() > MOST_SLEEPS {
                // Both at the later time: too little counts as quiet, never too much.
                let (_, long) = self.sleeps.remove(0);
                self.sleeps[0].1 += long;
            }
        }
        // The agent was dead or held up for longer than what grows is averaged over: what went on is not known.
        if awake > blind(tuning) {
            self.raise(sample.at, None);
        }
    }

    fn look(&mut self, source: Source, seen: &Seen, at: f64, window: f64) {
        let look = self.looks.entry(source).or_default();
        look.at = at;
        look.absent = matches!(seen, Seen::Absent);
        let why = if let Seen::Unreadable(why) = seen { Some(why.as_str()) } else { None };
        // A moment's failure hides nothing: what was before and what comes after are seen. A longer one does.
        let hidden = look.hid(why, at, window);
        let is_first = why.is_none() && look.read_at.replace(at).is_none() && !look.absent;
        if hidden || is_first {
            self.raise(at, hidden.then_some(source));
        }
    }

    /// Nothing is known of before `at`, and why.
    fn raise(&mut self, at: f64, unread: Option<Source>) {
        if at > self.floor {
            (self.floor, self.unread) = (at, unread);
        }
    }

    fn counters(&mut self, limit: &Limit, counters: &[Counter], before: Option<f64>, at: f64, window: f64) {
        let prefix = format!("{}:", limit.source.name());
        let passed = before.map_or(0.0, |b| at - b);
        // By how much, and what grew most.
        let mut grown: BTreeMap<Option<u32>, (f64, f64, Option<&str>)> = BTreeMap::new();
        // All of it, and without surroundings. What a whole counts beyond its parts is nobody's surroundings: those are
        // in a part, whoever is spared them.
        let mut deltas: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for counter in counters {
            let key = format!("{prefix}{}", counter.id);
            // What was not there at the last look began since then. At the first look nothing is known to have grown.
            let new = if before.is_none() || counter.baseline { counter.value } else { 0.0 };
            let old = self.marks.get(&key).copied().unwrap_or(new);
            let delta = (counter.value - old).max(0.0);
            let mut work = delta;
            let surroundings = format!("{key}~");
            match counter.ambient {
                Some(ambient) => {
                    let spared = self.marks.insert(surroundings, ambient).map_or(0.0, |old| (ambient - old).max(0.0));
                    work -= spared.min(limits::AMBIENT_CORES * passed).min(delta);
                }
                None => drop(self.marks.remove(&surroundings)),
            }
            self.marks.insert(key, counter.value);
            deltas.insert(&counter.id, (delta, work));
        }
        // Looked up, since there are as many as users have connections.
        let mut within: BTreeMap<&str, f64> = BTreeMap::new();
        for counter in counters {
            if let (Some(whole), Some((all, _))) = (counter.within.as_deref(), deltas.get(counter.id.as_str())) {
                *within.entry(whole).or_default() += all;
            }
        }
        for counter in counters {
            let own = deltas.get(counter.id.as_str()).map_or(0.0, |(_, work)| *work);
            let parts = within.get(counter.id.as_str()).copied().unwrap_or_default();
            if !counter.system {
                let (sum, most, what) = grown.entry(counter.who).or_default();
                let rest = (own - parts).max(0.0);
                *sum += rest;
                if rest > *most {
                    (*most, *what) = (rest, counter.what.as_deref());
                }
            }
        }
        // Ambient marks end with their counter.
        let ids: BTreeSet<String> = counters.iter().map(|c| format!("{prefix}{}", c.id)).collect();
        self.marks.retain(|key, _| !key.starts_with(&prefix) || ids.contains(key.trim_end_matches('~')));
        let known: Vec<Option<u32>> = self.rows.iter().filter(|r| r.source == limit.source).map(|r| r.who).collect();
        for who in known {
            grown.entry(who).or_default();
        }
        for (who, (amount, _, what)) in grown {
            let row = self.row(limit.source, who, at);
            // Whoever is quiet since then is remembered with what was at work last.
            row.what = what.map(str::to_owned).or(row.what.take());
            if passed > 0.0 {
                row.steps.push_back((at, passed, amount));
            }
            while row.steps.front().is_some_and(|(then, ..)| *then <= at - window) {
                row.steps.pop_front();
            }
            let (observed, busy) = judge(limit.rule, &row.steps, window, at);
            row.observed = Some(observed);
            row.set(busy, at);
        }
    }

    fn stamps(&mut self, limit: &Limit, stamps: &[Stamp], first: bool, sample: &Sample) {
        let prefix = format!("{}:", limit.source.name());
        let (at, floor) = (sample.at, self.floor);
        let mut used: BTreeMap<Option<u32>, (Option<f64>, Option<String>)> = BTreeMap::new();
        for stamp in stamps {
            let old = self.marks.insert(format!("{prefix}{}", stamp.id), stamp.value);
            let when = match old {
                Some(old) if old.to_bits() == stamp.value.to_bits() => None,
                // What came since then, or moved, was used just now, whatever the wall clock says.
                Some(_) => Some(at),
                None if !first => Some(at),
                // Told to people only: nothing counts as quiet from before this look.
                None => Some((at - (sample.wall - stamp.value).clamp(0.0, at)).min(floor)),
            };
            let entry = used.entry(stamp.who).or_default();
            if when > entry.0 || entry.1.is_none() {
                *entry = (when.or(entry.0), stamp.what.clone().or(entry.1.take()));
            }
        }
        // Who logs out was there. Of whom it cannot be told what is there, nothing has ended: what is remembered of theirs
        // decides when they are heard of again.
        let silent = self.silent(limit.source);
        let is_silent = |key: &str| {
            let whose =
                key.strip_prefix(&prefix).and_then(|id| id.split_once(':')).and_then(|(uid, _)| uid.parse().ok());
            whose.is_some_and(|uid| silent.contains(&Some(uid)))
        };
        let ids: BTreeSet<String> = stamps.iter().map(|s| format!("{prefix}{}", s.id)).collect();
        let ended = |key: &str| key.starts_with(&prefix) && !ids.contains(key) && !is_silent(key);
        let gone = self.marks.keys().any(|key| ended(key));
        self.marks.retain(|key, _| !ended(key));
        for row in self.rows.iter_mut().filter(|r| r.source == limit.source && !used.contains_key(&r.who)) {
            if silent.contains(&row.who) {
                row.set(false, at);
                continue;
            }
            row.set(gone && row.last_busy.is_some() && row.observed.is_some(), at);
            row.observed = None;
        }
        for (who, (when, what)) in used {
            let row = self.row(limit.source, who, at);
            row.set(when == Some(at), at);
            row.last_busy = [row.last_busy, when].into_iter().flatten().reduce(f64::max);
            row.observed = row.last_busy.map(|then| at - then);
            row.what = what.or(row.what.take());
        }
    }

    /// Whose stamps of this source are missing because they could not be read: what a Jupyter server says of its kernels and
    /// when they were used is one answer.
    fn silent(&self, source: Source) -> BTreeSet<Option<u32>> {
        let unknown = |r: &&Row| source == Source::Notebook && r.source == Source::Kernel && r.unknown.is_some();
        self.rows.iter().filter(unknown).map(|r| r.who).collect()
    }

    fn levels(&mut self, limit: &Limit, levels: &[Level], at: f64, window: f64) {
        let mut highest: BTreeMap<Option<u32>, &Level> = BTreeMap::new();
        for level in levels {
            let better = |old: &&Level| match limit.rule {
                Rule::Below(_) => level.value < old.value,
                Rule::Keeps => later(level.until, old.until),
                _ => level.value > old.value || ((level.unknown || level.unmeasured) && level.value >= old.value),
            };
            if highest.get(&level.who).is_none_or(better) {
                highest.insert(level.who, level);
            }
        }
        self.marks.retain(|key, _| !key.starts_with(&format!("{}:", limit.source.name())));
        let mut hidden = false;
        for row in self.rows.iter_mut().filter(|r| r.source == limit.source && !highest.contains_key(&r.who)) {
            row.set(false, at);
            row.steps.clear();
            (row.observed, row.until) = (None, None);
            hidden |= row.hid(None, at, window);
        }
        for (who, level) in highest {
            let value = match limit.rule {
                Rule::Below(_) => level.value.min(self.unused(limit.source, who, at)),
                _ => level.value,
            };
            let row = self.row(limit.source, who, at);
            row.set(level.unmeasured || holds(limit.rule, value), at);
            (row.observed, row.until) = (Some(value).filter(|_| !level.unmeasured), level.until);
            let why = level.unknown.then(|| level.what.as_deref().unwrap_or("it gives no answer"));
            hidden |= row.hid(why, at, window);
            if !level.unknown {
                row.what = level.what.clone().or(row.what.take());
            }
        }
        if hidden {
            self.raise(at, Some(limit.source));
        }
    }

    /// For how long nothing is known of a user's use but what `source` says of it. Before the floor nothing is known, so that
    /// there may have been some. What is forgotten was before it, and what nobody counts as use is none: so a source whose
    /// own use comes from here ends.
    fn unused(&self, source: Source, who: Option<u32>, at: f64) -> f64 {
        let others = self.rows.iter().filter(|r| r.who == who && r.source != source && is_use(r.source));
        self.quiet(others.filter_map(|r| r.last_busy).fold(self.floor, f64::max), at)
    }

    /// The row of a source and user, made if it is not there.
    fn row(&mut self, source: Source, who: Option<u32>, at: f64) -> &mut Row {
        let index = self.rows.iter().position(|r| r.source == source && r.who == who).unwrap_or_else(|| {
            self.rows.push(Row::new(source, who, at));
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    fn note_lonely(&mut self, at: f64) {
        let at_work = |who| self.rows.iter().any(|r| r.busy && r.source == Source::Kernel && r.who == who);
        let company = |r: &Row| {
            r.busy
                && (r.source.is_presence()
                    || r.source == Source::Keep
                    // Who runs a cell is there; one that runs on by itself may print.
                    || (r.source == Source::Notebook && !at_work(r.who))
                    // On a GPU that does not tell who computes, something may have been forgotten.
                    || (r.source == Source::Gpu && r.observed.is_some())
                    || (matches!(r.source, Source::Cpu | Source::Container)
                        && r.observed.is_some_and(|o| o >= limits::LOW_CORES)))
        };
        // What was forgotten may come and go: it is over when the VM could have gone ([`Memory::settle`]), and not before.
        if self.rows.iter().any(company) {
            self.lonely_since = None;
        } else if self.rows.iter().any(holds_up) {
            self.lonely_since.get_or_insert(at);
        }
    }

    /// Ends what stood in the way of its becoming idle and no longer does: it was quiet for as long as `needed` since, or is
    /// `free` to go.
    pub(super) fn settle(&mut self, needed: f64, free: bool) {
        let Some(at) = self.last.map(|last| last.at) else { return };
        let used = self.rows.iter().filter(|r| !is_level(r.source)).filter_map(|r| r.last_busy).reduce(f64::max);
        let quiet = used.is_none_or(|used| self.quiet(used, at) >= needed) && !self.rows.iter().any(holds_up);
        if free || quiet {
            self.lonely_since = None;
        }
        let over = |hidden: &Hidden| free || at - hidden.until >= needed;
        for look in self.looks.values_mut().filter(|l| l.unreadable.is_none()) {
            look.hidden.take_if(|h| over(h));
        }
        for row in self.rows.iter_mut().filter(|r| r.unknown.is_none()) {
            row.hidden.take_if(|h| over(h));
        }
    }

    /// What could not be told and may stand in its way still: of which source, whose, and when.
    pub fn hidden(&self) -> impl Iterator<Item = (Source, Option<u32>, &Hidden)> {
        let looks = self.looks.iter().filter_map(|(source, look)| Some((*source, None, look.hidden.as_ref()?)));
        looks.chain(self.rows.iter().filter_map(|r| Some((r.source, r.who, r.hidden.as_ref()?))))
    }

    fn forget(&mut self, at: f64) {
        let untold = |r: &Row| r.unknown.is_some() || r.hidden.is_some();
        self.rows.retain(|r| r.busy || r.observed.is_some() || r.last_busy.is_some() || untold(r));
        if self.rows.len() > MOST_ROWS {
            let rank = |r: &Row| (r.busy, r.unknown.is_some(), r.last_busy);
            self.rows.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
            // What is forgotten was used before all that is kept, or is not known to be quiet even now; nothing may become
            // idle sooner by it.
            let used = |r: Row| if r.unknown.is_some() { Some(at) } else { r.last_busy };
            if let Some(used) = self.rows.drain(MOST_ROWS..).filter_map(used).reduce(f64::max) {
                self.raise(used, None);
            }
        }
    }
}

/// Longer than that without a sample, and nothing is known of what went on, in seconds.
pub fn blind(tuning: &Tuning) -> f64 {
    tuning.window.max(3 * tuning.sample).as_secs_f64()
}

/// Whether a level of this source says something else than that the VM is used.
pub fn is_level(source: Source) -> bool {
    matches!(source, Source::Memory | Source::GpuMemory | Source::Kernels | Source::Stopped | Source::Due)
}

/// Whether this source says that the VM is kept, used or not.
pub fn keeps(source: Source) -> bool {
    matches!(source, Source::Keep | Source::Inhibitor)
}

/// Whether this source says, when it is busy, that somebody uses the VM.
pub fn is_use(source: Source) -> bool {
    !is_level(source) && !keeps(source)
}

/// Whether it is busy, and so nothing becomes idle.
fn holds_up(row: &Row) -> bool {
    row.busy && !is_level(row.source)
}

fn holds(rule: Rule, value: f64) -> bool {
    match rule {
        Rule::AtLeast(least) | Rule::Stretches(least) => value >= least,
        Rule::Below(most) => value < most,
        Rule::Keeps | Rule::AtRisk => true,
        Rule::Average(_) | Rule::AMinute(_) | Rule::Moved => false,
    }
}

/// Whether one end is later than another; no end is the latest.
fn later(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
        (_, None) => false,
    }
}

/// What grew in the window, in the source's unit, and whether that is busy.
fn judge(rule: Rule, steps: &VecDeque<(f64, f64, f64)>, window: f64, at: f64) -> (f64, bool) {
    // A step that began before the window counts with the part of it that is inside.
    let inside = |(then, long, amount): &(f64, f64, f64)| {
        let part = (long - (at - window - (then - long)).max(0.0)).max(0.0);
        if *long > 0.0 { amount * part / long } else { 0.0 }
    };
    let amount: f64 = steps.iter().map(inside).sum();
    match rule {
        Rule::Average(least) => (amount / window, amount >= least * window && amount > 0.0),
        Rule::AMinute(least) => (amount * 60.0 / window, amount * 60.0 >= least * window && amount > 0.0),
        _ => (amount, false),
    }
}
