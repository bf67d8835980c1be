use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, HandshakeResponse, Instant, Message,
    MessageId, MessageType, Route, RouteDictionary, SendError,
    message::MessageError,
    packet::{PacketHeader, PacketType},
};

use super::{
    MAX_INFLATED, Script, body,
    driven::{Driven, MAX_PACKET, MAX_QUEUED, MAX_WAITING, flood, tenths},
    encode_packet, route_of,
    script::operations,
    too_long,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(6);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

operations! {
    /// One thing that is done to a client connection.
    pub enum ClientOp: u8 {
        /// The server sends these bytes.
        0 Input(bytes: Bytes),
        /// The server sends a whole packet: type and body.
        1 Packet(kind: u8, body: Bytes),
        /// The server sends so many kibibytes of whole packets of this type.
        2 Flood(kind: u8, kibibytes: u8),
        /// The server sends no more.
        3 Eof,
        /// So many tenths of a second pass; deadlines are met on time.
        4 Wait(tenths: u16),
        /// So many tenths of a second pass before the driver looks at a deadline.
        5 Oversleep(tenths: u16),
        /// At most so many events are polled.
        6 Poll(count: u8),
        /// A request on one of the routes, of so many bytes.
        7 Request(route: u8, len: u16),
        /// A notify on one of the routes, of so many bytes.
        8 Notify(route: u8, len: u16),
        /// One of the requests is forgotten.
        9 Cancel(which: u8),
        /// The server answers one of the requests.
        10 Answer(which: u8, error: bool, body: Bytes),
        /// The connection is closed.
        11 Close,
        /// The driver gives the connection up.
        12 Abort,
        /// At most so many packets are transmitted.
        13 Transmit(count: u8),
    }
}

/// Does to a client connection what a script of [`ClientOp`] says, as a driver that keeps the contract, and checks after
/// every step what [`run`](super::run) checks of a server: the order of the events, one end of each request, the bytes
/// held, the deadlines, and that a server could read what is sent.
///
/// # Panics
///
/// When that is not so.
pub fn client(bytes: &[u8]) {
    let script = Script::decode(bytes);
    let mut driver = Driver::new(script.settings);
    for op in &script.ops {
        driver.apply(op);
        driver.check();
    }
    driver.finish();
}

#[derive(Debug)]
struct Driver {
    client: Driven<ClientConnection>,
    handshake: HandshakeRequest,
    max_pending: usize,
    /// What the server said last, once it accepted.
    response: Option<HandshakeResponse>,
    in_flight: BTreeSet<MessageId>,
    /// What was accepted and not transmitted.
    sending: VecDeque<Sending>,
    longest_output: usize,
}

/// A packet that waits to be transmitted.
#[derive(Debug)]
enum Sending {
    Handshake,
    Ack,
    Message { message: Message, dictionary: Vec<(Route, u16)> },
}

impl Driver {
    fn new(settings: u8) -> Self {
        let mut handshake = HandshakeRequest::default();
        if settings & 1 != 0 {
            handshake.lib_version = "0.3.5".into();
        }
        let max_pending = if settings & 2 == 0 { 4 } else { 1 };
        let config = ClientConfig::builder()
            .handshake(handshake.clone())
            .compress(settings & 4 != 0)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .close_timeout(CLOSE_TIMEOUT)
            .max_packet_size(MAX_PACKET)
            .max_handshake_size(MAX_PACKET / 2)
            .max_inflated_size(MAX_INFLATED)
            .max_waiting_input(MAX_WAITING)
            .max_pending_requests(max_pending)
            .max_queued_bytes(MAX_QUEUED)
            .build()
            .expect("a valid configuration");
        Self {
            client: Driven::new(ClientConnection::new(config, Instant::EPOCH)),
            longest_output: handshake.encode().len(),
            handshake,
            max_pending,
            response: None,
            in_flight: BTreeSet::new(),
            sending: VecDeque::from([Sending::Handshake]),
        }
    }

    fn apply(&mut self, op: &ClientOp) {
        match op {
            ClientOp::Input(bytes) => self.client.input(bytes),
            ClientOp::Packet(kind, body) => self.client.input(&encode_packet(*kind, body)),
            ClientOp::Flood(kind, kibibytes) => {
                flood(*kind, b"\x06\x03a.bflood", *kibibytes).for_each(|burst| self.client.input(&burst));
            }
            ClientOp::Eof => self.client.eof(),
            ClientOp::Wait(time) => self.client.wait(tenths(*time % 1000)),
            ClientOp::Oversleep(time) => self.client.oversleep(tenths(*time)),
            ClientOp::Poll(count) => {
                for _ in 0..*count {
                    self.poll();
                }
            }
            ClientOp::Request(route, len) => self.request(*route, (*len).into()),
            ClientOp::Notify(route, len) => self.notify(*route, (*len).into()),
            ClientOp::Cancel(which) => {
                let id = self.some_request(*which);
                self.client.machine.cancel(id);
                self.in_flight.remove(&id);
            }
            ClientOp::Answer(which, error, body) => self.answer(*which, *error, body),
            ClientOp::Close => self.client.close(),
            ClientOp::Abort => self.client.abort(),
            ClientOp::Transmit(count) => {
                for _ in 0..*count {
                    let _ = self.transmit();
                }
            }
        }
    }

    fn answer(&mut self, which: u8, error: bool, body: &Bytes) {
        let id = self.some_request(which);
        let message = if error { Message::error(id, body.clone()) } else { Message::response(id, body.clone()) };
        let mut encoded = BytesMut::new();
        message.encode(&RouteDictionary::default(), false, &mut encoded).expect("it has no route");
        self.client.input(&encode_packet(PacketType::Data as u8, &encoded));
    }

    /// Polls one event, if there is room for what it may lead to. Returns whether there was one.
    fn poll(&mut self) -> bool {
        if !self.client.machine.has_room() && !self.client.machine.is_closed() {
            return false;
        }
        let was_closed = self.client.machine.is_closed();
        let event = self.client.machine.poll_event();
        match &event {
            Some(ClientEvent::Closed(reason)) => self.closed(reason),
            _ if was_closed => assert!(self.client.told && event.is_none(), "{event:?} where `Closed` should be"),
            Some(ClientEvent::Connected(response)) => {
                assert_eq!(response.code, HandshakeResponse::OK);
                self.response = Some(response.clone());
                self.sending.push_back(Sending::Ack);
            }
            Some(ClientEvent::Response { id, .. } | ClientEvent::Error { id, .. }) => {
                assert!(self.in_flight.remove(id), "an answer to {id}, for which nobody waits");
            }
            Some(ClientEvent::Push { .. }) => assert!(self.response.is_some(), "a push before the handshake"),
            Some(ClientEvent::Kicked(_)) => {
                self.client.asked.push(CloseReason::Kicked);
                assert!(self.client.machine.is_closed(), "kicked, and the connection goes on");
            }
            Some(event) => panic!("an event that nobody knows: {event:?}"),
            None => assert!(!self.client.machine.is_closed(), "the connection closed and does not tell"),
        }
        event.is_some()
    }

    fn closed(&mut self, reason: &CloseReason) {
        if matches!(reason, CloseReason::HandshakeRefused(code) if *code != HandshakeResponse::OK) {
            self.client.asked.push(reason.clone());
        }
        self.client.closed(reason);
    }

    /// Why nothing can be sent, whatever it is.
    fn send_refused(&self) -> Option<SendError> {
        match () {
            () if self.client.machine.is_closed() => Some(SendError::Closed),
            () if self.response.is_none() => Some(SendError::NotConnected),
            () => None,
        }
    }

    fn request(&mut self, route: u8, len: usize) {
        let refused = match self.in_flight.len() >= self.max_pending {
            true => Some(SendError::TooManyRequests(self.max_pending)),
            false => self.send_refused(),
        };
        let (route, body) = (route_of(route), body(len));
        match self.client.machine.request(&route, body.clone()) {
            Ok(id) => {
                assert!(!id.is_none() && self.in_flight.insert(id), "{id} is in flight already");
                self.sent(Ok(()), refused, Message::request(id, route, body));
            }
            Err(error) => self.sent(Err(error), refused, Message::request(MessageId::NONE, route, body)),
        }
    }

    fn notify(&mut self, route: u8, len: usize) {
        let (route, body) = (route_of(route), body(len));
        let refused = self.send_refused();
        let result = self.client.machine.notify(&route, body.clone());
        self.sent(result, refused, Message::notify(route, body));
    }

    fn sent(&mut self, result: Result<(), SendError>, refused: Option<SendError>, message: Message) {
        match (result, refused) {
            (result, Some(error)) => assert_eq!(result, Err(error)),
            (Ok(()), None) => {
                assert_eq!(too_long(&message.route), None, "a route is sent that is too long");
                self.longest_output = self.longest_output.max(message.body.len() + 64);
                let dictionary = self.response.as_ref().map(|response| response.dictionary.clone());
                self.sending.push_back(Sending::Message { message, dictionary: dictionary.unwrap_or_default() });
            }
            (Err(SendError::QueueFull(queued)), None) => {
                assert!(queued >= MAX_QUEUED && !self.client.machine.has_room(), "full with {queued} bytes");
            }
            (Err(error), None) => assert_eq!(Some(error), too_long(&message.route)),
        }
    }

    fn some_request(&self, which: u8) -> MessageId {
        let known = self.in_flight.iter().nth(usize::from(which) % self.in_flight.len().max(1));
        known.copied().unwrap_or_else(|| MessageId::new(which.into()))
    }

    fn transmit(&mut self) -> Option<()> {
        let (kind, packet) = self.client.transmit()?;
        let body = packet.slice(PacketHeader::LEN..);
        if kind == PacketType::Heartbeat {
            assert!(body.is_empty() && self.response.is_some(), "a heartbeat before the handshake");
            return Some(());
        }
        match (kind, self.sending.pop_front().expect("nothing was sent")) {
            (PacketType::Handshake, Sending::Handshake) => {
                assert_eq!(HandshakeRequest::parse(&body).as_ref(), Ok(&self.handshake));
            }
            (PacketType::HandshakeAck, Sending::Ack) => assert!(body.is_empty()),
            (PacketType::Data, Sending::Message { message, dictionary }) => {
                is_same_message(body, &message, &dictionary);
            }
            (kind, expected) => panic!("{kind:?} instead of {expected:?}"),
        }
        Some(())
    }

    /// What holds after every step.
    fn check(&mut self) {
        let (received, closed) = (self.client.check(), self.client.was_closed);
        if self.client.told {
            self.in_flight.clear();
        }
        assert_eq!(self.client.machine.pending_requests(), self.in_flight.len());
        let beats = self.response.as_ref().is_none_or(|response| !response.heartbeat.is_zero());
        assert!(closed || !beats || self.client.machine.poll_timeout().is_some(), "a silent server stays for ever");

        // A message may begin when there is room; every handshake of the server is acknowledged.
        let queued = MAX_QUEUED + 2 * (self.longest_output + 128);
        let (held, most) = (self.client.machine.buffered(), queued + received);
        assert!(held <= most, "{held} bytes are held, {most} may be");
        assert!(held > 0 || closed || self.sending.is_empty(), "nothing is held of what waits");
    }

    /// Plays to an end, which must come.
    fn finish(mut self) {
        loop {
            while self.transmit().is_some() {}
            assert!(self.client.machine.has_room(), "everything was transmitted, and there is no room");
            self.check();
            if !self.poll() {
                break;
            }
            self.check();
        }
        assert!(self.client.machine.wants_input(), "everything was polled, and no input is wanted");
        match &self.response {
            Some(HandshakeResponse { heartbeat, .. }) if heartbeat.is_zero() && !self.client.machine.is_closed() => {
                assert_eq!(self.client.machine.poll_timeout(), None, "a deadline without a heartbeat");
                self.client.eof();
            }
            // Three heartbeats of silence; the one before may be needed to see that input is wanted again.
            Some(HandshakeResponse { heartbeat, .. }) if *heartbeat > Duration::from_millis(1) => {
                for _ in 0..4 {
                    self.client.now = self.client.machine.poll_timeout().unwrap_or(self.client.now);
                    self.client.meet_deadline();
                }
            }
            Some(_) => self.client.eof(),
            None => self.client.wait(HANDSHAKE_TIMEOUT),
        }
        assert!(self.client.machine.is_closed(), "a silent server stays");
        self.poll();
        assert!(self.client.told, "the connection closed and does not tell");
        self.after_the_end();
    }

    /// Nothing has an effect any more.
    fn after_the_end(&mut self) {
        while self.transmit().is_some() {}
        assert_eq!(self.client.machine.request(&route_of(0), "x"), Err(SendError::Closed));
        assert_eq!(self.client.machine.notify(&route_of(0), "x"), Err(SendError::Closed));
        self.client.after_the_end(self.client.now + HANDSHAKE_TIMEOUT);
        assert_eq!(self.client.machine.poll_event(), None, "an event after the end");
        assert_eq!(self.client.machine.pending_requests(), 0, "a request is in flight after the end");
    }
}

/// Whether a server with this dictionary reads in `bytes` what was sent.
fn is_same_message(bytes: Bytes, sent: &Message, dictionary: &[(Route, u16)]) {
    // A server's own dictionary has no white space around its routes; what a peer announces may have.
    match Message::decode(bytes, &RouteDictionary::default(), usize::MAX) {
        Err(MessageError::UnknownCode(code)) => {
            assert!(dictionary.contains(&(sent.route.clone(), code)), "{code} is not {:?}", sent.route);
        }
        Ok(read) => {
            assert!(matches!(read.kind, MessageType::Request | MessageType::Notify));
            assert_eq!(&read, sent, "what was sent is not what arrives");
        }
        Err(error) => panic!("no server understands: {error}"),
    }
}
