//! What Azure announced to this VM, and what follows from it.

use super::Trouble;
use crate::scale_set::model::{Event, EventKind, Failure};
use std::time::Duration;

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
