use alloc::collections::VecDeque;
use core::time::Duration;

use crate::Instant;

/// How much a client may send in a time (specification, section 13.7).
///
/// Every packet counts, with its header. One that is over the limit is not handled: a request is answered with an error, if
/// the application does so at [`ServerEvent::Limited`](crate::ServerEvent::Limited), and anything else is forgotten. The first
/// handshake and its acknowledgement always pass.
///
/// ```
/// use cereus_core::{RateLimit, ServerConfig};
/// use std::time::Duration;
///
/// let limit = RateLimit::new(20, Duration::from_secs(1)).max_bytes(64 << 10);
/// let config = ServerConfig::builder().rate_limit(limit).build()?;
/// # Ok::<(), cereus_core::ConfigErrors>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimit {
    packets: u32,
    interval: Duration,
    bytes: usize,
    silent: bool,
}

impl RateLimit {
    /// At most so many packets in any interval of this length. A connection remembers the times of that many, in 16 bytes each.
    pub const fn new(packets: u32, interval: Duration) -> Self {
        Self { packets, interval, bytes: usize::MAX, silent: false }
    }

    /// At most so many bytes in the same interval, but for a single packet that is longer. Bodies count as what they are when
    /// they are inflated, as soon as they have been. Default: any number.
    #[must_use]
    pub const fn max_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Whether requests over the limit are dropped without a word, as in Pitaya, and not told as
    /// [`ServerEvent::Limited`](crate::ServerEvent::Limited). Default: no.
    #[must_use]
    pub const fn drop_silently(self, silent: bool) -> Self {
        Self { silent, ..self }
    }

    pub(crate) const fn is_silent(self) -> bool {
        self.silent
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.packets == 0 || self.bytes == 0 || self.interval.is_zero()
    }
}

/// What a connection has sent in the last interval.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// When packets came that were let through, and their lengths.
    passed: VecDeque<(Instant, u32)>,
    bytes: usize,
    limited: u64,
}

impl Meter {
    /// Whether a packet may pass.
    pub(crate) fn pass(&mut self, limit: &RateLimit, len: usize, now: Instant) -> bool {
        self.forget(limit, now);
        let full = self.passed.len() >= limit.packets as usize;
        let passes = self.passed.is_empty() || !full && self.bytes + len <= limit.bytes;
        if passes {
            self.bytes += len;
            self.passed.push_back((now, len as u32));
        } else {
            self.limited += 1;
        }
        passes
    }

    /// Counts what a packet that was let through has become: inflated, it may be a thousand times as long.
    pub(crate) fn grew(&mut self, bytes: usize) {
        if let Some((_, len)) = self.passed.back_mut() {
            *len += bytes as u32;
            self.bytes += bytes;
        }
    }

    /// Forgets what is older than the interval, and gives the memory back if that is everything.
    pub(crate) fn forget(&mut self, limit: &RateLimit, now: Instant) {
        while let Some((at, len)) = self.passed.front()
            && now - *at >= limit.interval
        {
            self.bytes -= *len as usize;
            self.passed.pop_front();
        }
    }

    pub(crate) fn release(&mut self) {
        if self.passed.is_empty() {
            self.passed = VecDeque::new();
        }
    }

    /// How many packets were over the limit.
    pub(crate) fn limited(&self) -> u64 {
        self.limited
    }
}
