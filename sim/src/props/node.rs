use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use cereus_cluster::{
    Address, BusEvent, CallError, CallId, Change, ClusterEvent, ClusterNode, Kind, LeaseId, NodeConfig,
    RegistryCommand, RegistryError, RegistryEvent, ReplyTo, ServerInfo, Transmit, Undelivered, protos::Response,
};
use cereus_core::Instant;

use super::{Script, script::operations};

const MAX_SERVERS: usize = 5;
const MAX_CALLS: usize = 4;
const MAX_QUEUED: usize = 2 << 10;
const TENTH: Duration = Duration::from_millis(100);

/// The servers of the properties: type and id. The first is the node's own; two ids are of two types.
const SERVERS: [(&str, &str); 8] = [
    ("gate", "g1"),
    ("gate", "g2"),
    ("room", "r1"),
    ("room", "r2"),
    ("room", "g2"),
    ("gate", "r2"),
    ("secret", "s1"),
    ("secret", "r1"),
];

operations! {
    /// One thing that is done to a node of a cluster.
    pub enum NodeOp: u8 {
        /// The bus is connected, and carries so much.
        0 Up(max_payload: u16),
        /// The bus is away.
        1 Down,
        /// Another server sends something of this kind, and waits for an answer or not.
        2 Message(kind: u8, waits: bool, payload: Bytes),
        /// One of the calls is answered.
        3 Answer(which: u8, payload: Bytes),
        /// The bus could not deliver one of the calls.
        4 Undelivered(which: u8, failed: bool),
        /// An answer to a call that there may never have been.
        5 Stray(call: u64, payload: Bytes),
        /// A record came or changed.
        6 Put(which: u8, version: u8),
        /// A record went.
        7 Delete(which: u8),
        /// These are all records.
        8 Resync(which: u8, version: u8),
        /// The registry has done what it was asked to.
        9 Done,
        /// It has not.
        10 Fail,
        /// The lease is over: an answer, or out of the blue.
        11 LeaseLost,
        /// An answer to something that nobody asked.
        12 Unasked(which: u8),
        /// The watch has ended.
        13 WatchLost,
        /// Looks who is there.
        14 Watch,
        /// Puts the own record in.
        15 Join,
        /// Takes it out.
        16 Leave,
        /// Calls a server, with so many bytes, and waits so many tenths of a second.
        17 Call(which: u8, len: u16, tenths: u16),
        /// Sends something of this kind, with so many bytes, that nobody answers.
        18 Send(kind: u8, len: u16),
        /// Kicks a user and waits so many tenths of a second.
        19 Kick(len: u16, tenths: u16),
        /// Waits for one of the calls no more.
        20 Cancel(which: u8),
        /// Answers one of those that wait, with so many bytes.
        21 Reply(which: u8, len: u16),
        /// So many tenths of a second pass; deadlines are met on time.
        22 Wait(tenths: u16),
        /// So many tenths of a second pass before the driver looks at a deadline.
        23 Oversleep(tenths: u16),
        /// The bus takes at most so many envelopes, and then one less than it is offered or not.
        24 Transmit(count: u8, refuses: bool),
    }
}

/// Does to a node of a cluster what a script of [`NodeOp`] says, as a driver that keeps the contract, and checks after every
/// step:
///
/// - every call has exactly one end, by its deadline; every message and every change is told once;
/// - what waits stays within the limits, goes out in order, and not while the bus is away;
/// - one registry command runs at a time, and the own record is in the registry when it is to be;
/// - deadlines that were met do not come back, and none is slept through.
///
/// # Panics
///
/// When that is not so.
pub fn cluster_node(bytes: &[u8]) {
    let script = Script::decode(bytes);
    let mut driver = Driver::new(script.settings);
    for op in &script.ops {
        driver.apply(op);
        driver.drain();
        driver.check();
    }
    driver.finish();
}

#[derive(Debug)]
struct Driver {
    node: ClusterNode,
    now: Instant,
    excludes: bool,
    link: bool,
    max_payload: usize,
    waiting: BTreeMap<CallId, Instant>,
    begun: u64,
    /// Whoever waits for an answer of this node.
    asking: Vec<ReplyTo>,
    /// The number of the next envelope, and of the last that was sent.
    number: u32,
    last_sent: Option<u32>,
    /// What must be told: messages, syncs, failures of the registry.
    untold: [usize; 3],
    known: BTreeMap<String, ServerInfo>,
    told: BTreeMap<String, ServerInfo>,
    running: Option<RegistryCommand>,
    watches: bool,
    wanted: bool,
    leaving: bool,
}

const MESSAGES: usize = 0;
const SYNCS: usize = 1;
const FAILURES: usize = 2;

impl Driver {
    fn new(settings: u8) -> Self {
        let excludes = settings & 1 != 0;
        let mut config = NodeConfig::default();
        config.excluded_types.extend(excludes.then(|| "secret".to_owned()));
        (config.max_servers, config.max_calls, config.max_queued_bytes) = (MAX_SERVERS, MAX_CALLS, MAX_QUEUED);
        config.ttl = Duration::from_secs(9);
        Self {
            node: ClusterNode::new(Arc::new(record(0, 0)), config),
            now: Instant::EPOCH,
            excludes,
            link: false,
            max_payload: usize::MAX,
            waiting: BTreeMap::new(),
            begun: 0,
            asking: Vec::new(),
            number: 0,
            last_sent: None,
            untold: [0; 3],
            known: BTreeMap::new(),
            told: BTreeMap::new(),
            running: None,
            watches: false,
            wanted: false,
            leaving: false,
        }
    }

    fn apply(&mut self, op: &NodeOp) {
        match op {
            NodeOp::Up(max_payload) => {
                self.max_payload = (*max_payload).into();
                self.bus(BusEvent::Up { max_payload: self.max_payload });
            }
            NodeOp::Down => self.bus(BusEvent::Down),
            NodeOp::Message(kind, waits, payload) => self.message(kind_of(*kind), *waits, payload.clone()),
            NodeOp::Answer(which, payload) => self.answer(self.some_call(*which), Ok(payload.clone())),
            NodeOp::Undelivered(which, false) => self.answer(self.some_call(*which), Err(Undelivered::NoResponders)),
            NodeOp::Undelivered(which, true) => {
                self.answer(self.some_call(*which), Err(Undelivered::Failed("lost".to_owned())));
            }
            NodeOp::Stray(call, payload) => self.answer(CallId::parse(&format!("{call:x}")), Ok(payload.clone())),
            NodeOp::Put(which, version) => self.registry(RegistryEvent::Put(record(*which, *version))),
            NodeOp::Delete(which) => {
                let ServerInfo { server_type, id, .. } = record(*which, 0);
                self.registry(RegistryEvent::Delete { server_type, id });
            }
            NodeOp::Resync(which, version) => {
                let all = (0..8).filter(|at| which >> at & 1 != 0).map(|at| record(at, *version)).collect();
                self.registry(RegistryEvent::Resync(all));
            }
            NodeOp::Done => self.done(),
            NodeOp::Fail => {
                if self.running.take().is_some() {
                    self.registry(RegistryEvent::Failed(RegistryError::new("away")));
                }
            }
            NodeOp::LeaseLost => self.lease_lost(),
            NodeOp::Unasked(which) if self.running.is_none() => self.unasked(*which),
            NodeOp::Unasked(_) => {}
            NodeOp::WatchLost => {
                if std::mem::take(&mut self.watches) {
                    self.registry(RegistryEvent::WatchLost(RegistryError::new("compacted")));
                }
            }
            NodeOp::Watch => self.node.watch(),
            NodeOp::Join => {
                self.wanted = true;
                self.node.join();
            }
            NodeOp::Leave => self.leave(),
            NodeOp::Call(which, len, tenths) => {
                let (envelope, deadline) = (self.envelope((*len).into()), self.now + TENTH * u32::from(*tenths));
                let called = self.node.call(&Arc::new(record(*which, 0)), envelope.clone(), deadline);
                self.called(called, &envelope, deadline);
            }
            NodeOp::Send(kind, len) => {
                let envelope = self.envelope((*len).into());
                let sent = self.node.send(Address::Type("room".into()), kind_of(kind % 4), envelope.clone());
                self.refused(sent.err(), &envelope);
            }
            NodeOp::Kick(len, tenths) => {
                let (envelope, deadline) = (self.envelope((*len).into()), self.now + TENTH * u32::from(*tenths));
                let to = Address::User { frontend_type: "gate".into(), uid: "u1".into() };
                let called = self.node.send_call(to, Kind::Kick, envelope.clone(), deadline);
                self.called(called, &envelope, deadline);
            }
            NodeOp::Cancel(which) => {
                if let Some(call) = self.some_call(*which) {
                    self.node.cancel(call);
                    self.waiting.remove(&call);
                }
            }
            NodeOp::Reply(which, len) => {
                if let Some(to) = self.asking.get(usize::from(*which) % self.asking.len().max(1)) {
                    let response = Response { data: vec![b'x'; (*len).into()].into(), error: None };
                    self.node.reply(to.clone(), &response);
                }
            }
            NodeOp::Wait(tenths) => self.wait(TENTH * u32::from(*tenths % 1000)),
            NodeOp::Oversleep(tenths) => {
                self.now = self.now + TENTH * u32::from(*tenths);
                self.meet_deadline();
            }
            NodeOp::Transmit(count, refuses) => self.transmit((*count).into(), *refuses),
        }
    }
}

/// Bus and time.
impl Driver {
    fn bus(&mut self, event: BusEvent) {
        self.node.handle_bus(event, self.now);
    }

    fn message(&mut self, kind: Kind, waits: bool, payload: Bytes) {
        self.untold[MESSAGES] += usize::from(kind != Kind::Reply);
        let reply = waits.then(|| ReplyTo::new("inbox"));
        self.asking.extend(reply.clone());
        self.bus(BusEvent::Message { kind, reply, payload });
    }

    fn answer(&mut self, call: Option<CallId>, result: Result<Bytes, Undelivered>) {
        if let Some(call) = call {
            self.bus(BusEvent::Reply { call, result });
            self.drain();
            assert!(!self.waiting.contains_key(&call), "{call} was answered and waits on");
        }
    }

    fn some_call(&self, which: u8) -> Option<CallId> {
        self.waiting.keys().nth(usize::from(which) % self.waiting.len().max(1)).copied()
    }

    /// An envelope with its number.
    fn envelope(&mut self, len: usize) -> Bytes {
        let mut envelope = BytesMut::new();
        envelope.put_u32(self.number);
        envelope.resize(envelope.len() + len, b'x');
        self.number += 1;
        envelope.freeze()
    }

    fn called(&mut self, called: Result<CallId, CallError>, envelope: &Bytes, deadline: Instant) {
        self.refused(called.as_ref().err().cloned(), envelope);
        if let Ok(call) = called {
            assert_eq!(self.waiting.insert(call, deadline), None, "{call} is in flight already");
            self.begun += 1;
        }
    }

    /// Whether the node refused what it must, and only that.
    fn refused(&self, error: Option<CallError>, envelope: &Bytes) {
        let too_long = CallError::TooLong { len: envelope.len(), max: self.max_payload };
        match error {
            _ if envelope.len() > self.max_payload => assert_eq!(error, Some(too_long)),
            Some(error) => {
                assert_eq!(error, CallError::TooMany);
                let room = MAX_QUEUED.saturating_sub(self.node.queued_bytes());
                let is_full = self.waiting.len() >= MAX_CALLS || envelope.len() + size_of::<Transmit>() > room;
                assert!(is_full, "there is room, and it is refused");
            }
            None => {}
        }
    }

    fn transmit(&mut self, count: usize, refuses: bool) {
        for _ in 0..count {
            let Some(transmit) = self.node.poll_transmit() else { return };
            self.sent(&transmit);
        }
        if refuses && let Some(transmit) = self.node.poll_transmit() {
            self.node.return_transmit(transmit, self.now);
            assert_eq!(self.node.poll_transmit(), None, "a bus that is full is not left alone");
        }
    }

    fn sent(&mut self, transmit: &Transmit) {
        let Transmit { kind, call, payload, .. } = transmit;
        assert!(self.link, "sent while the bus is away");
        assert!(call.is_none_or(|call| self.waiting.contains_key(&call)), "sent after its end");
        assert!(payload.len() <= self.max_payload, "longer than what the bus carries");
        if matches!(transmit.to, Address::Reply(_)) {
            return assert_eq!((kind, call), (&Kind::Reply, &None));
        }
        let number = payload.first_chunk().map(|number| u32::from_be_bytes(*number));
        assert!(number > self.last_sent && number < Some(self.number), "{number:?} is sent after {:?}", self.last_sent);
        self.last_sent = number;
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.node.poll_timeout().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.meet_deadline();
            self.drain();
        }
        self.now = end;
    }

    fn meet_deadline(&mut self) {
        self.node.handle_timeout(self.now);
        let next = self.node.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "{next:?} was met at {:?} and is still there", self.now);
    }
}

/// Registry.
impl Driver {
    fn registry(&mut self, event: RegistryEvent) {
        match &event {
            RegistryEvent::Put(info) => self.put(info),
            RegistryEvent::Delete { server_type, id } => {
                self.known.retain(|known, info| known != id || info.server_type != *server_type);
            }
            RegistryEvent::Resync(all) => {
                self.known.retain(|id, _| all.iter().any(|info| info.id == *id));
                all.iter().for_each(|info| self.put(info));
                self.untold[SYNCS] += 1;
            }
            RegistryEvent::Failed(_) | RegistryEvent::WatchLost(_) => self.untold[FAILURES] += 1,
            _ => {}
        }
        self.node.handle_registry(event, self.now);
    }

    fn put(&mut self, info: &ServerInfo) {
        if info.id == "g1" {
            return;
        }
        if self.excludes && info.server_type == "secret" {
            self.known.remove(&info.id);
        } else if self.known.contains_key(&info.id) || self.known.len() + 1 < MAX_SERVERS {
            self.known.insert(info.id.clone(), info.clone());
        }
    }

    fn done(&mut self) {
        let event = match self.running.take() {
            Some(RegistryCommand::Grant { .. }) => RegistryEvent::Granted(LeaseId::new(7)),
            Some(RegistryCommand::Put { .. }) => RegistryEvent::Registered,
            Some(RegistryCommand::KeepAlive { .. }) => RegistryEvent::KeptAlive,
            Some(RegistryCommand::Revoke { .. }) => RegistryEvent::Revoked,
            _ => return,
        };
        self.registry(event);
    }

    fn lease_lost(&mut self) {
        match self.running {
            None => {}
            Some(RegistryCommand::KeepAlive { .. }) => self.running = None,
            Some(_) => return,
        }
        self.registry(RegistryEvent::LeaseLost);
    }

    fn unasked(&mut self, which: u8) {
        self.registry(match which % 5 {
            0 => RegistryEvent::Granted(LeaseId::new(1)),
            1 => RegistryEvent::Registered,
            2 => RegistryEvent::KeptAlive,
            3 => RegistryEvent::Revoked,
            _ => RegistryEvent::Failed(RegistryError::new("late")),
        });
    }

    fn leave(&mut self) {
        (self.wanted, self.leaving) = (false, true);
        self.node.leave();
    }
}

/// What the node does.
impl Driver {
    fn drain(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.told(event);
        }
        while let Some(command) = self.node.poll_registry() {
            self.asked(command);
        }
    }

    fn asked(&mut self, command: RegistryCommand) {
        match command {
            RegistryCommand::Watch => return assert!(!std::mem::replace(&mut self.watches, true), "a second watch"),
            RegistryCommand::Revoke { .. } => assert!(self.leaving, "a lease is given back that is needed"),
            _ => assert!(self.wanted && !self.leaving, "{command:?} of a node that is not to be in the registry"),
        }
        let before = self.running.replace(command);
        assert_eq!(before, None, "two commands at once, the second is {:?}", self.running);
    }

    fn told(&mut self, event: ClusterEvent) {
        let untold = |driver: &mut Self, what: usize| {
            driver.untold[what] = driver.untold[what].checked_sub(1).expect("something is told that did not happen");
        };
        match event {
            ClusterEvent::Server(change) => self.changed(change),
            ClusterEvent::Finished { call, result } => {
                let deadline = self.waiting.remove(&call).unwrap_or_else(|| panic!("{call} has ended twice"));
                assert!(result != Err(CallError::Timeout) || deadline <= self.now, "{call} ends before its time");
            }
            ClusterEvent::Link { up } => {
                assert_ne!(up, self.link, "the link is told twice");
                self.link = up;
            }
            ClusterEvent::Synced => untold(self, SYNCS),
            ClusterEvent::RegistryFailed(_) => untold(self, FAILURES),
            ClusterEvent::Registered => assert!(self.wanted && !self.leaving, "registered, and it should not be"),
            ClusterEvent::Left => {
                assert!(std::mem::take(&mut self.leaving), "left without having been asked to");
                assert_eq!(self.running, None, "left, and a command still runs");
            }
            _ => untold(self, MESSAGES),
        }
    }

    fn changed(&mut self, change: Change) {
        let (info, was_there, is_there) = match change {
            Change::Added(info) => (info, false, true),
            Change::Updated(info) => (info, true, true),
            Change::Removed(info) => (info, true, false),
            other => panic!("a change that nobody knows: {other:?}"),
        };
        let before = self.told.remove(&info.id);
        assert_eq!(before.is_some(), was_there, "{} is told otherwise than it was", info.id);
        if is_there {
            assert_ne!(before.as_ref(), Some(&*info), "{} changed to what it was", info.id);
            self.told.insert(info.id.clone(), (*info).clone());
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let node = &self.node;
        assert_eq!(self.untold, [0; 3], "messages, syncs and failures that were not told");
        assert_eq!((node.is_connected(), node.calls_in_flight()), (self.link, self.waiting.len()));
        let stats = node.call_stats();
        assert_eq!(stats.begun, self.begun);
        assert_eq!(stats.answered + stats.timed_out + stats.cancelled + self.waiting.len() as u64, self.begun);
        if let Some(first) = self.waiting.values().min() {
            assert!(node.poll_timeout().is_some_and(|at| at <= *first), "a deadline will be slept through");
        }
        assert!(node.queued_bytes() <= MAX_QUEUED, "{} bytes wait", node.queued_bytes());

        assert_eq!(self.told, self.known, "what was told is not what happened");
        let servers: BTreeSet<_> = node.servers().iter().map(|info| &info.id).collect();
        let own = "g1".to_owned();
        assert_eq!(servers, self.known.keys().chain([&own]).collect());
        assert!(self.known.iter().all(|(id, info)| node.servers().by_id(id).is_some_and(|known| **known == *info)));

        let waits = node.poll_timeout().is_some();
        assert!(!self.leaving || self.running.is_some(), "nothing is done about leaving");
        assert!(!self.wanted || self.running.is_some() || waits, "nothing is done about the own record");
        assert!(!node.is_registered() || (self.wanted && !self.leaving), "registered, and it should not be");
    }

    /// Plays to an end: every call has one, the record goes in and out, everything is sent.
    fn finish(mut self) {
        self.settle(&NodeOp::Join);
        assert!(self.node.is_registered(), "the registry is well, and the record is not in it");
        if !self.link {
            let max_payload = u16::try_from(self.max_payload).unwrap_or(u16::MAX);
            self.settle(&NodeOp::Up(max_payload));
        }
        self.settle(&NodeOp::Wait(1));
        self.settle(&NodeOp::Transmit(u8::MAX, false));
        assert_eq!(self.node.queued_bytes(), 0, "not sent, and nothing hinders it");
        self.now = self.waiting.values().max().map_or(self.now, |last| self.now.max(*last));
        self.settle(&NodeOp::Oversleep(0));
        assert!(self.waiting.is_empty(), "a call has no end");
        self.settle(&NodeOp::Leave);
        assert!(!self.leaving && !self.node.is_registered(), "the registry is well, and the record is in it");
    }

    /// Does this, with a registry that does what it is asked.
    fn settle(&mut self, op: &NodeOp) {
        self.apply(op);
        self.drain();
        // What rests is tried again by then.
        self.wait(TENTH * 6);
        for _ in 0..8 {
            if self.running.is_none() {
                break;
            }
            self.apply(&NodeOp::Done);
            self.drain();
        }
        self.check();
        assert_eq!(self.running, None, "the registry does what it is asked, and that has no end");
    }
}

fn record(which: u8, version: u8) -> ServerInfo {
    let (server_type, id) = SERVERS[usize::from(which) % SERVERS.len()];
    let mut info = ServerInfo::new(server_type, id);
    info.metadata.extend((version > 0).then(|| ("version".to_owned(), version.to_string())));
    info
}

/// The last is an answer, which comes and goes by other ways.
const fn kind_of(which: u8) -> Kind {
    match which % 5 {
        0 => Kind::Call,
        1 => Kind::Push,
        2 => Kind::Kick,
        3 => Kind::Bind,
        _ => Kind::Reply,
    }
}
