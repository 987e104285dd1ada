//! How old a status is, by the boot-time clock: it goes on while the machine sleeps, and no clock change touches it.

use super::model::Agent;
use crate::sys::clock;
use std::io;
use std::time::Duration;

/// A status older than this is stale: whoever should renew it is dead or stuck.
pub const STALE_AFTER: Duration = Duration::from_secs(3 * 60);

/// Now, as the kernel that runs counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot: `CLOCK_BOOTTIME`. The uptime, too.
    pub boottime: Duration,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

impl Moment {
    /// What the kernel says. An error means that it does not say which boot this is: `/proc` is not mounted.
    pub fn now() -> io::Result<Self> {
        let boot_id = clock::boot_id();
        if boot_id.is_empty() {
            return Err(io::Error::other("cannot tell which boot this is: /proc is not readable"));
        }
        Ok(Self { boottime: clock::boottime(), boot_id })
    }
}

/// Age of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// So old.
    Known(Duration),
    /// It is of another boot, or says that it is from the future: nothing in it can be dated.
    Unknown,
}

impl Age {
    /// Whether it can no longer be taken for what is.
    pub fn is_stale(self) -> bool {
        match self {
            Age::Known(age) => age > STALE_AFTER,
            Age::Unknown => true,
        }
    }
}

/// Age of what `agent` published.
pub fn age(agent: &Agent, now: &Moment) -> Age {
    if agent.boot_id != now.boot_id {
        return Age::Unknown;
    }
    // A number that is no time (negative, too big) comes from nobody's clock.
    let Ok(then) = Duration::try_from_secs_f64(agent.pass_boottime_s) else { return Age::Unknown };
    match now.boottime.checked_sub(then) {
        Some(age) => Age::Known(age),
        // Rounding may put it a little ahead.
        None if then - now.boottime < Duration::from_secs(1) => Age::Known(Duration::ZERO),
        None => Age::Unknown,
    }
}

/// How long something has been so that began at `since`, an RFC 3339 time of the same status.
///
/// Both wall-clock times are the agent's own; what came after its look is counted by the boot-time clock. A clock
/// that was set in between cannot make it longer than the machine is up. Nothing when it cannot be known.
pub fn lasting(since: &str, agent: &Agent, now: &Moment) -> Option<Duration> {
    let Age::Known(age) = age(agent, now) else { return None };
    let began = humantime::parse_rfc3339(since).ok()?;
    let looked = humantime::parse_rfc3339(&agent.pass_at).ok()?;
    let before = looked.duration_since(began).unwrap_or_default();
    Some(before.saturating_add(age).min(now.boottime))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn moment(seconds: f64) -> Moment {
        Moment { boottime: Duration::from_secs_f64(seconds), ..fixtures::moment() }
    }

    #[test]
    fn counts_by_the_boot_clock() {
        let mut agent = fixtures::status().agent;
        agent.pass_boottime_s = 100.0;
        for (now, expected, stale) in [
            (104.0, Age::Known(Duration::from_secs(4)), false),
            (99.5, Age::Known(Duration::ZERO), false),
            (90.0, Age::Unknown, true),
            (280.0, Age::Known(STALE_AFTER), false),
            (281.0, Age::Known(Duration::from_secs(181)), true),
        ] {
            let age = age(&agent, &moment(now));
            assert_eq!((age, age.is_stale()), (expected, stale), "{now}");
        }
    }

    #[test]
    fn another_boot_or_no_time_has_no_age() {
        let mut agent = fixtures::status().agent;
        agent.boot_id = "another".to_owned();
        assert_eq!(age(&agent, &fixtures::moment()), Age::Unknown);
        for nonsense in [-1.0, 1e300, f64::NAN, f64::INFINITY] {
            let agent = Agent { pass_boottime_s: nonsense, ..fixtures::status().agent };
            assert_eq!(age(&agent, &fixtures::moment()), Age::Unknown);
        }
    }

    #[test]
    fn how_long_is_before_the_look_and_after_it() {
        let agent =
            Agent { pass_at: "2026-03-04T12:00:00Z".to_owned(), pass_boottime_s: 1000.0, ..fixtures::status().agent };
        for (since, now, expected) in [
            ("2026-03-04T11:56:00Z", 1004.0, Some(244)),
            ("2026-03-04T11:56:00.5Z", 1004.0, Some(243)),
            ("2026-03-04T12:00:10Z", 1004.0, Some(4)),
            ("2020-01-01T00:00:00Z", 1004.0, Some(1004)),
            ("yesterday", 1004.0, None),
            ("2026-03-04T11:56:00Z", 10.0, None),
        ] {
            let seconds = lasting(since, &agent, &moment(now)).map(|d| d.as_secs());
            assert_eq!(seconds, expected, "{since} at {now}");
        }
    }

    #[test]
    fn the_real_clock_goes_on() {
        let first = Moment::now().unwrap();
        let second = Moment::now().unwrap();
        assert_eq!(first.boot_id.len(), 36);
        assert_eq!(first.boot_id, second.boot_id);
        assert!(second.boottime >= first.boottime && first.boottime > Duration::ZERO);
    }
}
