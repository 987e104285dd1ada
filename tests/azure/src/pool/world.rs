//! A pool's Friday and Saturday.

use super::agent::{self, Agent, Cloudy, FRIDAY, Settings};
use super::autoscale::{Engine, Metrics};
use super::chance::Chance;
use super::machine::{CORES, Machine, Stay};
use super::people::{HOUR, Kind, Plan, plans};
use super::scenario::{Scaling, Scenario};
use std::collections::{BTreeMap, VecDeque};

/// One round, in seconds: the agent's own time between two looks.
const STEP: f64 = 30.0;
/// So long it goes on.
pub const END: f64 = 48.0 * HOUR;
/// From the order for a VM until its programs run.
const BOOT: f64 = 200.0;
/// From a report until autoscale sees it.
const ARRIVES: f64 = 45.0;
/// The notice before a VM is deleted.
const NOTICE: f64 = 900.0;
/// Who is told that a VM is deleted has finished what they do, and left, after this.
const LEAVES: f64 = 300.0;
/// Who finds no VM asks for one after this (`az vmss scale`).
const ASKS: f64 = 300.0;
/// For the rule that knows kernels, terminals and connections only.
const UNUSED: f64 = HOUR;
/// A person's pause that is none.
const PAUSE: f64 = 600.0;
/// From so much memory on, what is lost took time to load.
const LOADED: f64 = 2.0 * 1_073_741_824.0;

/// Something that was computing and was killed.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// When, in seconds after midnight.
    pub at: f64,
    /// On which VM.
    pub vm: u64,
    /// What.
    pub kind: Kind,
    /// After how many hours of computing.
    pub hours: f64,
}

/// What came of a day.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Hours of VMs that are paid for.
    pub vm_hours: f64,
    /// What was destroyed.
    pub destroyed: Vec<Loss>,
    /// People whose VM went while they were in the middle of something: they had done something in the last ten minutes,
    /// and wanted to go on in the next ten.
    pub thrown_out: u32,
    /// People who were told in time that their VM goes, and went on at another.
    pub moved: u32,
    /// People who held 2 GiB or more, and load it again elsewhere.
    pub reloads: u32,
    /// The longest that somebody waited for a VM, in seconds.
    pub waited: f64,
    /// The most VMs at once.
    pub most: u32,
    /// Since when there is no VM; nothing when there is one at the end.
    pub none_since: Option<f64>,
    /// VMs that were taken away, and when.
    pub taken: Vec<(f64, u64)>,
    /// How often autoscale asked for fewer VMs and nothing could be taken.
    pub in_vain: u32,
    /// VMs at each full hour.
    pub hourly: Vec<usize>,
}

/// Runs a scenario.
///
/// # Errors
/// The template cannot be worked out.
pub fn run(scenario: &Scenario, scaling: Scaling, seed: u64) -> Result<Outcome, String> {
    let mut world = World {
        engine: Engine::new(scaling.setting(scenario)?),
        plans: plans(scenario.people, scenario.day, seed),
        chance: Chance::new(seed, 2),
        settings: Settings::default(),
        names: agent::metrics(),
        scenario: scenario.clone(),
        scaling,
        machines: Vec::new(),
        made: 0,
        metrics: Metrics::default(),
        coming: VecDeque::new(),
        arrivals: BTreeMap::new(),
        waiting_since: BTreeMap::new(),
        outcome: Outcome::default(),
    };
    for person in 0..world.plans.len() {
        let (comes, spans) = world.plans.get(person).map_or((0.0, 0), |p| (p.comes, p.spans.len()));
        world.arrive(comes, Stay::new(person, comes, 0, spans));
    }
    let mut now = 0.0;
    while now < END {
        now += STEP;
        world.step(now);
    }
    Ok(world.outcome)
}

struct World {
    engine: Engine,
    plans: Vec<Plan>,
    chance: Chance,
    settings: Settings,
    names: [String; 3],
    scenario: Scenario,
    scaling: Scaling,
    machines: Vec<Machine>,
    made: u64,
    metrics: Metrics,
    /// What is on its way: when it is there, which metric, of which minute of the week, and the value.
    coming: VecDeque<(f64, usize, u64, f64)>,
    /// Who comes, by second and number.
    arrivals: BTreeMap<(u64, usize), Stay>,
    waiting_since: BTreeMap<usize, f64>,
    outcome: Outcome,
}

impl World {
    fn step(&mut self, now: f64) {
        self.admit(now);
        self.go_on(now);
        if now % 60.0 < STEP {
            self.autoscale(now);
        }
        self.delete(now);
        let alive = self.machines.len();
        self.outcome.vm_hours += alive as f64 * STEP / HOUR;
        self.outcome.most = self.outcome.most.max(u32::try_from(alive).unwrap_or(u32::MAX));
        self.outcome.none_since = if alive > 0 { None } else { self.outcome.none_since.or(Some(now)) };
        if now % HOUR < STEP {
            self.outcome.hourly.push(alive);
        }
    }

    fn arrive(&mut self, at: f64, stay: Stay) {
        self.arrivals.insert((at.max(0.0) as u64, stay.person), stay);
    }

    /// The load balancer sends whoever comes to a VM that is ready, by their address.
    fn admit(&mut self, now: f64) {
        let later = self.arrivals.split_off(&(now as u64, 0));
        for ((_, person), mut stay) in std::mem::replace(&mut self.arrivals, later) {
            let ready: Vec<usize> =
                (0..self.machines.len()).filter(|i| self.machines.get(*i).is_some_and(|m| m.is_ready(now))).collect();
            let address = self.plans.get(person).map_or(0, |p| p.address);
            let chosen = ready.get(usize::try_from(address % ready.len().max(1) as u64).unwrap_or(0));
            if let Some(machine) = chosen.and_then(|i| self.machines.get_mut(*i)) {
                let waited = self.waiting_since.remove(&person).map_or(0.0, |since| now - since);
                self.outcome.waited = self.outcome.waited.max(waited);
                machine.stays.push(stay);
                continue;
            }
            let since = *self.waiting_since.entry(person).or_insert(now);
            if now - since >= ASKS && self.live() == 0 {
                self.scale(1, now);
            }
            // The day begins later for them.
            stay.start += 60.0;
            self.arrive(now + 60.0, stay);
        }
    }

    fn go_on(&mut self, now: f64) {
        let deaf = self.scenario.deaf.is_some_and(|(from, to)| (from..to).contains(&now));
        let mut moving = Vec::new();
        for machine in &mut self.machines {
            machine.advance(&self.plans, now, STEP);
            let Machine { id, agent, stays, protected, going, .. } = machine;
            let Some(agent) = agent.as_mut().filter(|_| now >= machine.runs_at) else { continue };
            let mute = self.scenario.mute == Some(*id);
            let mut cloud = Cloudy {
                deaf: deaf || mute,
                blind: self.scenario.blind == Some(*id),
                bare: mute || self.scenario.bare == Some(*id),
                protected: *protected,
                ends: *going,
                reported: Vec::new(),
            };
            let knew = agent.is_ending();
            agent.step(&self.settings, now, stays, &self.plans, &mut cloud);
            *protected = cloud.protected;
            for (minute, values) in cloud.reported {
                for (metric, value) in [values.idle, values.busy, values.unprotected].into_iter().enumerate() {
                    if let Some(value) = value {
                        self.coming.push_back((now + ARRIVES, metric, minute, f64::from(u8::from(value))));
                    }
                }
            }
            if agent.is_ending() && !knew {
                for stay in stays {
                    let Some(plan) = self.plans.get(stay.person) else { continue };
                    let Some(next) = stay.person_after(plan, now + LEAVES) else { continue };
                    let from = plan.spans.get(next).map_or(0.0, |s| s.from);
                    moving.push((stay.start + from, Stay::new(stay.person, stay.start, next, stay.end)));
                    stay.end = next;
                    self.outcome.moved += 1;
                    self.outcome.reloads += u32::from(plan.memory >= LOADED);
                }
            }
        }
        moving.into_iter().for_each(|(at, stay)| self.arrive(at, stay));
    }

    fn live(&self) -> u32 {
        u32::try_from(self.machines.iter().filter(|m| m.going.is_none()).count()).unwrap_or(u32::MAX)
    }

    fn autoscale(&mut self, now: f64) {
        let minute = ((now + FRIDAY) / 60.0) as u64;
        for machine in &mut self.machines {
            let percent = std::mem::take(&mut machine.cpu) / (60.0 * CORES) * 100.0;
            if now >= machine.runs_at {
                self.metrics.add("Percentage CPU", minute - 1, percent.min(100.0));
            }
        }
        while let Some((_, metric, minute, value)) = self.coming.front().copied().filter(|(at, ..)| *at <= now) {
            self.coming.pop_front();
            if let Some(name) = self.names.get(metric) {
                self.metrics.add(name, minute, value);
            }
        }
        let live = self.live();
        let wanted = self.engine.decide(now + FRIDAY, live, &self.metrics);
        if wanted != live {
            self.scale(wanted, now);
        }
    }

    /// So many VMs there shall be. Who goes is the scale set's choice: of those that are not protected, those with the
    /// highest numbers (Microsoft, `virtual-machine-scale-sets-scale-in-policy.md`; zones and fault domains are not
    /// looked at).
    fn scale(&mut self, wanted: u32, now: f64) {
        for _ in self.live()..wanted {
            let (id, runs_at) = (self.made, now + BOOT + self.chance.between(0.0, 60.0));
            self.made += 1;
            self.machines.push(Machine {
                id,
                made: now,
                runs_at,
                stays: Vec::new(),
                agent: (self.scaling == Scaling::Agent).then(|| Agent::new(id, now)),
                protected: false,
                going: None,
                cpu: 0.0,
                seen_used: runs_at,
            });
        }
        let surplus = self.live().saturating_sub(wanted) as usize;
        let free = |m: &&mut Machine| m.going.is_none() && !m.protected;
        let mut victims: Vec<&mut Machine> = self.machines.iter_mut().filter(free).collect();
        victims.sort_by_key(|m| std::cmp::Reverse(m.id));
        if victims.len() < surplus && (victims.is_empty() || self.scenario.all_or_none) {
            self.outcome.in_vain += 1;
            return;
        }
        for machine in victims.into_iter().take(surplus) {
            machine.going = Some(now + NOTICE);
            self.outcome.taken.push((now, machine.id));
        }
    }

    /// VMs whose time is over go, with what is on them.
    fn delete(&mut self, now: f64) {
        if self.scaling == Scaling::Kernels {
            let least = self.engine.setting.profile(now + FRIDAY).map_or(0, |p| p.minimum);
            let mut live = self.live();
            for machine in &mut self.machines {
                if now - machine.seen_used >= UNUSED && live > least {
                    machine.going = Some(now);
                    self.outcome.taken.push((now, machine.id));
                    live -= 1;
                }
            }
        }
        let over = |m: &Machine| match m.going {
            Some(at) => now >= at || m.agent.as_ref().is_some_and(Agent::approves),
            None => false,
        };
        let (gone, left) = std::mem::take(&mut self.machines).into_iter().partition(over);
        self.machines = left;
        for machine in gone {
            self.count(&machine, now);
        }
    }

    fn count(&mut self, machine: &Machine, now: f64) {
        let mut back = Vec::new();
        for stay in &machine.stays {
            let Some(plan) = self.plans.get(stay.person) else { continue };
            for span in stay.work(plan) {
                let hours = (now - stay.start - span.from) / HOUR;
                self.outcome.destroyed.push(Loss { at: now, vm: machine.id, kind: span.kind, hours });
            }
            let after = (stay.next..stay.end).find(|i| plan.spans.get(*i).is_some_and(|s| s.kind.is_person()));
            if let Some(next) = after {
                let from = stay.start + plan.spans.get(next).map_or(0.0, |s| s.from);
                let used = stay.typed.into_iter().chain(stay.kernel_at).fold(f64::MIN, f64::max);
                self.outcome.thrown_out += u32::from(now - used < PAUSE && from - now < PAUSE);
                self.outcome.reloads += u32::from(plan.memory >= LOADED);
                back.push((from.max(now + 120.0), Stay::new(stay.person, stay.start, next, stay.end)));
            }
        }
        back.into_iter().for_each(|(at, stay)| self.arrive(at, stay));
    }
}
