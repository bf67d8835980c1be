use std::time::Duration;

use cereus_core::Instant;

/// A clock that moves when it is told to.
///
/// ```
/// use cereus_core::Instant;
/// use cereus_sim::Clock;
/// use std::time::Duration;
///
/// let mut clock = Clock::default();
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(clock.now() - Instant::EPOCH, Duration::from_secs(3600));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock {
    now: Instant,
}

impl Clock {
    /// What time it is.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets this much time pass.
    pub fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Lets time pass up to `instant`; an earlier one changes nothing.
    pub fn advance_to(&mut self, instant: Instant) {
        self.now = self.now.max(instant);
    }
}
