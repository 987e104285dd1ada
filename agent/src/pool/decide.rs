//! When this VM writes its row, and what the rows of all say. Pure: clocks, names and files come in as arguments.

use super::act::SUFFIX;
use super::model::{File, Gathered, LARGEST, NodeView, OddView, PoolView, Row, SCHEMA, Standing, mark};
use crate::workspace::names;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// A row is written so often at least, less up to a quarter, so that the VMs of a pool do not all write at once.
pub const EVERY: Duration = Duration::from_secs(10 * 60);
/// The least time between two writes, however much changes.
pub const PAUSE: Duration = Duration::from_secs(15);
/// After a failure it is tried again, at first after this.
const AGAIN: Duration = Duration::from_secs(30);
/// A VM whose row is older was not heard of: it missed three.
pub const SILENT: Duration = Duration::from_secs(3 * EVERY.as_secs());
/// A VM whose end was announced needs no such patience.
const ENDED: Duration = Duration::from_secs(20 * 60);
/// So far ahead another VM's clock may be.
const AHEAD: Duration = Duration::from_secs(2 * 60);
/// Old rows are looked for so often, less up to a quarter.
const SWEEP: Duration = Duration::from_secs(6 * 3600);
/// What was read is as good as new for so long: nobody keeps the share busy by asking.
pub const FRESH: Duration = Duration::from_secs(5);
/// So old it may be to tell a user, who asks for something else, that they are on another VM too.
pub const RECENT: Duration = Duration::from_secs(5 * 60);
/// After this it is no longer told.
const PAST: Duration = Duration::from_secs(15 * 60);
/// So many odd files are named.
const MOST_ODD: usize = 20;
/// So many names of one VM's users are told to root.
const MOST_WHO: usize = 50;

/// What a row is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The row, without when it is written and without marks.
    pub row: Row,
    /// The directories on the share of those present, in order.
    pub present: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// A name that this VM had before.
    pub before: Option<String>,
    /// Remove what nobody renewed for long, too.
    pub sweep: bool,
}

/// What is remembered of writing. It may be forgotten: the row is written once more then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// What was written last.
    written: Option<Content>,
    /// What is being written.
    under_way: Option<(Content, bool)>,
    /// Not before then, by the boot-time clock.
    not_before: Duration,
    /// Then in any case.
    next: Duration,
    /// Failures in a row.
    failures: u32,
    /// The last one, for people.
    pub failure: Option<String>,
    /// Old rows are looked for then.
    sweep_at: Option<Duration>,
}

impl Memory {
    /// Whether the row is to be written now.
    pub fn wants(&self, content: &Content, now: Duration) -> Option<Write> {
        if self.under_way.is_some() || now < self.not_before {
            return None;
        }
        let new = self
            .written
            .as_ref()
            .is_none_or(|old| !old.row.tells_the_same(&content.row) || old.present != content.present);
        (new || now >= self.next).then(|| Write {
            before: self.written.as_ref().map(|old| old.row.node.clone()).filter(|node| *node != content.row.node),
            sweep: self.sweep_at.is_some_and(|at| now >= at),
        })
    }

    /// It is being written.
    pub fn started(&mut self, content: Content, sweep: bool) {
        self.under_way = Some((content, sweep));
    }

    /// It was, or was not. `chance` is any number.
    pub fn took(&mut self, result: Result<(), String>, now: Duration, chance: u64) {
        let Some((content, sweep)) = self.under_way.take() else { return };
        let less = |whole: Duration| whole - whole / 4 * u32::try_from(chance % 1024).unwrap_or(0) / 1024;
        match result {
            Ok(()) => {
                self.written = Some(content);
                (self.not_before, self.next) = (now + PAUSE, now + less(EVERY));
                (self.failures, self.failure) = (0, None);
                if sweep || self.sweep_at.is_none() {
                    self.sweep_at = Some(now + less(SWEEP));
                }
            }
            Err(why) => {
                self.not_before = now + less((AGAIN * 2u32.saturating_pow(self.failures.min(10))).min(EVERY));
                self.failures = self.failures.saturating_add(1);
                self.failure = Some(why);
            }
        }
    }

    /// When to look again by itself: for `content`, as it is now.
    pub fn due(&self, content: &Content) -> Duration {
        let news = self
            .written
            .as_ref()
            .is_none_or(|old| !old.row.tells_the_same(&content.row) || old.present != content.present);
        if self.under_way.is_some() {
            Duration::MAX
        } else if news {
            self.not_before
        } else {
            self.next.max(self.not_before)
        }
    }
}

/// What was read of the pool, judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    salt: Option<String>,
    rows: Vec<Row>,
    odd: Vec<OddView>,
    more: u64,
}

/// Makes rows of files. What is none is named with what is wrong with it.
pub fn judge(gathered: Gathered) -> Seen {
    let (mut rows, mut odd) = (Vec::new(), Vec::new());
    for file in gathered.files {
        match row(&file) {
            Ok(row) => rows.push(row),
            Err(why) => odd.push(OddView { file: file.name.chars().take(names::LONGEST).collect(), why }),
        }
    }
    let more = gathered.more.saturating_add(u64::try_from(odd.len().saturating_sub(MOST_ODD)).unwrap_or(0));
    odd.truncate(MOST_ODD);
    rows.sort_by_cached_key(|row: &Row| in_order(&row.node));
    Seen { salt: gathered.salt, rows, odd, more }
}

/// `dsvmpool_9` comes before `dsvmpool_10`.
fn in_order(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.get(stem.len()..).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (stem.to_owned(), number, name.to_owned())
}

/// The row in a file.
fn row(file: &File) -> Result<Row, String> {
    let text = file.text.as_ref().map_err(Clone::clone)?;
    if text.len() > LARGEST {
        return Err("is too large".to_owned());
    }
    let node = file.name.strip_suffix(SUFFIX).and_then(names::unescape).ok_or("its name is no VM's")?;
    let row: Row = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if row.schema != SCHEMA {
        return Err(format!("has the layout {}, not {SCHEMA}: it is another version's", row.schema));
    }
    if row.node != node {
        return Err("speaks of another VM than its name".to_owned());
    }
    let word = |text: &str| text.len() <= 24 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let short = |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic());
    let optional = [&row.vm_id, &row.since];
    let plain = word(&row.health)
        && row.verdict.as_deref().is_none_or(word)
        && [&row.boot_id, &row.version, &row.written_at].into_iter().all(|text| short(text))
        && optional.into_iter().flatten().all(|text| short(text))
        && row.marks.len() <= LARGEST / 32
        && row.marks.iter().all(|mark| mark.len() == 32 && mark.bytes().all(|b| b.is_ascii_hexdigit()));
    if plain { Ok(row) } else { Err("holds what no agent writes".to_owned()) }
}

/// Whether a VM is heard of, by its row, and how old that is.
fn standing(row: &Row, wall: SystemTime) -> (Standing, Option<Duration>) {
    let age = humantime::parse_rfc3339(&row.written_at).ok().and_then(|at| match wall.duration_since(at) {
        Ok(age) => Some(age),
        Err(ahead) if ahead.duration() <= AHEAD => Some(Duration::ZERO),
        Err(_) => None,
    });
    let standing = match age {
        Some(age) if row.draining && age > ENDED => Standing::Gone,
        Some(age) if age <= SILENT => Standing::Live,
        _ => Standing::Silent,
    };
    (standing, age)
}

/// The time by which rows are old. When two or more others all come from the future, it is this VM's clock that is wrong: they
/// are no older then than the least of what they are ahead.
fn agreed(rows: &[Row], own: &str, wall: SystemTime) -> SystemTime {
    let written = |row: &Row| humantime::parse_rfc3339(&row.written_at).ok();
    let others: Vec<SystemTime> = rows.iter().filter(|row| row.node != own).filter_map(written).collect();
    let ahead = |at: &SystemTime| at.duration_since(wall).is_ok_and(|ahead| ahead > AHEAD);
    if others.len() < 2 || !others.iter().all(ahead) {
        return wall;
    }
    others.into_iter().max().unwrap_or(wall)
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Their own directory on the share, if they are served.
    pub directory: Option<&'a str>,
    /// For root: every user's name with their directory. Nothing for everybody else.
    pub names: Option<&'a BTreeMap<String, String>>,
}

/// The pool for whoever asks. `own` is this VM as it is now.
pub fn view(seen: &Seen, own: &Content, asker: Asker<'_>, wall: SystemTime) -> PoolView {
    let mine = seen.salt.as_ref().zip(asker.directory).map(|(salt, directory)| mark(salt, directory));
    let marked = seen.salt.as_ref().zip(asker.names).map(|(salt, names)| {
        names.iter().map(|(name, directory)| (mark(salt, directory), name.clone())).collect::<BTreeMap<_, _>>()
    });
    let here = NodeView {
        here: true,
        state: Standing::Live,
        age_s: Some(0.0),
        yours: asker.directory.is_some_and(|directory| own.present.iter().any(|d| d == directory)),
        who: asker.names.map(|names| {
            let here = |d: &String| own.present.contains(d);
            names.iter().filter(|(_, d)| here(d)).map(|(name, _)| name.clone()).take(MOST_WHO).collect()
        }),
        written_at: None,
        ..node(&own.row)
    };
    let wall = agreed(&seen.rows, &own.row.node, wall);
    let others = seen.rows.iter().filter(|row| row.node != own.row.node).map(|row| {
        let (state, age) = standing(row, wall);
        let who = marked.as_ref().map(|marked| {
            let mut who: Vec<String> = row.marks.iter().filter_map(|mark| marked.get(mark).cloned()).collect();
            who.sort_unstable();
            who.dedup();
            who.truncate(MOST_WHO);
            who
        });
        NodeView {
            state,
            age_s: age.map(|age| age.as_secs_f64().round()),
            yours: state == Standing::Live && mine.as_ref().is_some_and(|mine| row.marks.contains(mine)),
            who: who.or_else(|| asker.names.map(|_| Vec::new())),
            ..node(row)
        }
    });
    let mut odd = seen.odd.clone();
    odd.extend(double(seen, own, wall));
    PoolView {
        schema: SCHEMA,
        reading: false,
        read_s: None,
        away: None,
        unwritten: None,
        nodes: std::iter::once(here).chain(others).collect(),
        odd,
        more: seen.more,
    }
}

/// Another VM that writes under this one's name: both were made of one image without names of their own.
fn double(seen: &Seen, own: &Content, wall: SystemTime) -> Option<OddView> {
    let row = seen.rows.iter().find(|row| row.node == own.row.node)?;
    let other = row.boot_id != own.row.boot_id && row.vm_id.is_some() && row.vm_id != own.row.vm_id;
    let live = standing(row, wall).0 == Standing::Live;
    let file = names::escape(&row.node).unwrap_or_default() + SUFFIX;
    (other && live).then(|| OddView { file, why: "another VM of the same name writes it too".to_owned() })
}

fn node(row: &Row) -> NodeView {
    let row = row.clone();
    NodeView {
        name: row.node,
        here: false,
        state: Standing::Silent,
        age_s: None,
        written_at: Some(row.written_at),
        vm_id: row.vm_id,
        version: row.version,
        health: row.health,
        verdict: row.verdict,
        since: row.since,
        users: row.users,
        present: row.present,
        yours: false,
        who: None,
        protected: row.protected,
        draining: row.draining,
    }
}

/// The other VMs on which the user of `directory` is, as far as was seen `age` ago.
pub fn elsewhere(seen: &Seen, directory: &str, own: &str, age: Duration, wall: SystemTime) -> BTreeSet<String> {
    let Some(mine) = seen.salt.as_ref().map(|salt| mark(salt, directory)).filter(|_| age <= PAST) else {
        return BTreeSet::new();
    };
    let there = |row: &&Row| row.node != own && row.marks.contains(&mine) && standing(row, wall).0 == Standing::Live;
    seen.rows.iter().filter(there).map(|row| row.node.clone()).collect()
}

#[cfg(test)]
mod tests;
