use std::{fmt, sync::Arc};

use bytes::Bytes;
use cereus_core::{HandshakeResponse, Route};
use cereus_transports::rt::{Connector, Runtime};

use crate::{
    ClientBuilder, ConnectError, Push, Pushes, Request, RequestError, RoundTrip, State, States, Subscription,
    shared::Shared,
};

/// A connection to a server, made again whenever it ends. Clones are the same client; when the last of them is dropped it is
/// closed.
///
/// It lives in a task of its own, and works on whatever runtime it was [connected](Self::connect) with.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

/// Closes the client when nobody has it any more.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.tell_task(|inner| inner.closing = true);
    }
}

/// Making one.
impl Client {
    /// Connects to a server, `tcp://host:port`, `tls://`, `ws://` or `wss://`, and shakes hands.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: the first attempt fails.
    pub async fn connect<R: Runtime + Connector>(runtime: R, address: &str) -> Result<Self, ConnectError> {
        Self::builder(address).connect(runtime).await
    }

    /// The settings of a client of the server at this address.
    pub fn builder(address: &str) -> ClientBuilder {
        ClientBuilder::new(address)
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle { shared }))
    }
}

/// What is sent.
impl Client {
    /// A request. It is sent when it is awaited or [called](Request::call), and ends exactly once: with the body of the answer, or
    /// an error.
    pub fn request(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> Request<Bytes> {
        self.new_request(route.into(), Ok(body.into()), Ok)
    }

    /// A request whose body is JSON, as is its answer.
    #[cfg(feature = "json")]
    pub fn request_json<T>(&self, route: impl Into<Route>, body: &impl serde::Serialize) -> Request<T>
    where
        T: serde::de::DeserializeOwned,
    {
        self.new_request(route.into(), crate::request::write_json(body), |body| crate::request::read_json(&body))
    }

    /// A request whose body is protobuf, as is its answer.
    #[cfg(feature = "protobuf")]
    pub fn request_protobuf<T>(&self, route: impl Into<Route>, body: &impl prost::Message) -> Request<T>
    where
        T: prost::Message + Default,
    {
        let body = Ok(body.encode_to_vec().into());
        self.new_request(route.into(), body, |body| crate::request::read_protobuf(&body))
    }

    fn new_request<T>(
        &self,
        route: Route,
        body: Result<Bytes, RequestError>,
        read: fn(Bytes) -> Result<T, RequestError>,
    ) -> Request<T> {
        Request { shared: Arc::clone(&self.0.shared), route, body, timeout: None, read }
    }

    /// Sends a notify now. There is no answer.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`], [`RequestError::Full`], [`RequestError::Send`]: it was not sent.
    pub fn notify(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> Result<(), RequestError> {
        self.0.shared.send_notify(route.into(), body.into())
    }

    /// Sends a notify whose body is JSON.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify), and [`RequestError::Body`].
    #[cfg(feature = "json")]
    pub fn notify_json(&self, route: impl Into<Route>, body: &impl serde::Serialize) -> Result<(), RequestError> {
        self.notify(route, crate::request::write_json(body)?)
    }

    /// Sends a notify whose body is protobuf.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    #[cfg(feature = "protobuf")]
    pub fn notify_protobuf(&self, route: impl Into<Route>, body: &impl prost::Message) -> Result<(), RequestError> {
        self.notify(route, body.encode_to_vec())
    }
}

/// What the server tells.
impl Client {
    /// The pushes of one route from now on, as a stream.
    pub fn pushes(&self, route: impl Into<Route>) -> Pushes {
        self.0.shared.subscribers.stream(Some(route.into()), self.0.shared.settings().push_buffer)
    }

    /// The pushes of all routes from now on, as a stream.
    pub fn all_pushes(&self) -> Pushes {
        self.0.shared.subscribers.stream(None, self.0.shared.settings().push_buffer)
    }

    /// Calls this with each push of one route, in the task of the client: what it does should not take long.
    pub fn on_push(&self, route: impl Into<Route>, callback: impl Fn(Push) + Send + Sync + 'static) -> Subscription {
        self.0.shared.subscribers.on(Some(route.into()), Arc::new(callback))
    }

    /// Calls this with each push, in the task of the client: what it does should not take long.
    pub fn on_any_push(&self, callback: impl Fn(Push) + Send + Sync + 'static) -> Subscription {
        self.0.shared.subscribers.on(None, Arc::new(callback))
    }
}

/// The connection.
impl Client {
    /// How it is about the connection.
    pub fn state(&self) -> State {
        self.0.shared.state().1
    }

    /// The states from the one that it is in now.
    pub fn states(&self) -> States {
        States::new(Arc::clone(&self.0.shared))
    }

    /// What the server answered to the last handshake.
    pub fn handshake(&self) -> Option<Arc<HandshakeResponse>> {
        self.0.shared.lock().handshake.clone()
    }

    /// How long the answers of this connection take; `None` before the first.
    pub fn round_trip(&self) -> Option<RoundTrip> {
        self.0.shared.lock().round_trip
    }

    /// Makes the attempt that it waits with now, for it is known that there is a network again.
    pub fn reconnect_now(&self) {
        self.0.shared.tell_task(|inner| inner.hurry = inner.is_reconnecting());
    }

    /// Closes the connection once what was given to it is sent, and waits for that. Requests in flight are lost.
    pub async fn close(&self) {
        self.0.shared.tell_task(|inner| inner.closing = true);
        let mut states = self.states();
        while states.next().await.is_some_and(|state| !state.is_closed()) {}
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}
