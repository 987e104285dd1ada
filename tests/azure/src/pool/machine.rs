//! A VM and what goes on on it.

use super::agent::Agent;
use super::people::{Kind, Plan, Span};

/// Cores of a VM.
pub const CORES: f64 = 8.0;

/// A person on a VM: a part of their plan.
#[derive(Debug, Clone)]
pub struct Stay {
    /// Whose, as an index into the plans.
    pub person: usize,
    /// When they came, in seconds after midnight: the plan's times count from here.
    pub start: f64,
    /// The first of the plan's spans that is of this stay.
    pub first: usize,
    /// The next of the plan's spans, and the first that is not of this stay.
    pub next: usize,
    /// See `next`.
    pub end: usize,
    /// What goes on, as indices into the plan's spans.
    pub active: Vec<usize>,
    /// CPU time so far, in core seconds.
    pub cpu: f64,
    /// When they last typed.
    pub typed: Option<f64>,
    /// A kernel computed; a GPU did. Whoever looks takes them back.
    pub used: (bool, bool),
    /// When a kernel was used last.
    pub kernel_at: Option<f64>,
    /// They came just now.
    pub is_new: bool,
}

impl Stay {
    /// Somebody comes, with what their plan has from one span to another.
    pub fn new(person: usize, start: f64, next: usize, end: usize) -> Self {
        Self {
            person,
            start,
            first: next,
            next,
            end,
            active: Vec::new(),
            cpu: 0.0,
            typed: None,
            used: (false, false),
            kernel_at: None,
            is_new: true,
        }
    }

    /// Goes on to `now`, `step` seconds later than before. Returns the CPU time of the step.
    fn advance(&mut self, plan: &Plan, now: f64, step: f64) -> f64 {
        while self.next < self.end
            && let Some(span) = plan.spans.get(self.next)
            && self.start + span.from < now
        {
            self.active.push(self.next);
            self.next += 1;
        }
        let mut used = 0.0;
        let (start, before) = (self.start, now - step);
        for span in self.active.iter().filter_map(|i| plan.spans.get(*i)) {
            let (from, to) = ((start + span.from).max(before), (start + span.to).min(now));
            used += (to - from).max(0.0) * span.cores;
            match span.kind {
                Kind::Typing => self.typed = Some(to),
                Kind::Training => self.used.1 = true,
                Kind::Cell | Kind::LongCell => {
                    self.used.0 = true;
                    self.kernel_at = Some(to);
                }
                Kind::Job => {}
            }
        }
        self.active.retain(|i| plan.spans.get(*i).is_some_and(|s| start + s.to > now));
        self.cpu += used;
        used
    }

    /// What computes now.
    pub fn work<'p>(&'p self, plan: &'p Plan) -> impl Iterator<Item = &'p Span> {
        self.active.iter().filter_map(|i| plan.spans.get(*i)).filter(|s| s.kind.is_work())
    }

    /// Whether an SSH connection is there.
    pub fn is_connected(&self, plan: &Plan, now: f64) -> bool {
        plan.connection.is_some_and(|(from, to)| now >= self.start + from && now < self.start + to)
    }

    /// The first of what is still to come that a person does from `after` on: from there on they may do it elsewhere.
    pub fn person_after(&self, plan: &Plan, after: f64) -> Option<usize> {
        (self.next..self.end)
            .find(|i| plan.spans.get(*i).is_some_and(|s| s.kind.is_person() && self.start + s.from >= after))
    }
}

/// A VM.
#[derive(Debug)]
pub struct Machine {
    /// Its number in the scale set.
    pub id: u64,
    /// When it was made.
    pub made: f64,
    /// When its programs run.
    pub runs_at: f64,
    /// Who is on it.
    pub stays: Vec<Stay>,
    /// The agent, if there is one.
    pub agent: Option<Agent>,
    /// What the scale set knows: it is protected from scale-in.
    pub protected: bool,
    /// It is being deleted, at the latest then.
    pub going: Option<f64>,
    /// CPU time of this minute.
    pub cpu: f64,
    /// For the rule that asks kernels, terminals and connections only: when one of them was last used.
    pub seen_used: f64,
}

impl Machine {
    /// Goes on to `now`.
    pub fn advance(&mut self, plans: &[Plan], now: f64, step: f64) {
        for stay in &mut self.stays {
            if let Some(plan) = plans.get(stay.person) {
                self.cpu += stay.advance(plan, now, step);
                let used = stay.typed.into_iter().chain(stay.kernel_at).fold(self.seen_used, f64::max);
                self.seen_used = if stay.is_connected(plan, now) { now } else { used };
            }
        }
    }

    /// Whether the load balancer sends people here. It asks the agent, if there is one.
    pub fn is_ready(&self, now: f64) -> bool {
        now >= self.runs_at && self.going.is_none_or(|_| self.agent.as_ref().is_none_or(|a| !a.is_ending()))
    }
}
