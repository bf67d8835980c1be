use core::time::Duration;

use crate::Instant;

/// When to send a heartbeat, and when the peer has been silent for too long (specification, section 3.6).
///
/// Ticks come every interval from the start on. The peer is given up at the first tick at which *more* than two
/// intervals have passed since its last packet: never before two, never after three. Time in which we did not listen
/// does not count.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Duration,
    next: Instant,
    last_seen: Instant,
    /// Nobody listened for a while: silence counts anew from the next input or timeout on.
    resting: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tick {
    NotYet,
    Beat,
    Dead,
}

impl Heartbeat {
    /// An `interval` of zero means no heartbeats at all.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now + interval, last_seen: now, resting: false }
    }

    pub(crate) fn seen(&mut self, now: Instant) {
        self.last_seen = now;
    }

    /// Tells whether input is wanted. To be called after every input and before every tick.
    pub(crate) fn listen(&mut self, listening: bool, now: Instant) {
        if !listening {
            self.resting = true;
        } else if core::mem::take(&mut self.resting) {
            self.last_seen = now;
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Tick {
        if self.interval.is_zero() || now < self.next {
            return Tick::NotYet;
        }
        // The time of the tick counts, not how late it was handled: a client that answers every second heartbeat is
        // heard just after it.
        let due = self.next;
        self.next = due + self.interval;
        if self.next <= now {
            self.next = now + self.interval;
        }
        if !self.resting && due - self.last_seen > self.interval * 2 { Tick::Dead } else { Tick::Beat }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        (!self.interval.is_zero()).then_some(self.next)
    }
}
