//! The agent on a made-up VM: its own code decides whether the VM is used, what it is protected from, and what is told
//! to Azure Monitor; what it sees, and what Azure answers, is made up.

use super::machine::Stay;
use super::people::Plan;
use dsvm_agent::config::settings;
use dsvm_agent::daemon::scale_set::{Facts, ScaleSet};
use dsvm_agent::idle::decide::{commit, decide, note};
use dsvm_agent::idle::memory::Memory;
use dsvm_agent::idle::model::{Counter, Decision, Leave, Level, Refused, Sample, Seen, Source, Stamp, Verdict};
use dsvm_agent::scale_set::act::{Ask, Told, documents};
use dsvm_agent::scale_set::model::{
    Cloud, Event, EventKind, Failure, Instance, Node, Place, Protection, Reading, Use, Values,
};
use dsvm_agent::worker::job::Answer;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A Monday, in seconds since 1970.
const MONDAY: u64 = 345_600 + 2900 * 604_800;
/// The made-up day is a Friday: it begins so many seconds after Monday.
pub const FRIDAY: f64 = 4.0 * 86_400.0;
/// A change of protection takes so long.
const CHANGE: f64 = 25.0;
/// A question about events waits so long for news.
const NEWS: f64 = 60.0;

/// Settings of every agent.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `[idle]`.
    pub idle: settings::Idle,
    /// `[scale_set]`.
    pub scale_set: settings::ScaleSet,
}

/// What Azure does with what an agent asks.
#[derive(Debug, Default)]
pub struct Cloudy {
    /// Reports do not arrive.
    pub deaf: bool,
    /// Its GPU cannot be read.
    pub blind: bool,
    /// The VM may not be protected.
    pub bare: bool,
    /// Whether the VM is protected from scale-in.
    pub protected: bool,
    /// When the VM is deleted at the latest.
    pub ends: Option<f64>,
    /// What was reported: the minute of the week, and the values.
    pub reported: Vec<(u64, Values)>,
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    made: f64,
    place: Place,
    memory: Memory,
    set: ScaleSet,
    decision: Option<Decision>,
    asked: Option<(u64, f64)>,
    /// When everything is looked at the next time.
    due: f64,
    under_way: Vec<(f64, u64, Ask)>,
    number: u64,
}

impl Agent {
    /// One on a VM that was made then.
    pub fn new(id: u64, made: f64) -> Self {
        let node = Node {
            name: format!("pool_{id}"),
            vm_id: format!("v{id}"),
            location: "westeurope".to_owned(),
            cloud: Cloud::Public,
            spot: false,
        };
        let instance = Instance { set: "pool".to_owned(), set_id: "/pool".to_owned(), id: id.to_string() };
        Self {
            made,
            place: Place::Member(node, instance),
            memory: Memory::new(&format!("boot of {id}")),
            set: ScaleSet::default(),
            decision: None,
            asked: None,
            due: 0.0,
            under_way: Vec::new(),
            number: 0,
        }
    }

    /// Whether it knows that the VM is about to go.
    pub fn is_ending(&self) -> bool {
        self.set.is_ending()
    }

    /// Whether it lets a VM go before its time: nobody uses it.
    pub fn approves(&self) -> bool {
        self.is_ending() && self.verdict() == Some(Verdict::Idle)
    }

    /// Its verdict.
    pub fn verdict(&self) -> Option<Verdict> {
        self.decision.as_ref().map(|d| d.verdict)
    }

    /// One round: answers, a look, a decision, questions.
    pub fn step(&mut self, settings: &Settings, now: f64, stays: &mut [Stay], plans: &[Plan], cloud: &mut Cloudy) {
        let boot = now - self.made;
        self.answers(now, cloud);
        // Whoever logs in makes it look at once.
        let came = stays.iter_mut().fold(false, |any, s| std::mem::take(&mut s.is_new) | any);
        let all = boot >= self.due || came;
        if all {
            self.due = boot + settings.idle.tuning.window.as_secs_f64();
        }
        let mut sample = look(stays, plans, now, self.made, all);
        if cloud.blind && all {
            sample.seen.insert(Source::Gpu, Seen::Unreadable("driver and library versions differ".to_owned()));
        }
        self.memory.take(&sample, &settings.idle.tuning);
        let decision = decide(&self.memory, &settings.idle, boot, &|_| None);
        note(&mut self.memory, &decision);
        if let Some((epoch, at)) = self.asked {
            match commit(&self.memory, &decision, epoch, at) {
                Ok(()) => {
                    self.set.committed(epoch);
                    self.asked = None;
                }
                Err(Refused::Over) => self.asked = None,
                Err(Refused::NotYet) => self.due = boot,
            }
        }
        let facts = self.facts(now, used(&decision));
        self.decision = Some(decision);
        let wants = self.set.decide(&settings.scale_set, facts);
        for ask in wants.asks {
            self.number += 1;
            self.set.started(self.number, ask.clone());
            let takes = if matches!(ask, Ask::Protect { .. }) { CHANGE } else { 0.0 };
            self.under_way.push((now + takes, self.number, ask));
        }
        if let Some(epoch) = wants.commit.filter(|epoch| self.asked.is_none_or(|(known, _)| known != *epoch)) {
            (self.asked, self.due) = (Some((epoch, boot)), boot);
        }
    }

    fn facts(&self, now: f64, used: Use) -> Facts {
        let since = Duration::from_secs_f64(now + FRIDAY) + Duration::from_secs(MONDAY);
        let boot = Duration::try_from_secs_f64(now - self.made).unwrap_or_default();
        Facts { now: boot, wall: SystemTime::UNIX_EPOCH + since, used, chance: 256 }
    }

    /// Takes what Azure answers by now.
    fn answers(&mut self, now: f64, cloud: &mut Cloudy) {
        let facts = self.facts(now, self.decision.as_ref().map_or(Use::InUse, used));
        for (due, id, ask) in std::mem::take(&mut self.under_way) {
            let answer = if due <= now { self.answer(now - due, &ask, cloud) } else { None };
            match answer {
                Some(result) => self.set.absorb(id, &ask, Ok(Answer::ScaleSet(Box::new(result))), facts),
                None => self.under_way.push((due, id, ask)),
            }
        }
    }

    /// What Azure answers to what was asked `since` seconds ago.
    fn answer(&self, since: f64, ask: &Ask, cloud: &mut Cloudy) -> Option<Result<Told, Failure>> {
        let refused = |status| {
            let text = "refused".to_owned();
            Err(Failure {
                service: ask.service(),
                status: Some(status),
                code: None,
                text,
                retry_after: None,
                doubtful: false,
                found: None,
            })
        };
        Some(match ask {
            Ask::Place => Ok(Told::Place(self.place.clone())),
            Ask::Protect { .. } if cloud.bare => refused(403),
            Ask::Look { .. } => {
                let now = policy(cloud.protected);
                Ok(Told::Protection(Reading { found: Some(now), now }))
            }
            Ask::Protect { wanted, .. } => {
                let found = Some(policy(cloud.protected));
                cloud.protected = wanted.scale_in;
                Ok(Told::Protection(Reading { found, now: *wanted }))
            }
            Ask::Publish { .. } if cloud.deaf => refused(503),
            Ask::Publish { values, at, .. } => {
                cloud.reported.push(((at - MONDAY) / 60, *values));
                Ok(Told::Published)
            }
            Ask::Events { known, .. } => match (cloud.ends, known) {
                (Some(_), Some(2)) | (None, Some(_)) if since < NEWS => return None,
                (Some(_), _) => Ok(Told::Events(2, vec![terminate()])),
                (None, _) => Ok(Told::Events(1, Vec::new())),
            },
            Ask::Approve { .. } => Ok(Told::Approved),
        })
    }
}

fn terminate() -> Event {
    Event { id: "t".to_owned(), kind: EventKind::Terminate, not_before: None, started: false, alone: true }
}

/// How the VM is used, as the scale set's room asks.
fn used(decision: &Decision) -> Use {
    match (decision.leave, decision.verdict) {
        (Leave::Due { epoch, .. }, _) => Use::Due { epoch },
        (_, Verdict::Unknown) => Use::Unknown,
        (_, Verdict::Quiet | Verdict::Idle) => Use::Quiet,
        _ => Use::InUse,
    }
}

/// What there is to see: of what changes by the second, and of the rest once in a while.
fn look(stays: &mut [Stay], plans: &[Plan], now: f64, made: f64, all: bool) -> Sample {
    let at = now - made;
    let (mut stamps, mut counters, mut keeps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kernels, mut gpus, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for stay in stays {
        let Some(plan) = plans.get(stay.person) else { continue };
        let who = u32::try_from(stay.person).ok().map(|p| 1000 + p);
        let level = |value| Level { who, value, ..Level::default() };
        if stay.is_connected(plan, now) {
            // The kernel counts in steps of 8 s.
            let typed = (stay.typed.unwrap_or(stay.start) / 8.0).floor() * 8.0;
            stamps.push(Stamp { id: format!("pts/{}.{}", stay.person, stay.first), who, value: typed, what: None });
        }
        counters.push(Counter {
            id: format!("s{}.{}", stay.person, stay.first),
            who,
            value: stay.cpu,
            ..Counter::default()
        });
        if let Some((from, long)) = plan.keep
            && (stay.start + from..stay.start + from + long).contains(&now)
        {
            keeps.push(Level { until: Some(stay.start + from + long - made), ..level(1.0) });
        }
        if all {
            let (kernel, gpu) = std::mem::take(&mut stay.used);
            kernels.extend(kernel.then(|| level(1.0)));
            gpus.extend(gpu.then(|| level(100.0)));
            memory.extend((plan.memory > 0.0).then(|| level(plan.memory)));
        }
    }
    let setting_up = if at < 120.0 { vec![Level { value: 1.0, ..Level::default() }] } else { Vec::new() };
    let mut seen = BTreeMap::from([
        (Source::Typing, Seen::Stamps(stamps)),
        (Source::Cpu, Seen::Counters(counters)),
        (Source::Keep, if keeps.is_empty() { Seen::Absent } else { Seen::Levels(keeps) }),
        (Source::Maintenance, Seen::Levels(setting_up)),
    ]);
    if all {
        seen.extend([
            (Source::Kernel, Seen::Levels(kernels)),
            (Source::Gpu, Seen::Levels(gpus)),
            (Source::Memory, Seen::Levels(memory)),
        ]);
    }
    Sample { at, awake: at, wall: now, seen }
}

/// What the VM is protected from, as by default.
fn policy(protected: bool) -> Protection {
    Protection { scale_in: protected, actions: protected }
}

/// What the metrics are called, as the agent sends them: of idle VMs, of those in use, of those in use and unprotected.
pub fn metrics() -> [String; 3] {
    let node = Node {
        name: "n".to_owned(),
        vm_id: "v".to_owned(),
        location: "l".to_owned(),
        cloud: Cloud::Public,
        spot: false,
    };
    let all = Values { idle: Some(true), busy: Some(true), unprotected: Some(true) };
    let name = |line: &str| {
        let document: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        document.pointer("/data/baseData/metric").and_then(|m| m.as_str()).unwrap_or_default().to_owned()
    };
    let mut names = documents(&node, all, 0).lines().map(name).collect::<Vec<_>>().into_iter();
    std::array::from_fn(|_| names.next().unwrap_or_default())
}
