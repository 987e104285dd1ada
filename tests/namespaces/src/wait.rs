//! Waiting for the thing itself.

use std::thread;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(50);

/// Asks again and again until the answer is yes; no answer within `timeout` is a failure that says what was missed.
///
/// # Panics
/// When the time is over.
#[track_caller]
pub fn wait_for(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {} s for this: {what}", timeout.as_secs());
        thread::sleep(STEP);
    }
}
