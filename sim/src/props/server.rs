use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, Compression, EncodedPush, FullPolicy, HandshakeResponse,
    Instant, Message, MessageId, MessageType, Route, RouteDictionary, SendError, ServerConfig, ServerConnection,
    ServerEvent,
    packet::{PacketHeader, PacketType},
};

use super::{
    MAX_INFLATED, Script, body, dictionary,
    driven::{Driven, MAX_PACKET, MAX_QUEUED, MAX_WAITING, flood, tenths},
    encode_packet, route_of,
    script::operations,
    too_long,
};

operations! {
    /// One thing that is done to a server connection.
    pub enum ServerOp {
        /// The peer sends these bytes.
        0 Input(bytes: Bytes),
        /// The peer sends a whole packet: type and body.
        1 Packet(kind: u8, body: Bytes),
        /// The peer sends so many kibibytes of whole packets of this type.
        2 Flood(kind: u8, kibibytes: u8),
        /// The peer sends no more.
        3 Eof,
        /// So many tenths of a second pass; deadlines are met on time.
        4 Wait(tenths: u16),
        /// So many tenths of a second pass before the driver looks at a deadline.
        5 Oversleep(tenths: u16),
        /// At most so many events are polled.
        6 Poll(count: u8),
        /// The handshake is accepted.
        7 Accept,
        /// The handshake is refused.
        8 Reject,
        /// One of the waiting requests is answered with so many bytes.
        9 Respond(which: u8, len: u16),
        /// One of the waiting requests is answered with an error of so many bytes.
        10 RespondError(which: u8, len: u16),
        /// A request with this id is answered, whether it waits or not.
        11 RespondTo(id: u64),
        /// A push to one of the routes, of so many bytes.
        12 Push(route: u8, len: u16),
        /// The same, encoded before.
        13 PushEncoded(route: u8, len: u16),
        /// A push that was encoded for another configuration.
        14 PushForeign,
        /// The client is kicked, with a reason or without.
        15 Kick(with_reason: bool),
        /// The connection is closed.
        16 Close,
        /// The driver gives the connection up.
        17 Abort,
        /// At most so many packets are transmitted.
        18 Transmit(count: u8),
    }
}

/// A script: see [`Script::decode`] and [`run`].
///
/// # Panics
///
/// When a property is violated.
pub fn server(bytes: &[u8]) {
    run(&Script::decode(bytes));
}

/// Does to a server connection what the script says, as a driver that keeps the contract, and checks after every step:
///
/// - events come in an order that makes sense, `Closed` exactly once and last, and as soon as the connection is closed;
/// - commands succeed and fail as documented; a request is answered exactly once;
/// - the bytes held stay within the limits;
/// - deadlines that were met do not come back;
/// - every packet that is sent can be read by a client, and answers come in the order they were given.
///
/// # Panics
///
/// When that is not so.
pub fn run(script: &Script<ServerOp>) {
    let mut driver = Driver::new(script.settings);
    for op in &script.ops {
        driver.apply(op);
        driver.check();
    }
    driver.finish();
}

/// What the client may see, as far as the server's events tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Start,
    Deciding,
    Accepted,
    Working,
    Kicked,
}

#[derive(Debug)]
struct Driver {
    server: Driven<ServerConnection>,
    config: Arc<ServerConfig>,
    /// Reads everything that is sent.
    client: ClientConnection,
    phase: Phase,
    native: bool,
    /// Pushes of before a second handshake may still be on their way.
    was_browser: bool,
    max_pending: usize,
    pending: Vec<MessageId>,
    /// Answers that were accepted and not sent: id, error, length.
    answers: VecDeque<(MessageId, bool, usize)>,
    longest_output: usize,
}

impl Driver {
    fn new(settings: u8) -> Self {
        let max_pending = max_pending(settings);
        let config = CONFIGS[usize::from(settings)].clone();
        let now = Instant::EPOCH;
        Self {
            server: Driven::new(ServerConnection::new(config.clone(), now)),
            client: ClientConnection::new(ClientConfig::default(), now),
            // Long enough for any kick.
            longest_output: 64,
            config,
            phase: Phase::Start,
            native: false,
            was_browser: false,
            max_pending,
            pending: Vec::new(),
            answers: VecDeque::new(),
        }
    }

    fn apply(&mut self, op: &ServerOp) {
        match op {
            ServerOp::Input(bytes) => self.server.input(bytes),
            ServerOp::Packet(kind, body) => self.server.input(&encode_packet(*kind, body)),
            ServerOp::Flood(kind, kibibytes) => {
                flood(*kind, b"\x02\x03a.bflood", *kibibytes).for_each(|burst| self.server.input(&burst));
            }
            ServerOp::Eof => self.server.eof(),
            ServerOp::Wait(time) => self.server.wait(tenths(*time % 1000)),
            ServerOp::Oversleep(time) => self.server.oversleep(tenths(*time)),
            ServerOp::Poll(count) => {
                for _ in 0..*count {
                    self.poll();
                }
            }
            ServerOp::Accept => self.accept(),
            ServerOp::Reject => {
                if self.phase == Phase::Deciding {
                    self.server.asked.push(CloseReason::HandshakeRefused(HandshakeResponse::REFUSED));
                }
                self.server.machine.reject(self.server.now);
            }
            ServerOp::Respond(which, len) => self.respond(*which, false, (*len).into()),
            ServerOp::RespondError(which, len) => self.respond(*which, true, (*len).into()),
            ServerOp::RespondTo(id) => self.respond_to(MessageId::new(*id), false, 3),
            ServerOp::Push(route, len) => {
                let (route, body) = (route_of(*route), body((*len).into()));
                self.longest_output = self.longest_output.max(body.len() + 64);
                let result = self.server.machine.push(&route, body.clone());
                self.pushed(result, &route, &body);
            }
            ServerOp::PushEncoded(route, len) => {
                let (route, body) = (route_of(*route), body((*len).into()));
                self.longest_output = self.longest_output.max(body.len() + 64);
                match EncodedPush::new(&self.config, &route, body.clone()) {
                    Ok(push) => {
                        assert_eq!((push.route(), push.body()), (&route, &body));
                        let result = self.server.machine.push_encoded(push);
                        self.pushed(result, &route, &body);
                    }
                    Err(error) => assert_eq!(Some(error), too_long(&route)),
                }
            }
            ServerOp::PushForeign => self.push_foreign(),
            ServerOp::Kick(with_reason) => self.kick(with_reason.then_some("a \"reason\"")),
            ServerOp::Close => self.server.close(),
            ServerOp::Abort => self.server.abort(),
            ServerOp::Transmit(count) => {
                for _ in 0..*count {
                    let _ = self.transmit();
                }
            }
        }
    }

    /// Polls one event, if there is room for what it may lead to. Returns whether there was one.
    fn poll(&mut self) -> bool {
        if !self.server.machine.has_room() && !self.server.machine.is_closed() {
            return false;
        }
        let was_closed = self.server.machine.is_closed();
        let event = self.server.machine.poll_event();
        match &event {
            Some(ServerEvent::Closed(reason)) => self.server.closed(reason),
            _ if was_closed => assert!(self.server.told && event.is_none(), "{event:?} where `Closed` should be"),
            Some(ServerEvent::Handshake(request)) => {
                assert!(matches!(self.phase, Phase::Start | Phase::Accepted | Phase::Working), "{:?}", self.phase);
                (self.phase, self.native) = (Phase::Deciding, request.inflates());
                self.was_browser |= !self.native;
            }
            Some(ServerEvent::Connected) => {
                assert_eq!(self.phase, Phase::Accepted);
                self.phase = Phase::Working;
            }
            Some(ServerEvent::Request { id, .. }) => {
                assert_eq!(self.phase, Phase::Working);
                self.pending.extend(Some(*id).filter(|id| !id.is_none()));
                assert!(self.pending.len() <= self.max_pending, "too many requests are given out");
            }
            Some(ServerEvent::Notify { .. }) => assert_eq!(self.phase, Phase::Working),
            Some(event) => panic!("an event that nobody knows: {event:?}"),
            None => assert!(!self.server.machine.is_closed(), "the connection closed and does not tell"),
        }
        event.is_some()
    }

    fn accept(&mut self) {
        let queued = self.server.machine.queued();
        self.server.machine.accept(self.server.now);
        self.longest_output = self.longest_output.max(self.server.machine.queued() - queued);
        if self.phase == Phase::Deciding && !self.server.machine.is_closed() {
            self.phase = Phase::Accepted;
        }
    }

    fn respond(&mut self, which: u8, error: bool, len: usize) {
        let id = match self.pending.len() {
            0 => MessageId::new(which.into()),
            waiting => self.pending[usize::from(which) % waiting],
        };
        self.respond_to(id, error, len);
    }

    fn respond_to(&mut self, id: MessageId, error: bool, len: usize) {
        let expected = match self.pending.iter().position(|pending| *pending == id) {
            _ if error && len == 0 => Err(SendError::EmptyError),
            _ if self.server.machine.is_closed() => Err(SendError::Closed),
            None => Err(SendError::NotPending(id)),
            Some(at) => {
                self.pending.remove(at);
                self.answers.push_back((id, error, len));
                Ok(())
            }
        };
        self.longest_output = self.longest_output.max(len + 64);
        let answered = match error {
            true => self.server.machine.respond_error(id, body(len)),
            false => self.server.machine.respond(id, body(len)),
        };
        assert_eq!(answered, expected, "the answer to {id}");
    }

    /// Why a push cannot be sent, whatever it is.
    fn push_refused(&self) -> Option<SendError> {
        match self.phase {
            _ if self.server.was_closed => Some(SendError::Closed),
            Phase::Start | Phase::Deciding => Some(SendError::NotConnected),
            Phase::Accepted | Phase::Working => None,
            Phase::Kicked => Some(SendError::Closed),
        }
    }

    fn pushed(&mut self, result: Result<(), SendError>, route: &Route, body: &Bytes) {
        let empty = || (self.native && body.is_empty()).then_some(SendError::EmptyPush);
        let refused = self.push_refused().or_else(empty).or_else(|| too_long(route));
        match (result, refused) {
            (result, Some(error)) => assert_eq!(result, Err(error)),
            (Ok(()), None) => {}
            (Err(SendError::QueueFull(_)), None) => {
                self.server.asked.push(CloseReason::SlowPeer);
                assert!(self.server.machine.is_closed(), "the queue is full and the connection goes on");
            }
            (Err(error), None) => panic!("a push was refused: {error}"),
        }
    }

    fn push_foreign(&mut self) {
        let push = EncodedPush::new(&ServerConfig::default(), &route_of(0), "x").expect("it is short");
        let expected = self.push_refused().unwrap_or(SendError::OtherConfig);
        assert_eq!(self.server.machine.push_encoded(push), Err(expected));
    }

    fn kick(&mut self, reason: Option<&str>) {
        self.server.machine.kick(reason, self.server.now);
        match self.phase {
            _ if self.server.was_closed => {}
            Phase::Start | Phase::Deciding => self.server.asked.push(CloseReason::Local),
            _ => {
                self.server.asked.push(CloseReason::Kicked);
                self.phase = Phase::Kicked;
                assert_eq!(
                    self.server.machine.is_closed(),
                    self.pending.is_empty(),
                    "a kick waits for the answers, and only for them"
                );
            }
        }
    }

    fn transmit(&mut self) -> Option<()> {
        let (kind, packet) = self.server.transmit()?;
        let body = packet.slice(PacketHeader::LEN..);
        match kind {
            PacketType::Data => self.sent_message(body),
            PacketType::Heartbeat => assert!(body.is_empty()),
            PacketType::Kick => assert_eq!(body.is_empty(), self.native, "browsers are told a reason, others are not"),
            PacketType::Handshake => {}
            kind => panic!("a server sends no {kind:?}"),
        }
        self.client.handle_input(&packet, Instant::EPOCH);
        while let Some(event) = self.client.poll_event() {
            assert!(
                !matches!(event, ClientEvent::Closed(CloseReason::Protocol(_))),
                "no client understands: {event:?}"
            );
        }
        Some(())
    }

    fn sent_message(&mut self, bytes: Bytes) {
        let route_is_code = bytes[0] & 1 != 0;
        let message = Message::decode(bytes, self.config.dictionary(), 1 << 20).expect("it can be read");
        match message.kind {
            MessageType::Response => {
                let sent = (message.id, message.error, message.body.len());
                assert_eq!(Some(sent), self.answers.pop_front(), "answers go out as they were given");
            }
            MessageType::Push if !self.was_browser => assert!(!route_is_code && !message.body.is_empty()),
            MessageType::Push => {}
            kind => panic!("a server sends no {kind:?}"),
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        let (most, closed) = (self.server.check(), self.server.was_closed);
        if closed {
            self.pending.clear();
        }
        assert_eq!(self.server.machine.pending_requests(), self.pending.len());
        assert!(closed || self.server.machine.poll_timeout().is_some(), "no deadline: a silent peer stays for ever");

        let (queued, held) = (self.server.machine.queued(), self.server.machine.buffered());
        let received = held - queued;
        assert_eq!(self.server.machine.has_room(), queued < MAX_QUEUED);
        assert!(received <= most, "{received} received bytes are held");
        // Pushes and answers have a budget each; answers to what was given out, one handshake and a kick come on top.
        let most = 2 * MAX_QUEUED + (self.max_pending + 3) * self.longest_output;
        assert!(queued <= most, "{queued} bytes wait to be sent");
    }

    /// Plays to an end, which must come.
    fn finish(mut self) {
        loop {
            while self.transmit().is_some() {}
            self.accept();
            while let Some(id) = self.pending.first() {
                self.respond_to(*id, false, 1);
                while self.transmit().is_some() {}
            }
            self.check();
            if !self.poll() {
                break;
            }
            self.check();
        }
        assert!(self.server.machine.wants_input(), "everything was polled and answered, and no input is wanted");
        // Three heartbeats of silence; the one before may be needed to see that input is wanted again.
        self.server.wait(self.config.heartbeat() * 4);
        assert!(self.server.machine.is_closed(), "a silent peer stays");
        self.poll();
        assert!(self.server.told, "the connection closed and does not tell");
        self.after_the_end();
    }

    /// Nothing has an effect any more.
    fn after_the_end(&mut self) {
        while self.transmit().is_some() {}
        let now = self.server.now + self.config.heartbeat();
        self.server.machine.accept(now);
        self.server.machine.kick(None, now);
        assert_eq!(self.server.machine.push(&route_of(0), "x"), Err(SendError::Closed));
        assert_eq!(self.server.machine.respond(MessageId::new(1), "x"), Err(SendError::Closed));
        self.server.after_the_end(now);
        assert_eq!(self.server.machine.poll_event(), None, "an event after the end");
    }
}

/// One for every choice of settings: preparing a configuration takes longer than most scripts.
static CONFIGS: LazyLock<Vec<Arc<ServerConfig>>> =
    LazyLock::new(|| (0..=255).map(|settings| Arc::new(config(settings))).collect());

fn max_pending(settings: u8) -> usize {
    if settings & 0x20 == 0 { 8 } else { 2 }
}

fn config(settings: u8) -> ServerConfig {
    let dictionary = if settings & 1 == 0 { RouteDictionary::default() } else { dictionary() };
    let compression = [Compression::Auto, Compression::On, Compression::Off, Compression::On];
    let policy = [FullPolicy::Close, FullPolicy::DropOldest, FullPolicy::KeepLatest, FullPolicy::Close];
    ServerConfig::builder()
        .heartbeat(Duration::from_secs(if settings & 0x80 == 0 { 1 } else { 10 }))
        .dictionary(dictionary)
        .compression(compression[usize::from(settings >> 1 & 3)])
        .full_policy(policy[usize::from(settings >> 3 & 3)])
        .close_timeout(Duration::from_secs(if settings & 0x40 == 0 { 1 } else { 9 }))
        .max_packet_size(MAX_PACKET)
        .max_handshake_size(MAX_PACKET / 2)
        .max_inflated_size(MAX_INFLATED)
        .max_waiting_input(MAX_WAITING)
        .max_pending_requests(max_pending(settings))
        .max_queued_bytes(MAX_QUEUED)
        .build()
        .expect("a valid configuration")
}
