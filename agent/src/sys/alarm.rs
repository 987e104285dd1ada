//! Waking up when it is time, and not before: a wheel of timers wakes a few times on the way to what is far away.

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// One alarm of the kernel's (timerfd_create(2)), by the clock that goes on during suspend.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// An alarm that is not set. To be called within a tokio runtime.
    ///
    /// # Errors
    /// As of timerfd_create(2) and of registering a descriptor.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // SAFETY: the timer is owned by the AsyncFd from here on: it is closed only after it was deregistered.
        Ok(Self { timer: unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }? })
    }

    /// Waits until then; at once when that is past. May be dropped and called again, with another
    /// time.
    pub async fn at(&self, time: Instant) {
        let pause = time.saturating_duration_since(Instant::now());
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Years from now is never.
        let tv_sec = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX).min(i64::from(i32::MAX));
        let value = Timespec { tv_sec, tv_nsec: i64::from(pause.subsec_nanos()) };
        let setting = Itimerspec { it_interval: nothing, it_value: value };
        // A setting of zero would be none.
        if pause.is_zero() {
            return;
        }
        if timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &setting).is_err() {
            return tokio::time::sleep_until(time).await;
        }
        loop {
            let Ok(mut ready) = self.timer.readable().await else { return };
            // How often it was over is a number of eight bytes. There is none yet when an earlier setting woke us.
            let over = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0u8; 8])?));
            if over.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_wakes_when_it_is_time_whatever_it_was_set_to_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let alarm = Alarm::new().unwrap();
            let begun = Instant::now();
            alarm.at(begun).await;
            alarm.at(begun + Duration::from_millis(20)).await;
            assert!(begun.elapsed() >= Duration::from_millis(20));
            // It rings while nobody listens, and is set to something later then.
            tokio::select! {
                () = alarm.at(Instant::now() + Duration::from_millis(1)) => {}
                () = std::future::ready(()) => {}
            }
            std::thread::sleep(Duration::from_millis(20));
            let later = Instant::now() + Duration::from_millis(200);
            alarm.at(later).await;
            assert!(Instant::now() >= later);
            // Dropped when it was far away, and set to what is near.
            tokio::select! {
                () = alarm.at(begun + Duration::from_secs(1 << 33)) => {}
                () = std::future::ready(()) => {}
            }
            alarm.at(Instant::now() + Duration::from_millis(1)).await;
        });
    }
}
