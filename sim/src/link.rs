use std::{collections::VecDeque, ops::RangeInclusive, time::Duration};

use bytes::{Bytes, BytesMut};
use cereus_core::Instant;

use crate::Rng;

/// How a [`Link`] treats the bytes. By default they arrive at once and as they were sent.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    chunk: RangeInclusive<usize>,
    coalesce: bool,
    delay: RangeInclusive<Duration>,
    hiccup: Option<(usize, RangeInclusive<Duration>)>,
    bytes_per_second: Option<u64>,
    capacity: usize,
    reset_at: Option<u64>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            chunk: usize::MAX..=usize::MAX,
            coalesce: false,
            delay: Duration::ZERO..=Duration::ZERO,
            hiccup: None,
            bytes_per_second: None,
            capacity: 64 << 10,
            reset_at: None,
        }
    }
}

impl LinkConfig {
    /// What is sent arrives in pieces of these lengths, from 1 on. Default: uncut.
    #[must_use]
    pub fn chunk(mut self, lengths: RangeInclusive<usize>) -> Self {
        self.chunk = lengths;
        self
    }

    /// All that has arrived is read at once, whatever it was sent as. Default: no.
    #[must_use]
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }

    /// Every piece takes a time of this range; its width is the jitter. Pieces never overtake each other. Default: none.
    #[must_use]
    pub fn delay(mut self, delay: RangeInclusive<Duration>) -> Self {
        self.delay = delay;
        self
    }

    /// One in so many pieces takes a time of this range more, and all behind it wait. Default: none.
    #[must_use]
    pub fn hiccup(mut self, one_in: usize, time: RangeInclusive<Duration>) -> Self {
        self.hiccup = Some((one_in, time));
        self
    }

    /// The reader takes at most this many bytes per second. Default: any number.
    #[must_use]
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// So many bytes may be on their way before the sender has to wait. Default: 64 KiB.
    #[must_use]
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// The link breaks when this many bytes were read. Default: never.
    #[must_use]
    pub fn reset_at(mut self, bytes: u64) -> Self {
        self.reset_at = Some(bytes);
        self
    }

    /// A behaviour of its own for every seed, without an end: cut, joined, delayed, slow, or none of it.
    pub fn random(rng: &mut Rng) -> Self {
        let chunk = match rng.below(4) {
            0 => 1..=1,
            1 => 1..=7,
            2 => 1..=1000,
            _ => usize::MAX..=usize::MAX,
        };
        let longest = Duration::from_millis([0, 5, 200, 900][rng.below(4)]);
        let config = Self::default().chunk(chunk).coalesce(rng.one_in(2)).delay(Duration::ZERO..=longest);
        match rng.one_in(4) {
            true => config.bytes_per_second(rng.between(500..=5000) as u64),
            false => config,
        }
    }
}

/// What comes out of a [`Link`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Delivery {
    /// Bytes, at least one.
    Bytes(Bytes),
    /// The sender is done.
    Eof,
    /// The link broke; what was on its way is lost.
    Reset,
}

#[derive(Clone, Copy, Debug)]
enum Stall {
    Forever,
    Until(Instant),
}

/// A stream of bytes in one direction: nothing is reordered, and nothing is lost unless the link breaks.
///
/// ```
/// use cereus_core::Instant;
/// use cereus_sim::{Delivery, Link, LinkConfig};
/// use std::time::Duration;
///
/// let second = Duration::from_secs(1);
/// let mut link = Link::new(LinkConfig::default().chunk(2..=2).delay(second..=second), 0);
/// link.send(b"abc", Instant::EPOCH);
/// link.close(Instant::EPOCH);
///
/// let arrival = link.next().unwrap();
/// assert_eq!((arrival, link.poll(Instant::EPOCH)), (Instant::EPOCH + second, None));
/// assert_eq!(link.poll(arrival), Some(Delivery::Bytes("ab".into())));
/// assert_eq!(link.poll(arrival), Some(Delivery::Bytes("c".into())));
/// assert_eq!(link.poll(arrival), Some(Delivery::Eof));
/// ```
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    rng: Rng,
    /// In the order of their arrival.
    pieces: VecDeque<(Instant, Delivery)>,
    last_arrival: Instant,
    in_flight: usize,
    read: u64,
    stall: Option<Stall>,
    /// Nothing can be sent any more.
    closed: bool,
    broken: bool,
}

impl Link {
    /// A link that behaves as `config` says, and where that leaves a choice, as `seed` says.
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            pieces: VecDeque::new(),
            last_arrival: Instant::EPOCH,
            in_flight: 0,
            read: 0,
            stall: None,
            closed: false,
            broken: false,
        }
    }

    /// Sends bytes. After the end they are lost.
    pub fn send(&mut self, bytes: &[u8], now: Instant) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() && !self.closed {
            let len = self.rng.between(self.config.chunk.clone()).min(bytes.len());
            let piece = bytes.split_to(len);
            let arrival = self.arrival(len, now);
            self.in_flight += len;
            self.pieces.push_back((arrival, Delivery::Bytes(piece)));
        }
    }

    /// Ends the stream behind what was sent: half a close.
    pub fn close(&mut self, now: Instant) {
        if !self.closed {
            let arrival = self.arrival(0, now);
            self.pieces.push_back((arrival, Delivery::Eof));
            self.closed = true;
        }
    }

    /// Ends the stream for good: nobody reads any more, and what is on its way is lost.
    pub fn discard(&mut self) {
        self.pieces.clear();
        self.in_flight = 0;
        self.closed = true;
    }

    /// Breaks the link, once. What is on its way is lost.
    pub fn reset(&mut self, now: Instant) {
        if std::mem::replace(&mut self.broken, true) {
            return;
        }
        self.pieces.clear();
        self.pieces.push_back((now, Delivery::Reset));
        self.in_flight = 0;
        self.stall = None;
        self.closed = true;
    }

    /// Nothing arrives until `until`, or for ever; what is sent waits, and is read when [`resume`](Self::resume) is
    /// called.
    pub fn stall(&mut self, until: Option<Instant>) {
        self.stall = Some(until.map_or(Stall::Forever, Stall::Until));
    }

    /// Ends a stall.
    pub fn resume(&mut self) {
        self.stall = None;
    }

    /// What has arrived next.
    pub fn poll(&mut self, now: Instant) -> Option<Delivery> {
        self.poll_up_to(usize::MAX, now)
    }

    /// What has arrived next, and of bytes at most so many.
    pub fn poll_up_to(&mut self, max: usize, now: Instant) -> Option<Delivery> {
        if self.next()? > now {
            return None;
        }
        let (arrival, delivery) = self.pieces.pop_front()?;
        let Delivery::Bytes(first) = delivery else {
            return Some(delivery);
        };
        let mut bytes = self.with_more(first, max, now);
        if bytes.len() > max {
            let rest = bytes.split_off(max);
            self.pieces.push_front((arrival, Delivery::Bytes(rest)));
        }
        self.in_flight -= bytes.len();
        self.read += bytes.len() as u64;
        match self.config.reset_at {
            Some(at) if self.read >= at => {
                let excess = (self.read - at) as usize;
                self.reset(now);
                match bytes.len() - excess {
                    0 => self.poll(now),
                    kept => Some(Delivery::Bytes(bytes.slice(..kept))),
                }
            }
            _ => Some(Delivery::Bytes(bytes)),
        }
    }

    /// When something arrives next; `None` when nothing is on its way.
    pub fn next(&self) -> Option<Instant> {
        let (arrival, _) = self.pieces.front()?;
        match self.stall {
            None => Some(*arrival),
            Some(Stall::Until(until)) => Some(until.max(*arrival)),
            Some(Stall::Forever) => None,
        }
    }

    /// Whether the sender may send more.
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many bytes more may be on their way before the sender has to wait.
    pub fn room(&self) -> usize {
        self.config.capacity.saturating_sub(self.in_flight)
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many bytes are on their way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn arrival(&mut self, len: usize, now: Instant) -> Instant {
        let mut sent = now + self.rng.duration(self.config.delay.clone());
        if let Some((one_in, time)) = self.config.hiccup.clone()
            && self.rng.one_in(one_in)
        {
            sent = sent + self.rng.duration(time);
        }
        let reading = match self.config.bytes_per_second {
            Some(rate) => Duration::from_nanos(len as u64 * 1_000_000_000 / rate.max(1)),
            None => Duration::ZERO,
        };
        self.last_arrival = self.last_arrival.max(sent) + reading;
        self.last_arrival
    }

    /// Joins what else has arrived, if this link does so, up to what is read.
    fn with_more(&mut self, first: Bytes, max: usize, now: Instant) -> Bytes {
        let another = matches!(self.pieces.front(), Some((arrival, Delivery::Bytes(_))) if *arrival <= now);
        if !self.config.coalesce || !another || first.len() >= max {
            return first;
        }
        let mut joined = BytesMut::from(&first[..]);
        while joined.len() < max
            && let Some((arrival, Delivery::Bytes(bytes))) = self.pieces.front()
            && *arrival <= now
        {
            joined.extend_from_slice(bytes);
            self.pieces.pop_front();
        }
        joined.freeze()
    }
}

pub(crate) fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
