//! What is told to Azure Monitor, once a minute. Values of one minute are added up there, so that a second report of the
//! same minute would count a VM twice.

use super::Trouble;
use crate::problem::Problem;
use crate::scale_set::model::{Failure, Use, Values};
use std::time::Duration;

/// A person is told when nothing arrived for so long.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// What is known from pass to pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The minute of the last report, also of one that did not arrive.
    minute: Option<u64>,
    /// A report is under way.
    under_way: bool,
    /// When the last one arrived, by the boot-time clock.
    pub arrived: Option<Duration>,
    /// Failures.
    pub trouble: Trouble,
}

/// A VM that is about to be deleted is no longer one of the set's: were it still counted as idle, autoscale would take
/// another one on its account; and it is no victim any more, so that it vetoes nothing. Nor is it one of those who must
/// have reported: it would stand in for one of which nothing is heard.
pub const ENDING: Values = Values { idle: Some(false), busy: Some(false), unprotected: None };

/// What is so now; nothing is said of what cannot be known. A VM whose use cannot be told is neither idle nor busy, but
/// it still vetoes while it is not known to be protected: it may be the next victim. Whether it does is told in any case:
/// a VM of which nothing is heard may be anything, so that autoscale counts who reported. `harmless`: scale-in passes it
/// by, or may take it though it is not known to be free yet.
pub fn values(used: Use, harmless: bool, free: bool) -> Values {
    match used {
        Use::Unknown => Values { idle: None, busy: None, unprotected: Some(!harmless) },
        _ => Values { idle: Some(free), busy: Some(!free), unprotected: Some(!free && !harmless) },
    }
}

impl Memory {
    /// What to report in this minute of the wall clock, in minutes since 1970, if anything.
    pub fn decide(&mut self, values: Option<Values>, minute: u64, now: Duration) -> Option<Values> {
        if self.under_way || self.minute == Some(minute) || !self.trouble.is_due(now) {
            return None;
        }
        values
    }

    /// A report of this minute is on its way.
    pub fn started(&mut self, minute: u64) {
        (self.minute, self.under_way) = (Some(minute), true);
    }

    /// Takes what came of it.
    pub fn take(&mut self, result: Result<(), Failure>, now: Duration, chance: u64) {
        self.under_way = false;
        match result {
            Ok(()) => {
                self.arrived = Some(now);
                self.trouble.over();
            }
            Err(failure) => self.trouble.failed(failure, now, chance),
        }
    }

    /// What a person should know.
    pub fn problem(&self, now: Duration) -> Option<Problem> {
        let failure = self.trouble.failure.as_ref()?;
        if now < self.trouble.since + PATIENCE {
            return None;
        }
        let remedy = match failure.status {
            Some(401 | 403) => "Give the VM's identity the role \"Monitoring Metrics Publisher\" on the scale set.",
            _ => "It is tried again every minute. See whether the VM reaches https://REGION.monitoring.azure.com.",
        };
        let summary = format!(
            "Azure Monitor does not hear from this VM, so that autoscale takes no VM away on its account: {}.",
            failure.line()
        );
        Some(Problem::new("scale-set.metrics", summary, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::failure;
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn every_vm_is_idle_or_busy_and_vetoes_while_it_may_be_taken_wrongly() {
        let told = |used, harmless, free| {
            let v = values(used, harmless, free);
            (v.idle, v.busy, v.unprotected)
        };
        let (no, yes) = (Some(false), Some(true));
        assert_eq!(told(Use::InUse, true, false), (no, yes, no));
        assert_eq!(told(Use::InUse, false, false), (no, yes, yes));
        assert_eq!(told(Use::Quiet, false, false), (no, yes, yes));
        assert_eq!(told(Use::Due { epoch: 1 }, true, false), (no, yes, no), "not given free yet");
        assert_eq!(told(Use::Due { epoch: 1 }, false, false), (no, yes, yes), "not committed either");
        assert_eq!(told(Use::Due { epoch: 1 }, false, true), (yes, no, no));
        assert_eq!(told(Use::Unknown, true, false), (None, None, no));
        assert_eq!(told(Use::Unknown, false, false), (None, None, yes));
    }

    #[test]
    fn a_minute_is_told_once_whatever_comes_of_it() {
        let mut memory = Memory::default();
        let some = Some(values(Use::InUse, true, false));
        assert_eq!(memory.decide(None, 7, S(1)), None);
        assert_eq!(memory.decide(some, 7, S(1)), some);
        memory.started(7);
        assert_eq!(memory.decide(some, 8, S(61)), None, "one at a time");
        memory.take(Err(failure(None)), S(62), 0);
        assert_eq!(memory.decide(some, 7, S(120)), None, "it may have arrived");
        assert_eq!(memory.decide(some, 8, S(120)), some);
        memory.started(8);
        memory.take(Err(failure(Some(403))), S(121), 0);
        assert!(memory.problem(S(300)).is_none());
        assert!(memory.problem(S(662)).unwrap().remedy.contains("Publisher"));
        memory.started(9);
        memory.take(Ok(()), S(663), 0);
        assert!(memory.problem(S(9999)).is_none());
    }
}
