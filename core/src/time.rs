use core::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in time: the duration since an epoch that the caller chose once and keeps.
///
/// Nothing in this crate reads a clock. A server passes the time since it started, a simulator its virtual time, a
/// browser `performance.now()`. Time that goes backwards is taken as no time having passed.
///
/// ```
/// use cereus_core::Instant;
/// use std::time::Duration;
///
/// let start = Instant::EPOCH;
/// let later = start + Duration::from_secs(3);
/// assert_eq!(later - start, Duration::from_secs(3));
/// assert_eq!(start - later, Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant {
    /// Enough for 584 years, and half the size of a `Duration`.
    nanos: u64,
}

impl Instant {
    /// The caller's epoch.
    pub const EPOCH: Self = Self { nanos: 0 };

    /// The instant `elapsed` after the epoch. Beyond 584 years all instants are one.
    pub const fn from_epoch(elapsed: Duration) -> Self {
        Self { nanos: nanos(elapsed) }
    }

    /// How long after the epoch this is.
    pub const fn since_epoch(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of time instead of overflowing.
    fn add(self, rhs: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(nanos(rhs)) }
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero when `rhs` is later.
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(rhs.nanos))
    }
}
