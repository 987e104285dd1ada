//! How much one process may write: whatever fails, and however often, the log stays readable and the disk free.
//!
//! What changes is counted before ([`crate::daemon::changes`]). This holds for everything, a mistake in a loop too.

use std::time::Duration;

/// So many lines at once.
pub const BURST: f64 = 60.0;
/// And then one in so long: 12 a minute.
pub const EACH: Duration = Duration::from_secs(5);

/// The lines that may be written, by a clock that only grows.
#[derive(Debug, Clone)]
pub struct Limit {
    room: f64,
    at: Duration,
    left_out: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { room: BURST, at: Duration::ZERO, left_out: 0 }
    }
}

impl Limit {
    /// Whether a line may be written at `now`: then how many before it were not.
    pub fn take(&mut self, now: Duration) -> Option<u64> {
        let passed = now.saturating_sub(self.at).as_secs_f64() / EACH.as_secs_f64();
        (self.room, self.at) = ((self.room + passed).min(BURST), self.at.max(now));
        if self.room < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.room -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_loop_is_cut_short_and_what_is_missing_is_counted() {
        let mut limit = Limit::default();
        let at = |n: u64| Duration::from_millis(10_000 + n);
        let written = (0..1000).filter(|n| limit.take(at(*n)).is_some()).count();
        assert_eq!(written, 60);
        assert_eq!(limit.take(at(6000)), Some(940));
        assert_eq!(limit.take(at(600_000)), Some(0), "and that is told once");
    }

    #[test]
    fn who_writes_little_is_never_cut() {
        let mut limit = Limit::default();
        assert!((0..1000).all(|n| limit.take(Duration::from_secs(5 * n)) == Some(0)));
    }

    proptest! {
        #[test]
        fn no_process_writes_more_than_its_share(pauses in proptest::collection::vec(0u64..3000, 1..2000)) {
            let (mut limit, mut now, mut written, mut left_out) = (Limit::default(), 1u64, 0u64, 0u64);
            for pause in &pauses {
                now += pause;
                if let Some(before) = limit.take(Duration::from_millis(now)) {
                    written += 1;
                    left_out += before;
                }
            }
            prop_assert!(written <= 60 + now / 5000 + 1, "{written} in {now} ms");
            prop_assert_eq!(written + left_out + limit.left_out, pauses.len() as u64);
        }
    }
}
