//! The scale set in the daemon: what is known of it from pass to pass, and what is under way. It decides nothing
//! itself; see [`crate::scale_set::decide`].

use crate::config::settings::{Enabled, ScaleSet as Settings};
use crate::problem::Problem;
use crate::scale_set::act::{Ask, Told};
use crate::scale_set::decide::protection::Step;
use crate::scale_set::decide::{events, metric, place, protection};
use crate::scale_set::model::{Event, Failure, Instance, Node, Place, Protection, Reading, Service, Use};
use crate::share::model::Failure as WorkerFailure;
use crate::status::model::{EventView, Node as NodeView, ScaleSetView};
use crate::sys::clock::rfc3339;
use crate::worker::job::Answer;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What a pass sees.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// By the boot-time clock.
    pub now: Duration,
    /// By the wall clock.
    pub wall: SystemTime,
    /// How the VM is used.
    pub used: Use,
    /// Any number.
    pub chance: u64,
}

/// What a pass wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// These workers.
    pub asks: Vec<Ask>,
    /// That the announcement with this number is committed.
    pub commit: Option<u64>,
}

/// What is known from pass to pass.
#[derive(Debug, Clone, Default)]
pub struct ScaleSet {
    place: place::Memory,
    protection: protection::Memory,
    metric: metric::Memory,
    events: events::Memory,
    under_way: BTreeMap<u64, Ask>,
    values: Option<crate::scale_set::model::Values>,
    /// When the next thing is due by itself, by the boot-time clock.
    due: Option<Duration>,
}

impl ScaleSet {
    /// Nothing is known yet but what the firmware says.
    pub fn new(is_azure: bool) -> Self {
        Self { place: place::Memory { is_azure, ..place::Memory::default() }, ..Self::default() }
    }

    /// Decides what is to be asked now.
    pub fn decide(&mut self, settings: &Settings, facts: Facts) -> Wants {
        let wants = self.wants(settings, facts);
        self.plan(facts);
        wants
    }

    fn wants(&mut self, settings: &Settings, facts: Facts) -> Wants {
        let mut wants = Wants::default();
        let Facts { now, used, .. } = facts;
        if settings.enabled == Enabled::Off {
            return wants;
        }
        if self.place.wants(settings.enabled, now) {
            self.place.asked = true;
            wants.asks.push(Ask::Place);
        }
        let Some((node, instance)) = self.member() else { return wants };
        // What is about to be deleted cannot be protected from it.
        let ending = self.is_ending();
        if let Some(full) = Protection::of(settings.protect).filter(|_| !ending) {
            match self.protection.decide(full, used, now) {
                Some(Step::Commit { epoch }) => wants.commit = Some(epoch),
                Some(Step::Protect { wanted, force }) => {
                    self.protection.started(wanted);
                    wants.asks.push(Ask::Protect { node: node.clone(), instance: instance.clone(), wanted, force });
                }
                Some(Step::Look) => {
                    self.protection.looking();
                    wants.asks.push(Ask::Look { node: node.clone(), instance: instance.clone() });
                }
                None => {}
            }
        }
        let free = match Protection::of(settings.protect) {
            Some(_) => self.protection.is_free(now, used),
            // Nobody protects it: idle and announced is free.
            None => matches!(used, Use::Due { .. }),
        };
        let values =
            if ending { metric::ENDING } else { metric::values(used, self.protection.is_harmless(now, used), free) };
        self.values = Some(values);
        let at = facts.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if settings.metrics
            && let Some(values) = self.metric.decide(self.values, at / 60, now)
        {
            self.metric.started(at / 60);
            wants.asks.push(Ask::Publish { node: node.clone(), instance, values, at });
        }
        if self.events.wants(now) {
            self.events.asked = true;
            wants.asks.push(Ask::Events { node, known: self.events.incarnation });
        }
        wants
    }

    fn member(&self) -> Option<(Node, Instance)> {
        self.place.place().and_then(Place::member).map(|(n, i)| (n.clone(), i.clone()))
    }

    /// A worker was asked for.
    pub fn started(&mut self, id: u64, ask: Ask) {
        self.under_way.insert(id, ask);
    }

    /// The announcement was committed: nobody came.
    pub fn committed(&mut self, epoch: u64) {
        self.protection.committed(epoch);
    }

    /// Takes what came of a worker. One that cannot be ended is waited for no longer.
    pub fn absorb(&mut self, id: u64, ask: &Ask, result: Result<Answer, WorkerFailure>, facts: Facts) {
        self.under_way.remove(&id);
        self.take(ask, told(ask, result), facts);
    }

    /// No worker could be asked for.
    pub fn refused(&mut self, ask: &Ask, why: &str, facts: Facts) {
        self.take(ask, Err(failure(ask, why.to_owned(), false)), facts);
    }

    fn take(&mut self, ask: &Ask, result: Result<Told, Failure>, facts: Facts) {
        let Facts { now, chance, .. } = facts;
        if let Err(failure) = &result {
            tracing::debug!(service = failure.service.name(), "{}", failure.line());
        }
        let odd = || failure(ask, "the helper answered something else".to_owned(), ask.changes());
        match ask {
            Ask::Place => {
                let place = result.and_then(|t| if let Told::Place(place) = t { Ok(place) } else { Err(odd()) });
                let before = self.place.place().cloned();
                self.place.take(place, now, chance);
                if self.place.place() != before.as_ref() {
                    // What was known of protection and events is of another VM.
                    (self.protection, self.events) = Default::default();
                    self.say_place();
                }
            }
            Ask::Protect { .. } | Ask::Look { .. } => {
                let seen = result.and_then(|t| if let Told::Protection(seen) = t { Ok(seen) } else { Err(odd()) });
                if let Ok(Reading { now, .. }) = seen {
                    tracing::info!(scale_in = now.scale_in, actions = now.actions, "protection of this VM, read back");
                }
                self.protection.take(seen, now, chance);
            }
            Ask::Publish { .. } => self.metric.take(result.map(drop), now, chance),
            Ask::Events { .. } => {
                let list = result.and_then(|t| if let Told::Events(n, list) = t { Ok((n, list)) } else { Err(odd()) });
                self.events.take(list, now, chance);
            }
            // The drain has its own memory.
            Ask::Approve { .. } => {}
        }
        self.plan(facts);
    }

    fn say_place(&self) {
        match self.place.place() {
            Some(Place::Member(node, instance)) => {
                tracing::info!(vm = node.name, set = instance.set, "this VM belongs to a scale set");
            }
            Some(Place::Single(_)) => tracing::info!("this VM belongs to no scale set: there is nothing to protect"),
            Some(Place::Elsewhere) => tracing::info!("no instance metadata answers: not on Azure, as far as it seems"),
            None => {}
        }
    }

    /// What needs a person.
    pub fn problems(&self, settings: &Settings, now: Duration) -> Vec<Problem> {
        if settings.enabled == Enabled::Off {
            return Vec::new();
        }
        let mut out: Vec<Problem> = self.place.problem(settings.enabled, now).into_iter().collect();
        if let Some((node, instance)) = self.place.place().and_then(Place::member) {
            out.extend(self.protection.problem(node, instance, &settings.client_id, now));
            out.extend(self.metric.problem(now));
            out.extend(self.events.problem(now));
        }
        out
    }

    /// This VM's events; nothing while it is not known which there are.
    pub fn events(&self) -> Option<&[Event]> {
        self.events.incarnation.map(|_| self.events.events.as_slice())
    }

    /// Whether the VM is being given free, or is.
    pub fn is_going(&self) -> bool {
        self.protection.is_going()
    }

    /// Whether Azure has announced the end of this VM.
    pub fn is_ending(&self) -> bool {
        self.events.end().is_some()
    }

    /// Notes when the next thing is due. What was due before was done just now, or cannot be.
    fn plan(&mut self, facts: Facts) {
        let again = [&self.place.trouble, &self.protection.trouble, &self.metric.trouble, &self.events.trouble];
        let pauses = again.into_iter().map(|t| t.again).filter(|at| *at > facts.now);
        // The next minute has a report.
        let since = facts.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let minute = facts.now + Duration::from_secs(60) - Duration::from_secs(since.as_secs() % 60);
        let reports = self.place.place().and_then(Place::member).map(|_| minute);
        self.due = pauses.chain(reports).min();
    }

    /// How long until something is due by itself.
    pub fn next_look(&self, now: Duration) -> Duration {
        self.due.map_or(Duration::MAX, |at| at.saturating_sub(now))
    }

    /// Whether it is known what Azure calls this VM, or that nobody will say.
    pub fn knows_name(&self, settings: &Settings) -> bool {
        settings.enabled == Enabled::Off || self.place.place().is_some()
    }

    /// The VM, for the status; its host name where nothing better is known.
    pub fn node(&self, host: &str) -> NodeView {
        let node = self.place.place().and_then(Place::node);
        NodeView {
            name: node.map_or(host, |n| n.name.as_str()).to_owned(),
            vm_id: node.map(|n| n.vm_id.clone()),
            location: node.map(|n| n.location.clone()),
            scale_set: self.place.place().and_then(Place::member).map(|(_, i)| i.set.clone()),
        }
    }

    /// The status; nothing is said of it where the agent does not deal with it.
    pub fn view(&self, settings: &Settings, facts: Facts) -> Option<ScaleSetView> {
        if settings.enabled == Enabled::Off {
            return None;
        }
        let place = self.place.place();
        let member = place.and_then(Place::member).is_some();
        let known = self.protection.known(facts.now);
        let ago = |at: Duration| rfc3339(facts.wall - facts.now.saturating_sub(at));
        let events = self.events.events.iter().map(|e| EventView {
            kind: e.kind.name().to_owned(),
            not_before: e.not_before.map(rfc3339),
            started: e.started,
        });
        Some(ScaleSetView {
            on_azure: place.map(|p| p.node().is_some()),
            member: place.map(|_| member),
            protected: known.filter(|_| member).map(|p| p.scale_in),
            by_hand: member && Protection::of(settings.protect).is_some() && self.protection.is_by_hand(),
            free: member.then(|| self.values.and_then(|v| v.idle)).flatten(),
            free_since: self
                .protection
                .lifted
                .filter(|_| member && self.values.is_some_and(|v| v.idle == Some(true)))
                .map(ago),
            metric_sent_at: self.metric.arrived.map(ago),
            events: events.collect(),
            events_unknown: member && !self.events.are_known(facts.now),
            drain: None,
        })
    }
}

fn told(ask: &Ask, result: Result<Answer, WorkerFailure>) -> Result<Told, Failure> {
    match result {
        Ok(Answer::ScaleSet(result)) => *result,
        Ok(_) => Err(failure(ask, "the helper answered something else".to_owned(), ask.changes())),
        Err(why) => Err(failure(ask, why.line(), ask.changes())),
    }
}

fn failure(ask: &Ask, text: String, doubtful: bool) -> Failure {
    let service: Service = ask.service();
    Failure { service, status: None, code: None, text, retry_after: None, doubtful, found: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale_set::model::{Cloud, Protection, Values};

    fn facts(now: u64) -> Facts {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_020 + now);
        Facts { now: Duration::from_secs(now), wall, used: Use::InUse, chance: 256 }
    }

    fn answer(set: &mut ScaleSet, ask: &Ask, result: Result<Told, Failure>, now: u64) {
        set.absorb(1, ask, Ok(Answer::ScaleSet(Box::new(result))), facts(now));
    }

    fn member() -> Place {
        let (name, vm_id, location) = ("p_7".to_owned(), "v".to_owned(), "l".to_owned());
        let node = Node { name, vm_id, location, cloud: Cloud::Public, spot: false };
        Place::Member(node, Instance { set: "p".into(), set_id: "/s".into(), id: "7".into() })
    }

    #[test]
    fn what_is_due_stays_due_until_it_was_looked_at() {
        let (mut set, settings) = (ScaleSet::default(), Settings::default());
        assert_eq!(set.decide(&settings, facts(1)).asks, [Ask::Place]);
        assert_eq!(set.next_look(Duration::from_secs(2)), Duration::MAX, "the answer wakes it up");
        let refused = Failure { status: Some(410), ..failure(&Ask::Place, String::new(), false) };
        answer(&mut set, &Ask::Place, Err(refused), 2);
        assert_eq!(set.next_look(Duration::from_secs(2)), Duration::from_secs(1));
        // Whoever wakes up late is late, and not done.
        assert_eq!(set.next_look(Duration::from_secs(9)), Duration::ZERO);
        assert_eq!(set.decide(&settings, facts(9)).asks, [Ask::Place]);
        assert_ne!(set.next_look(Duration::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn a_vm_whose_end_was_announced_is_counted_no_more() {
        use crate::scale_set::model::{Event, EventKind};
        let (mut set, settings) = (ScaleSet::default(), Settings::default());
        set.decide(&settings, facts(1));
        answer(&mut set, &Ask::Place, Ok(Told::Place(member())), 1);
        let asks = set.decide(&settings, facts(1)).asks;
        answer(&mut set, &asks[1], Ok(Told::Published), 2);
        let end = |kind| Event { id: "e".to_owned(), kind, not_before: None, started: false, alone: true };
        answer(&mut set, &asks[2], Ok(Told::Events(1, vec![end(EventKind::Reboot)])), 2);
        let report = |asks: &[Ask]| {
            asks.iter().find_map(|a| if let Ask::Publish { values, .. } = a { Some(*values) } else { None })
        };
        let asks = set.decide(&settings, facts(61)).asks;
        assert_eq!(report(&asks).and_then(|v| v.busy), Some(true), "it comes back: {asks:?}");
        let news = asks.iter().find(|a| matches!(a, Ask::Events { .. })).unwrap();
        answer(&mut set, &asks[0], Ok(Told::Published), 62);
        answer(&mut set, news, Ok(Told::Events(2, vec![end(EventKind::Terminate)])), 62);
        assert_eq!(report(&set.decide(&settings, facts(121)).asks), Some(metric::ENDING));
    }

    #[test]
    fn who_protects_a_vm_that_was_given_free_is_left_alone_and_that_is_told() {
        let (mut set, settings) = (ScaleSet::default(), Settings::default());
        let due = |now| Facts { used: Use::Due { epoch: 1 }, ..facts(now) };
        let read = |now| Ok(Told::Protection(Reading { found: Some(now), now }));
        set.decide(&settings, facts(1));
        answer(&mut set, &Ask::Place, Ok(Told::Place(member())), 1);
        let asks = set.decide(&settings, facts(1)).asks;
        answer(&mut set, &asks[0], read(Protection { scale_in: true, actions: true }), 2);
        assert_eq!(set.decide(&settings, due(3)).commit, Some(1));
        set.committed(1);
        let asks = set.decide(&settings, due(4)).asks;
        assert!(matches!(asks[0], Ask::Protect { wanted: Protection::NONE, .. }), "{asks:?}");
        answer(&mut set, &asks[0], read(Protection::NONE), 5);
        assert!(set.view(&settings, due(6)).is_some_and(|view| view.protected == Some(false) && !view.by_hand));
        let asks = set.decide(&settings, due(700)).asks;
        let look = asks.iter().find(|ask| matches!(ask, Ask::Look { .. })).unwrap();
        answer(&mut set, look, read(Protection { scale_in: true, actions: false }), 701);
        let asks = set.decide(&settings, due(720)).asks;
        assert!(!asks.iter().any(|ask| matches!(ask, Ask::Protect { .. } | Ask::Look { .. })), "{asks:?}");
        let view = set.view(&settings, due(720)).unwrap();
        assert_eq!((view.protected, view.by_hand, view.free, view.free_since), (Some(true), true, Some(false), None));
    }

    #[test]
    fn a_vm_that_may_go_and_cannot_be_lifted_holds_nobody_up_and_is_told() {
        let (mut set, settings) = (ScaleSet::default(), Settings::default());
        let due = |now| Facts { used: Use::Due { epoch: 1 }, ..facts(now) };
        set.decide(&settings, facts(1));
        answer(&mut set, &Ask::Place, Ok(Told::Place(member())), 1);
        let asks = set.decide(&settings, facts(1)).asks;
        let full = Protection { scale_in: true, actions: true };
        answer(&mut set, &asks[0], Ok(Told::Protection(Reading { found: None, now: full })), 2);
        answer(&mut set, &asks[1], Ok(Told::Published), 2);
        set.committed(1);
        let ask = set.decide(&settings, due(3)).asks.remove(0);
        // A report while it is being lifted, and one when that was refused.
        for now in [61, 121] {
            let asks = set.decide(&settings, due(now)).asks;
            let report = asks.iter().find(|ask| matches!(ask, Ask::Publish { .. })).unwrap();
            let values = Values { idle: Some(false), busy: Some(true), unprotected: Some(false) };
            assert!(matches!(report, Ask::Publish { values: told, .. } if *told == values), "{report:?}");
            answer(&mut set, report, Ok(Told::Published), now);
            let refused = Failure { status: Some(403), found: Some(full), ..failure(&ask, String::new(), false) };
            answer(&mut set, &ask, Err(refused), now + 1);
        }
        assert_eq!(set.view(&settings, due(123)).unwrap().protected, Some(true));
        let problems = set.problems(&settings, Duration::from_secs(123));
        assert!(problems.iter().any(|p| p.code == "scale-set.not-lifted"), "{problems:?}");
    }

    #[test]
    fn a_member_protects_first_and_reports_every_minute() {
        let (mut set, settings) = (ScaleSet::default(), Settings::default());
        set.decide(&settings, facts(1));
        answer(&mut set, &Ask::Place, Ok(Told::Place(member())), 1);
        let asks = set.decide(&settings, facts(1)).asks;
        assert!(matches!(asks[..], [Ask::Protect { .. }, Ask::Publish { .. }, Ask::Events { .. }]), "{asks:?}");
        let full = Protection { scale_in: true, actions: true };
        answer(&mut set, &asks[0], Ok(Told::Protection(Reading { found: None, now: full })), 2);
        answer(&mut set, &asks[1], Ok(Told::Published), 2);
        assert!(set.decide(&settings, facts(3)).asks.is_empty());
        let next = set.next_look(Duration::from_secs(3)).as_secs();
        assert!((1..=60).contains(&next), "{next}");
        let asks = set.decide(&settings, facts(3 + next)).asks;
        assert!(matches!(asks[..], [Ask::Publish { .. }]), "{asks:?}");
    }
}
