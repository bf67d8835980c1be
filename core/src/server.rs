use alloc::{borrow::ToOwned, boxed::Box, sync::Arc, vec::Vec};

use bytes::{Bytes, BytesMut};

use crate::{
    CloseReason, EncodedPush, FullPolicy, HandshakeRequest, HandshakeResponse, Instant, Message, MessageId,
    MessageType, ProtocolError, PushLosses, RateLimit, Route, SendError, ServerConfig,
    config::Settings,
    engine::Engine,
    heartbeat::Heartbeat,
    message::{Head, RouteField},
    packet::{Packet, PacketError, PacketHeader, PacketType},
    push::push_head,
    queue::Outgoing,
    rate::Meter,
};

/// The server's side of one connection: bytes in, events out; commands in, bytes out. No IO, no clock.
///
/// Methods come in four kinds, here and in the code:
///
/// - *inputs* `handle_*` tell what happened. They cannot fail: a peer's fault ends in the one last event,
///   [`ServerEvent::Closed`].
/// - *commands* say what to do: [`accept`](Self::accept), [`respond`](Self::respond), [`push`](Self::push),
///   [`kick`](Self::kick), …
/// - *outputs* `poll_*` tell what to do outside: bytes to write, events to act on, when to wake up.
/// - *facts* answer a question.
///
/// The contract: after every input or command call [`poll_transmit`](Self::poll_transmit) until it says `None`. Call
/// [`poll_event`](Self::poll_event) when ready for an event: not calling it is the backpressure, because packets are
/// decoded as they are polled. Read the socket while [`wants_input`](Self::wants_input). Call
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout). `now` never goes backwards.
///
/// ```
/// use bytes::BytesMut;
/// use cereus_core::{Instant, ServerConfig, ServerConnection, ServerEvent};
/// use std::sync::Arc;
///
/// let now = Instant::EPOCH;
/// let mut connection = ServerConnection::new(Arc::new(ServerConfig::default()), now);
///
/// connection.handle_input(b"\x01\0\0\x02{}", now);
/// let Some(ServerEvent::Handshake(_)) = connection.poll_event() else { panic!() };
/// connection.accept(now);
///
/// connection.handle_input(b"\x02\0\0\0", now);
/// assert!(matches!(connection.poll_event(), Some(ServerEvent::Connected)));
///
/// connection.handle_input(b"\x04\0\0\x0a\0\x01\x03a.bping", now);
/// let Some(ServerEvent::Request { id, route, body }) = connection.poll_event() else { panic!() };
/// assert_eq!((route.as_str(), &body[..]), (Some("a.b"), &b"ping"[..]));
/// connection.respond(id, "pong")?;
///
/// let mut out = BytesMut::new();
/// while connection.poll_transmit(&mut out).is_some() {}
/// assert!(out.ends_with(b"\x04\0\0\x06\x04\x01pong"));
/// # Ok::<(), cereus_core::SendError>(())
/// ```
#[derive(Debug)]
pub struct ServerConnection {
    engine: Engine,
    config: Arc<ServerConfig>,
    state: State,
    /// Requests that were given out and wait for their answer, in order.
    pending: Vec<MessageId>,
    /// What the client has sent lately, if that is limited.
    meter: Option<Box<Meter>>,
    max_queued_bytes: usize,
}

#[derive(Debug)]
enum State {
    AwaitHandshake {
        deadline: Instant,
    },
    /// The handshake was given out; `accept` or `reject` is awaited.
    Deciding {
        deadline: Instant,
        native: bool,
    },
    AwaitAck {
        deadline: Instant,
        native: bool,
    },
    Working {
        native: bool,
    },
    /// Running requests may still be answered, then the kick goes out.
    Kicking {
        deadline: Instant,
        body: Box<Bytes>,
    },
    /// See the engine for the rest.
    Closed,
}

/// What the server has to act on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// A client presents itself. Answer with [`ServerConnection::accept`] or [`ServerConnection::reject`].
    Handshake(HandshakeRequest),
    /// The client acknowledged the handshake: messages may go both ways.
    Connected,
    /// The client asks. Answer with [`ServerConnection::respond`] or [`ServerConnection::respond_error`], once.
    Request {
        /// To be given to the answer. [`MessageId::NONE`]: run it, it is never answered.
        id: MessageId,
        /// What is asked for.
        route: Route,
        /// The body, inflated.
        body: Bytes,
    },
    /// The client tells.
    Notify {
        /// What for.
        route: Route,
        /// The body, inflated.
        body: Bytes,
    },
    /// The client sent more than the [rate limit](RateLimit) allows. This message is not handled, and its body was not looked
    /// at. A request, which has an id, is to be answered, best with [`ServerConnection::respond_error`].
    Limited {
        /// Of a request; [`MessageId::NONE`] if nobody waits for an answer.
        id: MessageId,
        /// What it was for.
        route: Route,
    },
    /// The connection ended. Always the last event, exactly once.
    Closed(CloseReason),
}

/// Inputs.
impl ServerConnection {
    /// A connection that was just accepted.
    pub fn new(config: Arc<ServerConfig>, now: Instant) -> Self {
        let Settings { limits, heartbeat, rate_limit, .. } = config.settings();
        let deadline = now + limits.handshake_timeout;
        let engine = Engine::new(limits, Heartbeat::new(*heartbeat, now), now);
        let (pending, meter) = (Vec::new(), rate_limit.map(|_| Box::default()));
        let max_queued_bytes = limits.max_queued_bytes;
        Self { engine, state: State::AwaitHandshake { deadline }, pending, meter, max_queued_bytes, config }
    }

    /// The peer sent these bytes, in any segmentation.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        // A client that is being kicked is not heard, but read, so that the kick is not lost in a reset.
        match self.state {
            State::Kicking { .. } => self.engine.discard_input(now),
            _ => self.engine.handle_input(bytes, now),
        }
    }

    /// The peer sends no more. There is no half-open service: the connection is closed.
    pub fn handle_eof(&mut self, now: Instant) {
        self.engine.handle_eof(now);
        self.settle();
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) told has come. Too early or too late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let beats = matches!(self.state, State::Working { .. } | State::Kicking { .. });
        self.engine.handle_timeout(now, beats);
        if beats && self.pending.is_empty() {
            self.pending = Vec::new();
        }
        if let (Some(meter), Some(limit)) = (&mut self.meter, &self.config.settings().rate_limit) {
            meter.forget(limit, now);
            meter.release();
        }
        match self.state {
            State::AwaitHandshake { deadline }
            | State::Deciding { deadline, .. }
            | State::AwaitAck { deadline, .. }
                if now >= deadline =>
            {
                self.engine.abort(CloseReason::HandshakeTimeout);
            }
            State::Kicking { deadline, .. } if now >= deadline => self.pending.clear(),
            _ => {}
        }
        self.settle();
    }
}

/// Commands.
impl ServerConnection {
    /// Accepts the client whose handshake was polled. Does nothing at any other time.
    pub fn accept(&mut self, now: Instant) {
        self.engine.advance(now);
        if let State::Deciding { deadline, native } = self.state {
            self.engine.queue.control(PacketType::Handshake, self.config.handshake_answer(true, native));
            self.state = State::AwaitAck { deadline, native };
        }
    }

    /// Refuses the client whose handshake was polled, and closes. Does nothing at any other time.
    pub fn reject(&mut self, now: Instant) {
        self.engine.advance(now);
        if let State::Deciding { native, .. } = self.state {
            self.refuse(native, CloseReason::HandshakeRefused(HandshakeResponse::REFUSED));
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`SendError::NotPending`] when the request was answered or never existed, [`SendError::TooLarge`] (answer with
    /// an error instead), [`SendError::Closed`].
    pub fn respond(&mut self, id: MessageId, body: impl Into<Bytes>) -> Result<(), SendError> {
        self.answer(id, false, body.into())
    }

    /// Answers a request with an error.
    ///
    /// # Errors
    ///
    /// As [`respond`](Self::respond), and [`SendError::EmptyError`].
    pub fn respond_error(&mut self, id: MessageId, body: impl Into<Bytes>) -> Result<(), SendError> {
        let body = body.into();
        if body.is_empty() {
            return Err(SendError::EmptyError);
        }
        self.answer(id, true, body)
    }

    /// Sends a push, with the [policy](FullPolicy) of its route. To send one to many clients, see
    /// [`push_encoded`](Self::push_encoded).
    ///
    /// # Errors
    ///
    /// [`SendError::NotConnected`] before the handshake was accepted, [`SendError::QueueFull`] when the queue is full
    /// and the policy closes such a connection, [`SendError::EmptyPush`], [`SendError::RouteTooLong`],
    /// [`SendError::TooLarge`], [`SendError::Closed`].
    pub fn push(&mut self, route: &Route, body: impl Into<Bytes>) -> Result<(), SendError> {
        self.push_with_policy(route, body, None)
    }

    /// Sends a push that has a policy of its own.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn push_with_policy(
        &mut self,
        route: &Route,
        body: impl Into<Bytes>,
        policy: impl Into<Option<FullPolicy>>,
    ) -> Result<(), SendError> {
        let native = self.connected_client()?;
        let (body, code) = (body.into(), self.config.dictionary().code(route));
        let deflated = self.config.settings().compression.deflate(native, &body);
        let head = push_head(route, code, deflated.is_some(), native, &body)?;
        let policy = policy.into().unwrap_or_else(|| self.config.full_policy(route));
        self.queue_push(Outgoing::message(head, deflated.unwrap_or(body), Some(policy))?)
    }

    /// Sends a push that was encoded once for many.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), and [`SendError::OtherConfig`].
    pub fn push_encoded(&mut self, push: EncodedPush) -> Result<(), SendError> {
        let native = self.connected_client()?;
        if !push.is_for(&self.config) {
            return Err(SendError::OtherConfig);
        }
        self.queue_push(Outgoing::encoded(push, native)?)
    }

    /// From now on lets fewer bytes of pushes wait than the configuration does, or again as many: when the process as a whole
    /// holds too much. More than the configuration allows are never let.
    pub fn set_max_queued_bytes(&mut self, bytes: usize) {
        self.max_queued_bytes = bytes.min(self.config.max_queued_bytes());
    }

    /// Throws the client out: running requests are still answered (for at most the close timeout), then the kick goes
    /// out, then the connection closes. Browsers are told the reason; native clients cannot take one.
    pub fn kick(&mut self, reason: Option<&str>, now: Instant) {
        let now = self.engine.advance(now);
        match self.state {
            State::AwaitAck { native, .. } | State::Working { native } => {
                let deadline = now + self.config.close_timeout();
                self.state = State::Kicking { deadline, body: Box::new(kick_body(reason, native)) };
                self.engine.discard_input(now);
                self.settle();
            }
            State::AwaitHandshake { .. } | State::Deciding { .. } => self.close(now),
            State::Kicking { .. } | State::Closed => {}
        }
    }

    /// Closes the connection. What was queued may still go out, for at most the close timeout.
    pub fn close(&mut self, now: Instant) {
        let until = self.engine.advance(now) + self.config.close_timeout();
        self.engine.close(CloseReason::Local, until);
        self.settle();
    }

    /// The driver's word that the connection is of no use any more. What was queued is dropped.
    pub fn abort(&mut self, reason: CloseReason) {
        self.engine.abort(reason);
        self.settle();
    }
}

/// Outputs.
impl ServerConnection {
    /// Appends exactly one packet to `buf` and returns its length; `None` when nothing waits.
    #[must_use = "the bytes in the buffer have to be written"]
    pub fn poll_transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        self.engine.transmit(buf)
    }

    /// The next event, decoded now; `None` when there is none.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        loop {
            if self.engine.is_closed() {
                self.settle();
                return self.engine.take_close_reason().map(ServerEvent::Closed);
            }
            let full = self.pending.len() >= self.config.settings().limits.max_pending_requests;
            if full || matches!(self.state, State::Deciding { .. } | State::Kicking { .. }) {
                return None;
            }
            match self.engine.next_packet() {
                Some(packet) => {
                    if let Some(event) = self.handle_packet(packet) {
                        return Some(event);
                    }
                }
                None if self.engine.is_closed() => {}
                None => match self.excessive_greeting() {
                    Some(error) => self.engine.fail(error.into()),
                    None => return None,
                },
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` when nothing is due ever.
    #[must_use = "without it no silent peer is found"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match self.state {
            State::AwaitHandshake { deadline }
            | State::Deciding { deadline, .. }
            | State::AwaitAck { deadline, .. }
            | State::Kicking { deadline, .. } => Some(deadline),
            State::Working { .. } | State::Closed => None,
        };
        match (deadline, self.engine.poll_timeout()) {
            (Some(deadline), Some(timeout)) => Some(deadline.min(timeout)),
            (deadline, timeout) => deadline.or(timeout),
        }
    }
}

/// Facts.
impl ServerConnection {
    /// Whether to read the socket. While false, silence of the peer does not count.
    pub fn wants_input(&self) -> bool {
        self.engine.wants_input()
    }

    /// Whether there is room for more answers. While false, start no more handlers.
    pub fn has_room(&self) -> bool {
        self.engine.queue.bytes() < self.config.max_queued_bytes()
    }

    /// Whether the connection ended: write what [`poll_transmit`](Self::poll_transmit) still gives, then close.
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// Whether the handshake is finished, and messages may go both ways.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Working { .. } | State::Kicking { .. })
    }

    /// The pushes that were taken and never sent, since the beginning.
    pub fn push_losses(&self) -> PushLosses {
        self.engine.queue.losses
    }

    /// How many packets were over the [rate limit](RateLimit), since the beginning.
    pub fn limited_packets(&self) -> u64 {
        self.meter.as_ref().map_or(0, |meter| meter.limited())
    }

    /// How many requests wait for their answer.
    pub fn pending_requests(&self) -> usize {
        self.pending.len()
    }

    /// The bytes held: received and not polled, queued and not sent.
    pub fn buffered(&self) -> usize {
        self.engine.buffered()
    }

    /// The memory of what is [`buffered`](Self::buffered), in bytes, and of the room that the buffers have for more. Idle
    /// connections give the latter back with each heartbeat.
    pub fn capacity(&self) -> usize {
        self.engine.capacity()
    }

    /// The bytes queued and not sent.
    pub fn queued(&self) -> usize {
        self.engine.queue.bytes()
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

impl ServerConnection {
    /// A client that has not finished its handshake has nothing long to say: what it announces is not waited for.
    fn excessive_greeting(&self) -> Option<PacketError> {
        if self.is_connected() {
            return None;
        }
        let max = self.config.settings().limits.max_handshake_size;
        let len = self.engine.announced().filter(|len| *len > max)?;
        Some(PacketError::TooLarge { len, max })
    }

    /// Counts a packet. Whether it is over the limit.
    fn is_limited(&mut self, packet: &Packet) -> bool {
        let (Some(meter), Some(limit)) = (&mut self.meter, &self.config.settings().rate_limit) else {
            return false;
        };
        !meter.pass(limit, PacketHeader::LEN + packet.body.len(), self.engine.now())
    }

    fn handle_packet(&mut self, packet: Packet) -> Option<ServerEvent> {
        let is_limited = self.is_limited(&packet);
        match (packet.kind, &self.state) {
            (PacketType::Handshake, State::AwaitAck { .. } | State::Working { .. }) if is_limited => None,
            (PacketType::Handshake, _) => self.handle_handshake(&packet.body),
            (PacketType::HandshakeAck, State::AwaitAck { native, .. }) => {
                self.state = State::Working { native: *native };
                Some(ServerEvent::Connected)
            }
            (PacketType::HandshakeAck, State::Working { .. }) | (PacketType::Heartbeat | PacketType::Kick, _) => None,
            (PacketType::Data, State::Working { .. }) => self.handle_data(packet.body, is_limited),
            (kind, state) => {
                let when = state.name();
                self.engine.fail(ProtocolError::OutOfOrder { kind, when });
                None
            }
        }
    }

    fn handle_handshake(&mut self, body: &[u8]) -> Option<ServerEvent> {
        let max = self.config.settings().limits.max_handshake_size;
        if body.len() > max {
            self.engine.fail(PacketError::TooLarge { len: body.len(), max }.into());
            return None;
        }
        match HandshakeRequest::parse(body) {
            Ok(request) => {
                let deadline = match self.state {
                    State::AwaitHandshake { deadline } | State::AwaitAck { deadline, .. } => deadline,
                    _ => self.engine.now() + self.config.settings().limits.handshake_timeout,
                };
                self.state = State::Deciding { deadline, native: request.inflates() };
                Some(ServerEvent::Handshake(request))
            }
            Err(error) => {
                self.refuse(false, ProtocolError::from(error).into());
                None
            }
        }
    }

    /// Of a message that is over the rate limit no more is read than an answer needs.
    fn handle_data(&mut self, body: Bytes, is_limited: bool) -> Option<ServerEvent> {
        let (settings, len) = (self.config.settings(), body.len());
        let decoded = match is_limited {
            true => Message::decode_head(body, &settings.dictionary),
            false => Message::decode(body, &settings.dictionary, settings.limits.max_inflated_size),
        };
        let Message { kind, id, route, body, .. } = match decoded {
            Ok(message) => message,
            Err(error) => {
                self.engine.fail(error.into());
                return None;
            }
        };
        if let Some(meter) = &mut self.meter {
            meter.grew(body.len().saturating_sub(len));
        }
        let is_silent = is_limited && settings.rate_limit.is_some_and(RateLimit::is_silent);
        // No client sends anything else (specification, section 2.9).
        if is_silent || !matches!(kind, MessageType::Request | MessageType::Notify) {
            return None;
        }
        if !id.is_none() {
            self.pending.push(id);
        }
        Some(match kind {
            _ if is_limited => ServerEvent::Limited { id, route },
            MessageType::Request => ServerEvent::Request { id, route, body },
            _ => ServerEvent::Notify { route, body },
        })
    }

    fn refuse(&mut self, native: bool, reason: CloseReason) {
        self.engine.queue.control(PacketType::Handshake, self.config.handshake_answer(false, native));
        self.engine.close(reason, self.engine.now() + self.config.close_timeout());
        self.settle();
    }

    fn answer(&mut self, id: MessageId, error: bool, body: Bytes) -> Result<(), SendError> {
        if self.engine.is_closed() {
            return Err(SendError::Closed);
        }
        let index = self.pending.iter().position(|pending| *pending == id).ok_or(SendError::NotPending(id))?;
        let deflated = match self.state {
            State::Working { native } => self.config.settings().compression.deflate(native, &body),
            _ => None,
        };
        let compressed = deflated.is_some();
        let head = Head { kind: MessageType::Response, error, compressed, id, route: RouteField::None };
        self.engine.queue.message(head, deflated.unwrap_or(body))?;
        self.pending.remove(index);
        self.settle();
        Ok(())
    }

    /// Whether the client that is connected is a native one.
    fn connected_client(&self) -> Result<bool, SendError> {
        match self.state {
            State::AwaitAck { native, .. } | State::Working { native } => Ok(native),
            State::AwaitHandshake { .. } | State::Deciding { .. } => Err(SendError::NotConnected),
            State::Kicking { .. } | State::Closed => Err(SendError::Closed),
        }
    }

    fn queue_push(&mut self, push: Outgoing) -> Result<(), SendError> {
        let queued = self.engine.queue.push(push, self.max_queued_bytes);
        if let Err(SendError::QueueFull(_)) = queued {
            self.abort(CloseReason::SlowPeer);
        }
        queued
    }

    /// Lets the kick out once no answer is awaited, and forgets what a closed connection does not need.
    fn settle(&mut self) {
        if let State::Kicking { deadline, body } = &mut self.state
            && self.pending.is_empty()
        {
            self.engine.queue.control(PacketType::Kick, core::mem::take(&mut **body));
            let deadline = self.engine.now().max(*deadline);
            self.engine.close(CloseReason::Kicked, deadline + self.config.close_timeout());
        }
        if self.engine.is_closed() {
            self.state = State::Closed;
            self.pending = Vec::new();
        }
    }
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::AwaitHandshake { .. } => "before the handshake",
            Self::Deciding { .. } => "before the handshake was answered",
            Self::AwaitAck { .. } => "before the handshake was acknowledged",
            Self::Working { .. } => "while the connection works",
            Self::Kicking { .. } => "while the client is kicked",
            Self::Closed => "after the end",
        }
    }
}

/// The body of a kick: native clients take none, browsers read JSON.
fn kick_body(reason: Option<&str>, native: bool) -> Bytes {
    match reason {
        _ if native => Bytes::new(),
        None => Bytes::from_static(b"{}"),
        Some(reason) => {
            let reason = serde_json::Value::from(reason.to_owned());
            Bytes::from(alloc::format!("{{\"reason\":{reason}}}"))
        }
    }
}
