//! The brain's dealings with the scale set, which go on between two looks at everything.

use super::super::scale_set::Facts;
use super::{Brain, Mode};
use crate::idle::model::Verdict;
use crate::problem::Problem;
use crate::scale_set::act::Ask;
use crate::scale_set::model::Use;
use crate::share::model::Failure;
use crate::status::model::ScaleSetView;
use crate::sys::clock::boottime;
use crate::worker::job::{Answer, Job};
use std::time::{Duration, SystemTime};

impl Brain {
    pub(super) fn scale_facts(&self) -> Facts {
        Facts { now: boottime(), wall: SystemTime::now(), used: self.used(), chance: self.engine.seed >> 33 }
    }

    /// How the VM is used. It is given free only on an announcement that people at terminals were told of.
    fn used(&self) -> Use {
        match self.idle.decision().map(|d| d.verdict) {
            Some(Verdict::Unknown) => Use::Unknown,
            Some(Verdict::Quiet) => Use::Quiet,
            Some(Verdict::Idle) => self.idle.due_and_told().map_or(Use::Quiet, |epoch| Use::Due { epoch }),
            // Before the first look it counts as used.
            None | Some(Verdict::Starting | Verdict::Kept | Verdict::Busy) => Use::InUse,
        }
    }

    /// Asks of Azure what is to be asked now, once everybody is served. A round that ends by itself, as an image's recipe makes
    /// it, asks nothing.
    pub(super) fn tend_scale_set(&mut self) {
        if self.mode != Mode::Service || self.ending || !self.before_looks().is_zero() {
            return;
        }
        let facts = self.scale_facts();
        let mut wants = self.scale_set.decide(&self.engine.settings.scale_set, facts);
        if let Some(epoch) = wants.commit {
            // Everything is looked at once more first; whoever comes meanwhile stops it.
            if self.idle.committed() == Some(epoch) {
                self.scale_set.committed(epoch);
                wants.asks.append(&mut self.scale_set.decide(&self.engine.settings.scale_set, facts).asks);
            } else {
                self.idle.ask(epoch, facts.now);
            }
        }
        self.idle.watch(self.scale_set.is_going(), facts.now);
        for ask in wants.asks {
            match self.client.start(Job::ScaleSet(Box::new(ask.clone()))) {
                Ok(id) => self.scale_set.started(id, ask),
                Err(e) => self.scale_set.refused(&ask, &e.to_string(), facts),
            }
        }
    }

    /// Takes an answer of Azure's. Everything is looked at only if there is news to tell.
    pub(super) fn scale_set_answered(&mut self, id: u64, ask: &Ask, result: Result<Answer, Failure>) {
        self.scale_set.absorb(id, ask, result, self.scale_facts());
        self.tend_scale_set();
        self.tend_drain();
        let facts = self.scale_facts();
        let view = self.scale_set.view(&self.engine.settings.scale_set, facts);
        let problems: Vec<Problem> = self.scale_set_problems().into_iter().chain(self.drain_problems()).collect();
        let told = self.status.as_ref().is_some_and(|status| {
            let codes = |p: &Problem| status.problems.iter().any(|v| v.problem == *p);
            let known = status.problems.iter().filter(|v| v.problem.code.starts_with("scale-set.")).count();
            status.scale_set.as_ref().map(|v| v.lasting())
                == view.map(|v| ScaleSetView { drain: self.drain_view(), ..v.lasting() })
                && status.node == self.scale_set.node(&self.identity.host)
                && known == problems.len()
                && problems.iter().all(codes)
        });
        if !told {
            self.look_after(Duration::ZERO);
        }
    }

    pub(super) fn scale_set_problems(&self) -> Vec<Problem> {
        self.scale_set.problems(&self.engine.settings.scale_set, boottime())
    }

    /// How long until something is to be asked by itself.
    pub(super) fn scale_set_due(&self) -> Duration {
        if self.mode != Mode::Service {
            return Duration::MAX;
        }
        self.scale_set.next_look(boottime()).max(self.before_looks())
    }
}
