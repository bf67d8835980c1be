//! What clients and handlers are known to have done, and what has to be true of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus_core::{ClientEvent, Instant, MessageId};
use cereus_sim::{Journal, invariants};

/// How long a message that is forwarded may take, and a call.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a handler may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);

/// All that one client was promised arrives, or the connection ends.
pub(crate) const PUSHES: &str = "no-push-is-lost";
/// What a client sent once is handled once.
pub(crate) const ONCE: &str = "handled-once";

/// The reference: what was sent, what began, what ended. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Model {
    journal: Journal,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    clients: Vec<Client>,
    by_address: BTreeMap<SocketAddr, usize>,
    /// The bus has repeated, or lost, or held up what it carries.
    bus_fails: bool,
    last_shout: u64,
    /// When the calls of handlers that have not ended began.
    calls: BTreeMap<u64, Instant>,
    last_call: u64,
}

#[derive(Default)]
struct Client {
    sent: Vec<Sent>,
    /// The message with the highest number that a handler has begun with, and when.
    latest: Option<(usize, Instant)>,
    running: BTreeSet<usize>,
    waiting: BTreeMap<MessageId, usize>,
    /// Pushes that its server took, and those that have arrived.
    pushed: u64,
    arrived: u64,
    /// Pushes that an answer has overtaken: the client is being kicked, or else they are lost.
    missed: Option<String>,
    shouts: BTreeSet<u64>,
    /// How often its server told that it left.
    left: usize,
    bytes: Bytes,
}

/// Of pushes, roughly: without heads.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bytes {
    pub(crate) taken: usize,
    pub(crate) arrived: usize,
}

struct Sent {
    at: Instant,
    begun: usize,
    is_forwarded: bool,
}

/// A message that runs: it ends when this is dropped.
pub(crate) struct Running {
    model: Model,
    client: usize,
    number: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.model.lock().clients[self.client].running.remove(&self.number);
    }
}

/// A call of a handler: it ends when this is dropped.
pub(crate) struct Calling {
    model: Model,
    number: u64,
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.model.check_calls();
        self.model.lock().calls.remove(&self.number);
    }
}

/// What clients do.
impl Model {
    pub(crate) fn new(journal: &Journal) -> Self {
        Self { journal: journal.clone(), state: Arc::default() }
    }

    /// A new client. Returns its number.
    pub(crate) fn connected(&self, address: SocketAddr) -> usize {
        let mut state = self.lock();
        // From 1 on, as the world counts.
        let number = state.clients.len().max(1);
        state.clients.resize_with(number + 1, Client::default);
        state.by_address.insert(address, number);
        number
    }

    /// The number of the next message of a client.
    pub(crate) fn next_number(&self, client: usize) -> usize {
        self.lock().clients[client].sent.len()
    }

    pub(crate) fn sent(&self, client: usize, id: Option<MessageId>, is_forwarded: bool) {
        let at = self.journal.now();
        let client = &mut self.lock().clients[client];
        if let Some(id) = id {
            client.waiting.insert(id, client.sent.len());
        }
        client.sent.push(Sent { at, begun: 0, is_forwarded });
    }

    /// The requests of a client that wait for their answer.
    pub(crate) fn waiting(&self, client: usize) -> usize {
        self.lock().clients[client].waiting.len()
    }

    /// From now on the bus may do anything.
    pub(crate) fn bus_fails(&self) {
        self.lock().bus_fails = true;
    }

    /// Something came to a client.
    pub(crate) fn came(&self, number: usize, event: &ClientEvent) {
        let mut state = self.lock();
        let State { clients, bus_fails, .. } = &mut *state;
        let client = &mut clients[number];
        let violated = |name, why: String| self.journal.violated(name, format_args!("client {number}: {why}"));
        match event {
            ClientEvent::Response { id, body } => {
                client.waiting.remove(id);
                // An answer tells which pushes came before it.
                if let Some(pushed) = text(body).strip_prefix("pushed ")
                    && pushed.parse().is_ok_and(|pushed: u64| client.arrived < pushed)
                {
                    client.missed = Some(format!("{pushed} were sent before an answer, {} came", client.arrived));
                }
            }
            ClientEvent::Error { id, .. } => drop(client.waiting.remove(id)),
            ClientEvent::Push { route, body } if *route == "on.push" => {
                client.bytes.arrived += body.len();
                let push = body.split(|byte| *byte == b' ').next().map(text).and_then(|number| number.parse().ok());
                let push: u64 = push.unwrap_or_default();
                if push != client.arrived + 1 {
                    violated(PUSHES, format!("{push} came after {}", client.arrived));
                }
                client.arrived = push;
            }
            ClientEvent::Push { route, body } if *route == "on.shout" => {
                let shout = text(body).parse().unwrap_or_default();
                if !client.shouts.insert(shout) && !*bus_fails {
                    violated(ONCE, format!("the shout {shout} came twice"));
                }
            }
            ClientEvent::Closed(_) => {
                client.waiting.clear();
                client.missed = None;
            }
            _ => {}
        }
    }
}

/// What handlers do.
impl Model {
    /// A handler begins with a message of this body.
    pub(crate) fn begins(&self, body: &[u8], is_closed: bool) -> (Running, String) {
        let mut words = text(body).splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).expect("a number");
        let (client, number) = (number(), number());
        let argument = words.next().unwrap_or_default().to_owned();
        self.journal.note(format_args!("begins {}", text(body)));
        if is_closed {
            self.journal.violated(invariants::CLOSED, format_args!("client {client}: {number} begins after the end"));
        }
        self.check_order(client, number);
        (Running { model: self.clone(), client, number }, argument)
    }

    fn check_order(&self, number: usize, message: usize) {
        let now = self.journal.now();
        let mut state = self.lock();
        let State { clients, bus_fails, .. } = &mut *state;
        let client = &mut clients[number];
        let violated = |name, why: String| self.journal.violated(name, format_args!("client {number}: {why}"));
        // Who waited in vain for a message to be answered has gone on to the next.
        let outlived = |sent: &Sent, by: Instant| sent.is_forwarded && by - sent.at >= TIMEOUT;
        client.sent[message].begun += 1;
        let again = client.sent[message].begun > 1;
        if again && !(*bus_fails && client.sent[message].is_forwarded) {
            violated(ONCE, format!("{message} begins again"));
        }
        if let Some((latest, at)) = client.latest
            && message < latest
            && !again
            && !outlived(&client.sent[message], at)
        {
            violated(invariants::ORDER, format!("{message} begins after {latest}"));
        }
        let is_late = |message: usize| client.sent[message].begun > 1 || outlived(&client.sent[message], now);
        let beside = client.running.iter().find(|other| !is_late(**other));
        if let Some(other) = beside.filter(|_| !is_late(message)) {
            violated(invariants::ORDER, format!("{message} begins while {other} runs"));
        }
        if client.latest.is_none_or(|(latest, _)| latest < message) {
            client.latest = Some((message, now));
        }
        client.running.insert(message);
    }

    /// The number of the next push to a client.
    pub(crate) fn next_push(&self, client: &Running) -> u64 {
        self.lock().clients[client.client].pushed + 1
    }

    /// Its server took it.
    pub(crate) fn pushed(&self, client: &Running, len: usize) {
        let client = &mut self.lock().clients[client.client];
        client.pushed += 1;
        client.bytes.taken += len;
    }

    pub(crate) fn next_shout(&self) -> u64 {
        let mut state = self.lock();
        state.last_shout += 1;
        state.last_shout
    }

    /// A handler calls somebody, until what is returned is dropped.
    pub(crate) fn calls(&self) -> Calling {
        let mut state = self.lock();
        state.last_call += 1;
        let number = state.last_call;
        state.calls.insert(number, self.journal.now());
        Calling { model: self.clone(), number }
    }

    pub(crate) fn check_calls(&self) {
        let oldest = self.lock().calls.values().min().copied();
        if let Some(took) = oldest.map(|begun| self.journal.now() - begun).filter(|took| *took > TIMEOUT) {
            self.journal.violated(invariants::CALLS, format_args!("one has no end after {took:?}"));
        }
    }

    /// A server says that a client left.
    pub(crate) fn left(&self, address: SocketAddr) {
        let mut state = self.lock();
        let Some(number) = state.by_address.get(&address).copied() else {
            return;
        };
        state.clients[number].left += 1;
        if state.clients[number].left > 1 {
            self.journal.violated(invariants::CLOSED, format_args!("client {number} left twice"));
        }
    }

    /// A client that is still there has got all that it was promised.
    pub(crate) fn check_end(&self, number: usize) {
        let client = &self.lock().clients[number];
        if let Some(why) = &client.missed {
            self.journal.violated(PUSHES, format_args!("client {number}: {why}"));
        }
        if !client.waiting.is_empty() {
            let why = format_args!("client {number} waits for {} answers", client.waiting.len());
            self.journal.violated(invariants::ANSWER, why);
        }
    }

    pub(crate) fn bytes(&self, client: usize) -> Bytes {
        self.lock().clients[client].bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn text(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap_or_default()
}
