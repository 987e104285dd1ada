//! The verdict: a pure function of what is remembered, the settings and the time.

pub mod first;

use super::limits::{self, Every, Limit, Rule};
use super::memory::{self, Hidden, Memory, Row, keeps};
use super::model::{Decision, Evidence, GPU_TELLS_NOTHING, Leave, Refused, Risk, SeenFrom, Source, State, Verdict};
use crate::config::settings::Idle;
use crate::problem::Problem;

/// What to do about most of what cannot be read.
const REBOOT: &str = "When status shows nobody, reboot: sudo systemctl reboot";
/// What to do about a GPU that shows the agent nothing: who may see everybody's programs in MIG mode is said by a device that
/// NVIDIA's tool makes (MIG User Guide, "Device Nodes and Capabilities").
const OF_PARTS: &str = "A reboot does not do it. In MIG mode, after each boot: sudo nvidia-modprobe -f \
                        /proc/driver/nvidia/capabilities/mig/monitor";

/// Who a user id is, for people.
pub type Names<'a> = &'a dyn Fn(u32) -> Option<String>;

/// Decides. Nothing in `memory` changes: see [`note`].
pub fn decide(memory: &Memory, idle: &Idle, now: f64, names: Names<'_>) -> Decision {
    let table = limits::table(&idle.tuning);
    let limit = |source: Source| table.iter().find(|l| l.source == source);
    let mut evidence: Vec<Evidence> = memory
        .rows
        .iter()
        .filter_map(|row| limit(row.source).map(|l| evidence_of(memory, idle, row, l, now)))
        .filter(|e| !matches!(limit(e.source).map(|l| l.rule), Some(Rule::AtRisk | Rule::Stretches(_))))
        .collect();
    evidence.extend(table.iter().filter_map(|l| cannot_tell(memory, idle, l, now)));
    evidence.sort_by(|a, b| {
        let rank = |e: &Evidence| (e.state != State::Busy, e.state != State::Unknown);
        let last = |e: &Evidence| e.last_busy.unwrap_or(-1.0);
        rank(a).cmp(&rank(b)).then(last(b).total_cmp(&last(a))).then(a.source.cmp(&b.source)).then(a.who.cmp(&b.who))
    });

    let busy = evidence.iter().any(|e| e.state == State::Busy && !keeps(e.source));
    let kept = evidence.iter().any(|e| e.state == State::Busy && keeps(e.source));
    let unknown = evidence.iter().any(|e| e.state == State::Unknown) || memory.last.is_none();
    let quiet_at = quiet_at(memory, idle);
    let grace = idle.boot_grace.as_secs_f64();
    let ends = kept_until(&evidence);
    let idle_at = match (busy || unknown, kept, ends) {
        (true, ..) | (false, true, None) => None,
        (false, _, ends) => Some(quiet_at.max(grace).max(ends.unwrap_or(0.0))),
    };
    let verdict = if now < grace {
        Verdict::Starting
    } else if kept {
        Verdict::Kept
    } else if busy {
        Verdict::Busy
    } else if unknown {
        Verdict::Unknown
    } else if idle_at.is_some_and(|at| now >= at) {
        Verdict::Idle
    } else {
        Verdict::Quiet
    };
    let since = memory.verdict.filter(|(old, _)| *old == verdict).map_or(now, |(_, since)| since);
    let last_busy = memory.rows.iter().filter(|r| memory::is_use(r.source)).filter_map(|r| r.last_busy);
    let last_busy = last_busy.reduce(f64::max);
    let mut decision = Decision {
        verdict,
        since,
        idle_at,
        needed: longest(memory, idle),
        last_busy,
        seen_from: seen_from(memory, idle, last_busy),
        leave: leave(memory, idle, verdict, idle_at, now),
        at_risk: at_risk(memory, &table),
        evidence,
        problems: Vec::new(),
    };
    decision.problems = problems(memory, idle, &decision, now, names);
    decision
}

/// Remembers what was decided, so that the next decision knows since when, and what was announced.
pub fn note(memory: &mut Memory, decision: &Decision) {
    memory.verdict = Some((decision.verdict, decision.since));
    if let Some(epoch) = decision.leave.epoch() {
        memory.epoch = epoch;
    }
    memory.leave = Some(decision.leave);
    memory.settle(decision.needed, matches!(decision.leave, Leave::Due { .. }));
}

/// Whether whoever acts on idle may, having seen the announcement `epoch`. Every source must have been read since
/// `asked`, when it was asked for, and say the same still.
///
/// # Errors
/// Why not: wait, or give up.
pub fn commit(memory: &Memory, decision: &Decision, epoch: u64, asked: f64) -> Result<(), Refused> {
    if decision.verdict != Verdict::Idle || !matches!(decision.leave, Leave::Due { epoch: now, .. } if now == epoch) {
        return Err(Refused::Over);
    }
    if is_fresh(memory, asked) { Ok(()) } else { Err(Refused::NotYet) }
}

/// Whether every source was looked at since `asked`.
pub fn is_fresh(memory: &Memory, asked: f64) -> bool {
    !memory.looks.is_empty() && memory.looks.values().all(|look| look.at >= asked)
}

/// How long a user must be quiet: longer when their processes hold much memory.
fn needed(memory: &Memory, idle: &Idle, who: Option<u32>) -> f64 {
    let holds = |r: &Row| matches!(r.source, Source::Memory | Source::GpuMemory) && r.busy && r.who == who;
    let after = idle.after.as_secs_f64();
    if memory.rows.iter().any(holds) { after.max(idle.tuning.memory.after.as_secs_f64()) } else { after }
}

/// The longest that anybody's quiet must be.
fn longest(memory: &Memory, idle: &Idle) -> f64 {
    memory.rows.iter().map(|r| needed(memory, idle, r.who)).fold(idle.after.as_secs_f64(), f64::max)
}

/// When everybody will have been quiet for long enough, if nothing happens.
fn quiet_at(memory: &Memory, idle: &Idle) -> f64 {
    let used = |r: &Row| r.last_busy.filter(|_| memory::is_use(r.source));
    let of = |r: &Row| {
        let since = used(r).unwrap_or(memory.floor).max(memory.floor);
        memory.quiet_at(since, needed(memory, idle, r.who))
    };
    let first = memory.quiet_at(memory.floor, idle.after.as_secs_f64());
    memory.rows.iter().map(of).fold(first, f64::max)
}

/// From when on use would have been seen, where quiet counts from there and not from the last use.
fn seen_from(memory: &Memory, idle: &Idle, last_busy: Option<f64>) -> Option<SeenFrom> {
    let window = idle.tuning.window.as_secs_f64();
    // Within a window of the use that was seen nobody wonders. And what was never used is said to be so since it is looked at.
    let is_news = last_busy.map_or(memory.unread.is_some(), |used| memory.floor - used > window);
    is_news.then_some(SeenFrom { at: memory.floor, unread: memory.unread })
}

fn evidence_of(memory: &Memory, idle: &Idle, row: &Row, limit: &Limit, now: f64) -> Evidence {
    let window = idle.tuning.window.as_secs_f64();
    // What comes in moments is busy for a window: between two keys a person still sits there.
    let momentary = matches!(limit.rule, Rule::Moved | Rule::AtLeast(_));
    let recent = momentary && row.last_busy.is_some_and(|at| memory.quiet(at, now) < window);
    let ended = row.until.is_some_and(|at| now >= at);
    let unknown = row.unknown.as_ref();
    let state = match (row.busy || recent) && !ended {
        true => State::Busy,
        false if unknown.is_some() => State::Unknown,
        false => State::Quiet,
    };
    let unknown = unknown.filter(|_| state == State::Unknown);
    let threshold = match limit.rule {
        Rule::Average(t) | Rule::AMinute(t) | Rule::Below(t) | Rule::AtLeast(t) if !limit.unit.is_empty() => Some(t),
        _ => None,
    };
    let until = match limit.rule {
        Rule::Keeps => row.until,
        _ => row.last_busy.map(|at| memory.quiet_at(at, needed(memory, idle, row.who))),
    };
    Evidence {
        source: row.source,
        who: row.who,
        state,
        last_busy: row.last_busy,
        since: unknown.map_or(row.since, |(since, _)| *since),
        observed: row.observed.filter(|_| threshold.is_some()),
        threshold,
        unit: limit.unit,
        until,
        what: unknown.map(|(_, why)| why.clone()).or_else(|| row.what.clone()),
    }
}

/// The evidence that a source cannot be read, or was not for too long.
fn cannot_tell(memory: &Memory, idle: &Idle, limit: &Limit, now: f64) -> Option<Evidence> {
    let look = memory.looks.get(&limit.source)?;
    let patience = match limit.every {
        Every::Sample => memory::blind(&idle.tuning),
        Every::Window => 2.0 * memory::blind(&idle.tuning),
    };
    let (since, what) = match &look.unreadable {
        Some((since, why)) => (*since, why.clone()),
        None if memory.quiet(look.at, now) > patience => {
            (look.at, format!("not looked at for {}", said(memory.quiet(look.at, now))))
        }
        None => return None,
    };
    Some(Evidence {
        source: limit.source,
        who: None,
        state: State::Unknown,
        last_busy: None,
        since,
        observed: None,
        threshold: None,
        unit: limit.unit,
        until: None,
        what: Some(what),
    })
}

/// When the last of the keeps ends; nothing when one of them has no end, or there is none.
fn kept_until(evidence: &[Evidence]) -> Option<f64> {
    let held = evidence.iter().filter(|e| e.state == State::Busy && keeps(e.source));
    held.map(|e| e.until).reduce(|a, b| Some(a?.max(b?))).flatten()
}

fn leave(memory: &Memory, idle: &Idle, verdict: Verdict, idle_at: Option<f64>, now: f64) -> Leave {
    let announce = idle.announce.as_secs_f64();
    let Some(idle_at) = idle_at.filter(|at| now >= at - announce && verdict != Verdict::Starting) else {
        return Leave::No;
    };
    let (epoch, at) = match memory.leave {
        Some(Leave::Announced { epoch, at, .. } | Leave::Due { epoch, at }) => (epoch, at),
        Some(Leave::No) | None => (memory.epoch + 1, now),
    };
    let until = memory.quiet_at(at, announce).max(idle_at);
    if verdict == Verdict::Idle && now >= until {
        Leave::Due { epoch, at }
    } else {
        Leave::Announced { epoch, at, until }
    }
}

fn at_risk(memory: &Memory, table: &[Limit]) -> Vec<Risk> {
    let unit = |source: Source| table.iter().find(|l| l.source == source).map_or("", |l| l.unit);
    let risk = |r: &Row| {
        let value = r.observed.filter(|_| r.busy && memory::is_level(r.source))?;
        Some(Risk { source: r.source, who: r.who, value, unit: unit(r.source), what: r.what.clone() })
    };
    let mut out: Vec<Risk> = memory.rows.iter().filter_map(risk).collect();
    out.sort_by_key(|r| (r.who, r.source));
    out
}

/// A duration in the largest whole unit that says enough.
fn said(seconds: f64) -> String {
    match seconds {
        _ if seconds < 90.0 => format!("{seconds:.0} s"),
        _ if seconds < 5400.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        _ => format!("{:.0} h", (seconds / 3600.0).floor()),
    }
}

/// What a source is called in a sentence.
pub fn called(source: Source) -> &'static str {
    match source {
        Source::Typing => "terminals",
        Source::Remote => "SSH connections",
        Source::Cpu => "CPU time",
        Source::Io => "reading and writing",
        Source::Network => "network traffic",
        Source::Gpu | Source::GpuMemory => "the GPU",
        Source::Kernel | Source::Kernels | Source::Notebook => "Jupyter",
        Source::Hub => "JupyterHub",
        Source::Container => "containers",
        Source::Program => "programs' connections",
        Source::Maintenance => "package maintenance",
        Source::Unsaved => "unsaved data",
        Source::Keep => "keeps",
        Source::Inhibitor => "systemd's inhibitors",
        Source::Memory => "memory",
        Source::Stopped => "stopped jobs",
        Source::Due => "jobs that are due",
    }
}

fn called_user(uid: u32, names: Names<'_>) -> String {
    names(uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn problems(memory: &Memory, idle: &Idle, decision: &Decision, now: f64, names: Names<'_>) -> Vec<Problem> {
    let problems = [untold(memory, idle, decision, now, names), long_busy(memory, decision, now, names)];
    problems.into_iter().flatten().collect()
}

/// What cannot be told for hours, or could not again and again with too little between.
fn untold(memory: &Memory, idle: &Idle, decision: &Decision, now: f64, names: Names<'_>) -> Option<Problem> {
    let window = idle.tuning.window.as_secs_f64();
    let unknown = decision.evidence.iter().filter(|e| e.state == State::Unknown).map(|e| {
        let before =
            memory.hidden().find(|(source, who, _)| (*source, *who) == (e.source, e.who)).map(|(.., h)| h.since);
        let why = e.what.as_deref().unwrap_or("it gives no answer");
        (before.unwrap_or(e.since), e.source, e.who, why, before.is_some())
    });
    // What is read for a moment now is no less of a problem.
    let lately = |h: &Hidden| h.again && decision.verdict != Verdict::Idle && now - h.until <= window;
    let hidden =
        memory.hidden().filter(|(.., h)| lately(h)).map(|(source, who, h)| (h.since, source, who, &*h.why, true));
    let first = unknown.chain(hidden).min_by(|a, b| a.0.total_cmp(&b.0));
    let (since, source, who, why, again) = first.filter(|(since, ..)| now - since >= limits::LONG_UNKNOWN)?;
    let whose = who.map(|uid| format!("{}'s ", called_user(uid, names))).unwrap_or_default();
    let read = if again { "can be read only now and then" } else { "cannot be read" };
    let unknown = format!("{whose}{} {read}: {why}", called(source));
    let long = said(now - since);
    let summary = match decision.verdict {
        Verdict::Unknown => format!("Counts as in use for {long} because {unknown}."),
        Verdict::Quiet => format!("Does not become idle for {long} because {unknown}."),
        // Others keep it: what is not read does, when they are gone.
        _ => format!("Would count as in use, if nobody used it: for {long} {unknown}."),
    };
    let remedy = if why == GPU_TELLS_NOTHING { OF_PARTS } else { REBOOT };
    Some(Problem::new("idle.cannot-tell", summary, format!("It costs money until this is mended. {remedy}")))
}

/// What keeps it for a day, all the time or again and again, with nobody there.
fn long_busy(memory: &Memory, decision: &Decision, now: f64, names: Names<'_>) -> Option<Problem> {
    let since = memory.lonely_since.filter(|since| now - since >= limits::LONG_BUSY)?;
    let busy = |e: &&Evidence| e.state == State::Busy;
    let mut evidence = decision.evidence.iter();
    let first = match decision.verdict {
        Verdict::Busy => evidence.find(|e| busy(e) && !keeps(e.source)),
        // A keep has an end, and is company. An inhibitor ends when its program does, and may have been forgotten.
        Verdict::Kept => evidence.find(|e| busy(e) && keeps(e.source)),
        Verdict::Quiet => {
            let lately = evidence.filter(|e| e.last_busy.is_some_and(|at| at >= since));
            lately.max_by(|a, b| a.last_busy.partial_cmp(&b.last_busy).unwrap_or(std::cmp::Ordering::Equal))
        }
        Verdict::Starting | Verdict::Unknown | Verdict::Idle => None,
    }?;
    let what = first.what.as_ref().map(|w| format!(" ({w})")).unwrap_or_default();
    let owner = first.who.map(|uid| called_user(uid, names));
    let whose = owner.clone().unwrap_or_else(|| "Something".to_owned());
    let by = if keeps(first.source) { " by an inhibitor" } else { "" };
    let again = if first.since > since { ", again and again" } else { "" };
    let problem = Problem::new(
        "idle.long-busy",
        format!(
            "{whose} keeps this VM{by}{what} for {}{again}, with little computing and nobody there. Nothing was ended.",
            said(now - since)
        ),
        "Ask them to end it if nobody needs it; the VM may go an hour after that. See: sudo dsvm-agent idle",
    );
    Some(match owner {
        Some(owner) => problem.about(owner),
        None => problem,
    })
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod situations;
