use alloc::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::{
    ClientConfig, CloseReason, HandshakeError, HandshakeResponse, Instant, Message, MessageId, MessageType,
    ProtocolError, Route, RouteDictionary, SendError,
    compression::{deflate, inflate, looks_deflated},
    config::ClientConfigBuilder,
    engine::Engine,
    heartbeat::Heartbeat,
    message::{Head, MessageError, RouteField},
    packet::{Packet, PacketError, PacketType},
};

/// The client's side of one connection: the mirror image of [`ServerConnection`](crate::ServerConnection), with the same
/// four kinds of methods and the same contract.
///
/// ```
/// use bytes::BytesMut;
/// use cereus_core::{ClientConfig, ClientConnection, ClientEvent, Instant, Route};
///
/// let now = Instant::EPOCH;
/// let mut connection = ClientConnection::new(ClientConfig::default(), now);
/// let mut out = BytesMut::new();
/// while connection.poll_transmit(&mut out).is_some() {} // the handshake
///
/// connection.handle_input(b"\x01\0\0\x23{\"code\":200,\"sys\":{\"heartbeat\":30}}", now);
/// let Some(ClientEvent::Connected(_)) = connection.poll_event() else { panic!() };
/// let id = connection.request(&Route::from_static("room.join"), "{}")?;
///
/// connection.handle_input(b"\x04\0\0\x04\x04\x01ok", now);
/// assert_eq!(connection.poll_event(), Some(ClientEvent::Response { id, body: "ok".into() }));
/// # Ok::<(), cereus_core::SendError>(())
/// ```
#[derive(Debug)]
pub struct ClientConnection {
    engine: Engine,
    config: ClientConfig,
    state: State,
    dictionary: RouteDictionary,
    in_flight: BTreeSet<u32>,
    last_id: u32,
}

#[derive(Debug)]
enum State {
    AwaitResponse { deadline: Instant },
    Working,
    Closed,
}

/// What the client has to act on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server accepted the handshake: messages may go both ways.
    Connected(HandshakeResponse),
    /// The answer to a request.
    Response {
        /// The request.
        id: MessageId,
        /// The body, inflated.
        body: Bytes,
    },
    /// The answer to a request is an error.
    Error {
        /// The request.
        id: MessageId,
        /// The server's error, in its serializer's form.
        body: Bytes,
    },
    /// The server tells.
    Push {
        /// What for.
        route: Route,
        /// The body, inflated.
        body: Bytes,
    },
    /// The server throws this client out; `Closed` follows. The body is empty or JSON with a `reason`.
    Kicked(Bytes),
    /// The connection ended. Always the last event, exactly once. Requests in flight get no answer any more.
    Closed(CloseReason),
}

/// Inputs.
impl ClientConnection {
    /// A connection that was just made. Its handshake waits to be transmitted.
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let ClientConfigBuilder { handshake, limits, .. } = config.settings();
        let deadline = now + limits.handshake_timeout;
        let no_heartbeat_yet = Heartbeat::new(core::time::Duration::ZERO, now);
        let mut engine = Engine::new(limits, no_heartbeat_yet, now);
        engine.queue.control(PacketType::Handshake, handshake.encode().into());
        Self {
            engine,
            config,
            state: State::AwaitResponse { deadline },
            dictionary: RouteDictionary::default(),
            in_flight: BTreeSet::new(),
            last_id: 0,
        }
    }

    /// The server sent these bytes, in any segmentation.
    pub fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        self.engine.handle_input(bytes, now);
    }

    /// The server sends no more.
    pub fn handle_eof(&mut self, now: Instant) {
        self.engine.handle_eof(now);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) told has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now, matches!(self.state, State::Working));
        if let State::AwaitResponse { deadline } = self.state
            && now >= deadline
        {
            self.engine.abort(CloseReason::HandshakeTimeout);
        }
    }
}

/// Commands.
impl ClientConnection {
    /// Sends a request. The answer comes as an event with the id that is returned.
    ///
    /// # Errors
    ///
    /// [`SendError::NotConnected`], [`SendError::TooManyRequests`], [`SendError::QueueFull`],
    /// [`SendError::RouteTooLong`], [`SendError::TooLarge`], [`SendError::Closed`]. Nothing was sent then.
    pub fn request(&mut self, route: &Route, body: impl Into<Bytes>) -> Result<MessageId, SendError> {
        let max = self.config.settings().limits.max_pending_requests;
        if self.in_flight.len() >= max {
            return Err(SendError::TooManyRequests(max));
        }
        let id = self.next_id();
        self.send(MessageType::Request, MessageId::new(id.into()), route, body.into())?;
        self.last_id = id;
        self.in_flight.insert(id);
        Ok(MessageId::new(id.into()))
    }

    /// Sends a notify. There is no answer.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn notify(&mut self, route: &Route, body: impl Into<Bytes>) -> Result<(), SendError> {
        self.send(MessageType::Notify, MessageId::NONE, route, body.into())
    }

    /// Forgets a request: its answer, should it come, is dropped.
    pub fn cancel(&mut self, id: MessageId) {
        if let Ok(id) = u32::try_from(id.get()) {
            self.in_flight.remove(&id);
        }
    }

    /// Closes the connection. What was queued may still go out, for at most the close timeout.
    pub fn close(&mut self, now: Instant) {
        let until = self.engine.advance(now) + self.config.settings().limits.close_timeout;
        self.engine.close(CloseReason::Local, until);
    }

    /// The driver's word that the connection is of no use any more. What was queued is dropped.
    pub fn abort(&mut self, reason: CloseReason) {
        self.engine.abort(reason);
    }
}

/// Outputs.
impl ClientConnection {
    /// Appends exactly one packet to `buf` and returns its length; `None` when nothing waits.
    #[must_use = "the bytes in the buffer have to be written"]
    pub fn poll_transmit(&mut self, buf: &mut BytesMut) -> Option<usize> {
        self.engine.transmit(buf)
    }

    /// The next event, decoded now; `None` when there is none.
    #[must_use = "an event is told once"]
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        loop {
            if self.engine.is_closed() {
                self.state = State::Closed;
                self.in_flight.clear();
                return self.engine.take_close_reason().map(ClientEvent::Closed);
            }
            match self.engine.next_packet() {
                Some(packet) => {
                    if let Some(event) = self.handle_packet(packet) {
                        return Some(event);
                    }
                }
                None if self.engine.is_closed() => {}
                None => return None,
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` when nothing is due ever.
    #[must_use = "without it no silent server is found"]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::AwaitResponse { deadline } if !self.engine.is_closed() => Some(deadline),
            _ => self.engine.poll_timeout(),
        }
    }
}

/// Facts.
impl ClientConnection {
    /// Whether to read the socket.
    pub fn wants_input(&self) -> bool {
        self.engine.wants_input()
    }

    /// Whether there is room for more requests and notifies.
    pub fn has_room(&self) -> bool {
        self.engine.queue.bytes() < self.config.settings().limits.max_queued_bytes
    }

    /// Whether the connection ended.
    pub fn is_closed(&self) -> bool {
        self.engine.is_closed()
    }

    /// How many requests wait for their answer.
    pub fn pending_requests(&self) -> usize {
        self.in_flight.len()
    }

    /// The bytes held: received and not polled, queued and not sent.
    pub fn buffered(&self) -> usize {
        self.engine.buffered()
    }
}

impl ClientConnection {
    fn handle_packet(&mut self, packet: Packet) -> Option<ClientEvent> {
        match (packet.kind, &self.state) {
            (PacketType::Handshake, _) => self.handle_handshake(&packet.body),
            (PacketType::Heartbeat, _) => None,
            (PacketType::Data, State::Working) => self.handle_data(packet.body),
            (PacketType::Kick, _) => {
                self.engine.abort(CloseReason::Kicked);
                Some(ClientEvent::Kicked(packet.body))
            }
            (kind, state) => {
                let when = match state {
                    State::AwaitResponse { .. } => "before the handshake was answered",
                    State::Working => "while the connection works",
                    State::Closed => "after the end",
                };
                self.engine.fail(ProtocolError::OutOfOrder { kind, when });
                None
            }
        }
    }

    fn handle_handshake(&mut self, body: &[u8]) -> Option<ClientEvent> {
        let (response, dictionary) = match self.read_handshake(body) {
            Ok(read) => read,
            Err(error) => {
                self.engine.fail(error);
                return None;
            }
        };
        if response.code != HandshakeResponse::OK {
            self.engine.abort(CloseReason::HandshakeRefused(response.code));
            return None;
        }
        self.dictionary = dictionary;
        self.engine.heartbeat = Heartbeat::new(response.heartbeat, self.engine.now());
        self.engine.queue.control(PacketType::HandshakeAck, Bytes::new());
        self.state = State::Working;
        Some(ClientEvent::Connected(response))
    }

    fn read_handshake(&self, body: &[u8]) -> Result<(HandshakeResponse, RouteDictionary), ProtocolError> {
        let max = self.config.settings().limits.max_handshake_size;
        if body.len() > max {
            return Err(PacketError::TooLarge { len: body.len(), max }.into());
        }
        let response = if looks_deflated(body) {
            let inflated = inflate(body, max).map_err(MessageError::from)?;
            HandshakeResponse::parse(&inflated)?
        } else {
            HandshakeResponse::parse(body)?
        };
        let dictionary = RouteDictionary::from_routes(&response.dictionary).map_err(|_| HandshakeError::WrongType {
            member: "sys.dict",
            expected: "a dictionary of distinct routes and codes",
        })?;
        Ok((response, dictionary))
    }

    fn handle_data(&mut self, body: Bytes) -> Option<ClientEvent> {
        let max_inflated = self.config.settings().limits.max_inflated_size;
        let message = match Message::decode(body, &self.dictionary, max_inflated) {
            Ok(message) => message,
            Err(error) => {
                self.engine.fail(error.into());
                return None;
            }
        };
        let Message { kind, id, route, error, body } = message;
        match kind {
            MessageType::Push => Some(ClientEvent::Push { route, body }),
            MessageType::Response if self.was_in_flight(id) => {
                Some(if error { ClientEvent::Error { id, body } } else { ClientEvent::Response { id, body } })
            }
            // An answer that nobody waits for: late, or twice. A server sends no requests and notifies.
            MessageType::Response | MessageType::Request | MessageType::Notify => None,
        }
    }

    fn was_in_flight(&mut self, id: MessageId) -> bool {
        u32::try_from(id.get()).is_ok_and(|id| self.in_flight.remove(&id))
    }

    /// Ids are 32 bits wide, as native clients have them; 0 and the last one are never used.
    fn next_id(&self) -> u32 {
        let mut id = self.last_id;
        loop {
            id = if id >= u32::MAX - 1 { 1 } else { id + 1 };
            if !self.in_flight.contains(&id) {
                return id;
            }
        }
    }

    fn send(&mut self, kind: MessageType, id: MessageId, route: &Route, body: Bytes) -> Result<(), SendError> {
        if self.engine.is_closed() {
            return Err(SendError::Closed);
        }
        if !matches!(self.state, State::Working) {
            return Err(SendError::NotConnected);
        }
        let queued = self.engine.queue.bytes();
        if queued >= self.config.settings().limits.max_queued_bytes {
            return Err(SendError::QueueFull(queued));
        }
        let route = RouteField::new(route, &self.dictionary).map_err(SendError::from_message)?;
        let deflated = if self.config.settings().compress { deflate(&body).map(Bytes::from) } else { None };
        let head = Head { kind, error: false, compressed: deflated.is_some(), id, route };
        self.engine.queue.message(head, deflated.unwrap_or(body))
    }
}
