use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::Disconnect;

/// How a client comes back when the connection ends: after a delay that doubles each time, half of which is left to chance, so that
/// the clients of a server that restarts do not come all at once.
///
/// A client that was kicked or refused stays away unless [told otherwise](Self::always): it would only be kicked again.
///
/// ```
/// use std::time::Duration;
/// use cereus_client::Reconnect;
///
/// let patient = Reconnect::default().max_delay(Duration::from_secs(120));
/// let hasty = Reconnect::default().min_delay(Duration::from_millis(100)).attempts(5);
/// let never = Reconnect::never();
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reconnect {
    min: Duration,
    max: Duration,
    attempts: u32,
    always: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(30), attempts: u32::MAX, always: false }
    }
}

impl Reconnect {
    /// The first end of the connection is the client's.
    pub fn never() -> Self {
        Self { attempts: 0, ..Self::default() }
    }

    /// The delay before the first attempt. Default: 500 ms.
    #[must_use]
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.min = delay;
        self
    }

    /// The longest delay. Default: 30 s.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max = delay;
        self
    }

    /// How often it is tried in a row. Default: for ever.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Comes back also after a kick, a refused handshake and a server whose certificate is not trusted.
    #[must_use]
    pub const fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// How long to wait before this attempt, counted from 1; `None`: there is none.
    pub(crate) fn delay(&self, attempt: u32, after: &Disconnect) -> Option<Duration> {
        let is_final = matches!(after, Disconnect::Kicked { .. } | Disconnect::Refused(_) | Disconnect::Untrusted(_));
        if attempt > self.attempts || matches!(after, Disconnect::Local) || (is_final && !self.always) {
            return None;
        }
        Some(spread(self.longest(attempt), RandomState::new().hash_one(attempt)))
    }

    fn longest(&self, attempt: u32) -> Duration {
        self.min.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(self.max.max(self.min))
    }
}

/// Between half of it and all of it.
fn spread(longest: Duration, random: u64) -> Duration {
    let half = longest / 2;
    half + half.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_is_spread() {
        let reconnect =
            Reconnect::default().min_delay(Duration::from_secs(1)).max_delay(Duration::from_secs(10)).attempts(40);
        for attempt in 1..=40 {
            let longest = Duration::from_secs(10.min(1_u64 << (attempt - 1).min(10)));
            let delay = reconnect.delay(attempt, &Disconnect::RuntimeEnded).expect("it is tried again");
            assert!(delay >= longest / 2 && delay <= longest, "{attempt}: {delay:?}");
        }
        assert_eq!(reconnect.delay(41, &Disconnect::RuntimeEnded), None);
        assert_eq!((spread(longest(), 0), spread(longest(), u64::MAX)), (longest() / 2, longest()));
    }

    fn longest() -> Duration {
        Duration::from_secs(8)
    }

    #[test]
    fn who_is_not_wanted_stays_away() {
        for end in [Disconnect::Kicked { reason: None }, Disconnect::Refused(400)] {
            assert_eq!(Reconnect::default().delay(1, &end), None);
            assert!(Reconnect::default().always().delay(1, &end).is_some());
        }
        assert_eq!(Reconnect::default().always().delay(1, &Disconnect::Local), None);
        assert_eq!(Reconnect::never().delay(1, &Disconnect::RuntimeEnded), None);
    }
}
