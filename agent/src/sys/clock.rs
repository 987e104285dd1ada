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

/// A wall-clock time as RFC 3339 in UTC, to the second.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
