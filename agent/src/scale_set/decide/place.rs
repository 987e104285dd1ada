//! Where the VM is: asked until it is known, and then from time to time.

use super::Trouble;
use crate::config::settings::Enabled;
use crate::problem::Problem;
use crate::scale_set::model::{Failure, Place};
use std::time::Duration;

/// What is known is asked for again after this: a VM may move to another scale set while it is off, not while it runs.
const AGAIN: Duration = Duration::from_secs(60 * 60);
/// Silence means that this is not Azure after so long: early at boot there may be no network.
const GIVEN_UP: Duration = Duration::from_secs(2 * 60);
/// It is asked again after this whether it is Azure after all: until then nothing is protected.
const ELSEWHERE: Duration = Duration::from_secs(5 * 60);

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
    /// The firmware says that this is a VM of Azure's.
    pub is_azure: bool,
    /// Since when nobody answers at all, or what is not Azure.
    pub silent: Option<Duration>,
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
            Some((Place::Elsewhere, at)) => now >= *at + ELSEWHERE,
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
                self.silent = None;
                self.trouble.over();
            }
            Err(failure) => {
                let silent = failure.status.is_none();
                // Other clouds have something at that address too, which knows no such page.
                let foreign = matches!(failure.status, Some(s) if (400..500).contains(&s) && !matches!(s, 410 | 429));
                self.trouble.failed(failure, now, chance);
                if silent {
                    // On Azure it answers at once. Elsewhere nobody will, and asking wakes the VM up.
                    let number = usize::try_from(self.trouble.count).unwrap_or(usize::MAX);
                    let pause = SILENCE.get(number.saturating_sub(1)).or(SILENCE.last());
                    self.trouble.again = now + pause.copied().unwrap_or(GIVEN_UP);
                }
                if !silent && !foreign {
                    // It is Azure's, and not ready yet, or asked too much.
                    self.silent = None;
                    return;
                }
                let since = *self.silent.get_or_insert(now);
                let nothing = self.place().is_none_or(|p| *p == Place::Elsewhere);
                if nothing && !self.is_azure && now >= since + GIVEN_UP {
                    self.place = Some((Place::Elsewhere, now));
                    self.trouble.over();
                }
            }
        }
    }

    /// What a person should know. An agent that was told to expect a scale set says when there is none.
    pub fn problem(&self, enabled: Enabled, now: Duration) -> Option<Problem> {
        if enabled == Enabled::Auto && self.is_azure && self.place.is_none() {
            let lasts = |_: &&Failure| now >= self.trouble.since + GIVEN_UP;
            let failure = self.trouble.failure.as_ref().filter(lasts)?;
            return Some(Problem::new(
                "scale-set.none",
                format!(
                    "This is a VM of Azure's, and instance metadata says nothing of it ({}): it is not protected, is not \
                     counted for scale-in, and hears of no deletion.",
                    failure.line()
                ),
                "Check that root can reach 169.254.169.254: firewall rules and proxies of this VM. Without a scale set: [scale_set] \
                 enabled = \"off\".",
            ));
        }
        if enabled != Enabled::On {
            return None;
        }
        let what = match self.place() {
            Some(Place::Member(..)) => return None,
            Some(Place::Single(_)) => "This VM belongs to no scale set".to_owned(),
            Some(Place::Elsewhere) => "Instance metadata does not answer".to_owned(),
            None => {
                let lasts = |_: &&Failure| now >= self.trouble.since + GIVEN_UP;
                let failure = self.trouble.failure.as_ref().filter(lasts)?;
                format!("It is not known where this VM is ({})", failure.line())
            }
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
        assert!(!memory.wants(Enabled::Auto, now + S(299)) && memory.wants(Enabled::Auto, now + S(300)));
        assert!(!Memory::default().wants(Enabled::Off, now));
        assert!(memory.problem(Enabled::Auto, now).is_none() && memory.problem(Enabled::On, now).is_some());
        // One more question is enough to find out that it is still so.
        memory.take(Err(failure(None)), now + S(300), 256);
        assert!(!memory.wants(Enabled::Auto, now + S(599)) && memory.wants(Enabled::Auto, now + S(600)));
        // It is Azure after all, and late.
        memory.take(Err(failure(Some(503))), now + S(600), 256);
        assert!(memory.wants(Enabled::Auto, memory.trouble.again) && memory.trouble.again < now + S(602));
    }

    /// What became of answers, each ten seconds after the last.
    fn after(is_azure: bool, answers: impl IntoIterator<Item = Option<u16>>) -> Memory {
        let mut memory = Memory { is_azure, ..Memory::default() };
        for (number, status) in answers.into_iter().enumerate() {
            memory.take(Err(failure(status)), S(10 * number as u64), 256);
        }
        memory
    }

    #[test]
    fn only_silence_or_what_is_not_azures_becomes_elsewhere() {
        for status in [410, 429, 500, 503] {
            let memory = after(false, [Some(status); 60]);
            assert_eq!(memory.place(), None, "{status}");
            assert!(memory.wants(Enabled::Auto, memory.trouble.again), "it is asked on");
            assert!(memory.problem(Enabled::Auto, S(590)).is_none());
            assert!(memory.problem(Enabled::On, S(590)).is_some_and(|p| p.summary.contains(&status.to_string())));
        }
        // A silence begins anew after every answer.
        let mixed = (0..60).map(|n| (n % 10 == 9).then_some(503));
        assert_eq!(after(false, mixed).place(), None);
        for status in [None, Some(404), Some(403)] {
            assert_eq!(after(false, [status; 12]).place(), None, "{status:?}");
            assert_eq!(after(false, [status; 13]).place(), Some(&Place::Elsewhere), "{status:?}");
            let silent = after(true, [status; 60]);
            assert_eq!(silent.place(), None, "the firmware knows better");
            assert!(silent.problem(Enabled::Auto, S(600)).is_some(), "and somebody hears of it");
            assert!(silent.problem(Enabled::Off, S(600)).is_none());
            assert!(after(true, [status; 2]).problem(Enabled::Auto, S(20)).is_none(), "early at boot it is no news");
        }
    }
}
