//! What passes between one client and its server, and what has to be true of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus_core::{
    CloseReason, Instant, Message, MessageId, MessageType, ServerConfig,
    packet::{Packet, PacketDecoder, PacketType},
};

use tracing::{Level, subscriber::DefaultGuard};

use super::invariants;
use crate::{
    Direction, Journal, Wire,
    journal::{Entry, Log},
    runtime::Tap,
};

/// Bodies are only looked at.
const MAX_INFLATED: usize = 16 << 20;

/// All connections, by the address of the client. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Conversations(Arc<Mutex<BTreeMap<SocketAddr, Conversation>>>);

impl Conversations {
    /// Listens in on a connection that was just made.
    pub(super) fn listen(
        &self,
        client: String,
        server: &str,
        wire: &Wire,
        config: ServerConfig,
        journal: &Journal,
        ordered: bool,
    ) {
        let model = Arc::new(Mutex::new(Model {
            client,
            journal: journal.clone(),
            from_client: PacketDecoder::new(config.max_packet_size()),
            from_server: PacketDecoder::new(usize::MAX),
            config,
            asked: VecDeque::new(),
            heard: journal.now(),
            kicking: false,
            kicked: false,
            ended: None,
            ordered,
        }));
        wire.tap(Direction::Up, Uplink(Arc::clone(&model)));
        wire.tap(Direction::Down, Downlink(Arc::clone(&model)));
        let conversation = Conversation { server: server.to_owned(), wire: wire.clone(), model };
        lock(&self.0).insert(wire.client(), conversation);
    }

    pub(super) fn find(&self, client: SocketAddr) -> Option<Conversation> {
        lock(&self.0).get(&client).cloned()
    }

    pub(super) fn of(&self, server: &str) -> impl Iterator<Item = Conversation> + use<> {
        let all: Vec<_> =
            lock(&self.0).values().filter(|conversation| conversation.server == server).cloned().collect();
        all.into_iter()
    }

    pub(super) fn check(&self, now: Instant) {
        lock(&self.0).values().for_each(|conversation| conversation.check(now));
    }
}

/// Takes in what this thread logs, as long as the guard lives.
pub(super) fn listen_to_logs(journal: &Journal, conversations: &Conversations) -> DefaultGuard {
    let (journal, conversations) = (journal.clone(), conversations.clone());
    tracing::subscriber::set_default(Log(move |entry: Entry| {
        journal.note(format_args!("log: {entry}"));
        if entry.level == Level::ERROR {
            journal.violated(invariants::LOG, &entry);
        }
        // The driver tells here, and nowhere else, what it does with a connection and why it ended.
        let peer = entry.field("peer").map(|peer| peer.trim_start_matches("Some(").trim_end_matches(')'));
        if let Some(conversation) = peer.and_then(|peer| conversations.find(peer.parse().ok()?)) {
            match (entry.message.as_str(), entry.field("reason")) {
                ("connection closed", Some(reason)) => conversation.ended(reason, journal.now()),
                ("kicking", _) => conversation.kicking(journal.now()),
                _ => {}
            }
        }
    }))
}

/// One connection, as the server has it. Clones are the same one.
#[derive(Clone)]
pub(super) struct Conversation {
    /// The id of the server.
    server: String,
    wire: Wire,
    model: Arc<Mutex<Model>>,
}

struct Model {
    client: String,
    journal: Journal,
    config: ServerConfig,
    from_client: PacketDecoder,
    from_server: PacketDecoder,
    /// The requests that the server has read and not answered, in their order.
    asked: VecDeque<MessageId>,
    /// When the server had the last packet.
    heard: Instant,
    /// The client is to go, and no more is expected of it.
    kicking: bool,
    /// The client was told to go.
    kicked: bool,
    /// When and how it ended for the server.
    ended: Option<(Instant, String)>,
    ordered: bool,
}

impl Conversation {
    /// The server says that the connection ended, and why.
    fn ended(&self, why: &str, now: Instant) {
        let mut model = lock(&self.model);
        let silence = now - model.heard;
        if why == CloseReason::HeartbeatTimeout.to_string() && silence <= 2 * model.config.heartbeat() {
            model.violated(invariants::HEARTBEAT, format_args!("given up after {silence:?}"));
        }
        model.ended = Some((now, why.to_owned()));
    }

    /// The client is let go. From now on it is not heard, and its silence begins anew.
    fn kicking(&self, now: Instant) {
        let mut model = lock(&self.model);
        if !std::mem::replace(&mut model.kicking, true) {
            model.heard = now;
        }
    }

    pub(super) fn is_kicking(&self) -> bool {
        lock(&self.model).kicking
    }

    /// When and how it ended for the server.
    pub(super) fn end(&self) -> Option<(Instant, String)> {
        lock(&self.model).ended.clone()
    }

    /// The server is gone, and whoever was connected to it.
    pub(super) fn server_is_gone(&self, now: Instant) {
        lock(&self.model).ended.get_or_insert_with(|| (now, "the server is gone".to_owned()));
    }

    /// What is true at any time.
    pub(super) fn check(&self, now: Instant) {
        let mut model = lock(&self.model);
        if !self.wire.is_served(Direction::Up) {
            model.heard = now;
        }
        let silence = now - model.heard;
        let limit = 3 * model.config.heartbeat();
        if model.ended.is_none()
            && limit > Duration::ZERO
            && silence > limit
            // It does not read what is there: silence does not count.
            && !self.wire.is_unread(Direction::Up, now)
        {
            model.violated(invariants::HEARTBEAT, format_args!("silent for {silence:?} and still there"));
        }
    }
}

impl Model {
    fn asks(&mut self, packet: &Packet, now: Instant) {
        self.heard = now;
        if packet.kind != PacketType::Data {
            return self.note(format_args!("-> {:?}", packet.kind));
        }
        let Ok(message) = Message::decode(packet.body.clone(), self.config.dictionary(), MAX_INFLATED) else {
            return self.note("-> what cannot be read");
        };
        self.note(format_args!("-> {}", Brief(&message)));
        if message.kind == MessageType::Request && !message.id.is_none() {
            self.asked.push_back(message.id);
        }
    }

    fn answers(&mut self, packet: &Packet) {
        if self.kicked {
            self.violated(invariants::CLOSED, format_args!("{:?} after the kick", packet.kind));
        }
        if packet.kind != PacketType::Data {
            self.kicked |= packet.kind == PacketType::Kick;
            return self.note(format_args!("<- {:?}", packet.kind));
        }
        let message = match Message::decode(packet.body.clone(), self.config.dictionary(), MAX_INFLATED) {
            Ok(message) => message,
            Err(error) => return self.violated(invariants::FRAMES, format_args!("a message with {error}")),
        };
        self.note(format_args!("<- {}", Brief(&message)));
        if message.kind != MessageType::Response {
            return;
        }
        match self.asked.iter().position(|id| *id == message.id) {
            None => self.violated(invariants::ANSWER, format_args!("{} is answered and not asked", message.id)),
            Some(place) => {
                if place > 0 && self.ordered {
                    let first = self.asked[0];
                    self.violated(invariants::ORDER, format_args!("{} is answered before {first}", message.id));
                }
                self.asked.remove(place);
            }
        }
    }

    fn note(&self, what: impl fmt::Display) {
        self.journal.note(format_args!("{} {what}", self.client));
    }

    fn violated(&self, invariant: &str, why: impl fmt::Display) {
        self.journal.violated(invariant, format_args!("{}: {why}", self.client));
    }
}

struct Uplink(Arc<Mutex<Model>>);

impl Tap for Uplink {
    fn read(&mut self, bytes: &[u8], now: Instant) {
        let mut model = lock(&self.0);
        // Of a client that is let go nothing is looked at: that something comes is enough.
        if model.kicking {
            model.heard = now;
        }
        model.from_client.push(bytes);
        while let Ok(Some(packet)) = model.from_client.next_packet() {
            model.asks(&packet, now);
        }
    }
}

struct Downlink(Arc<Mutex<Model>>);

impl Tap for Downlink {
    fn written(&mut self, bytes: &[u8], _now: Instant) {
        let mut model = lock(&self.0);
        model.from_server.push(bytes);
        loop {
            match model.from_server.next_packet() {
                Ok(Some(packet)) => model.answers(&packet),
                Ok(None) => return,
                Err(error) => return model.violated(invariants::FRAMES, format_args!("a packet with {error}")),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message in a few words.
struct Brief<'a>(&'a Message);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { kind, id, route, error, body, .. } = self.0;
        let route = route.as_str().unwrap_or("?");
        match kind {
            MessageType::Request => write!(f, "request {id} {route}")?,
            MessageType::Response if *error => write!(f, "error {id}")?,
            MessageType::Response => write!(f, "answer {id}")?,
            kind => write!(f, "{kind:?} {route}")?,
        }
        match std::str::from_utf8(body) {
            Ok(text) if text.len() <= 120 => write!(f, " {text:?}"),
            _ => write!(f, " of {} bytes", body.len()),
        }
    }
}
