//! A server of the cluster, as far as its bus goes.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{Address, Bus, BusEvent, BusEvents, CallId, Kind, Nats, ReplyTo, ServerInfo, Transmit};
use cereus_service_tests::Nats as NatsServer;

/// How long anything may take that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const UP: BusEvent = BusEvent::Up { max_payload: 1 << 20 };

/// A server of the cluster, as far as its bus goes.
pub(crate) struct Peer {
    pub(crate) info: Arc<ServerInfo>,
    pub(crate) bus: Arc<Nats>,
    pub(crate) events: Box<dyn BusEvents>,
}

impl Peer {
    pub(crate) async fn start(server: &NatsServer, server_type: &str, id: &str) -> Self {
        let mut peer = Self::start_with(Nats::new(server.url()), server_type, id).await;
        assert_eq!(peer.next().await, UP);
        peer
    }

    pub(crate) async fn start_with(bus: Nats, server_type: &str, id: &str) -> Self {
        let info = Arc::new(ServerInfo::new(server_type, id));
        let events = within(bus.start(Arc::clone(&info))).await.unwrap();
        Self { info, bus: Arc::new(bus), events }
    }

    pub(crate) async fn next(&mut self) -> BusEvent {
        self.next_or_end().await.expect("the bus has not ended")
    }

    pub(crate) async fn next_or_end(&mut self) -> Option<BusEvent> {
        within(poll_fn(|cx| self.events.poll_next(cx))).await
    }

    pub(crate) async fn send(&self, to: Address, kind: Kind, call: Option<CallId>, payload: impl Into<Bytes>) {
        send(&self.bus, Transmit { to, kind, call, payload: payload.into() }).await;
    }

    /// Done when the subscriptions to a user are at the server.
    pub(crate) async fn subscribe(&mut self, uid: &str) {
        self.bus.subscribe_user(uid).await.unwrap();
        self.send(user(uid), Kind::Push, None, "to itself").await;
        assert_eq!(self.next().await, message(Kind::Push, "to itself"));
    }

    pub(crate) async fn call(&self, to: &Self, call: CallId, payload: &'static str) {
        self.send(Address::Server(Arc::clone(&to.info)), Kind::Call, Some(call), payload).await;
    }

    pub(crate) async fn reply(&self, to: ReplyTo, payload: &'static str) {
        self.send(Address::Reply(to), Kind::Reply, None, payload).await;
    }

    /// Takes in a call, and answers it with the same.
    pub(crate) async fn echo(&mut self) {
        match self.next().await {
            BusEvent::Message { kind: Kind::Call, reply: Some(reply), payload } => {
                self.send(Address::Reply(reply), Kind::Reply, None, payload).await;
            }
            event => panic!("not a call: {event:?}"),
        }
    }
}

/// Sends as soon as there is room.
pub(crate) async fn send(bus: &Nats, mut message: Transmit) {
    within(async {
        while let Err(back) = bus.send(message) {
            message = back;
            smol::future::yield_now().await;
        }
    })
    .await;
}

/// Bounds what should happen, under whatever runtime.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it did not happen in time")
    };
    smol::future::or(future, late).await
}

pub(crate) fn user(uid: &str) -> Address {
    Address::User { frontend_type: "gate".into(), uid: uid.into() }
}

pub(crate) fn call(number: u64) -> CallId {
    CallId::parse(&format!("{number:x}")).unwrap()
}

pub(crate) fn message(kind: Kind, payload: &'static str) -> BusEvent {
    BusEvent::Message { kind, reply: None, payload: payload.into() }
}

pub(crate) fn reply(number: u64, payload: &'static str) -> BusEvent {
    BusEvent::Reply { call: call(number), result: Ok(payload.into()) }
}

pub(crate) async fn raw(server: &NatsServer) -> async_nats::Client {
    async_nats::connect(server.url()).await.unwrap()
}

pub(crate) async fn start_error(bus: Nats) -> String {
    match within(bus.start(Arc::new(ServerInfo::new("gate", "g1")))).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}
