use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, HandshakeResponse, Instant, Message,
    MessageId, MessageType, Route, RouteDictionary, SendError,
    message::MessageError,
    packet::{self, PacketHeader, PacketType},
};

use super::{MAX_INFLATED, Script, body, encode_packet, is_peers_doing, route_of, script::operations, too_long};

const MAX_PACKET: usize = 2 << 10;
const MAX_WAITING: usize = 512;
const MAX_QUEUED: usize = 2 << 10;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(6);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

operations! {
    /// One thing that is done to a client connection.
    pub enum ClientOp {
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
    client: ClientConnection,
    handshake: HandshakeRequest,
    max_pending: usize,
    now: Instant,
    /// What the server said last, once it accepted.
    response: Option<HandshakeResponse>,
    in_flight: BTreeSet<MessageId>,
    /// What was accepted and not transmitted.
    sending: VecDeque<Sending>,
    /// The ends that this driver has asked for.
    asked: Vec<CloseReason>,
    kicked: bool,
    was_closed: bool,
    told: bool,
    longest_input: usize,
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
            client: ClientConnection::new(config, Instant::EPOCH),
            longest_output: handshake.encode().len(),
            handshake,
            max_pending,
            now: Instant::EPOCH,
            response: None,
            in_flight: BTreeSet::new(),
            sending: VecDeque::from([Sending::Handshake]),
            asked: Vec::new(),
            kicked: false,
            was_closed: false,
            told: false,
            longest_input: 0,
        }
    }

    fn apply(&mut self, op: &ClientOp) {
        match op {
            ClientOp::Input(bytes) => self.input(bytes),
            ClientOp::Packet(kind, body) => self.input(&encode_packet(*kind, body)),
            ClientOp::Flood(kind, kibibytes) => self.flood(*kind, usize::from(*kibibytes) << 10),
            ClientOp::Eof => self.client.handle_eof(self.now),
            ClientOp::Wait(tenths) => self.wait(Duration::from_millis(u64::from(*tenths % 1000) * 100)),
            ClientOp::Oversleep(tenths) => {
                self.now = self.now + Duration::from_millis(u64::from(*tenths) * 100);
                self.meet_deadline();
            }
            ClientOp::Poll(count) => {
                for _ in 0..*count {
                    self.poll();
                }
            }
            ClientOp::Request(route, len) => self.request(*route, (*len).into()),
            ClientOp::Notify(route, len) => self.notify(*route, (*len).into()),
            ClientOp::Cancel(which) => {
                let id = self.some_request(*which);
                self.client.cancel(id);
                self.in_flight.remove(&id);
            }
            ClientOp::Answer(which, error, body) => self.answer(*which, *error, body),
            ClientOp::Close => {
                self.asked.push(CloseReason::Local);
                self.client.close(self.now);
                assert!(self.client.is_closed(), "closing does not close");
            }
            ClientOp::Abort => {
                self.asked.push(CloseReason::Transport);
                self.client.abort(CloseReason::Transport);
                assert!(self.client.is_closed(), "aborting does not close");
            }
            ClientOp::Transmit(count) => {
                for _ in 0..*count {
                    let _ = self.transmit();
                }
            }
        }
    }

    /// Reads the socket, if that is wanted.
    fn input(&mut self, bytes: &[u8]) {
        if self.client.wants_input() {
            self.longest_input = self.longest_input.max(bytes.len());
            self.client.handle_input(bytes, self.now);
        }
    }

    fn flood(&mut self, kind: u8, bytes: usize) {
        let packet = encode_packet(kind, b"\x06\x03a.bflood");
        let burst = packet.repeat(1 + (1 << 10) / packet.len());
        for _ in 0..bytes / burst.len() {
            self.input(&burst);
        }
    }

    fn answer(&mut self, which: u8, error: bool, body: &Bytes) {
        let id = self.some_request(which);
        let message = if error { Message::error(id, body.clone()) } else { Message::response(id, body.clone()) };
        let mut encoded = BytesMut::new();
        message.encode(&RouteDictionary::default(), false, &mut encoded).expect("it has no route");
        self.input(&encode_packet(PacketType::Data as u8, &encoded));
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.client.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.meet_deadline();
        }
        self.now = end;
    }

    fn meet_deadline(&mut self) {
        self.client.handle_timeout(self.now);
        if let Some(deadline) = self.client.poll_timeout() {
            assert!(deadline > self.now, "{deadline:?} was met at {:?} and is still there", self.now);
        }
    }

    /// Polls one event, if there is room for what it may lead to. Returns whether there was one.
    fn poll(&mut self) -> bool {
        if !self.client.has_room() && !self.client.is_closed() {
            return false;
        }
        let was_closed = self.client.is_closed();
        let event = self.client.poll_event();
        match &event {
            Some(ClientEvent::Closed(reason)) => self.closed(reason),
            _ if was_closed => assert!(self.told && event.is_none(), "{event:?} where `Closed` should be"),
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
                self.kicked = true;
                assert!(self.client.is_closed(), "kicked, and the connection goes on");
            }
            Some(event) => panic!("an event that nobody knows: {event:?}"),
            None => assert!(!self.client.is_closed(), "the connection closed and does not tell"),
        }
        event.is_some()
    }

    fn closed(&mut self, reason: &CloseReason) {
        assert!(!self.told, "closed twice");
        assert!(self.client.is_closed(), "told to be closed and it is not");
        let is_right = match reason {
            CloseReason::Kicked => self.kicked,
            CloseReason::HandshakeRefused(code) => *code != HandshakeResponse::OK,
            reason => is_peers_doing(reason) || self.asked.contains(reason),
        };
        assert!(is_right, "closed for no reason: {reason:?}");
        self.told = true;
    }

    /// Why nothing can be sent, whatever it is.
    fn send_refused(&self) -> Option<SendError> {
        match () {
            () if self.client.is_closed() => Some(SendError::Closed),
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
        match self.client.request(&route, body.clone()) {
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
        let result = self.client.notify(&route, body.clone());
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
                assert!(queued >= MAX_QUEUED && !self.client.has_room(), "full with {queued} bytes");
            }
            (Err(error), None) => assert_eq!(Some(error), too_long(&message.route)),
        }
    }

    fn some_request(&self, which: u8) -> MessageId {
        let known = self.in_flight.iter().nth(usize::from(which) % self.in_flight.len().max(1));
        known.copied().unwrap_or_else(|| MessageId::new(which.into()))
    }

    fn transmit(&mut self) -> Option<usize> {
        let mut sent = BytesMut::new();
        let len = self.client.poll_transmit(&mut sent);
        assert_eq!(len.unwrap_or(0), sent.len(), "another length was told than written");
        len?;
        let (header, body) = packet::decode_exact(&sent).expect("exactly one packet is transmitted at a time");
        if header.kind == PacketType::Heartbeat {
            assert!(body.is_empty() && self.response.is_some(), "a heartbeat before the handshake");
            return len;
        }
        match (header.kind, self.sending.pop_front().expect("nothing was sent")) {
            (PacketType::Handshake, Sending::Handshake) => {
                assert_eq!(HandshakeRequest::parse(body).as_ref(), Ok(&self.handshake));
            }
            (PacketType::HandshakeAck, Sending::Ack) => assert!(body.is_empty()),
            (PacketType::Data, Sending::Message { message, dictionary }) => {
                is_same_message(Bytes::copy_from_slice(body), &message, &dictionary);
            }
            (kind, expected) => panic!("{kind:?} instead of {expected:?}"),
        }
        len
    }

    /// What holds after every step.
    fn check(&mut self) {
        let closed = self.client.is_closed();
        assert!(closed || !self.was_closed, "a closed connection is open again");
        self.was_closed = closed;
        if self.told {
            self.in_flight.clear();
        }
        assert_eq!(self.client.pending_requests(), self.in_flight.len());
        let beats = self.response.as_ref().is_none_or(|response| !response.heartbeat.is_zero());
        assert!(closed || !beats || self.client.poll_timeout().is_some(), "a silent server stays for ever");

        // A message may begin when there is room; every handshake of the server is acknowledged.
        let queued = MAX_QUEUED + 2 * (self.longest_output + 128);
        let received = MAX_WAITING + PacketHeader::LEN + MAX_PACKET + self.longest_input;
        let (held, most) = (self.client.buffered(), queued + if closed { 0 } else { received });
        assert!(held <= most, "{held} bytes are held, {most} may be");
        assert!(held > 0 || closed || self.sending.is_empty(), "nothing is held of what waits");
    }

    /// Plays to an end, which must come.
    fn finish(mut self) {
        loop {
            while self.transmit().is_some() {}
            assert!(self.client.has_room(), "everything was transmitted, and there is no room");
            self.check();
            if !self.poll() {
                break;
            }
            self.check();
        }
        assert!(self.client.wants_input(), "everything was polled, and no input is wanted");
        match &self.response {
            Some(HandshakeResponse { heartbeat, .. }) if heartbeat.is_zero() && !self.client.is_closed() => {
                assert_eq!(self.client.poll_timeout(), None, "a deadline without a heartbeat");
                self.client.handle_eof(self.now);
            }
            // Three heartbeats of silence; the one before may be needed to see that input is wanted again.
            Some(HandshakeResponse { heartbeat, .. }) if *heartbeat > Duration::from_millis(1) => {
                self.now = self.client.poll_timeout().unwrap_or(self.now);
                for _ in 0..4 {
                    self.meet_deadline();
                    self.now = self.client.poll_timeout().unwrap_or(self.now);
                }
            }
            Some(_) => self.client.handle_eof(self.now),
            None => self.wait(HANDSHAKE_TIMEOUT),
        }
        assert!(self.client.is_closed(), "a silent server stays");
        self.poll();
        assert!(self.told, "the connection closed and does not tell");
        self.after_the_end();
    }

    /// Nothing has an effect any more.
    fn after_the_end(&mut self) {
        while self.transmit().is_some() {}
        let now = self.now + HANDSHAKE_TIMEOUT;
        self.client.handle_input(b"\x03\0\0\0", now);
        self.client.handle_timeout(now);
        self.client.handle_eof(now);
        self.client.close(now);
        self.client.abort(CloseReason::Transport);
        assert_eq!(self.client.request(&route_of(0), "x"), Err(SendError::Closed));
        assert_eq!(self.client.notify(&route_of(0), "x"), Err(SendError::Closed));
        assert_eq!(self.client.poll_event(), None, "an event after the end");
        assert_eq!((self.transmit(), self.client.poll_timeout()), (None, None));
        assert_eq!((self.client.buffered(), self.client.pending_requests()), (0, 0), "something is held after the end");
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
