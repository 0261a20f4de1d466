//! When space is to be reclaimed: a plan over the segments in use, oldest first.
//!
//! First in, first out: only the oldest segment is ever freed, so a Done can never go before the Accept it ends.
//! What still lives in the oldest is copied forward first.

/// What the plan looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes of a segment.
    pub segment: u64,
    /// Segments in use, the one being written included.
    pub used: u64,
    /// Bytes of live records in all of them.
    pub live: u64,
    /// Bytes of live records in the oldest.
    pub oldest_live: u64,
    /// In use without any copying being worth it.
    pub relaxed: u64,
    /// There is no free segment and none can be made.
    pub tight: bool,
}

/// Whether the oldest segment is to be copied forward now.
///
/// Total space is kept below twice the live bytes and a floor, so on average at most half of what is reclaimed
/// lives and each byte is copied once in its life at worst. When no segment can be had, one is freed as soon as at
/// least half of it is dead.
pub fn wants_copying(space: Space) -> bool {
    if space.used < 2 {
        return false;
    }
    let total = space.used.saturating_mul(space.segment);
    let allowed = space
        .live
        .saturating_mul(2)
        .max(space.relaxed.saturating_mul(space.segment));
    total > allowed || (space.tight && space.oldest_live.saturating_mul(2) <= space.segment)
}

#[cfg(test)]
mod tests {
    use super::{Space, wants_copying};

    #[test]
    fn space_follows_what_lives() {
        let space = Space {
            segment: 1000,
            used: 4,
            live: 0,
            oldest_live: 0,
            relaxed: 4,
            tight: false,
        };
        for (space, want) in [
            (space, false),
            (Space { used: 5, ..space }, true),
            (
                Space {
                    used: 5,
                    live: 2500,
                    ..space
                },
                false,
            ),
            (
                Space {
                    used: 6,
                    live: 2500,
                    ..space
                },
                true,
            ),
            (
                Space {
                    tight: true,
                    oldest_live: 501,
                    ..space
                },
                false,
            ),
            (
                Space {
                    tight: true,
                    oldest_live: 500,
                    ..space
                },
                true,
            ),
            (
                Space {
                    used: 1,
                    tight: true,
                    ..space
                },
                false,
            ),
        ] {
            assert_eq!(wants_copying(space), want, "{space:?}");
        }
    }
}
