//! A client that blocks: `ClientConnection` on a socket of std or a simulated one, over raw TCP or WebSocket, encrypted or not.
//!
//! Every wait ends after [`PATIENCE`], with a text that says what was awaited and what came instead.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use cereus::core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, HandshakeRequest, HandshakeResponse, Instant, MessageId,
    Route, packet,
};
use tungstenite::{Error, Message, WebSocket};

#[path = "tls.rs"]
pub(crate) mod tls;

use tls::Socket;

use crate::net::{self, PATIENCE, Stream};

/// The body of an error answer, whatever the serializer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ErrorBody {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// What a request came to.
pub(crate) type Answer = Result<Bytes, ErrorBody>;

/// A client that went through its handshake.
pub(crate) struct Client {
    wire: Wire,
    connection: ClientConnection,
    inbox: VecDeque<ClientEvent>,
    /// What the server told in the handshake.
    pub(crate) welcome: HandshakeResponse,
}

impl Client {
    /// Connects to an endpoint, as it displays itself, and presents itself as a browser does.
    pub(crate) fn connect(endpoint: &str) -> Self {
        Self::connect_as(endpoint, HandshakeRequest::default())
    }

    /// Connects as a native client, which inflates bodies and wants text routes.
    pub(crate) fn connect_native(endpoint: &str) -> Self {
        let mut handshake = HandshakeRequest::default();
        handshake.lib_version = "1.0".into();
        Self::connect_as(endpoint, handshake)
    }

    /// Connects with what is told in the handshake.
    pub(crate) fn connect_as(endpoint: &str, handshake: HandshakeRequest) -> Self {
        Self::try_connect(endpoint, handshake).unwrap_or_else(|reason| panic!("no handshake with {endpoint}: {reason}"))
    }

    /// Connects, or tells how the connection ended instead.
    pub(crate) fn try_connect(endpoint: &str, handshake: HandshakeRequest) -> Result<Self, CloseReason> {
        let config = ClientConfig::builder().handshake(handshake).max_queued_bytes(64 << 20).build().unwrap();
        let mut client = Self {
            wire: Wire::connect(endpoint),
            connection: ClientConnection::new(config, net::now()),
            inbox: VecDeque::new(),
            welcome: HandshakeResponse::new(0, Duration::ZERO, [], ""),
        };
        match client.wait("the handshake", VecDeque::pop_front) {
            ClientEvent::Connected(welcome) => client.welcome = welcome,
            ClientEvent::Closed(reason) => return Err(reason),
            event => panic!("instead of the handshake there came {event:?}"),
        }
        Ok(client)
    }

    /// Asks and waits for the answer. Pushes that come meanwhile are kept.
    pub(crate) fn request(&mut self, route: &str, body: impl Into<Bytes>) -> Answer {
        let id = self.send(route, body);
        self.answer_to(id)
    }

    /// Asks with a body of JSON and reads an answer of JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self, route: &str, body: impl serde::Serialize) -> T {
        let answer = self.request(route, serde_json::to_vec(&body).unwrap());
        let body = answer.unwrap_or_else(|error| panic!("{route} was answered with {error:?}"));
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{route} was answered with {body:?}: {error}"))
    }

    /// Asks and expects an error.
    pub(crate) fn refused(&mut self, route: &str, body: impl Into<Bytes>) -> ErrorBody {
        self.request(route, body).expect_err("an answer instead of an error")
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, route: &str, body: impl Into<Bytes>) -> MessageId {
        self.send_all([(route, body)])[0]
    }

    /// Sends requests at once, without waiting for answers between them.
    pub(crate) fn send_all<B: Into<Bytes>>(
        &mut self,
        requests: impl IntoIterator<Item = (impl AsRef<str>, B)>,
    ) -> Vec<MessageId> {
        let queue = |(route, body): (_, B)| self.connection.request(&route_of(&route), body).unwrap();
        let ids = requests.into_iter().map(queue).collect();
        self.flush();
        ids
    }

    /// Sends a notify.
    pub(crate) fn notify(&mut self, route: &str, body: impl Into<Bytes>) {
        self.connection.notify(&route_of(&route), body).unwrap();
        self.flush();
    }

    /// Sends bytes past the connection: in one message if the transport has messages.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.wire.send(bytes);
    }

    /// The answer to a request.
    pub(crate) fn answer_to(&mut self, id: MessageId) -> Answer {
        let answer = self.wait("an answer", |inbox| {
            let is_it = |event: &ClientEvent| match event {
                ClientEvent::Response { id: of, .. } | ClientEvent::Error { id: of, .. } => *of == id,
                _ => false,
            };
            inbox.remove(inbox.iter().position(is_it)?)
        });
        self.read_answer(answer).1
    }

    /// The next answer to any request.
    pub(crate) fn next_answer(&mut self) -> (MessageId, Answer) {
        let answer = self.wait("the next answer", |inbox| {
            let is_one =
                |event: &ClientEvent| matches!(event, ClientEvent::Response { .. } | ClientEvent::Error { .. });
            inbox.remove(inbox.iter().position(is_one)?)
        });
        self.read_answer(answer)
    }

    /// Whatever comes next.
    pub(crate) fn next_event(&mut self) -> ClientEvent {
        self.wait("anything", VecDeque::pop_front)
    }

    /// The body of the next push on a route.
    pub(crate) fn expect_push(&mut self, route: &str) -> Bytes {
        let push = self.wait(route, |inbox| {
            let is_it = |event: &ClientEvent| matches!(event, ClientEvent::Push { route: of, .. } if of == route);
            inbox.remove(inbox.iter().position(is_it)?)
        });
        let ClientEvent::Push { body, .. } = push else { unreachable!("only pushes are taken") };
        body
    }

    /// Nothing was pushed on a route so far: of what the server sent before its answer to a request.
    pub(crate) fn has_push(&self, route: &str) -> bool {
        self.inbox.iter().any(|event| matches!(event, ClientEvent::Push { route: of, .. } if of == route))
    }

    /// The body of the kick that comes next.
    pub(crate) fn expect_kick(&mut self) -> Bytes {
        match self.wait("a kick", VecDeque::pop_front) {
            ClientEvent::Kicked(body) => body,
            event => panic!("instead of a kick there came {event:?}"),
        }
    }

    /// How the connection ends. Pushes may come before it, but no answer and no kick.
    pub(crate) fn expect_closed(&mut self) -> CloseReason {
        loop {
            match self.wait("the end", VecDeque::pop_front) {
                ClientEvent::Closed(reason) => return reason,
                ClientEvent::Push { .. } => {}
                event => panic!("instead of the end there came {event:?}"),
            }
        }
    }

    /// Does nothing for a while but what keeps the connection alive.
    pub(crate) fn idle(&mut self, duration: Duration) {
        let until = net::now() + duration;
        while net::now() < until {
            self.turn();
            assert!(!self.is_over(), "the connection ended while it idled: {:?}", self.inbox);
            self.read(until);
        }
    }

    fn wait<T>(&mut self, what: &str, mut take: impl FnMut(&mut VecDeque<ClientEvent>) -> Option<T>) -> T {
        let deadline = net::now() + PATIENCE;
        loop {
            self.turn();
            if let Some(found) = take(&mut self.inbox) {
                return found;
            }
            assert!(!self.is_over(), "the connection ended instead of {what}; there came {:?}", self.inbox);
            assert!(net::now() < deadline, "{what} did not come in time; there came {:?}", self.inbox);
            self.read(deadline);
        }
    }

    fn is_over(&self) -> bool {
        self.connection.is_closed()
    }

    /// Takes the events out and sends what they called for.
    fn turn(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            self.inbox.push_back(event);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let (mut buf, mut ends) = (BytesMut::new(), Vec::new());
        while self.connection.poll_transmit(&mut buf).is_some() {
            ends.push(buf.len());
        }
        self.wire.send_packets(&buf, &ends);
    }

    fn read(&mut self, deadline: Instant) {
        let timeout = self.connection.poll_timeout();
        let received = self.wire.receive(timeout.map_or(deadline, |timeout| timeout.min(deadline)));
        let now = net::now();
        match received {
            Received::Bytes(bytes) => self.connection.handle_input(&bytes, now),
            Received::Nothing => {}
            Received::Eof => self.connection.handle_eof(now),
            Received::Failed(_) => self.connection.abort(CloseReason::Transport),
        }
        if self.connection.poll_timeout().is_some_and(|at| now >= at) {
            self.connection.handle_timeout(now);
        }
    }

    fn read_answer(&self, event: ClientEvent) -> (MessageId, Answer) {
        match event {
            ClientEvent::Response { id, body } => (id, Ok(body)),
            ClientEvent::Error { id, body } if self.welcome.serializer == "protobuf" => {
                (id, Err(protobuf_error(&body)))
            }
            ClientEvent::Error { id, body } => (id, Err(json_error(&body))),
            event => unreachable!("{event:?} is no answer"),
        }
    }
}

fn route_of(route: &impl AsRef<str>) -> Route {
    Route::from(route.as_ref().to_owned())
}

fn json_error(body: &[u8]) -> ErrorBody {
    #[derive(serde::Deserialize)]
    struct Payload {
        code: String,
        #[serde(default)]
        msg: String,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    let Payload { code, msg: message, metadata } = serde_json::from_slice(body).unwrap();
    ErrorBody { code, message, metadata }
}

fn protobuf_error(body: &[u8]) -> ErrorBody {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Payload {
        #[prost(string, tag = "1")]
        code: String,
        #[prost(string, tag = "2")]
        msg: String,
        #[prost(btree_map = "string, string", tag = "3")]
        metadata: BTreeMap<String, String>,
    }
    let Payload { code, msg: message, metadata } = prost::Message::decode(body).unwrap();
    ErrorBody { code, message, metadata }
}

/// A socket and what is spoken on it, below packets.
pub(crate) enum Wire {
    Tcp(Socket),
    WebSocket(Box<WebSocket<Socket>>),
}

/// What a socket delivered.
#[derive(Debug)]
pub(crate) enum Received {
    Bytes(Bytes),
    /// It was silent for that long.
    Nothing,
    Eof,
    Failed(io::Error),
}

impl Wire {
    /// Connects to an endpoint, as it displays itself.
    pub(crate) fn connect(endpoint: &str) -> Self {
        Self::connect_after(b"", endpoint)
    }

    /// Connects, but sends these bytes before everything else, as a load balancer does.
    pub(crate) fn connect_after(header: &[u8], endpoint: &str) -> Self {
        let mut stream = open(endpoint).unwrap_or_else(|error| panic!("cannot connect to {endpoint}: {error}"));
        stream.write_all(header).unwrap();
        let socket = Socket::new(endpoint, stream);
        if !endpoint.starts_with("ws") {
            return Self::Tcp(socket);
        }
        let (websocket, _) = tungstenite::client(endpoint, socket).expect("the upgrade failed");
        Self::WebSocket(Box::new(websocket))
    }

    /// Sends bytes: in one message if there are messages. Whether the peer still takes them is not told.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.send_packets(bytes, &[bytes.len()]);
    }

    fn send_packets(&mut self, bytes: &[u8], ends: &[usize]) {
        if ends.is_empty() {
            return;
        }
        match self {
            Self::Tcp(socket) => drop(socket.write_all(bytes)),
            Self::WebSocket(websocket) => {
                let mut start = 0;
                for end in ends {
                    let _ = websocket.write(Message::Binary(Bytes::copy_from_slice(&bytes[start..*end])));
                    start = *end;
                }
                let _ = websocket.flush();
            }
        }
    }

    /// What comes until then.
    pub(crate) fn receive(&mut self, until: Instant) -> Received {
        self.stream().set_read_timeout((until - net::now()).max(Duration::from_millis(1)));
        match self {
            Self::Tcp(socket) => {
                let mut scratch = [0; 64 << 10];
                match socket.read(&mut scratch) {
                    Ok(0) => Received::Eof,
                    Ok(len) => Received::Bytes(Bytes::copy_from_slice(&scratch[..len])),
                    Err(error) => failed(error),
                }
            }
            Self::WebSocket(websocket) => match websocket.read() {
                Ok(Message::Binary(bytes)) => Received::Bytes(bytes),
                Ok(Message::Text(text)) => Received::Bytes(text.into()),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Received::Eof,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Received::Nothing,
                Err(Error::Io(error)) => failed(error),
                Err(_) => Received::Eof,
            },
        }
    }

    /// All packet bytes until the end, whether it is an orderly one or not.
    pub(crate) fn receive_to_end(&mut self) -> Vec<u8> {
        let (mut all, deadline) = (Vec::new(), net::now() + PATIENCE);
        loop {
            match self.receive(deadline) {
                Received::Bytes(bytes) => all.extend_from_slice(&bytes),
                Received::Eof | Received::Failed(_) => return all,
                Received::Nothing => {
                    assert!(net::now() < deadline, "the connection was not closed in time; there came {all:?}");
                }
            }
        }
    }

    /// The next packet.
    pub(crate) fn receive_packet(&mut self) -> (u8, Vec<u8>) {
        let (mut all, deadline) = (Vec::new(), net::now() + PATIENCE);
        loop {
            if let Ok((header, body)) = packet::decode_exact(&all) {
                return (header.kind as u8, body.to_vec());
            }
            match self.receive(deadline) {
                Received::Bytes(bytes) => all.extend_from_slice(&bytes),
                other => panic!("instead of a packet there came {other:?} after {all:?}"),
            }
        }
    }

    /// Sends nothing more.
    pub(crate) fn finish(&self) {
        self.stream().finish();
    }

    fn stream(&self) -> &Stream {
        match self {
            Self::Tcp(socket) => socket.stream(),
            Self::WebSocket(websocket) => websocket.get_ref().stream(),
        }
    }
}

fn failed(error: io::Error) -> Received {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Received::Nothing,
        _ => Received::Failed(error),
    }
}

/// A connection to an endpoint that blocks for no longer than [`PATIENCE`].
pub(crate) fn open(endpoint: &str) -> io::Result<Stream> {
    let (_, address) = endpoint.split_once("://").expect("an endpoint is scheme://address");
    Stream::connect(address.parse().unwrap())
}

/// Asks for a path by plain HTTP. Returns the status, the head and the body.
pub(crate) fn http_get(endpoint: &str, path: &str) -> (u16, String, String) {
    let mut stream = Socket::new(endpoint, open(endpoint).unwrap());
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer was not ended in time");
    let (head, body) = answer.split_once("\r\n\r\n").expect("the head of the answer has an end");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("the answer has a status");
    (status, head.to_owned(), body.to_owned())
}
