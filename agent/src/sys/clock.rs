//! Clocks. Durations are by the boot-time clock, which no change of the wall clock touches and which goes on
//! during suspend (clock_gettime(2), `CLOCK_BOOTTIME`); the wall clock is for people only.

use std::time::{Duration, SystemTime};

/// Time since boot, suspends included.
pub fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The kernel's random id of this boot, as in `/proc/sys/kernel/random/boot_id` (random(4)); empty if unreadable.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Whether NTP keeps the clock right, as the kernel was told (adjtimex(2), `STA_UNSYNC`); nothing where it does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain numbers, of which all-zero is a value; with `modes` 0 adjtimex(2) only fills it in.
    let (state, time) = unsafe {
        let mut time: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut time), time)
    };
    (state >= 0).then_some(time.status & libc::STA_UNSYNC == 0)
}

/// A wall-clock time as RFC 3339 in UTC, to the second. One that it cannot write, before 1970 or after 9999, is the first or
/// the last that it can: a clock that nobody set may be anywhere, and what is reckoned from it beyond.
pub fn rfc3339(time: SystemTime) -> String {
    /// 9999-12-31T23:59:59Z.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_written() {
        let (epoch, s) = (SystemTime::UNIX_EPOCH, Duration::from_secs);
        for (time, text) in [
            (epoch + s(1_772_625_600), "2026-03-04T12:00:00Z"),
            (epoch, "1970-01-01T00:00:00Z"),
            (epoch - s(1), "1970-01-01T00:00:00Z"),
            (epoch + s(253_402_300_799), "9999-12-31T23:59:59Z"),
            (epoch + s(253_402_300_800), "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(time), text);
        }
    }
}
