//! When use of the VM is looked for, and the scale set asked, while the agent comes up: both are done by helpers, as what users
//! wait for is.

use std::time::Duration;

/// Use is looked for after this at the latest, should the share or a user be slow.
const AT_LATEST: Duration = Duration::from_secs(10);

/// How long no look for use is begun, `up` after the agent's start: first everybody who is to be `served` gets their
/// notebooks. Until then the VM counts as used.
pub fn before_looks(served: bool, up: Duration) -> Duration {
    if served { Duration::ZERO } else { AT_LATEST.saturating_sub(up) }
}

/// Whether what never blocks may be looked at: also while the share is being `mounted`, when there is time anyway.
pub fn may_look(served: bool, mounted: bool, up: Duration) -> bool {
    mounted || before_looks(served, up).is_zero()
}

/// How long until a look is begun that is due after `due`; for ever where none is wanted.
pub fn next_look(due: Duration, served: bool, up: Duration) -> Duration {
    due.max(before_looks(served, up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_begin_when_everybody_is_served_and_after_ten_seconds_at_the_latest() {
        let ms = Duration::from_millis;
        for (served, up, before) in [
            (false, 0, 10_000),
            (false, 300, 9_700),
            (false, 9_999, 1),
            // Not everybody is served yet, and may not be for hours.
            (false, 10_000, 0),
            (false, 10_001, 0),
            (false, 86_400_000, 0),
            (true, 0, 0),
            (true, 300, 0),
            (true, 86_400_000, 0),
        ] {
            assert_eq!(before_looks(served, ms(up)), ms(before), "{served} {up}");
            assert_eq!(may_look(served, false, ms(up)), before == 0, "{served} {up}");
            assert!(may_look(served, true, ms(up)), "{served} {up}");
        }
        for (due, served, up, next) in [
            (ms(0), false, 4_000, ms(6_000)),
            (ms(0), false, 10_000, ms(0)),
            (ms(0), true, 4_000, ms(0)),
            (ms(30_000), false, 4_000, ms(30_000)),
            (ms(3_000), false, 4_000, ms(6_000)),
            (ms(3_000), true, 4_000, ms(3_000)),
            (Duration::MAX, false, 4_000, Duration::MAX),
        ] {
            assert_eq!(next_look(due, served, ms(up)), next, "{due:?} {served} {up}");
        }
    }
}
