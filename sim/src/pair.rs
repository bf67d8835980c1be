use std::{fmt, sync::Arc, time::Duration};

use bytes::BytesMut;
use cereus_core::{
    ClientConfig, ClientConnection, ClientEvent, CloseReason, Instant, ServerConfig, ServerConnection, ServerEvent,
    packet::{Packet, PacketDecoder},
};

use crate::{Clock, Delivery, Link, LinkConfig, Rng, link};

/// More rounds than any test needs: something goes round in circles.
const MAX_ROUNDS: usize = 20_000_000;

/// Something, and when it was.
pub type Timed<T> = (Instant, T);

type OnServer = Box<dyn FnMut(&ServerEvent, &mut ServerConnection, Instant)>;
type OnClient = Box<dyn FnMut(&ClientEvent, &mut ClientConnection, Instant)>;

/// A server connection and a client connection, joined by two links, in virtual time.
///
/// Both are driven as their contract says: bytes are read while the connection wants input, everything is transmitted
/// while the link has room, deadlines are met to the nanosecond. Events are recorded, after a closure has acted on them.
///
/// Commands are given to [`server`](Self::server) and [`client`](Self::client) directly; they take effect when time is
/// run. See the [crate](crate) for an example.
pub struct Pair {
    /// The server's side.
    pub server: ServerConnection,
    /// The client's side.
    pub client: ClientConnection,
    /// From the client to the server.
    pub uplink: Link,
    /// From the server to the client.
    pub downlink: Link,
    /// What the server told, and when.
    pub server_events: Vec<Timed<ServerEvent>>,
    /// What the client told, and when.
    pub client_events: Vec<Timed<ClientEvent>>,
    /// The packets that the server gave to the link, and when.
    pub server_sent: Vec<Timed<Packet>>,
    /// The packets that the client gave to the link, and when.
    pub client_sent: Vec<Timed<Packet>>,
    clock: Clock,
    seed: u64,
    on_server: OnServer,
    on_client: OnClient,
    server_polls: bool,
    client_lives: bool,
}

/// Makes a [`Pair`].
#[derive(Debug)]
pub struct PairBuilder {
    seed: u64,
    server: Arc<ServerConfig>,
    client: ClientConfig,
    uplink: LinkConfig,
    downlink: LinkConfig,
    raw: bool,
    closures: Closures,
}

struct Closures(OnServer, OnClient);

impl fmt::Debug for Closures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl PairBuilder {
    /// How the server treats its clients.
    #[must_use]
    pub fn server(mut self, config: ServerConfig) -> Self {
        self.server = Arc::new(config);
        self
    }

    /// How the client presents itself.
    #[must_use]
    pub fn client(mut self, config: ClientConfig) -> Self {
        self.client = config;
        self
    }

    /// The link from the client to the server.
    #[must_use]
    pub fn uplink(mut self, config: LinkConfig) -> Self {
        self.uplink = config;
        self
    }

    /// The link from the server to the client.
    #[must_use]
    pub fn downlink(mut self, config: LinkConfig) -> Self {
        self.downlink = config;
        self
    }

    /// Two links that behave as the seed says, see [`LinkConfig::random`].
    #[must_use]
    pub fn random_links(self) -> Self {
        let mut rng = Rng::new(!self.seed);
        let (uplink, downlink) = (LinkConfig::random(&mut rng), LinkConfig::random(&mut rng));
        self.uplink(uplink).downlink(downlink)
    }

    /// What the server does on an event. By default it accepts every client and echoes every request.
    #[must_use]
    pub fn on_server(mut self, act: impl FnMut(&ServerEvent, &mut ServerConnection, Instant) + 'static) -> Self {
        self.closures.0 = Box::new(act);
        self
    }

    /// What the client does on an event. By default nothing.
    #[must_use]
    pub fn on_client(mut self, act: impl FnMut(&ClientEvent, &mut ClientConnection, Instant) + 'static) -> Self {
        self.closures.1 = Box::new(act);
        self
    }

    /// There is no client: the test sends bytes by [`Pair::uplink`] itself, and what arrives is thrown away.
    #[must_use]
    pub fn without_client(mut self) -> Self {
        self.raw = true;
        self
    }

    /// Both connections, just made. Nothing was sent yet.
    pub fn build(self) -> Pair {
        let Self { seed, server, client, uplink, downlink, raw, closures } = self;
        let clock = Clock::default();
        Pair {
            server: ServerConnection::new(server, clock.now()),
            client: ClientConnection::new(client, clock.now()),
            uplink: Link::new(uplink, seed),
            downlink: Link::new(downlink, seed.wrapping_add(1)),
            server_events: Vec::new(),
            client_events: Vec::new(),
            server_sent: Vec::new(),
            client_sent: Vec::new(),
            clock,
            seed,
            on_server: closures.0,
            on_client: closures.1,
            server_polls: true,
            client_lives: !raw,
        }
    }
}

/// Making one.
impl Pair {
    /// A pair whose links take what they choose from `seed`.
    pub fn builder(seed: u64) -> PairBuilder {
        PairBuilder {
            seed,
            server: Arc::default(),
            client: ClientConfig::default(),
            uplink: LinkConfig::default(),
            downlink: LinkConfig::default(),
            raw: false,
            closures: Closures(Box::new(accept_and_echo), Box::new(|_, _, _| {})),
        }
    }
}

/// Running time.
impl Pair {
    /// Does everything that is due, or if that is nothing, lets time pass until something is.
    ///
    /// False: nothing will ever happen again.
    ///
    /// # Panics
    ///
    /// When one of the connections breaks its contract.
    pub fn step(&mut self) -> bool {
        if self.round() {
            return true;
        }
        match self.next_wake() {
            Some(wake) => {
                assert!(wake > self.now(), "a deadline that was met is still there");
                self.clock.advance_to(wake);
                true
            }
            None => false,
        }
    }

    /// Runs until `done`. Returns when that was.
    ///
    /// # Panics
    ///
    /// When it never comes.
    pub fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) -> Instant {
        for _ in 0..MAX_ROUNDS {
            if done(self) {
                return self.now();
            }
            assert!(self.step(), "what the test waits for never comes: {self:#?}");
        }
        panic!("what the test waits for does not come: {self:#?}");
    }

    /// Lets exactly this much time pass, and does everything that is due in it.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now() + duration;
        loop {
            self.run_now();
            match self.next_wake() {
                Some(wake) if wake <= end => self.clock.advance_to(wake),
                _ => break,
            }
        }
        self.clock.advance_to(end);
        self.run_now();
    }

    /// Runs until everything that was sent has arrived and was acted on; what only time brings is not waited for.
    pub fn run_idle(&mut self) {
        loop {
            self.run_now();
            match self.next_arrival() {
                Some(arrival) => self.clock.advance_to(arrival.min(self.next_wake().unwrap_or(arrival))),
                None => break,
            }
        }
    }

    /// While paused the server polls no events, like one whose handlers are busy.
    pub fn pause_server(&mut self, paused: bool) {
        self.server_polls = !paused;
    }
}

/// Facts.
impl Pair {
    /// What time it is.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether both sides know that they are connected.
    pub fn is_connected(&self) -> bool {
        self.server_events.iter().any(|(_, event)| *event == ServerEvent::Connected)
            && self.client_saw(|event| matches!(event, ClientEvent::Connected(_)))
    }

    /// Whether the client told an event like this.
    pub fn client_saw(&self, which: impl Fn(&ClientEvent) -> bool) -> bool {
        self.client_events.iter().any(|(_, event)| which(event))
    }

    /// When and how the server's side ended.
    pub fn server_closed(&self) -> Option<(Instant, &CloseReason)> {
        match self.server_events.last() {
            Some((at, ServerEvent::Closed(reason))) => Some((*at, reason)),
            _ => None,
        }
    }

    /// When and how the client's side ended.
    pub fn client_closed(&self) -> Option<(Instant, &CloseReason)> {
        match self.client_events.last() {
            Some((at, ClientEvent::Closed(reason))) => Some((*at, reason)),
            _ => None,
        }
    }
}

impl Pair {
    /// Everything that is due at this instant.
    fn run_now(&mut self) {
        for _ in 0..MAX_ROUNDS {
            if !self.round() {
                return;
            }
        }
        panic!("time stands still: {self:#?}");
    }

    /// One turn of both drivers. Returns whether anything happened.
    fn round(&mut self) -> bool {
        let server = self.read_as_server() | self.act_as_server() | self.write_as_server();
        let client = self.client_lives && (self.read_as_client() | self.act_as_client() | self.write_as_client());
        let nobody = !self.client_lives && self.downlink.poll(self.now()).is_some();
        server | client | nobody
    }

    fn read_as_server(&mut self) -> bool {
        let now = self.now();
        if !self.server.wants_input() {
            return false;
        }
        match self.uplink.poll(now) {
            Some(Delivery::Bytes(bytes)) => self.server.handle_input(&bytes, now),
            Some(Delivery::Eof) => self.server.handle_eof(now),
            Some(Delivery::Reset) => {
                self.server.abort(CloseReason::Transport);
                self.downlink.reset(now);
            }
            None => return false,
        }
        true
    }

    fn act_as_server(&mut self) -> bool {
        let now = self.now();
        let mut acted = false;
        if self.server.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.server.handle_timeout(now);
            acted = true;
        }
        while self.server_polls
            && (self.server.has_room() || self.server.is_closed())
            && let Some(event) = self.server.poll_event()
        {
            assert!(self.server_closed().is_none(), "an event of the server after its end: {event:?}");
            let closed = matches!(event, ServerEvent::Closed(_));
            assert!(!closed || self.server.is_closed(), "told to be closed and it is not");
            (self.on_server)(&event, &mut self.server, now);
            self.server_events.push((now, event));
            acted = true;
        }
        acted
    }

    fn write_as_server(&mut self) -> bool {
        let now = self.now();
        let mut wrote = false;
        let mut buf = BytesMut::new();
        while self.downlink.has_room()
            && let Some(len) = self.server.poll_transmit(&mut buf)
        {
            send(&mut buf, len, &mut self.downlink, &mut self.server_sent, now);
            wrote = true;
        }
        if self.server.is_closed() && self.downlink.has_room() {
            self.downlink.close(now);
        }
        wrote
    }

    fn read_as_client(&mut self) -> bool {
        let now = self.now();
        if !self.client.wants_input() {
            return false;
        }
        match self.downlink.poll(now) {
            Some(Delivery::Bytes(bytes)) => self.client.handle_input(&bytes, now),
            Some(Delivery::Eof) => self.client.handle_eof(now),
            Some(Delivery::Reset) => {
                self.client.abort(CloseReason::Transport);
                self.uplink.reset(now);
            }
            None => return false,
        }
        true
    }

    fn act_as_client(&mut self) -> bool {
        let now = self.now();
        let mut acted = false;
        if self.client.poll_timeout().is_some_and(|deadline| deadline <= now) {
            self.client.handle_timeout(now);
            acted = true;
        }
        while let Some(event) = self.client.poll_event() {
            assert!(self.client_closed().is_none(), "an event of the client after its end: {event:?}");
            let closed = matches!(event, ClientEvent::Closed(_));
            assert!(!closed || self.client.is_closed(), "told to be closed and it is not");
            (self.on_client)(&event, &mut self.client, now);
            self.client_events.push((now, event));
            acted = true;
        }
        acted
    }

    fn write_as_client(&mut self) -> bool {
        let now = self.now();
        let mut wrote = false;
        let mut buf = BytesMut::new();
        while self.uplink.has_room()
            && let Some(len) = self.client.poll_transmit(&mut buf)
        {
            send(&mut buf, len, &mut self.uplink, &mut self.client_sent, now);
            wrote = true;
        }
        if self.client.is_closed() && self.uplink.has_room() {
            self.uplink.close(now);
        }
        wrote
    }

    /// When the next bytes that somebody wants to read arrive.
    fn next_arrival(&self) -> Option<Instant> {
        let up = self.uplink.next().filter(|_| self.server.wants_input());
        let down = self.downlink.next().filter(|_| !self.client_lives || self.client.wants_input());
        link::earliest(up, down)
    }

    fn next_wake(&self) -> Option<Instant> {
        let client = if self.client_lives { self.client.poll_timeout() } else { None };
        link::earliest(self.next_arrival(), link::earliest(self.server.poll_timeout(), client))
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("server", &self.server)
            .field("client", &self.client)
            .field("server_events", &self.server_events)
            .field("client_events", &self.client_events)
            .finish_non_exhaustive()
    }
}

/// What a server does when the test says nothing else.
fn accept_and_echo(event: &ServerEvent, server: &mut ServerConnection, now: Instant) {
    match event {
        ServerEvent::Handshake(_) => server.accept(now),
        ServerEvent::Request { id, body, .. } if id.get() != 0 => {
            server.respond(*id, body.clone()).expect("a request that was just given out can be answered");
        }
        _ => {}
    }
}

/// Gives what was appended to `buf` to the link, and checks that it is one packet of this length.
fn send(buf: &mut BytesMut, len: usize, link: &mut Link, sent: &mut Vec<Timed<Packet>>, now: Instant) {
    assert_eq!(buf.len(), len, "poll_transmit told another length than it wrote");
    link.send(buf, now);
    let mut decoder = PacketDecoder::new(usize::MAX);
    decoder.push(buf);
    let packet = decoder.next_packet().expect("what is transmitted can be read");
    sent.push((now, packet.expect("what is transmitted is a whole packet")));
    assert_eq!(decoder.buffered(), 0, "poll_transmit wrote more than one packet");
    buf.clear();
}
