use alloc::boxed::Box;

use bytes::BytesMut;

use crate::{
    CloseReason, Instant, ProtocolError,
    config::Limits,
    heartbeat::{Heartbeat, Tick},
    packet::{Packet, PacketDecoder},
    queue::SendQueue,
};

/// What both sides of a connection share: receive buffer, send queue, heartbeat, and how it ends.
#[derive(Debug)]
pub(crate) struct Engine {
    decoder: PacketDecoder,
    pub(crate) queue: SendQueue,
    pub(crate) heartbeat: Heartbeat,
    /// How it ended, if it did.
    ending: Option<Box<Ending>>,
    /// The latest time that the caller told.
    now: Instant,
    max_waiting_input: u32,
}

#[derive(Debug)]
struct Ending {
    /// It waits to be told.
    reason: Option<CloseReason>,
    /// What was queued may go out until then.
    flush_until: Option<Instant>,
}

impl Engine {
    pub(crate) fn new(limits: &Limits, heartbeat: Heartbeat, now: Instant) -> Self {
        Self {
            decoder: PacketDecoder::new(limits.max_packet_size),
            queue: SendQueue::default(),
            heartbeat,
            ending: None,
            now,
            max_waiting_input: u32::try_from(limits.max_waiting_input).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        let now = self.advance(now);
        if self.is_closed() {
            return;
        }
        self.heartbeat.listen(self.wants_input(), now);
        if self.decoder.push(bytes) {
            self.heartbeat.seen(now);
        }
        self.heartbeat.listen(self.wants_input(), now);
    }

    /// The peer is there, but not heard any more.
    pub(crate) fn discard_input(&mut self, now: Instant) {
        let now = self.advance(now);
        self.decoder.clear();
        self.heartbeat.seen(now);
    }

    pub(crate) fn handle_eof(&mut self, now: Instant) {
        self.advance(now);
        let reason = match self.decoder.finish() {
            Ok(()) => CloseReason::PeerClosed,
            Err(error) => ProtocolError::from(error).into(),
        };
        self.abort(reason);
    }

    /// Handles what both sides do at a deadline. `beats`: whether heartbeats are sent in this state.
    pub(crate) fn handle_timeout(&mut self, now: Instant, beats: bool) {
        let now = self.advance(now);
        if let Some(ending) = &mut self.ending {
            if ending.flush_until.is_some_and(|until| now >= until) {
                ending.flush_until = None;
                self.queue.clear();
            }
            return;
        }
        self.heartbeat.listen(self.wants_input(), now);
        match self.heartbeat.tick(now) {
            Tick::NotYet => {}
            Tick::Dead => self.abort(CloseReason::HeartbeatTimeout),
            Tick::Beat => {
                if beats {
                    self.queue.heartbeat();
                }
                self.decoder.release();
                self.queue.release();
            }
        }
    }

    /// The next packet, or nothing; a bad one ends the connection.
    pub(crate) fn next_packet(&mut self) -> Option<Packet> {
        if self.is_closed() {
            return None;
        }
        self.decoder.next_packet().unwrap_or_else(|error| {
            self.fail(error.into());
            None
        })
    }

    /// The peer broke the protocol.
    pub(crate) fn fail(&mut self, error: ProtocolError) {
        self.abort(error.into());
    }

    /// Ends the connection; what was queued is dropped.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        if !self.is_closed() {
            self.ending = Some(Box::new(Ending { reason: Some(reason), flush_until: None }));
            self.queue.clear();
        }
        self.decoder.clear();
    }

    /// Ends the connection; what was queued may still go out until `flush_until`.
    pub(crate) fn close(&mut self, reason: CloseReason, flush_until: Instant) {
        if !self.is_closed() {
            self.ending = Some(Box::new(Ending { reason: Some(reason), flush_until: Some(flush_until) }));
        }
        self.decoder.clear();
    }

    pub(crate) fn take_close_reason(&mut self) -> Option<CloseReason> {
        self.ending.as_mut()?.reason.take()
    }

    pub(crate) fn transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        let sent = self.queue.transmit(buf);
        if self.queue.is_empty()
            && let Some(ending) = &mut self.ending
        {
            ending.flush_until = None;
        }
        sent
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.ending {
            None => self.heartbeat.next(),
            Some(ending) => ending.flush_until,
        }
    }

    pub(crate) fn wants_input(&self) -> bool {
        self.decoder.ready() < self.max_waiting_input as usize
    }

    /// How long the body of the next packet will be, if it is not whole yet.
    pub(crate) fn announced(&self) -> Option<usize> {
        self.decoder.announced()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.decoder.buffered() + self.queue.bytes()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.decoder.capacity() + self.queue.capacity()
    }
}
