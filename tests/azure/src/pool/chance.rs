//! Chance that is the same for the same seed, on every machine.

/// A source of chance (splitmix64; Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// One for a seed and a purpose: what is drawn for one purpose does not change what is drawn for another.
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mostly near the middle of `low` and `high`.
    pub fn near(&mut self, low: f64, high: f64) -> f64 {
        (0..3).map(|_| self.between(low, high)).sum::<f64>() / 3.0
    }

    /// True in a part of the cases.
    pub fn hit(&mut self, part: f64) -> bool {
        self.between(0.0, 1.0) < part
    }
}
