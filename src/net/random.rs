//! Random numbers from the kernel: query ids, shuffles, jitter, secrets.

use std::fmt;

use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

use crate::net::clock;

/// The kernel gave no randomness. It does not happen on a kernel that has booted with `/dev/urandom` in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandom;

impl fmt::Display for NoRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the kernel gives no random numbers; is /dev/urandom there?")
    }
}

impl std::error::Error for NoRandom {}

/// Fills `room` with bytes that nobody can guess.
pub fn fill(room: &mut [u8]) -> Result<(), NoRandom> {
    SystemRandom::new().fill(room).map_err(|_| NoRandom)
}

/// A number that nobody can guess.
pub fn number() -> Result<u64, NoRandom> {
    let mut bytes = [0; 8];
    fill(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// A number under `bound` for shuffles and jitter, where being guessed costs nothing; zero for a bound of zero.
pub fn below(bound: usize) -> usize {
    let number = number().unwrap_or_else(|_| clock::tick().as_millis());
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    usize::try_from(number.checked_rem(bound).unwrap_or(0)).unwrap_or(0)
}

/// Any number of 32 bits, for jitter.
pub fn chance() -> u32 {
    let number = number().unwrap_or_else(|_| clock::tick().as_millis());
    u32::try_from(number >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{below, number};

    #[test]
    fn numbers_differ_and_stay_under_their_bound() {
        assert_ne!(number(), number());
        assert!((0..1000).all(|_| below(3) < 3));
        assert_eq!(below(0), 0);
    }
}
