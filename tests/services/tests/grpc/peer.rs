//! A server of the cluster, without an app.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    Address, Bus, BusEvent, BusEvents, CallError, CallId, ClusterEvent, ClusterNode, Grpc, Kind, NodeConfig,
    RegistryEvent, ReplyTo, ServerInfo, Transmit, Undelivered, names::record, protos::Response,
};
use cereus_core::Instant;

/// How long anything may take that should happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bounds what should happen, under whatever runtime.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it did not happen in time")
    };
    smol::future::or(future, late).await
}

/// A bus on a port that the system chooses.
pub(crate) fn local() -> Grpc {
    Grpc::bind("127.0.0.1:0")
}

pub(crate) fn call_id(number: usize) -> CallId {
    CallId::parse(&format!("{number:x}")).unwrap()
}

pub(crate) struct Peer {
    pub(crate) info: Arc<ServerInfo>,
    pub(crate) bus: Grpc,
    pub(crate) node: ClusterNode,
    events: Box<dyn BusEvents>,
}

impl Peer {
    pub(crate) async fn start(bus: Grpc, server_type: &str, id: &str) -> Self {
        let mut info = ServerInfo::new(server_type, id);
        info.metadata.insert(record::CEREUS.to_owned(), "1".to_owned());
        Self::start_as(bus, info).await
    }

    pub(crate) async fn start_as(bus: Grpc, mut info: ServerInfo) -> Self {
        bus.advertise(&mut info);
        let info = Arc::new(info);
        let events = within(bus.start(Arc::clone(&info))).await.unwrap();
        let mut peer = Self { node: ClusterNode::new(Arc::clone(&info), NodeConfig::default()), info, bus, events };
        let up = peer.event().await;
        assert!(matches!(up, BusEvent::Up { .. }), "{up:?}");
        peer.node.handle_bus(up, Instant::EPOCH);
        assert_eq!(peer.node.poll_event(), Some(ClusterEvent::Link { up: true }));
        peer
    }

    /// Two servers that know each other.
    pub(crate) async fn pair(gate: Grpc, room: Grpc) -> (Self, Self) {
        let (mut gate, mut room) = (Self::start(gate, "gate", "g1").await, Self::start(room, "room", "r1").await);
        gate.learn(&room.info);
        room.learn(&gate.info);
        (gate, room)
    }

    /// Lets go of what takes in messages.
    pub(crate) fn deafen(self) -> (Arc<ServerInfo>, Grpc) {
        (self.info, self.bus)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.info.metadata[record::GRPC_PORT])
    }

    /// Takes in what the registry tells of another.
    pub(crate) fn learn(&mut self, other: &ServerInfo) {
        self.registry(RegistryEvent::Put(other.clone()));
    }

    pub(crate) fn registry(&mut self, event: RegistryEvent) {
        self.node.handle_registry(event, Instant::EPOCH);
        while self.node.poll_event().is_some() {}
        self.bus.servers_changed(self.node.servers());
    }

    /// The next event of the bus, as it comes.
    pub(crate) async fn event(&mut self) -> BusEvent {
        within(poll_fn(|cx| self.events.poll_next(cx))).await.expect("the bus has not ended")
    }

    /// A message that the bus brought, and where to answer it.
    pub(crate) async fn message(&mut self) -> (Kind, ReplyTo, Bytes) {
        match self.event().await {
            BusEvent::Message { kind, reply: Some(reply), payload } => (kind, reply, payload),
            event => panic!("not a message: {event:?}"),
        }
    }

    /// The answer that the bus brought.
    pub(crate) async fn answer(&mut self) -> (CallId, Result<Bytes, Undelivered>) {
        match self.event().await {
            BusEvent::Reply { call, result } => (call, result),
            event => panic!("not an answer: {event:?}"),
        }
    }

    /// Sends without the machine.
    pub(crate) fn send(&self, to: &Arc<ServerInfo>, kind: Kind, call: Option<usize>, payload: impl Into<Bytes>) {
        let to = Address::Server(Arc::clone(to));
        self.bus.send(Transmit { to, kind, call: call.map(call_id), payload: payload.into() }).unwrap();
    }

    pub(crate) fn reply(&self, to: ReplyTo, payload: impl Into<Bytes>) {
        let to = Address::Reply(to);
        self.bus.send(Transmit { to, kind: Kind::Reply, call: None, payload: payload.into() }).unwrap();
    }

    /// Takes in one message and answers it with the same.
    pub(crate) async fn echo(&mut self) {
        let (_, reply, payload) = self.message().await;
        self.reply(reply, payload);
    }

    /// Calls a server by the machine.
    pub(crate) fn call(&mut self, to: &Arc<ServerInfo>, kind: Kind, payload: impl Into<Bytes>) -> CallId {
        let to = Address::Server(Arc::clone(to));
        let call = self.node.send_call(to, kind, payload.into(), Instant::EPOCH + PATIENCE).unwrap();
        self.flush();
        call
    }

    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.node.poll_transmit() {
            self.bus.send(transmit).unwrap();
        }
    }

    /// The next event of the machine.
    pub(crate) async fn next(&mut self) -> ClusterEvent {
        loop {
            if let Some(event) = self.node.poll_event() {
                return event;
            }
            let event = self.event().await;
            self.node.handle_bus(event, Instant::EPOCH);
            self.flush();
        }
    }

    /// How the next call that ends has ended.
    pub(crate) async fn finished(&mut self) -> Result<Response, CallError> {
        match self.next().await {
            ClusterEvent::Finished { result, .. } => result,
            event => panic!("no call ended: {event:?}"),
        }
    }
}
