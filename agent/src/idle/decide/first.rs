//! When use of the VM is looked for, and the scale set asked, while the agent comes up: both are done by helpers, as what users
//! wait for is.

use std::time::Duration;

/// Use is looked for after this at the latest, should the share or a user be slow.
const AT_LATEST: Duration = Duration::from_secs(10);

/// So long after everybody is served the rest of the VM comes first: what waited for the agent starts then.
const BREATHER: Duration = Duration::from_secs(1);

/// How long no helper is started that looks for use, `up` after the agent's start: first everybody is to be served, which they
/// were `served` ago, if they are. Until then the VM counts as used.
pub fn before_looks(served: Option<Duration>, up: Duration) -> Duration {
    let latest = AT_LATEST.saturating_sub(up);
    served.map_or(latest, |since| BREATHER.saturating_sub(since).min(latest))
}

/// Whether what never blocks may be looked at: also while the share is being `mounted`, when there is time anyway, and when
/// all are `served`.
pub fn may_look(served: bool, mounted: bool, up: Duration) -> bool {
    mounted || served || up >= AT_LATEST
}

/// How long until a look is begun that is due after `due`; for ever where none is wanted.
pub fn next_look(due: Duration, served: Option<Duration>, up: Duration) -> Duration {
    due.max(before_looks(served, up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_begin_a_moment_after_everybody_is_served_and_after_ten_seconds_at_the_latest() {
        let ms = Duration::from_millis;
        for (served, up, before) in [
            (None, 0, 10_000),
            (None, 300, 9_700),
            (None, 9_999, 1),
            // Not everybody is served yet, and may not be for hours.
            (None, 10_000, 0),
            (None, 10_001, 0),
            (None, 86_400_000, 0),
            (Some(0), 300, 1_000),
            (Some(700), 1_000, 300),
            (Some(1_000), 1_300, 0),
            (Some(86_000_000), 86_400_000, 0),
            // Another configuration has been carried out just now.
            (Some(0), 86_400_000, 0),
            (Some(100), 9_900, 100),
        ] {
            let served = served.map(ms);
            assert_eq!(before_looks(served, ms(up)), ms(before), "{served:?} {up}");
            assert!(may_look(served.is_some(), true, ms(up)), "{served:?} {up}");
            assert_eq!(may_look(served.is_some(), false, ms(up)), served.is_some() || up >= 10_000, "{served:?} {up}");
        }
        for (due, served, up, next) in [
            (ms(0), None, 4_000, ms(6_000)),
            (ms(0), None, 10_000, ms(0)),
            (ms(0), Some(ms(2_000)), 4_000, ms(0)),
            (ms(0), Some(ms(400)), 4_000, ms(600)),
            (ms(30_000), None, 4_000, ms(30_000)),
            (ms(3_000), None, 4_000, ms(6_000)),
            (ms(3_000), Some(ms(400)), 4_000, ms(3_000)),
            (Duration::MAX, None, 4_000, Duration::MAX),
        ] {
            assert_eq!(next_look(due, served, ms(up)), next, "{due:?} {served:?} {up}");
        }
    }
}
