//! What Azure announced to this VM, and what follows from it.

use super::Trouble;
use crate::problem::Problem;
use crate::scale_set::model::{Event, EventKind, Failure};
use std::time::Duration;

/// A person is told when the list could not be read for so long. The first answer alone may take two minutes.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What is known from pass to pass. Nothing of it needs to be kept over a restart of the agent: events stay in the
/// service's list until they are over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The last list.
    pub events: Vec<Event>,
    /// The number of the list.
    pub incarnation: Option<u64>,
    /// A question is under way.
    pub asked: bool,
    /// Failures.
    pub trouble: Trouble,
}

impl Memory {
    /// Whether to ask now. A question waits for news by itself.
    pub fn wants(&self, now: Duration) -> bool {
        !self.asked && self.trouble.is_due(now)
    }

    /// Takes the answer.
    pub fn take(&mut self, result: Result<(u64, Vec<Event>), Failure>, now: Duration, chance: u64) {
        self.asked = false;
        match result {
            Ok((incarnation, events)) => {
                (self.incarnation, self.events) = (Some(incarnation), events);
                self.trouble.over();
            }
            Err(failure) => self.trouble.failed(failure, now, chance),
        }
    }

    /// Whether it is known which events there are.
    pub fn are_known(&self, now: Duration) -> bool {
        self.incarnation.is_some() && self.problem(now).is_none()
    }

    /// What a person should know: that nobody would be told of a deletion.
    pub fn problem(&self, now: Duration) -> Option<Problem> {
        let failure = self.trouble.failure.as_ref()?;
        if now < self.trouble.since + PATIENCE {
            return None;
        }
        let summary = format!(
            "What Azure announces to this VM cannot be read: it may be deleted without anybody being told, and before what \
             is on it alone is copied: {}.",
            failure.line()
        );
        let remedy = match failure.status {
            Some(401 | 403) => {
                "See what keeps the agent from instance metadata: firewall rules of this VM, or Azure's Metadata Security \
                 Protocol."
            }
            _ => {
                "It is tried again by itself. If it lasts, see whether the VM reaches 169.254.169.254, or redeploy it."
            }
        };
        Some(Problem::new("scale-set.events", summary, remedy))
    }

    /// The event that ends this VM, if one was announced.
    pub fn end(&self) -> Option<&Event> {
        self.events.iter().find(|e| e.kind.is_end())
    }

    /// The next event that is worth telling people, the worst first.
    pub fn worst(&self) -> Option<&Event> {
        self.events.iter().filter(|e| e.kind != EventKind::Freeze).max_by_key(|e| e.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::failure;
    use super::*;

    fn event(kind: EventKind) -> Event {
        Event { id: "e".into(), kind, not_before: None, started: false, alone: true }
    }

    #[test]
    fn a_person_is_told_when_nobody_would_hear_of_a_deletion() {
        let s = Duration::from_secs;
        let mut memory = Memory::default();
        assert!(!memory.are_known(s(1)) && memory.problem(s(3600)).is_none(), "nothing failed yet");
        memory.take(Err(failure(Some(500))), s(5), 0);
        memory.take(Err(failure(Some(403))), s(300), 0);
        assert!(memory.problem(s(604)).is_none());
        let problem = memory.problem(s(605)).unwrap();
        assert!(problem.summary.contains("says 403") && problem.remedy.contains("firewall"), "{problem:?}");
        memory.take(Ok((1, vec![])), s(700), 0);
        assert!(memory.are_known(s(700)) && memory.problem(s(9999)).is_none());
        // What was read once is not known for ever.
        memory.take(Err(failure(None)), s(1000), 0);
        assert!(memory.are_known(s(1599)) && !memory.are_known(s(1600)));
    }

    #[test]
    fn what_was_announced_stays_until_the_service_says_otherwise() {
        let mut memory = Memory::default();
        let now = Duration::from_secs(1);
        memory.take(Ok((3, vec![event(EventKind::Reboot), event(EventKind::Terminate)])), now, 0);
        memory.take(Err(failure(Some(500))), now, 0);
        assert_eq!(memory.end().map(|e| e.kind), Some(EventKind::Terminate));
        assert!(!memory.wants(now) && memory.wants(memory.trouble.again));
        memory.take(Ok((4, vec![event(EventKind::Freeze)])), now, 0);
        assert!(memory.end().is_none() && memory.worst().is_none());
    }
}
