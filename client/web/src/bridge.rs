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

/// What the next event is.
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
    /// Number: how, of `endCodes` in `wire.ts`. Text: the same for people.
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

/// The number of a reason: its place in `endCodes` of `wire.ts`.
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

#[cfg(test)]
mod tests {
    use cereus_core::{ServerConfig, ServerConnection, ServerEvent};

    use super::*;

    const LIMITS: Limits = Limits { timeout: 5000.0, requests: 2, queued_bytes: 1000, message_bytes: 1 << 20 };

    fn bridge(handshake: &str, limits: Limits) -> Option<Bridge> {
        let mut bridge = Bridge::default();
        bridge.argument(handshake.len()).copy_from_slice(handshake.as_bytes());
        bridge.open(0.0, true, limits).then_some(bridge)
    }

    fn ask(bridge: &mut Bridge, route: &str, body: &str) -> Result<u32, Refusal> {
        bridge.argument(route.len() + body.len()).copy_from_slice(format!("{route}{body}").as_bytes());
        bridge.request(route.len())
    }

    fn exchange(bridge: &mut Bridge, server: &mut ServerConnection, now: f64) {
        while bridge.transmit() > 0 {
            server.handle_input(bridge.part(0), instant(now));
        }
        while let Some(event) = server.poll_event() {
            match event {
                ServerEvent::Handshake(request) => {
                    assert_eq!(request.platform, "web");
                    server.accept(instant(now));
                }
                ServerEvent::Request { id, body, .. } if body == "no" => server.respond_error(id, "never").unwrap(),
                ServerEvent::Request { id, route, body } => {
                    server.push(&route, body.clone()).unwrap();
                    server.respond(id, body).unwrap();
                }
                _ => {}
            }
        }
        let mut out = BytesMut::new();
        while server.poll_transmit(&mut out).is_some() {}
        bridge.argument(out.len()).copy_from_slice(&out);
        bridge.input(now);
    }

    fn event(bridge: &mut Bridge) -> (EventKind, u32, String, String) {
        let (kind, text) = (bridge.next_event(), |part: &[u8]| String::from_utf8_lossy(part).into_owned());
        (kind, bridge.number(), text(bridge.part(1)), text(bridge.part(2)))
    }

    #[test]
    fn messages_go_both_ways() {
        let mut bridge = bridge(r#"{"sys":{"platform":"web"}}"#, LIMITS).unwrap();
        let mut server = ServerConnection::new(ServerConfig::default().into(), Instant::EPOCH);
        assert_eq!(ask(&mut bridge, "a.b", "{}"), Err(Refusal::NotConnected));
        assert!((bridge.deadline() - 5000.0).abs() < 1e-9);
        exchange(&mut bridge, &mut server, 1.0);
        assert_eq!(event(&mut bridge), (EventKind::Connected, 30_000, "json".into(), String::new()));
        assert!((bridge.deadline() - 30_001.0).abs() < 1e-9);
        let body = "text ".repeat(20_000);
        assert_eq!(ask(&mut bridge, "a.b", &body), Ok(1));
        exchange(&mut bridge, &mut server, 2.0);
        assert_eq!(event(&mut bridge), (EventKind::Push, 0, "a.b".into(), body.clone()));
        assert_eq!(event(&mut bridge), (EventKind::Response, 1, String::new(), body));
        assert_eq!(ask(&mut bridge, "a.b", "no"), Ok(2));
        assert_eq!(ask(&mut bridge, "a.b", "yes"), Ok(3));
        assert_eq!(ask(&mut bridge, "a.b", "no"), Err(Refusal::TooManyRequests));
        bridge.cancel(3);
        exchange(&mut bridge, &mut server, 3.0);
        assert_eq!(event(&mut bridge), (EventKind::Error, 2, String::new(), "never".into()));
        assert_eq!(event(&mut bridge).0, EventKind::Push);
        assert_eq!(event(&mut bridge).0, EventKind::None);
        server.kick(Some("late"), instant(4.0));
        exchange(&mut bridge, &mut server, 4.0);
        assert_eq!(event(&mut bridge), (EventKind::Kicked, 0, String::new(), r#"{"reason":"late"}"#.into()));
        assert_eq!(event(&mut bridge), (EventKind::Closed, 2, "kicked".into(), String::new()));
        assert_eq!(bridge.deadline(), f64::INFINITY);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert!(bridge("[]", LIMITS).is_none());
        assert!(bridge("{}", Limits { requests: 0, ..LIMITS }).is_none());
        assert!(bridge("{}", Limits { timeout: f64::NAN, ..LIMITS }).is_none());
        assert!(bridge("{}", Limits { timeout: f64::INFINITY, ..LIMITS }).is_some());
    }

    #[test]
    fn whatever_is_called_when_nothing_panics() {
        let mut bridge = bridge("{}", LIMITS).unwrap();
        assert_eq!(bridge.request(100), Err(Refusal::NotConnected));
        assert_eq!(bridge.notify(100), Err(Refusal::NotConnected));
        bridge.cancel(7);
        bridge.input(-1.0);
        bridge.timeout(f64::NAN);
        bridge.timeout(f64::INFINITY);
        assert_eq!(event(&mut bridge).1, 4, "the handshake took too long");
        assert_eq!(event(&mut bridge).0, EventKind::None);
        bridge.close(0.0);
        bridge.eof(0.0);
        assert_eq!((bridge.transmit(), event(&mut bridge).0), (0, EventKind::None));
    }
}
