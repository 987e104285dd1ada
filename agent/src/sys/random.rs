//! Randomness for jitter: not for secrets.

/// A number from the kernel's generator (getrandom(2)); 0 where there is none, which only costs the jitter.
pub fn seed() -> u64 {
    let mut bytes = [0u8; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(_) => u64::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}
