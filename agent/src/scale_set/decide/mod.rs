//! What to do next, and what to say. Pure: times, chance and what was seen come in as arguments.

pub mod drain;
pub mod events;
pub mod metric;
pub mod place;
pub mod protection;

use super::model::Failure;
use std::time::Duration;

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// Failures in a row, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trouble {
    /// The last failure.
    pub failure: Option<Failure>,
    /// How many there were in a row.
    pub count: u32,
    /// Nothing is tried before.
    pub again: Duration,
    /// Since when.
    pub since: Duration,
}

impl Trouble {
    /// It worked.
    pub fn over(&mut self) {
        *self = Self::default();
    }

    /// It failed: the next pause is twice the last, between one second and twenty, a quarter more or less; what lasts
    /// until somebody does something is tried every half minute. Where the service says how long, that long, within
    /// limits. `chance` is any number.
    pub fn failed(&mut self, failure: Failure, now: Duration, chance: u64) {
        if self.count == 0 {
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        let doubled = Duration::from_secs(1 << self.count.min(7).saturating_sub(1)).min(Duration::from_secs(20));
        let pause = if failure.is_lasting() { doubled.max(Duration::from_secs(30)) } else { doubled };
        let pause = pause.mul_f64(0.75 + f64::from(u32::try_from(chance % 512).unwrap_or(0)) / 1024.0);
        self.again = now + pause.max(failure.retry_after.unwrap_or_default()).min(LONGEST);
        self.failure = Some(failure);
    }

    /// Whether something may be tried.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.again
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Service;
    use super::*;

    pub(super) fn failure(status: Option<u16>) -> Failure {
        Failure {
            service: Service::ResourceManager,
            status,
            code: None,
            text: "no".into(),
            retry_after: None,
            doubtful: false,
            found: None,
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut trouble = Trouble::default();
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            trouble.failed(failure(Some(500)), Duration::ZERO, 256);
            assert!(trouble.again >= last && trouble.again <= Duration::from_secs(20), "{trouble:?}");
            last = trouble.again;
        }
        assert_eq!(last, Duration::from_secs(20));
        trouble.over();
        trouble.failed(failure(Some(500)), Duration::ZERO, 0);
        assert_eq!(trouble.again, Duration::from_millis(750));
        trouble.over();
        trouble.failed(failure(Some(403)), Duration::ZERO, 256);
        assert_eq!(trouble.again, Duration::from_secs(30));
    }

    #[test]
    fn what_the_service_asks_for_is_kept_within_limits() {
        let mut trouble = Trouble::default();
        let asked = |s| Failure { retry_after: Some(Duration::from_secs(s)), ..failure(Some(429)) };
        trouble.failed(asked(17), Duration::ZERO, 0);
        assert_eq!(trouble.again, Duration::from_secs(17));
        trouble.failed(asked(1_000_000), Duration::ZERO, 0);
        assert_eq!(trouble.again, LONGEST);
    }
}
