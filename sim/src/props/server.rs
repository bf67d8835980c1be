use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cereus_core::{
    AUTO_COMPRESSION_MIN, ClientConfig, ClientConnection, ClientEvent, CloseReason, Compression, EncodedPush,
    FullPolicy, HandshakeResponse, Instant, Message, MessageId, MessageType, Route, RouteDictionary, SendError,
    ServerConfig, ServerConnection, ServerEvent,
    packet::{PacketHeader, PacketType},
};

use super::{
    Script, body,
    driven::{Driven, MAX_QUEUED, flood, tenths},
    encode_packet,
    meter::Meter,
    outbox::{Outbox, Push, Waiting},
    route_of,
    script::operations,
    settings::Settings,
    too_long,
};

operations! {
    /// One thing that is done to a server connection.
    pub enum ServerOp: u16 {
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
        /// A push to one of the routes, of so many bytes, with a policy of its own or without.
        12 Push(route: u8, len: u16, policy: u8),
        /// The same, encoded before.
        13 PushEncoded(route: u8, len: u16, policy: u8),
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
        /// So many bytes of pushes may wait from now on.
        19 Squeeze(bytes: u16),
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
/// - they tell what was sent, but for what was over the rate limit;
/// - commands succeed and fail as documented; a request is answered exactly once;
/// - the bytes held stay within the limits;
/// - pushes are dropped and replaced where their policies say so, and nowhere else;
/// - deadlines that were met do not come back;
/// - every packet that is sent can be read by a client, and answers and pushes come in the order they were given.
///
/// # Panics
///
/// When that is not so.
pub fn run(script: &Script<ServerOp>) {
    let mut driver = Driver::new(Settings(script.settings));
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
    settings: Settings,
    server: Driven<ServerConnection>,
    config: Arc<ServerConfig>,
    /// Reads everything that is sent.
    client: ClientConnection,
    phase: Phase,
    native: bool,
    meter: Meter,
    max_pending: usize,
    pending: Vec<MessageId>,
    outbox: Outbox,
    longest_output: usize,
}

impl Driver {
    fn new(settings: Settings) -> Self {
        let config = settings.config();
        let now = Instant::EPOCH;
        Self {
            settings,
            server: Driven::new(ServerConnection::new(config.clone(), now)),
            client: ClientConnection::new(ClientConfig::default(), now),
            // Long enough for any kick.
            longest_output: 64,
            phase: Phase::Start,
            native: false,
            meter: Meter::new(settings.limit(), config.dictionary().clone()),
            max_pending: settings.max_pending(),
            pending: Vec::new(),
            outbox: Outbox::new(MAX_QUEUED),
            config,
        }
    }

    fn apply(&mut self, op: &ServerOp) {
        match op {
            ServerOp::Input(bytes) => self.input(bytes),
            ServerOp::Packet(kind, body) => self.input(&encode_packet(*kind, body)),
            ServerOp::Flood(kind, kibibytes) => {
                flood(*kind, b"\x02\x03a.bflood", *kibibytes).for_each(|burst| self.input(&burst));
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
                let now = self.server.tell();
                self.server.machine.reject(now);
                if self.phase == Phase::Deciding {
                    self.server.asked.push(CloseReason::HandshakeRefused(HandshakeResponse::REFUSED));
                    assert!(self.server.machine.is_closed(), "refusing does not close");
                }
            }
            ServerOp::Respond(which, len) => self.respond(*which, false, (*len).into()),
            ServerOp::RespondError(which, len) => self.respond(*which, true, (*len).into()),
            ServerOp::RespondTo(id) => self.respond_to(MessageId::new(*id), false, 3),
            ServerOp::Push(route, len, policy) => {
                let (route, body, policy) = (route_of(*route), body((*len).into()), policy_of(*policy));
                self.push(&route, &body, policy, |server| match policy {
                    None => server.push(&route, body.clone()),
                    policy => server.push_with_policy(&route, body.clone(), policy),
                });
            }
            ServerOp::PushEncoded(route, len, policy) => {
                let (route, body, policy) = (route_of(*route), body((*len).into()), policy_of(*policy));
                match self.encoded_push(&route, &body, policy) {
                    Ok(push) => self.push(&route, &body, policy, |server| server.push_encoded(push)),
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
            ServerOp::Squeeze(bytes) => {
                self.server.machine.set_max_queued_bytes((*bytes).into());
                self.outbox.max = MAX_QUEUED.min((*bytes).into());
            }
        }
    }

    fn input(&mut self, bytes: &[u8]) {
        let machine = &self.server.machine;
        if machine.wants_input() && !machine.is_closed() && self.phase != Phase::Kicked {
            self.meter.sent(bytes);
        }
        self.server.input(bytes);
    }

    /// Polls one event, if there is room for what it may lead to. Returns whether there was one.
    fn poll(&mut self) -> bool {
        if !self.server.machine.has_room() && !self.server.machine.is_closed() {
            return false;
        }
        let was_closed = self.server.machine.is_closed();
        let received = self.received();
        let event = self.server.machine.poll_event();
        if !self.server.machine.is_closed() {
            let greeted = matches!(self.phase, Phase::Accepted | Phase::Working);
            let polled = received - self.received();
            self.meter.polled(polled, event.as_ref(), greeted, self.server.heard);
            assert_eq!(self.server.machine.limited_packets(), self.meter.limited());
        }
        match &event {
            Some(ServerEvent::Closed(reason)) => self.server.closed(reason),
            _ if was_closed => assert!(self.server.told && event.is_none(), "{event:?} where `Closed` should be"),
            Some(ServerEvent::Handshake(request)) => {
                assert!(matches!(self.phase, Phase::Start | Phase::Accepted | Phase::Working), "{:?}", self.phase);
                (self.phase, self.native) = (Phase::Deciding, request.inflates());
            }
            Some(ServerEvent::Connected) => {
                assert_eq!(self.phase, Phase::Accepted);
                self.phase = Phase::Working;
            }
            Some(ServerEvent::Request { id, .. } | ServerEvent::Limited { id, .. }) => {
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
        let now = self.server.tell();
        self.server.machine.accept(now);
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
                self.outbox.waiting.push_back(Waiting::Answer { id, error, len });
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

    fn push(
        &mut self,
        route: &Route,
        body: &Bytes,
        policy: Option<FullPolicy>,
        push: impl FnOnce(&mut ServerConnection) -> Result<(), SendError>,
    ) {
        let others = |driver: &Self| driver.server.machine.queued().checked_sub(driver.outbox.push_bytes());
        let before = others(self);
        let expected = self.expect_push(route, body, policy);
        let pushed = push(&mut self.server.machine);
        assert_eq!(pushed, expected);
        match pushed {
            Ok(()) => assert_eq!(others(self), before, "other pushes wait than should"),
            Err(SendError::QueueFull(_)) => {
                self.server.asked.push(CloseReason::SlowPeer);
                assert!(self.server.machine.is_closed(), "the queue is full and the connection goes on");
            }
            Err(_) => {}
        }
    }

    /// Puts a push into the outbox, unless it is refused.
    fn expect_push(&mut self, route: &Route, body: &Bytes, policy: Option<FullPolicy>) -> Result<(), SendError> {
        let empty = || (self.native && body.is_empty()).then_some(SendError::EmptyPush);
        if let Some(error) = self.push_refused().or_else(empty).or_else(|| too_long(route)) {
            return Err(error);
        }
        self.longest_output = self.longest_output.max(body.len() + 64);
        let policy = policy.unwrap_or_else(|| self.settings.policy(route));
        let message = self.encode(&Message::push(route.clone(), body.clone()));
        match self.outbox.push(Push { route: route.clone(), policy, native: self.native, message }) {
            true => Ok(()),
            false => Err(SendError::QueueFull(self.outbox.push_bytes())),
        }
    }

    fn encoded_push(&self, route: &Route, body: &Bytes, own: Option<FullPolicy>) -> Result<EncodedPush, SendError> {
        let push = match own {
            None => EncodedPush::new(&self.config, route, body.clone()),
            policy => EncodedPush::with_policy(&self.config, route, body.clone(), policy),
        }?;
        let policy = own.unwrap_or_else(|| self.settings.policy(route));
        assert_eq!((push.route(), push.body(), push.policy()), (route, body, policy));
        Ok(push)
    }

    /// The bytes of a push, as this client understands them and the configuration compresses them.
    fn encode(&self, push: &Message) -> Bytes {
        let dictionary = if self.native { &RouteDictionary::default() } else { self.config.dictionary() };
        let compress = match self.settings.compression() {
            Compression::Auto => self.native && push.body.len() >= AUTO_COMPRESSION_MIN,
            compression => compression == Compression::On,
        };
        let mut bytes = BytesMut::new();
        push.encode(dictionary, compress, &mut bytes).expect("it is not too long");
        bytes.freeze()
    }

    fn push_foreign(&mut self) {
        let push = EncodedPush::new(&ServerConfig::default(), &route_of(0), "x").expect("it is short");
        let expected = self.push_refused().unwrap_or(SendError::OtherConfig);
        assert_eq!(self.server.machine.push_encoded(push), Err(expected));
    }

    fn kick(&mut self, reason: Option<&str>) {
        let now = self.server.tell();
        self.server.machine.kick(reason, now);
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
        match self.outbox.waiting.pop_front().expect("nothing was sent") {
            Waiting::Push(push) => assert_eq!(bytes, push.message, "not the push whose turn it is"),
            Waiting::Answer { id, error, len } => {
                let sent = Message::decode(bytes, self.config.dictionary(), 1 << 20).expect("it can be read");
                assert_eq!((sent.kind, sent.id, sent.error, sent.body), (MessageType::Response, id, error, body(len)));
            }
        }
    }

    /// The bytes that were received and not polled.
    fn received(&self) -> usize {
        self.server.machine.buffered() - self.server.machine.queued()
    }

    /// What holds after every step.
    fn check(&mut self) {
        let (most, closed) = (self.server.check(), self.server.was_closed);
        if closed {
            self.pending.clear();
        }
        assert_eq!(self.server.machine.pending_requests(), self.pending.len());
        assert!(closed || self.server.machine.poll_timeout().is_some(), "no deadline: a silent peer stays for ever");

        assert_eq!(self.server.machine.push_losses(), self.outbox.losses);

        let (queued, received) = (self.server.machine.queued(), self.received());
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

/// The policy that a push has of its own, if any.
fn policy_of(which: u8) -> Option<FullPolicy> {
    let policies = [None, Some(FullPolicy::Close), Some(FullPolicy::DropOldest), Some(FullPolicy::KeepLatest)];
    policies[usize::from(which) % policies.len()]
}
