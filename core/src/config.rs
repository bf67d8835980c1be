use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    ConfigError, HandshakeRequest, HandshakeResponse, RateLimit, Route, RouteDictionary, compression::deflate,
    packet::MAX_BODY_LEN,
};

/// Bodies shorter than this are not deflated under [`Compression::Auto`]: it would cost more than it saves.
pub const AUTO_COMPRESSION_MIN: usize = 256;

/// Whether bodies are sent deflated. What arrives deflated is always inflated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// To clients that say they can inflate (libpitaya, the Go client), bodies from [`AUTO_COMPRESSION_MIN`] bytes on.
    #[default]
    Auto,
    /// Every body that becomes shorter, to every client, as Pitaya does. Browser clients cannot read it.
    On,
    /// Never.
    Off,
}

impl Compression {
    pub(crate) fn deflate(self, client_inflates: bool, body: &[u8]) -> Option<Bytes> {
        let worth_it = self == Self::On || body.len() >= AUTO_COMPRESSION_MIN;
        if worth_it && self.applies_to(client_inflates) { deflate(body).map(Bytes::from) } else { None }
    }

    pub(crate) const fn applies_to(self, client_inflates: bool) -> bool {
        match self {
            Self::Auto => client_inflates,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// What happens to a push when the pushes that wait to be sent have used up `max_queued_bytes`.
///
/// Each push has one: its own, or else that of its [route](ServerConfigBuilder::route_policy), or else that of the
/// [configuration](ServerConfigBuilder::full_policy). Only pushes whose policy lets them be dropped are dropped, for whatever
/// push comes later.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum FullPolicy {
    /// It must arrive. If others cannot be dropped for it, the connection is closed: a client that does not read is gone, or
    /// behind for good.
    #[default]
    Close,
    /// The oldest pushes that wait and may be dropped are dropped until it fits, if need be itself.
    DropOldest,
    /// It takes the place of the push of its route that waits, if that one has this policy as well; then as `DropOldest`.
    KeepLatest,
}

/// The bounds that both sides have.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) max_packet_size: usize,
    pub(crate) max_handshake_size: usize,
    pub(crate) max_inflated_size: usize,
    pub(crate) max_waiting_input: usize,
    pub(crate) max_pending_requests: usize,
    pub(crate) max_queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(5),
            max_packet_size: MAX_BODY_LEN,
            max_handshake_size: 64 << 10,
            max_inflated_size: 16 << 20,
            max_waiting_input: 64 << 10,
            max_pending_requests: 128,
            max_queued_bytes: 1 << 20,
        }
    }
}

impl Limits {
    fn check(&self, errors: &mut Vec<ConfigError>) {
        for (name, value) in [
            ("max_packet_size", self.max_packet_size),
            ("max_handshake_size", self.max_handshake_size),
            ("max_inflated_size", self.max_inflated_size),
            ("max_waiting_input", self.max_waiting_input),
            ("max_pending_requests", self.max_pending_requests),
            ("max_queued_bytes", self.max_queued_bytes),
        ] {
            if value == 0 {
                errors.push(ConfigError::ZeroLimit(name));
            }
        }
        if self.max_packet_size > MAX_BODY_LEN {
            let (name, value) = ("max_packet_size", self.max_packet_size);
            errors.push(ConfigError::LimitTooLarge { name, value, max: MAX_BODY_LEN });
        }
        if self.close_timeout.is_zero() {
            errors.push(ConfigError::ZeroLimit("close_timeout"));
        }
    }
}

/// The setters of the limits, which both builders have.
macro_rules! limit_setters {
    () => {
        /// The longest packet body that is accepted, in bytes. Default: 16777215, what a packet can carry.
        #[must_use]
        pub fn max_packet_size(mut self, bytes: usize) -> Self {
            self.limits.max_packet_size = bytes;
            self
        }

        /// The longest handshake that is read, in bytes, before and after inflating. Default: 64 KiB on a server, where
        /// its JSON becomes a tree of up to a hundred times the size; 4 MiB on a client, for long dictionaries.
        #[must_use]
        pub fn max_handshake_size(mut self, bytes: usize) -> Self {
            self.limits.max_handshake_size = bytes;
            self
        }

        /// What a compressed body may grow to, in bytes. Default: 16 MiB.
        #[must_use]
        pub fn max_inflated_size(mut self, bytes: usize) -> Self {
            self.limits.max_inflated_size = bytes;
            self
        }

        /// From how many bytes of whole packets that wait to be polled no more input is wanted. Default: 64 KiB.
        ///
        /// A single longer packet still passes; the receive buffer holds at most this, one packet and one read.
        #[must_use]
        pub fn max_waiting_input(mut self, bytes: usize) -> Self {
            self.limits.max_waiting_input = bytes;
            self
        }

        /// How many requests may be in flight. Default: 128.
        #[must_use]
        pub fn max_pending_requests(mut self, requests: usize) -> Self {
            self.limits.max_pending_requests = requests;
            self
        }

        /// How many bytes of messages may wait to be sent; each counts for some 100 bytes more than it carries.
        /// Default: 1 MiB.
        #[must_use]
        pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
            self.limits.max_queued_bytes = bytes;
            self
        }

        /// How long closing may take: answers that are still running, and what waits to be sent. Default: 5 s.
        #[must_use]
        pub fn close_timeout(mut self, timeout: Duration) -> Self {
            self.limits.close_timeout = timeout;
            self
        }
    };
}

/// How a server treats its clients: dictionary, limits, prepared handshake answers. Cheap to clone.
///
/// ```
/// use cereus_core::{Compression, RouteDictionary, ServerConfig};
/// use std::time::Duration;
///
/// let config = ServerConfig::builder()
///     .heartbeat(Duration::from_secs(10))
///     .dictionary(RouteDictionary::new([("room.join", 1)])?)
///     .compression(Compression::Off)
///     .build()?;
/// assert_eq!(config.heartbeat(), Duration::from_secs(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerConfig(Arc<Settings>);

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) heartbeat: Duration,
    pub(crate) dictionary: RouteDictionary,
    pub(crate) serializer: String,
    pub(crate) compression: Compression,
    pub(crate) limits: Limits,
    pub(crate) rate_limit: Option<RateLimit>,
    full_policy: FullPolicy,
    route_policies: BTreeMap<Route, FullPolicy>,
    accepted: Prepared,
    refused: Prepared,
}

/// A handshake answer, made once.
#[derive(Debug)]
struct Prepared {
    plain: Bytes,
    deflated: Option<Bytes>,
}

impl ServerConfig {
    /// Settings with safe defaults.
    pub fn builder() -> ServerConfigBuilder {
        ServerConfigBuilder::default()
    }

    /// The interval of heartbeats.
    pub fn heartbeat(&self) -> Duration {
        self.0.heartbeat
    }

    /// The routes that have a code.
    pub fn dictionary(&self) -> &RouteDictionary {
        &self.0.dictionary
    }

    /// The serializer's name, as announced to clients.
    pub fn serializer(&self) -> &str {
        &self.0.serializer
    }

    /// The longest packet body that is accepted.
    pub fn max_packet_size(&self) -> usize {
        self.0.limits.max_packet_size
    }

    /// The longest handshake that is read.
    pub fn max_handshake_size(&self) -> usize {
        self.0.limits.max_handshake_size
    }

    /// How many bytes of messages may wait to be sent to one client.
    pub fn max_queued_bytes(&self) -> usize {
        self.0.limits.max_queued_bytes
    }

    /// How long a handshake may take.
    pub fn handshake_timeout(&self) -> Duration {
        self.0.limits.handshake_timeout
    }

    /// How long closing may take.
    pub fn close_timeout(&self) -> Duration {
        self.0.limits.close_timeout
    }

    /// What happens to a push of this route when the queue is full, if it has no policy of its own.
    pub fn full_policy(&self, route: &Route) -> FullPolicy {
        if self.0.route_policies.is_empty() {
            return self.0.full_policy;
        }
        self.0.route_policies.get(route).copied().unwrap_or(self.0.full_policy)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn handshake_answer(&self, accepted: bool, client_inflates: bool) -> Bytes {
        let prepared = if accepted { &self.0.accepted } else { &self.0.refused };
        match &prepared.deflated {
            Some(deflated) if self.0.compression.applies_to(client_inflates) => deflated.clone(),
            _ => prepared.plain.clone(),
        }
    }
}

impl Default for ServerConfig {
    /// What [`builder`](Self::builder) builds when nothing is set.
    fn default() -> Self {
        Self(Arc::new(ServerConfigBuilder::default().settings()))
    }
}

/// Makes a [`ServerConfig`].
#[derive(Clone, Debug)]
pub struct ServerConfigBuilder {
    heartbeat: Duration,
    handshake_timeout: Option<Duration>,
    dictionary: RouteDictionary,
    serializer: String,
    compression: Compression,
    limits: Limits,
    rate_limit: Option<RateLimit>,
    full_policy: FullPolicy,
    route_policies: BTreeMap<Route, FullPolicy>,
}

impl Default for ServerConfigBuilder {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            handshake_timeout: None,
            dictionary: RouteDictionary::default(),
            serializer: String::from("json"),
            compression: Compression::default(),
            limits: Limits::default(),
            rate_limit: None,
            full_policy: FullPolicy::default(),
            route_policies: BTreeMap::new(),
        }
    }
}

impl ServerConfigBuilder {
    /// The interval of heartbeats, a whole number of seconds. Default: 30 s.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How long a client may take for its handshake. Default, and least: two heartbeats.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = Some(timeout);
        self
    }

    /// The routes that have a code. Default: none.
    #[must_use]
    pub fn dictionary(mut self, dictionary: RouteDictionary) -> Self {
        self.dictionary = dictionary;
        self
    }

    /// The serializer's name to announce. Default: `json`.
    #[must_use]
    pub fn serializer(mut self, name: impl Into<String>) -> Self {
        self.serializer = name.into();
        self
    }

    /// Which bodies are sent deflated. Default: [`Compression::Auto`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// What happens to pushes that find the queue full. Default: [`FullPolicy::Close`].
    #[must_use]
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.full_policy = policy;
        self
    }

    /// What happens to pushes of one route, wherever they come from. Default: the [`full_policy`](Self::full_policy).
    #[must_use]
    pub fn route_policy(mut self, route: impl Into<Route>, policy: FullPolicy) -> Self {
        self.route_policies.insert(route.into(), policy);
        self
    }

    /// How much a client may send in a time. Default: as much as it likes.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.rate_limit = Some(limit);
        self
    }

    limit_setters!();

    /// Checks the settings and prepares the handshake.
    ///
    /// # Errors
    ///
    /// Every mistake at once.
    pub fn build(self) -> Result<ServerConfig, ConfigErrors> {
        let mut errors = Vec::new();
        if self.heartbeat.is_zero() || self.heartbeat.subsec_nanos() != 0 {
            errors.push(ConfigError::Heartbeat(self.heartbeat));
        }
        if let Some(timeout) = self.handshake_timeout
            && timeout < self.heartbeat * 2
        {
            errors.push(ConfigError::HandshakeTimeout { timeout, heartbeat: self.heartbeat });
        }
        self.limits.check(&mut errors);
        if self.rate_limit.is_some_and(|limit| limit.is_zero()) {
            errors.push(ConfigError::ZeroLimit("rate_limit"));
        }
        let settings = self.settings();
        let (name, value) = ("dictionary", settings.accepted.plain.len());
        if value > MAX_BODY_LEN {
            errors.push(ConfigError::LimitTooLarge { name, value, max: MAX_BODY_LEN });
        }
        if errors.is_empty() { Ok(ServerConfig(Arc::new(settings))) } else { Err(ConfigErrors(errors)) }
    }

    fn settings(self) -> Settings {
        let answer = |code| {
            let dictionary = self.dictionary.entries().iter().cloned();
            let body = HandshakeResponse::new(code, self.heartbeat, dictionary, self.serializer.clone()).encode();
            let deflated = deflate(&body).map(Bytes::from);
            Prepared { plain: body.into(), deflated }
        };
        let (accepted, refused) = (answer(HandshakeResponse::OK), answer(HandshakeResponse::REFUSED));
        let handshake_timeout = self.handshake_timeout.unwrap_or(self.heartbeat * 2);
        Settings {
            accepted,
            refused,
            heartbeat: self.heartbeat,
            dictionary: self.dictionary,
            serializer: self.serializer,
            compression: self.compression,
            limits: Limits { handshake_timeout, ..self.limits },
            rate_limit: self.rate_limit,
            full_policy: self.full_policy,
            route_policies: self.route_policies,
        }
    }
}

/// How a client presents itself and what it accepts. Cheap to clone.
///
/// ```
/// use cereus_core::{ClientConfig, HandshakeRequest};
///
/// let mut handshake = HandshakeRequest::default();
/// handshake.platform = "linux".into();
/// let config = ClientConfig::builder().handshake(handshake).max_packet_size(1 << 20).build()?;
/// # Ok::<(), cereus_core::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ClientConfig(Arc<ClientConfigBuilder>);

impl ClientConfig {
    /// Settings with safe defaults.
    pub fn builder() -> ClientConfigBuilder {
        ClientConfigBuilder::default()
    }

    pub(crate) fn settings(&self) -> &ClientConfigBuilder {
        &self.0
    }
}

/// Makes a [`ClientConfig`].
#[derive(Clone, Debug)]
pub struct ClientConfigBuilder {
    pub(crate) handshake: HandshakeRequest,
    pub(crate) compress: bool,
    pub(crate) limits: Limits,
}

impl Default for ClientConfigBuilder {
    fn default() -> Self {
        // A server's dictionary may be long, and it is no tree.
        let limits = Limits { max_handshake_size: 4 << 20, ..Limits::default() };
        Self { handshake: HandshakeRequest::default(), compress: false, limits }
    }
}

impl ClientConfigBuilder {
    /// What is told to the server. Default: nothing.
    ///
    /// A server takes a client with a `lib_version` for a native one, which inflates bodies and wants text routes.
    #[must_use]
    pub fn handshake(mut self, handshake: HandshakeRequest) -> Self {
        self.handshake = handshake;
        self
    }

    /// Whether bodies that become shorter are sent deflated. Default: no.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// How long the server may take for its handshake. Default: 60 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handshake_timeout = timeout;
        self
    }

    limit_setters!();

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every mistake at once.
    pub fn build(self) -> Result<ClientConfig, ConfigErrors> {
        let mut errors = Vec::new();
        if self.limits.handshake_timeout.is_zero() {
            errors.push(ConfigError::ZeroLimit("handshake_timeout"));
        }
        self.limits.check(&mut errors);
        if errors.is_empty() { Ok(ClientConfig(Arc::new(self))) } else { Err(ConfigErrors(errors)) }
    }
}

/// Every mistake in a configuration, at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigErrors {}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = alloc::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
