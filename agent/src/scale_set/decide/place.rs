//! Where the VM is: asked until it is known, and then from time to time.

use super::Trouble;
use crate::config::settings::Enabled;
use crate::problem::Problem;
use crate::scale_set::model::{Failure, Place};
use std::time::Duration;

/// What is known is asked for again after this: a VM may move to another scale set while it is off, not while it runs.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// An answer that says nothing of Azure is final after this: early at boot there may be no network.
const GIVEN_UP: Duration = Duration::from_secs(2 * 60);

/// Pauses while nobody answers at all.
const SILENCE: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(60)];

/// What is known of the VM's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// The place, and when it was seen.
    pub place: Option<(Place, Duration)>,
    /// What failed since.
    pub trouble: Trouble,
    /// A request is under way.
    pub asked: bool,
}

impl Memory {
    /// The place, as far as it is known.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref().map(|(place, _)| place)
    }

    /// Whether to ask now.
    pub fn wants(&self, enabled: Enabled, now: Duration) -> bool {
        let old = match &self.place {
            None => true,
            Some((_, at)) => now >= *at + AGAIN,
        };
        enabled != Enabled::Off && !self.asked && old && self.trouble.is_due(now)
    }

    /// Takes the answer.
    pub fn take(&mut self, result: Result<Place, Failure>, now: Duration, chance: u64) {
        self.asked = false;
        match result {
            Ok(place) => {
                self.place = Some((place, now));
                self.trouble.over();
            }
            Err(failure) => {
                let silent = failure.status.is_none();
                self.trouble.failed(failure, now, chance);
                if silent {
                    // On Azure it answers at once. Elsewhere nobody will, and asking wakes the VM up.
                    let number = usize::try_from(self.trouble.count).unwrap_or(usize::MAX);
                    let pause = SILENCE.get(number.saturating_sub(1)).or(SILENCE.last());
                    self.trouble.again = now + pause.copied().unwrap_or(GIVEN_UP);
                }
                let nothing = self.place().is_none_or(|p| *p == Place::Elsewhere);
                if nothing && now >= self.trouble.since + GIVEN_UP {
                    // Asked again every hour. On Azure it answers at once.
                    self.place = Some((Place::Elsewhere, now));
                    self.trouble.over();
                }
            }
        }
    }

    /// What a person should know. An agent that was told to expect a scale set says when there is none.
    pub fn problem(&self, enabled: Enabled) -> Option<Problem> {
        if enabled != Enabled::On || self.place()?.member().is_some() {
            return None;
        }
        let what = match self.place()? {
            Place::Elsewhere => "Instance metadata does not answer",
            _ => "This VM belongs to no scale set",
        };
        Some(Problem::new(
            "scale-set.none",
            format!("{what}, but [scale_set] enabled = \"on\" says that there is a scale set. Nothing of it is done."),
            "Check that this VM was made by the scale set and that 169.254.169.254 can be reached, or set enabled = \"auto\".",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::failure;
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn no_answer_becomes_elsewhere_in_time_and_stays_open() {
        let mut memory = Memory::default();
        let (mut now, mut tries) = (S(5), 0);
        while memory.place().is_none() {
            assert!(memory.wants(Enabled::Auto, now.max(memory.trouble.again)));
            now = now.max(memory.trouble.again);
            memory.take(Err(failure(None)), now, 256);
            tries += 1;
        }
        assert!(now >= S(125) && now <= S(200) && tries < 6, "{now:?} {tries}");
        assert_eq!(memory.place(), Some(&Place::Elsewhere));
        assert!(!memory.wants(Enabled::Auto, now + S(60)) && memory.wants(Enabled::Auto, now + AGAIN));
        assert!(!Memory::default().wants(Enabled::Off, now));
        assert!(memory.problem(Enabled::Auto).is_none() && memory.problem(Enabled::On).is_some());
    }
}
