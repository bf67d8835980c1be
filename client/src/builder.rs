use std::{sync::Arc, time::Duration};

use cereus_core::{ClientConfig, ClientConfigBuilder, HandshakeRequest, Route};
use cereus_transports::{
    Raw, Transport,
    rt::{Connector, Runtime},
};

use crate::{
    Address, Client, ConnectError, Disconnect, Push, Reconnect, State,
    driver::{Driver, Plan},
    shared::{Settings, Shared},
};

/// What becomes of requests and notifies while there is no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhileAway {
    /// They fail at once with [`RequestError::NotConnected`](crate::RequestError::NotConnected).
    Fail,
    /// They wait for the next connection, requests for no longer than their timeout.
    Keep {
        /// How many bytes may wait: routes, bodies, and 64 for each.
        bytes: usize,
    },
}

/// The settings of a [`Client`], or of many: each `connect` of a clone is another one.
///
/// ```no_run
/// # async fn connect(runtime: impl cereus_transports::rt::Runtime + cereus_transports::rt::Connector) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cereus_client::{Client, Reconnect};
///
/// let client = Client::builder("wss://play.example.com")
///     .user("token", "6f1a")
///     .request_timeout(Duration::from_secs(3))
///     .reconnect(Reconnect::default().max_delay(Duration::from_secs(10)))
///     .on_push("onMessage", |push| println!("{:?}", push.body))
///     .connect(runtime)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a client is there once it is connected or started"]
pub struct ClientBuilder {
    address: String,
    handshake: HandshakeRequest,
    protocol: ClientConfigBuilder,
    request_timeout: Duration,
    connect_timeout: Duration,
    write_timeout: Duration,
    close_timeout: Duration,
    reconnect: Reconnect,
    while_away: WhileAway,
    push_buffer: usize,
    on_push: Vec<(Option<Route>, OnPush)>,
    #[cfg(feature = "tls")]
    tls: Option<cereus_transports::TlsClientConfig>,
    #[cfg(feature = "websocket")]
    headers: Vec<(String, String)>,
}

/// Who the client is.
impl ClientBuilder {
    pub(crate) fn new(address: &str) -> Self {
        let mut handshake = HandshakeRequest::default();
        handshake.platform = std::env::consts::OS.to_owned();
        handshake.lib_version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            address: address.to_owned(),
            handshake,
            protocol: ClientConfig::builder(),
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            reconnect: Reconnect::default(),
            while_away: WhileAway::Keep { bytes: 256 << 10 },
            push_buffer: 1 << 20,
            on_push: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "websocket")]
            headers: Vec::new(),
        }
    }

    /// Tells the server of the platform. Default: the name of the operating system.
    pub fn platform(mut self, platform: impl Into<String>) -> Self {
        self.handshake.platform = platform.into();
        self
    }

    /// Tells the server of the version of the game.
    pub fn client_version(mut self, version: impl Into<String>) -> Self {
        self.handshake.client_version = version.into();
        self
    }

    /// Tells the server of the build of the game.
    pub fn client_build_number(mut self, number: impl Into<String>) -> Self {
        self.handshake.client_build_number = number.into();
        self
    }

    /// Adds a member to the `user` part of the handshake.
    pub fn user(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.handshake.user.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// The whole handshake. A server takes a client with a `lib_version` for a native one, which inflates bodies; without one it
    /// is treated as a browser.
    pub fn handshake(mut self, handshake: HandshakeRequest) -> Self {
        self.handshake = handshake;
        self
    }

    /// Whether bodies that become shorter are sent deflated. What comes is inflated in any case. Default: no.
    pub fn compress(mut self, compress: bool) -> Self {
        self.protocol = self.protocol.compress(compress);
        self
    }

    /// The limits of the protocol: sizes, requests in flight, bytes that wait to be sent.
    pub fn protocol(mut self, set: impl FnOnce(ClientConfigBuilder) -> ClientConfigBuilder) -> Self {
        self.protocol = set(self.protocol);
        self
    }

    /// Whom `tls` and `wss` take for the server. Default: whom this machine trusts.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &cereus_transports::TlsClientConfig) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    /// Adds a line to the head of the request that asks for a WebSocket: `Origin`, `Authorization`.
    #[cfg(feature = "websocket")]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// How long, and how much.
impl ClientBuilder {
    /// How long an answer may take. Default: 10 s.
    pub const fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long it may take to connect, and as long again to shake hands. Default: 10 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a write may make no progress. Default: 10 s.
    pub const fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// How long what waits may take to be sent when the client is closed. Default: 2 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// How the client comes back.
    pub const fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// What becomes of requests and notifies while there is no connection. Default: 256 KiB of them wait.
    pub const fn while_away(mut self, while_away: WhileAway) -> Self {
        self.while_away = while_away;
        self
    }

    /// How many bytes of pushes wait in each of the streams: routes, bodies, and 64 for each. Default: 1 MiB.
    pub const fn push_buffer(mut self, bytes: usize) -> Self {
        self.push_buffer = bytes;
        self
    }

    /// Calls this with each push of one route, the first one included. See [`Client::on_push`].
    pub fn on_push(mut self, route: impl Into<Route>, callback: impl Fn(Push) + Send + Sync + 'static) -> Self {
        self.on_push.push((Some(route.into()), Arc::new(callback)));
        self
    }

    /// Calls this with each push, the first one included. See [`Client::on_any_push`].
    pub fn on_any_push(mut self, callback: impl Fn(Push) + Send + Sync + 'static) -> Self {
        self.on_push.push((None, Arc::new(callback)));
        self
    }
}

/// The client.
impl ClientBuilder {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// The settings cannot be, or the first attempt fails: [`ConnectError`].
    pub async fn connect<R: Runtime + Connector>(self, runtime: R) -> Result<Client, ConnectError> {
        let client = self.start(runtime)?;
        let mut states = client.states();
        while let Some(state) = states.next().await {
            match state {
                State::Open => return Ok(client),
                State::Connecting => {}
                State::Reconnecting { reason, .. } | State::Closed(reason) => return Err(reason.into()),
            }
        }
        Err(Disconnect::RuntimeEnded.into())
    }

    /// A client that connects when it can: also the first attempt is made again. Meanwhile it is
    /// [away](WhileAway).
    ///
    /// # Errors
    ///
    /// The settings cannot be: [`ConnectError`].
    pub fn start<R: Runtime + Connector>(self, runtime: R) -> Result<Client, ConnectError> {
        let address: Address = self.address.parse()?;
        let transport = self.transport(&address)?;
        let protocol = self.protocol.handshake(self.handshake).handshake_timeout(self.connect_timeout);
        let plan = Plan {
            address,
            transport,
            config: protocol.build()?,
            connect_timeout: self.connect_timeout,
            close_timeout: self.close_timeout,
            write_timeout: self.write_timeout,
            reconnect: self.reconnect,
        };
        let (request_timeout, while_away, push_buffer) = (self.request_timeout, self.while_away, self.push_buffer);
        let clock = runtime.clone();
        let shared = Shared::new(Settings { request_timeout, while_away, push_buffer }, Box::new(move || clock.now()));
        for (route, callback) in self.on_push {
            shared.subscribers.on(route, callback);
        }
        runtime.spawn(Driver::new(runtime.clone(), Arc::clone(&shared), plan).run());
        Ok(Client::new(shared))
    }

    /// What makes the transports of all connections.
    fn transport(&self, address: &Address) -> Result<MakeTransport, ConnectError> {
        let inner = self.inner_transport(address)?;
        if !address.scheme().is_encrypted() {
            return Ok(Box::new(move || Ok(inner())));
        }
        self.encrypted(address, inner)
    }

    #[cfg(feature = "websocket")]
    fn inner_transport(&self, address: &Address) -> Result<MakeInner, ConnectError> {
        use cereus_transports::{WebSocketClient, WebSocketClientConfig};

        if !address.scheme().is_websocket() {
            return Ok(Box::new(|| Box::new(Raw::default())));
        }
        for (name, value) in &self.headers {
            if [name, value].iter().any(|text| text.contains(|c: char| c.is_control())) {
                return Err(ConnectError::Unusable(format!("the header `{name}` has a line break in it")));
            }
        }
        let mut config = WebSocketClientConfig::default();
        address.path().clone_into(&mut config.path);
        config.headers.clone_from(&self.headers);
        let (config, host) = (Arc::new(config), address.authority());
        Ok(Box::new(move || Box::new(WebSocketClient::new(Arc::clone(&config), &host))))
    }

    #[cfg(not(feature = "websocket"))]
    fn inner_transport(&self, address: &Address) -> Result<MakeInner, ConnectError> {
        match address.scheme().is_websocket() {
            true => Err(ConnectError::Unusable(format!("{address} needs the feature `websocket` of cereus-client"))),
            false => Ok(Box::new(|| Box::new(Raw::default()))),
        }
    }

    #[cfg(feature = "tls")]
    fn encrypted(&self, address: &Address, inner: MakeInner) -> Result<MakeTransport, ConnectError> {
        use cereus_transports::{Tls, TlsClientConfig};

        let tls = self.tls.clone().map_or_else(TlsClientConfig::system, Ok);
        let tls = tls.map_err(|error| ConnectError::Unusable(error.to_string()))?;
        let host = address.host().to_owned();
        let make = move || -> Result<Box<dyn Transport>, String> {
            let tls = Tls::client(&tls, &host, inner()).map_err(|error| error.to_string())?;
            Ok(Box::new(tls))
        };
        // What is wrong with the name is told now.
        make().map_err(ConnectError::Unusable)?;
        Ok(Box::new(make))
    }

    #[cfg(not(feature = "tls"))]
    fn encrypted(&self, address: &Address, _inner: MakeInner) -> Result<MakeTransport, ConnectError> {
        Err(ConnectError::Unusable(format!("{address} needs the feature `tls` of cereus-client")))
    }
}

type OnPush = Arc<dyn Fn(Push) + Send + Sync>;
type MakeInner = Box<dyn Fn() -> Box<dyn Transport> + Send + Sync>;
type MakeTransport = Box<dyn Fn() -> Result<Box<dyn Transport>, String> + Send + Sync>;

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("address", &self.address).finish_non_exhaustive()
    }
}
