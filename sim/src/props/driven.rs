//! What the drivers of both sides of a connection share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConnection, CloseReason, Instant, ServerConnection,
    packet::{self, PacketHeader, PacketType},
};

use super::{encode_packet, is_peers_doing};

// The limits of both sides, small ones, so that few bytes reach them.
pub(super) const MAX_PACKET: usize = 2 << 10;
pub(super) const MAX_WAITING: usize = 512;
pub(super) const MAX_QUEUED: usize = 2 << 10;

/// Names the methods that both sides have.
macro_rules! connection {
    ($(fn $method:ident(&mut self $(, $arg:ident: $type:ty)*) $(-> $result:ty)?;)+) => {
        /// Either side of a connection.
        pub(super) trait Connection {
            $(fn $method(&mut self $(, $arg: $type)*) $(-> $result)?;)+
        }

        impl Connection for ServerConnection {
            $(fn $method(&mut self $(, $arg: $type)*) $(-> $result)? { Self::$method(self $(, $arg)*) })+
        }

        impl Connection for ClientConnection {
            $(fn $method(&mut self $(, $arg: $type)*) $(-> $result)? { Self::$method(self $(, $arg)*) })+
        }
    };
}

connection! {
    fn handle_input(&mut self, bytes: &[u8], now: Instant);
    fn handle_eof(&mut self, now: Instant);
    fn handle_timeout(&mut self, now: Instant);
    fn close(&mut self, now: Instant);
    fn abort(&mut self, reason: CloseReason);
    fn poll_transmit(&mut self, buf: &mut BytesMut) -> Option<usize>;
    fn poll_timeout(&mut self) -> Option<Instant>;
    fn wants_input(&mut self) -> bool;
    fn is_closed(&mut self) -> bool;
    fn buffered(&mut self) -> usize;
}

/// One side of a connection with its clock, driven as the contract says.
#[derive(Debug)]
pub(super) struct Driven<C> {
    pub(super) machine: C,
    pub(super) now: Instant,
    /// The latest time that the machine was told.
    pub(super) heard: Instant,
    /// The ends that were asked for.
    pub(super) asked: Vec<CloseReason>,
    /// As of the last check.
    pub(super) was_closed: bool,
    /// The end was polled.
    pub(super) told: bool,
    longest_input: usize,
}

impl<C: Connection> Driven<C> {
    pub(super) fn new(machine: C) -> Self {
        let now = Instant::EPOCH;
        Self { machine, now, heard: now, asked: Vec::new(), was_closed: false, told: false, longest_input: 0 }
    }

    /// The time, to be told to the machine.
    pub(super) fn tell(&mut self) -> Instant {
        self.heard = self.now;
        self.now
    }

    /// Reads the socket, if that is wanted.
    pub(super) fn input(&mut self, bytes: &[u8]) {
        if self.machine.wants_input() {
            self.longest_input = self.longest_input.max(bytes.len());
            let now = self.tell();
            self.machine.handle_input(bytes, now);
        }
    }

    pub(super) fn eof(&mut self) {
        let now = self.tell();
        self.machine.handle_eof(now);
    }

    /// Lets time pass and meets the deadlines on time, and once too early, which does no harm.
    pub(super) fn wait(&mut self, duration: Duration) {
        if self.machine.poll_timeout().is_some_and(|deadline| deadline > self.now) {
            let closed = self.machine.is_closed();
            self.meet_deadline();
            assert_eq!(self.machine.is_closed(), closed, "closed by a deadline that has not come");
        }
        let end = self.now + duration;
        while let Some(deadline) = self.machine.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.meet_deadline();
        }
        self.now = end;
    }

    /// Lets time pass and looks at the deadlines only then.
    pub(super) fn oversleep(&mut self, duration: Duration) {
        self.now = self.now + duration;
        self.meet_deadline();
    }

    pub(super) fn meet_deadline(&mut self) {
        let now = self.tell();
        self.machine.handle_timeout(now);
        if let Some(deadline) = self.machine.poll_timeout() {
            assert!(deadline > now, "{deadline:?} was met at {now:?} and is still there");
        }
    }

    pub(super) fn close(&mut self) {
        self.asked.push(CloseReason::Local);
        let now = self.tell();
        self.machine.close(now);
        assert!(self.machine.is_closed(), "closing does not close");
    }

    pub(super) fn abort(&mut self) {
        self.asked.push(CloseReason::Transport);
        self.machine.abort(CloseReason::Transport);
        assert!(self.machine.is_closed(), "aborting does not close");
    }

    /// The next packet that is sent: its type, and all of its bytes.
    pub(super) fn transmit(&mut self) -> Option<(PacketType, Bytes)> {
        let mut sent = BytesMut::new();
        let len = self.machine.poll_transmit(&mut sent);
        assert_eq!(len.unwrap_or(0), sent.len(), "another length was told than written");
        len?;
        let (header, _) = packet::decode_exact(&sent).expect("exactly one packet is transmitted at a time");
        Some((header.kind, sent.freeze()))
    }

    /// The end was polled.
    pub(super) fn closed(&mut self, reason: &CloseReason) {
        assert!(!self.told, "closed twice");
        assert!(self.machine.is_closed(), "told to be closed and it is not");
        assert!(is_peers_doing(reason) || self.asked.contains(reason), "closed for no reason: {reason:?}");
        self.told = true;
    }

    /// What holds after every step. Returns how many received bytes may be held.
    pub(super) fn check(&mut self) -> usize {
        let closed = self.machine.is_closed();
        assert!(closed || !self.was_closed, "a closed connection is open again");
        self.was_closed = closed;
        if closed { 0 } else { MAX_WAITING + PacketHeader::LEN + MAX_PACKET + self.longest_input }
    }

    /// Nothing has an effect any more.
    pub(super) fn after_the_end(&mut self, now: Instant) {
        self.machine.handle_input(b"\x03\0\0\0", now);
        self.machine.handle_timeout(now);
        self.machine.handle_eof(now);
        self.machine.close(now);
        self.machine.abort(CloseReason::Transport);
        assert_eq!((self.transmit(), self.machine.poll_timeout()), (None, None));
        assert_eq!(self.machine.buffered(), 0, "bytes are held after the end");
    }
}

/// So many kibibytes of whole packets, in reads of about one.
pub(super) fn flood(kind: u8, body: &[u8], kibibytes: u8) -> impl Iterator<Item = Bytes> {
    let packet = encode_packet(kind, body);
    let burst = Bytes::from(packet.repeat(1 + (1 << 10) / packet.len()));
    let times = (usize::from(kibibytes) << 10) / burst.len();
    std::iter::repeat_n(burst, times)
}

/// What a script counts time in.
pub(super) fn tenths(count: u16) -> Duration {
    Duration::from_millis(100) * count.into()
}
