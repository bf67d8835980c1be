use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cereus_core::Instant;
use prost::Message;
use thiserror::Error;

use crate::{
    Address, BusEvent, CallId, CallStats, Change, Kind, RegistryCommand, RegistryEvent, ReplyTo, ServerInfo, Servers,
    Transmit, Undelivered,
    calls::Calls,
    protos::{self, BindMsg, KickAnswer, KickMsg, Push, Request, Response},
    registration::Registration,
    table::ServerTable,
};

/// The settings of a [`ClusterNode`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Types of servers that are not looked at. Default: none.
    pub excluded_types: BTreeSet<String>,
    /// How many servers are known at most. Default: 10,000.
    pub max_servers: usize,
    /// How many calls may be in flight. Default: 100,000.
    pub max_calls: usize,
    /// How many bytes may wait for the bus, with what it takes to keep them. Default: 16 MiB.
    pub max_queued_bytes: usize,
    /// How long the own record stays when this server is gone. Default: 60 s.
    pub ttl: Duration,
    /// How long to wait before the registry is tried again. Default: 500 ms.
    pub registry_retry: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            excluded_types: BTreeSet::new(),
            max_servers: 10_000,
            max_calls: 100_000,
            max_queued_bytes: 16 << 20,
            ttl: Duration::from_secs(60),
            registry_retry: Duration::from_millis(500),
        }
    }
}

/// What a message that waits for the bus takes beside its bytes.
const OVERHEAD: usize = size_of::<Transmit>();

/// How long a bus that took no more is left alone.
const BUS_RETRY: Duration = Duration::from_millis(2);

/// One server's view of the cluster: who is there, what is in flight. A machine without IO and clock.
///
/// After every input and command drain [`poll_event`](Self::poll_event), [`poll_transmit`](Self::poll_transmit) and
/// [`poll_registry`](Self::poll_registry), and call [`handle_timeout`](Self::handle_timeout) at
/// [`poll_timeout`](Self::poll_timeout).
///
/// ```
/// use cereus_cluster::{BusEvent, ClusterEvent, ClusterNode, NodeConfig, RegistryEvent, ServerInfo};
/// use cereus_core::Instant;
/// use std::{sync::Arc, time::Duration};
///
/// let now = Instant::EPOCH;
/// let mut node = ClusterNode::new(Arc::new(ServerInfo::new("gate", "g1")), NodeConfig::default());
/// node.handle_bus(BusEvent::Up { max_payload: 1 << 20 }, now);
/// assert_eq!(node.poll_event(), Some(ClusterEvent::Link { up: true }));
/// node.handle_registry(RegistryEvent::Put(ServerInfo::new("room", "r1")), now);
/// assert!(matches!(node.poll_event(), Some(ClusterEvent::Server(_))));
///
/// let room = node.servers().of_type("room")[0].clone();
/// let call = node.call(&room, b"an envelope".as_slice().into(), now + Duration::from_secs(5))?;
/// let sent = node.poll_transmit().unwrap();
/// assert_eq!(sent.call, Some(call));
///
/// node.handle_timeout(now + Duration::from_secs(5));
/// assert!(matches!(node.poll_event(), Some(ClusterEvent::Finished { .. })));
/// # Ok::<(), cereus_cluster::CallError>(())
/// ```
#[derive(Debug)]
pub struct ClusterNode {
    config: NodeConfig,
    table: ServerTable,
    registration: Registration,
    watch: Watch,
    calls: Calls,
    events: VecDeque<ClusterEvent>,
    transmits: VecDeque<Transmit>,
    queued_bytes: usize,
    /// How many calls had ended when those that have were last looked for among the transmits.
    ended_before: u64,
    link: Link,
    /// What the bus carries, as it last told.
    max_payload: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    Down,
    Up,
    /// It took no more.
    Full {
        until: Instant,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Watch {
    Off,
    Wanted,
    Running,
    Resting(Instant),
}

/// What happened in the cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// A server other than this one came, changed or went.
    Server(Change),
    /// The table has been filled for the first time or anew.
    Synced,
    /// The own record is in the registry, for the first time or again.
    Registered,
    /// The own record is out of the registry, as was asked.
    Left,
    /// A call came to its end.
    Finished {
        /// The call.
        call: CallId,
        /// How it ended.
        result: Result<Response, CallError>,
    },
    /// A call of another server. It is to be answered with [`ClusterNode::reply`] if somebody waits.
    Request(Request, Option<ReplyTo>),
    /// A push to a user that should be here.
    Push(Push, Option<ReplyTo>),
    /// A kick of a user that should be here.
    Kick(KickMsg, Option<ReplyTo>),
    /// A user was bound on another server.
    Bind(BindMsg, Option<ReplyTo>),
    /// Something that another server sent could not be read. It was answered, if somebody waits.
    Unreadable {
        /// What it should have been.
        kind: Kind,
        /// Where the answer went, which tells who sent it.
        reply: Option<ReplyTo>,
        /// What is wrong with it.
        error: String,
    },
    /// The registry failed; it is tried again.
    RegistryFailed(String),
    /// The bus is connected, or no longer.
    Link {
        /// Whether it is.
        up: bool,
    },
}

impl ClusterNode {
    /// A node that is not in the registry yet and whose bus is not up.
    pub fn new(own: Arc<ServerInfo>, config: NodeConfig) -> Self {
        Self {
            table: ServerTable::new(Arc::clone(&own), config.excluded_types.clone(), config.max_servers),
            registration: Registration::new(own, config.ttl, config.registry_retry),
            watch: Watch::Off,
            calls: Calls::new(config.max_calls),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
            queued_bytes: 0,
            ended_before: 0,
            link: Link::Down,
            max_payload: usize::MAX,
            config,
        }
    }

    /// Takes in what the bus delivers.
    pub fn handle_bus(&mut self, event: BusEvent, now: Instant) {
        match event {
            BusEvent::Message { kind, reply, payload } => self.handle_message(kind, reply, payload),
            BusEvent::Reply { call, result } => self.handle_reply(call, result),
            BusEvent::Up { max_payload } => self.link_up(max_payload),
            BusEvent::Down => {
                if self.is_connected() {
                    self.events.push_back(ClusterEvent::Link { up: false });
                }
                self.link = Link::Down;
            }
        }
        self.handle_timeout(now);
    }

    /// What waits was queued when there was no limit, or another one.
    fn link_up(&mut self, max_payload: usize) {
        if !self.is_connected() {
            self.events.push_back(ClusterEvent::Link { up: true });
        }
        self.link = Link::Up;
        self.max_payload = max_payload;
        let mut waiting = std::mem::take(&mut self.transmits);
        waiting.retain_mut(|transmit| transmit.payload.len() <= max_payload || self.shorten(transmit));
        self.transmits = waiting;
    }

    /// Deals with what is too long for the bus. Returns whether it can be sent now.
    fn shorten(&mut self, transmit: &mut Transmit) -> bool {
        let len = transmit.payload.len();
        self.queued_bytes -= size(transmit);
        if transmit.kind == Kind::Reply {
            transmit.payload = too_long_answer(len);
            let fits = transmit.payload.len() <= self.max_payload;
            if fits {
                self.queued_bytes += size(transmit)
            } else {
                self.calls.count_unsent()
            }
            return fits;
        }
        if let Some(call) = transmit.call.filter(|call| self.calls.is_waiting(*call)) {
            self.calls.answer(call);
            let result = Err(CallError::TooLong { len, max: self.max_payload });
            self.events.push_back(ClusterEvent::Finished { call, result });
        }
        false
    }

    fn handle_message(&mut self, kind: Kind, reply: Option<ReplyTo>, payload: Bytes) {
        let decoded = match kind {
            Kind::Call => Request::decode(payload).map(|request| ClusterEvent::Request(request, reply.clone())),
            Kind::Push => Push::decode(payload).map(|push| ClusterEvent::Push(push, reply.clone())),
            Kind::Kick => KickMsg::decode(payload).map(|kick| ClusterEvent::Kick(kick, reply.clone())),
            Kind::Bind => BindMsg::decode(payload).map(|bind| ClusterEvent::Bind(bind, reply.clone())),
            Kind::Reply => return,
        };
        let event = decoded.unwrap_or_else(|error| {
            let error = error.to_string();
            if let Some(to) = &reply {
                self.reply(to.clone(), &failure("PIT-400", format!("the envelope cannot be read: {error}")));
            }
            ClusterEvent::Unreadable { kind, reply, error }
        });
        self.events.push_back(event);
    }

    fn handle_reply(&mut self, call: CallId, result: Result<Bytes, Undelivered>) {
        let Some(kind) = self.calls.answer(call) else {
            return;
        };
        let result = match result {
            Ok(payload) if kind == Kind::Kick => read_kick_answer(payload),
            Ok(payload) => Response::decode(payload).map_err(|error| CallError::Unreadable(error.to_string())),
            Err(Undelivered::NoResponders) => Err(CallError::NoResponders),
            Err(Undelivered::Failed(text)) => Err(CallError::Bus(text)),
        };
        self.events.push_back(ClusterEvent::Finished { call, result });
    }

    /// Takes in what the registry says.
    pub fn handle_registry(&mut self, event: RegistryEvent, now: Instant) {
        let mut changes = Vec::new();
        match event {
            RegistryEvent::Granted(lease) => self.registration.granted(lease),
            RegistryEvent::Registered => {
                if self.registration.registered(now) {
                    self.events.push_back(ClusterEvent::Registered);
                }
            }
            RegistryEvent::KeptAlive => self.registration.kept_alive(now),
            RegistryEvent::LeaseLost => {
                let left = self.registration.lease_lost();
                self.tell_left(left);
            }
            RegistryEvent::Revoked => {
                let left = self.registration.revoked();
                self.tell_left(left);
            }
            RegistryEvent::Failed(error) => {
                self.events.push_back(ClusterEvent::RegistryFailed(error.to_string()));
                let left = self.registration.failed(now);
                self.tell_left(left);
            }
            RegistryEvent::Put(info) => self.table.put(info, &mut changes),
            RegistryEvent::Delete { server_type, id } => {
                if self.registration.is_own(&server_type, &id) {
                    self.registration.missing();
                }
                self.table.delete(&server_type, &id, &mut changes);
            }
            RegistryEvent::Resync(all) => {
                if !all.iter().any(|info| self.registration.is_own(&info.server_type, &info.id)) {
                    self.registration.missing();
                }
                self.table.resync(all, &mut changes);
                self.events.extend(changes.drain(..).map(ClusterEvent::Server));
                self.events.push_back(ClusterEvent::Synced);
            }
            RegistryEvent::WatchLost(error) => {
                if self.watch == Watch::Running {
                    self.watch = Watch::Resting(now + self.config.registry_retry);
                }
                self.events.push_back(ClusterEvent::RegistryFailed(error.to_string()));
            }
        }
        self.events.extend(changes.into_iter().map(ClusterEvent::Server));
        self.handle_timeout(now);
    }

    fn tell_left(&mut self, left: bool) {
        if left {
            self.events.push_back(ClusterEvent::Left);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(call) = self.calls.time_out(now) {
            self.events.push_back(ClusterEvent::Finished { call, result: Err(CallError::Timeout) });
        }
        self.registration.handle_timeout(now);
        if matches!(self.watch, Watch::Resting(until) if now >= until) {
            self.watch = Watch::Wanted;
        }
        if matches!(self.link, Link::Full { until } if now >= until) {
            self.link = Link::Up;
        }
    }

    /// Looks who is there, from now on.
    pub fn watch(&mut self) {
        if self.watch == Watch::Off {
            self.watch = Watch::Wanted;
        }
    }

    /// Puts the own record into the registry, and keeps it there.
    pub fn join(&mut self) {
        self.registration.join();
    }

    /// Takes the own record out of the registry: [`ClusterEvent::Left`] tells, once, when it is out, or when the
    /// registry failed and it goes by itself. A command that runs is waited for.
    pub fn leave(&mut self) {
        let left = self.registration.leave();
        self.tell_left(left);
    }

    /// Calls a server. The call has exactly one end, at the deadline if not before.
    ///
    /// # Errors
    ///
    /// The envelope is too long, or there are too many calls: nothing was sent.
    pub fn call(&mut self, server: &Arc<ServerInfo>, envelope: Bytes, deadline: Instant) -> Result<CallId, CallError> {
        self.send_call(Address::Server(Arc::clone(server)), Kind::Call, envelope, deadline)
    }

    /// Sends something other than a request, and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn send_call(
        &mut self,
        to: Address,
        kind: Kind,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<CallId, CallError> {
        self.check_room(&payload)?;
        let call = self.calls.begin(deadline, kind).ok_or(CallError::TooMany)?;
        self.put(Transmit { to, kind, call: Some(call), payload });
        Ok(call)
    }

    /// Sends something that nobody answers.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn send(&mut self, to: Address, kind: Kind, payload: Bytes) -> Result<(), CallError> {
        self.check_room(&payload)?;
        self.put(Transmit { to, kind, call: None, payload });
        Ok(())
    }

    /// Waits for a call no more. Its answer, if one comes, goes nowhere.
    pub fn cancel(&mut self, call: CallId) {
        self.calls.cancel(call);
    }

    /// Answers a request. An answer that is too long becomes an error that says so; one for which there is no room, or for
    /// whose error the bus carries too little, is dropped and counted, and the caller learns it from his deadline.
    pub fn reply(&mut self, to: ReplyTo, response: &impl Message) {
        let mut payload = Bytes::from(response.encode_to_vec());
        if payload.len() > self.max_payload {
            payload = too_long_answer(payload.len());
        }
        if payload.len() <= self.max_payload && self.has_room(payload.len()) {
            self.put(Transmit { to: Address::Reply(to), kind: Kind::Reply, call: None, payload });
        } else {
            self.calls.count_unsent();
        }
    }

    fn check_room(&mut self, payload: &Bytes) -> Result<(), CallError> {
        let (len, max) = (payload.len(), self.max_payload);
        if len > max {
            return Err(CallError::TooLong { len, max });
        }
        if self.has_room(len) { Ok(()) } else { Err(CallError::TooMany) }
    }

    fn has_room(&mut self, len: usize) -> bool {
        let has_room = |node: &Self| node.queued_bytes + OVERHEAD + len <= node.config.max_queued_bytes;
        has_room(self) || {
            self.forget_ended();
            has_room(self)
        }
    }

    /// Calls that have ended are not to take the room of others while the bus is away. They are not looked for before
    /// so many have ended that it is worth it.
    fn forget_ended(&mut self) {
        let ended = self.calls.ended();
        if ended - self.ended_before <= self.transmits.len() as u64 / 2 {
            return;
        }
        self.ended_before = ended;
        let Self { transmits, calls, queued_bytes, .. } = self;
        transmits.retain(|transmit| {
            let is_needed = transmit.call.is_none_or(|call| calls.is_waiting(call));
            if !is_needed {
                *queued_bytes -= size(transmit);
            }
            is_needed
        });
    }

    fn put(&mut self, transmit: Transmit) {
        self.queued_bytes += size(&transmit);
        self.transmits.push_back(transmit);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClusterEvent> {
        self.events.pop_front()
    }

    /// What to send next. Calls that have ended meanwhile are not sent any more.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.link != Link::Up {
            return None;
        }
        loop {
            let transmit = self.transmits.pop_front()?;
            self.queued_bytes -= size(&transmit);
            if transmit.call.is_none_or(|call| self.calls.is_waiting(call)) {
                return Some(transmit);
            }
        }
    }

    /// Takes back what the bus could not take: it is the next to be sent, in a moment.
    pub fn return_transmit(&mut self, transmit: Transmit, now: Instant) {
        self.queued_bytes += size(&transmit);
        self.transmits.push_front(transmit);
        if self.link == Link::Up {
            self.link = Link::Full { until: now + BUS_RETRY };
        }
    }

    /// What to do in the registry next.
    pub fn poll_registry(&mut self) -> Option<RegistryCommand> {
        if self.watch == Watch::Wanted {
            self.watch = Watch::Running;
            return Some(RegistryCommand::Watch);
        }
        self.registration.poll_command()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let watch = if let Watch::Resting(until) = self.watch { Some(until) } else { None };
        let link = if let Link::Full { until } = self.link { Some(until) } else { None };
        [self.calls.next_deadline(), self.registration.poll_timeout(), watch, link].into_iter().flatten().min()
    }

    /// Who is there.
    pub const fn servers(&self) -> &Arc<Servers> {
        self.table.snapshot()
    }

    /// Whether the own record is in the registry, as far as it told.
    pub const fn is_registered(&self) -> bool {
        self.registration.is_held()
    }

    /// Whether the bus is connected.
    pub fn is_connected(&self) -> bool {
        self.link != Link::Down
    }

    /// How many calls are in flight.
    pub fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// How many bytes wait for the bus, with what it takes to keep them.
    pub const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// How calls ended so far.
    pub const fn call_stats(&self) -> &CallStats {
        self.calls.stats()
    }
}

fn size(transmit: &Transmit) -> usize {
    transmit.payload.len() + OVERHEAD
}

fn too_long_answer(len: usize) -> Bytes {
    failure("PIT-500", format!("an answer of {len} bytes is too long for the bus")).encode_to_vec().into()
}

/// The one answer that is no [`Response`] becomes one.
fn read_kick_answer(payload: Bytes) -> Result<Response, CallError> {
    let answer = KickAnswer::decode(payload.clone()).map_err(|error| CallError::Unreadable(error.to_string()))?;
    Ok(match answer.kicked {
        true => Response { data: payload, error: None },
        false => failure("PIT-000", "session not found".to_owned()),
    })
}

/// An answer that is an error.
pub(crate) fn failure(code: &str, msg: String) -> Response {
    let error = protos::Error { code: code.to_owned(), msg, ..protos::Error::default() };
    Response { error: Some(error), ..Response::default() }
}

/// Why a call has no answer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CallError {
    /// The deadline came first. Whether the call was handled is not known.
    #[error("the call was not answered in time")]
    Timeout,
    /// The server is not there.
    #[error("the server is not there")]
    NoResponders,
    /// The answer is no answer: the server is at fault.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// The bus failed.
    #[error("the bus failed: {0}")]
    Bus(String),
    /// More is called or sent than the settings allow.
    #[error("too many calls are in flight, or too much waits for the bus")]
    TooMany,
    /// The bus carries less.
    #[error("an envelope of {len} bytes is too long for the bus, which carries {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}
