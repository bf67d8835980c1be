use std::{
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use thiserror::Error;

use crate::{
    CallId, ServerInfo, Servers,
    queue::{self, Receiver, Sender},
};

/// What carries envelopes between servers: in-process, NATS, gRPC, or one of your own.
///
/// A bus moves bytes and decides nothing: whom to call, until when, and what an answer means is decided before and after
/// it. It may lose, delay and repeat what it carries.
///
/// # Order
///
/// What one server sends to another arrives in the order in which it was sent, as long as it is sent to one address.
///
/// # A bus of your own
///
/// `examples/own_bus.rs` in the repository is a whole one, with a registry, over plain TCP.
pub trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Connects, and takes in from then on what is for this server, until what is returned is dropped or it is
    /// [stopped](Self::stop). Nothing is sent before the first [`BusEvent::Up`].
    ///
    /// `own` has in `metadata` what the bus itself added in [`advertise`](Self::advertise).
    fn start(&self, own: Arc<ServerInfo>) -> impl Future<Output = Result<Box<dyn BusEvents>, BusError>> + Send;

    /// Sends, now or never.
    ///
    /// # Errors
    ///
    /// Gives the message back when the bus as a whole takes no more: everything else waits behind it, and it is tried again
    /// soon. When a single server takes no more, the call is told with [`BusEvent::Reply`] instead.
    fn send(&self, message: Transmit) -> Result<(), Transmit>;

    /// Takes in what is sent to a user of this frontend, once this is done.
    /// A bus that reaches servers only has nothing to do here.
    fn subscribe_user(&self, uid: &str) -> impl Future<Output = Result<(), BusError>> + Send {
        let _ = uid;
        async { Ok(()) }
    }

    /// Takes it in no more.
    fn unsubscribe_user(&self, uid: &str) -> impl Future<Output = ()> + Send {
        let _ = uid;
        async {}
    }

    /// How users are reached.
    fn addressing(&self) -> Addressing {
        Addressing::Subjects
    }

    /// Adds to the own record what others have to know to reach this server.
    fn advertise(&self, own: &mut ServerInfo) {
        let _ = own;
    }

    /// The servers have changed to these.
    fn servers_changed(&self, servers: &Servers) {
        let _ = servers;
    }

    /// Sends what waits, and lets go of everything. Bounded by the cluster's `bus_timeout`. It is not called when the future of
    /// `serve` is dropped: a bus with tasks of its own ends them when it is dropped itself.
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

/// How a bus reaches users, and the servers of a type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Addressing {
    /// By name, wherever they are: [`Address::User`] and [`Address::Type`].
    Subjects,
    /// Only at a server that is known: [`Address::Server`].
    Servers,
}

/// What takes in what a bus delivers. Where nothing takes it out, the bus drops, refuses or stops reading. Calls whose time is
/// over are not told to the bus: their answers go nowhere.
pub trait BusEvents: Send + 'static {
    /// The next event. `None`: the bus has ended for good.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>>;
}

/// A bounded queue of events, for a bus that needs nothing better.
pub fn bus_queue(capacity: usize) -> (BusSender, impl BusEvents) {
    let (sender, receiver) = queue::bounded(capacity);
    (BusSender(sender), receiver)
}

/// The end of a [`bus_queue`] that a bus puts events in at.
#[derive(Clone, Debug)]
pub struct BusSender(Sender<BusEvent>);

impl BusSender {
    /// Puts an event in, or gives it back when the queue is full or its other end is gone.
    ///
    /// # Errors
    ///
    /// The event.
    pub fn try_send(&self, event: BusEvent) -> Result<(), BusEvent> {
        self.0.try_send(event)
    }

    /// Puts an event in as soon as there is room.
    pub async fn send(&self, event: BusEvent) {
        self.0.send(event).await;
    }
}

impl BusEvents for Receiver<BusEvent> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        self.poll_recv(cx)
    }
}

/// One envelope on its way out.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a bus takes it apart")]
pub struct Transmit {
    /// To whom.
    pub to: Address,
    /// What is in it.
    pub kind: Kind,
    /// The call that waits for an answer.
    pub call: Option<CallId>,
    /// The envelope.
    pub payload: Bytes,
}

/// To whom an envelope goes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Address {
    /// One server.
    Server(Arc<ServerInfo>),
    /// Wherever a user is bound.
    User {
        /// The type of the frontends.
        frontend_type: Arc<str>,
        /// The user.
        uid: Arc<str>,
    },
    /// All servers of a type.
    Type(Arc<str>),
    /// Whoever asked.
    Reply(ReplyTo),
}

/// What is in an envelope.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Kind {
    /// A [`Request`](crate::protos::Request), answered with a [`Response`](crate::protos::Response).
    Call,
    /// A [`Push`](crate::protos::Push), answered with a [`Response`](crate::protos::Response).
    Push,
    /// A [`KickMsg`](crate::protos::KickMsg), answered with a [`KickAnswer`](crate::protos::KickAnswer).
    Kick,
    /// A [`BindMsg`](crate::protos::BindMsg), answered with a [`Response`](crate::protos::Response).
    Bind,
    /// An answer.
    Reply,
}

/// Where an answer goes: a text that only its bus understands.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplyTo(Arc<str>);

impl ReplyTo {
    /// An address that the bus will understand.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a bus delivers.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BusEvent {
    /// An envelope for this server, of any kind but [`Kind::Reply`].
    Message {
        /// What should be in it.
        kind: Kind,
        /// Where to answer, if anybody waits for it.
        reply: Option<ReplyTo>,
        /// The envelope.
        payload: Bytes,
    },
    /// The answer to a call.
    Reply {
        /// The call.
        call: CallId,
        /// The answer, or why there will be none.
        result: Result<Bytes, Undelivered>,
    },
    /// It is connected. Envelopes may have so many bytes.
    Up {
        /// The limit.
        max_payload: usize,
    },
    /// It is not connected; it goes on trying.
    Down,
}

/// Why there will be no answer to a call.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Undelivered {
    /// The server is not there.
    #[error("no responders")]
    NoResponders,
    /// The bus failed.
    #[error("{0}")]
    Failed(String),
}

/// Why a bus cannot do something.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0}")]
pub struct BusError(String);

impl BusError {
    /// An error with a text that says whose fault it is and what to do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
