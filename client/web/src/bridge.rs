use alloc::{string::ToString, vec::Vec};
use core::{mem, time::Duration};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, Instant, MessageId, Route, SendError,
};

/// Buffers that grew beyond this are not kept for the next call.
const MAX_KEPT: usize = 64 << 10;

/// One connection, and the bytes that pass between it and JavaScript.
#[derive(Debug)]
pub struct Bridge {
    connection: ClientConnection,
    argument: Vec<u8>,
    packet: BytesMut,
    number: u32,
    text: Bytes,
    body: Bytes,
}

/// What [`Bridge::next_event`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// Nothing.
    None,
    /// The handshake is done. Number: the heartbeat in milliseconds. Text: the server's serializer.
    Connected,
    /// Number: the id of the request. Body: the answer.
    Response,
    /// Number: the id of the request. Body: the error.
    Error,
    /// Text: the route. Body: what was pushed.
    Push,
    /// Body: nothing, or JSON with a reason.
    Kicked,
    /// Number: [how](ending). Text: the same for people.
    Closed,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The handshake is not done, or the connection is closed.
    NotConnected = 1,
    /// Too many requests are in flight.
    TooManyRequests,
    /// Too many bytes wait to be sent.
    QueueFull,
    /// The route or the whole message is longer than the protocol can express.
    TooLong,
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooManyRequests(_) => Self::TooManyRequests,
            SendError::QueueFull(_) => Self::QueueFull,
            SendError::RouteTooLong(_) | SendError::TooLarge(_) => Self::TooLong,
            _ => Self::NotConnected,
        }
    }
}

/// The number of a reason.
fn ending(reason: &CloseReason) -> u32 {
    match reason {
        CloseReason::PeerClosed => 0,
        CloseReason::Local => 1,
        CloseReason::Kicked => 2,
        CloseReason::HandshakeRefused(_) => 3,
        CloseReason::HandshakeTimeout => 4,
        CloseReason::HeartbeatTimeout => 5,
        CloseReason::Protocol(_) => 6,
        _ => 0,
    }
}

/// The limits of a connection, as JavaScript passes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: f64,
    pub(crate) requests: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) message_bytes: usize,
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            connection: ClientConnection::new(ClientConfig::default(), Instant::EPOCH),
            argument: Vec::new(),
            packet: BytesMut::new(),
            number: 0,
            text: Bytes::new(),
            body: Bytes::new(),
        }
    }
}

impl Bridge {
    /// Room for the bytes that the next call reads.
    pub(crate) fn argument(&mut self, len: usize) -> &mut [u8] {
        self.argument.clear();
        self.argument.resize(len, 0);
        &mut self.argument
    }

    /// Begins a connection with the handshake in the argument. False: a setting makes no sense.
    pub(crate) fn open(&mut self, now: f64, compress: bool, limits: Limits) -> bool {
        let Ok(handshake) = HandshakeRequest::parse(&mem::take(&mut self.argument)) else { return false };
        let config = ClientConfig::builder()
            .handshake(handshake)
            .compress(compress)
            .handshake_timeout(milliseconds(limits.timeout))
            .max_pending_requests(limits.requests)
            .max_queued_bytes(limits.queued_bytes)
            .max_packet_size(limits.message_bytes)
            .max_inflated_size(limits.message_bytes)
            .build();
        let Ok(config) = config else { return false };
        self.connection = ClientConnection::new(config, instant(now));
        true
    }

    pub(crate) fn input(&mut self, now: f64) {
        self.connection.handle_input(&self.argument, instant(now));
        if self.argument.capacity() > MAX_KEPT {
            self.argument = Vec::new();
        }
    }

    pub(crate) fn eof(&mut self, now: f64) {
        self.connection.handle_eof(instant(now));
    }

    pub(crate) fn timeout(&mut self, now: f64) {
        self.connection.handle_timeout(instant(now));
    }

    pub(crate) fn close(&mut self, now: f64) {
        self.connection.close(instant(now));
    }

    /// The argument is a route of `route_len` bytes and the body.
    pub(crate) fn request(&mut self, route_len: usize) -> Result<u32, Refusal> {
        let (route, body) = self.message(route_len);
        let id = self.connection.request(&route, body)?;
        Ok(id.get() as u32)
    }

    /// The argument is a route of `route_len` bytes and the body.
    pub(crate) fn notify(&mut self, route_len: usize) -> Result<(), Refusal> {
        let (route, body) = self.message(route_len);
        Ok(self.connection.notify(&route, body)?)
    }

    fn message(&mut self, route_len: usize) -> (Route, Bytes) {
        let mut argument = Bytes::from(mem::take(&mut self.argument));
        let route = argument.split_to(route_len.min(argument.len()));
        (Route::from_bytes(route), argument)
    }

    pub(crate) fn cancel(&mut self, id: u32) {
        self.connection.cancel(MessageId::new(id.into()));
    }

    /// Writes the next packet down, and returns its length; 0 when none waits.
    pub(crate) fn transmit(&mut self) -> usize {
        self.packet.clear();
        if self.packet.capacity() > MAX_KEPT {
            self.packet = BytesMut::new();
        }
        self.connection.poll_transmit(&mut self.packet).unwrap_or(0)
    }

    pub(crate) fn next_event(&mut self) -> EventKind {
        (self.number, self.text, self.body) = (0, Bytes::new(), Bytes::new());
        match self.connection.poll_event() {
            Some(ClientEvent::Connected(response)) => {
                self.number = u32::try_from(response.heartbeat.as_millis()).unwrap_or(u32::MAX);
                self.text = response.serializer.into();
                EventKind::Connected
            }
            Some(ClientEvent::Response { id, body }) => {
                (self.number, self.body) = (id.get() as u32, body);
                EventKind::Response
            }
            Some(ClientEvent::Error { id, body }) => {
                (self.number, self.body) = (id.get() as u32, body);
                EventKind::Error
            }
            Some(ClientEvent::Push { route, body }) => {
                (self.text, self.body) = (Bytes::copy_from_slice(route.as_bytes()), body);
                EventKind::Push
            }
            Some(ClientEvent::Kicked(body)) => {
                self.body = body;
                EventKind::Kicked
            }
            Some(ClientEvent::Closed(reason)) => {
                (self.number, self.text) = (ending(&reason), reason.to_string().into());
                EventKind::Closed
            }
            _ => EventKind::None,
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub(crate) fn deadline(&self) -> f64 {
        self.connection.poll_timeout().map_or(f64::INFINITY, |at| at.since_epoch().as_secs_f64() * 1000.0)
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// 0: the packet; 1: the text; else the body.
    pub(crate) fn part(&self, which: u32) -> &[u8] {
        match which {
            0 => &self.packet,
            1 => &self.text,
            _ => &self.body,
        }
    }
}

/// Nothing, for what is no number or negative.
fn milliseconds(number: f64) -> Duration {
    Duration::from_micros((number * 1000.0) as u64)
}

fn instant(now: f64) -> Instant {
    Instant::from_epoch(milliseconds(now))
}
