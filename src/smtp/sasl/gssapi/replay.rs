//! What was shown already: the same ticket and authenticator come once (RFC 4120 s3.2.3). Bounded, by refusing: to
//! forget early would let one in twice.

use std::collections::HashMap;
use std::time::Duration;

use ring::digest;

use crate::base::Wall;
use crate::base::limits;

/// What is remembered of an authenticator.
type Mark = [u8; 16];

/// The authenticators of the last minutes.
#[derive(Debug, Default)]
pub struct Replays(HashMap<Mark, Wall>);

/// Why one is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It was here before.
    Seen,
    /// There is no room to remember it.
    Full,
}

impl Replays {
    /// Remembers one, which the clock would refuse after `until`.
    pub fn note(&mut self, authenticator: &[u8], now: Wall, until: Wall) -> Result<(), Again> {
        let hash = digest::digest(&digest::SHA256, authenticator);
        let mark: Mark = hash.as_ref().first_chunk().copied().unwrap_or_default();
        if self.0.len() >= limits::REPLAYS {
            self.0.retain(|_, until| *until >= now);
            self.0.shrink_to_fit();
        }
        if self.0.contains_key(&mark) {
            return Err(Again::Seen);
        }
        if self.0.len() >= limits::REPLAYS {
            return Err(Again::Full);
        }
        self.0.insert(mark, until);
        Ok(())
    }
}

/// How long one that was made at `at` may be shown.
pub fn end(at: Wall) -> Wall {
    at.after(limits::KERBEROS_SKEW)
        .after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::{Again, Replays};
    use crate::base::{Wall, limits};

    #[test]
    fn nothing_comes_twice_and_the_list_ends() {
        let (mut seen, at) = (Replays::default(), Wall::from_secs);
        for n in 0..limits::REPLAYS {
            let until = at(if n == 0 { 50 } else { 200 });
            assert_eq!(seen.note(&n.to_be_bytes(), at(0), until), Ok(()));
        }
        let one = 1_usize.to_be_bytes();
        assert_eq!(seen.note(&one, at(0), at(200)), Err(Again::Seen));
        assert_eq!(seen.note(b"new", at(50), at(250)), Err(Again::Full));
        assert_eq!(seen.note(b"new", at(51), at(250)), Ok(()));
        assert_eq!(seen.note(b"more", at(51), at(250)), Err(Again::Full));
        assert_eq!(seen.note(b"more", at(201), at(400)), Ok(()));
        assert_eq!(seen.0.len(), 2);
    }
}
