//! Chance that can be repeated.

use std::ops::Range;

/// A generator of numbers (splitmix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// From `DSVM_CHAOS_SEED`, or from the clock; which seed it is, is printed.
    pub fn new(what: &str) -> Self {
        let given = std::env::var("DSVM_CHAOS_SEED").ok().and_then(|s| s.parse().ok());
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
            u64::from(now.unwrap_or_default().subsec_nanos()) ^ u64::from(std::process::id())
        };
        let seed = given.unwrap_or_else(clock);
        println!("{what}: DSVM_CHAOS_SEED={seed}");
        Self(seed)
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One within `range`, which is not empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// One of `things`, which are some.
    pub fn one<T: Copy>(&mut self, things: &[T]) -> T {
        let at = self.within(0..things.len() as u64);
        things[usize::try_from(at).expect("an index")]
    }
}
