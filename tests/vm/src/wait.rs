//! Waiting for the thing itself.

use std::thread;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(100);

/// Asks again and again until the answer is yes; no answer within `timeout` is a failure that says what was missed.
///
/// # Panics
/// When the time is over.
#[track_caller]
pub fn wait_for(what: &str, timeout: Duration, condition: impl FnMut() -> bool) {
    assert!(until(timeout, condition), "waited {} s for this: {what}", timeout.as_secs());
}

/// Asks again and again until the answer is yes, and says whether it was in time.
pub(crate) fn until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(STEP);
    }
}

/// Does two things at the same time, such as starting two guests.
pub fn together<A: Send, B: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}
