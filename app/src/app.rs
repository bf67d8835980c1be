use std::{collections::BTreeSet, fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use cereus_cluster::{GroupStorage, names};
use cereus_core::{FullPolicy, HandshakeRequest, RateLimit, Route, ServerConfig, ServerConfigBuilder};
use cereus_transports::Endpoint as ListenEndpoint;

use crate::{
    BuildError, BuildErrors, Cluster, Context, Error, JsonSerializer, Module, ProtobufSerializer, Remote,
    RemoteContext, Serializer, Server, Service, Session,
    group::GroupStore,
    hook::{BoxFuture, Hooks},
    module::Part,
    remote::{Function, Remotes},
    router::{Endpoint, Router},
    server::{Callbacks, Parts, Settings},
    sync::Mutex,
};

/// Everything that makes a server, until [`build`](Self::build) checks it and makes a [`Server`] of it.
///
/// What is set here belongs to this app alone: two apps with different settings run in one process.
///
/// ```
/// use cereus_app::{App, Json, Service, State};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Clone, Default)]
/// struct Visits(Arc<AtomicU64>);
///
/// async fn visit(State(visits): State<Visits>) -> Json<u64> {
///     Json(visits.0.fetch_add(1, Ordering::Relaxed) + 1)
/// }
///
/// let server = App::new(Visits::default())
///     .server_type("lobby")
///     .service(Service::new("door").request("visit", visit))
///     .build()?;
/// # Ok::<(), cereus_app::BuildErrors>(())
/// ```
#[must_use = "an app does nothing until it is built and served"]
pub struct App<S> {
    state: S,
    server_type: String,
    services: Vec<Service<S>>,
    remotes: Vec<Remote<S>>,
    modules: Vec<Part>,
    hooks: Hooks<Context>,
    remote_hooks: Hooks<RemoteContext>,
    cluster: Option<Cluster>,
    groups: GroupStore,
    callbacks: Callbacks,
    serializer: Arc<dyn Serializer>,
    protocol: ServerConfigBuilder,
    settings: Settings,
    errors: Vec<BuildError>,
}

impl<S: Send + Sync + 'static> App<S> {
    /// An app with a state that its handlers share.
    pub fn new(state: S) -> Self {
        Self {
            state,
            server_type: "connector".to_owned(),
            services: Vec::new(),
            remotes: Vec::new(),
            modules: Vec::new(),
            hooks: Hooks::default(),
            remote_hooks: Hooks::default(),
            cluster: None,
            groups: GroupStore::default(),
            callbacks: Callbacks::default(),
            serializer: Arc::new(JsonSerializer),
            protocol: ServerConfig::builder(),
            settings: Settings::default(),
            errors: Vec::new(),
        }
    }

    /// The type of this server, the first field of a full route. Default: `connector`.
    pub fn server_type(mut self, name: impl Into<String>) -> Self {
        self.server_type = name.into();
        self
    }

    /// Adds a service.
    pub fn service(mut self, service: Service<S>) -> Self {
        self.services.push(service);
        self
    }

    /// Adds functions that other servers may call. Without a [cluster](Self::cluster) nobody does.
    pub fn remote(mut self, remote: Remote<S>) -> Self {
        self.remotes.push(remote);
        self
    }

    /// Makes this server one of a cluster. Default: it stands alone.
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Keeps groups where other servers find them, too. Default: in the memory of this server.
    pub fn groups(mut self, storage: impl GroupStorage) -> Self {
        self.groups = GroupStore::shared(storage);
        self
    }

    /// Adds a module after those that are there.
    pub fn module(mut self, module: impl Module) -> Self {
        self.modules.push(Part::module(module));
        self
    }

    /// Adds a module before those that are there.
    pub fn module_before(mut self, module: impl Module) -> Self {
        self.modules.insert(0, Part::module(module));
        self
    }

    /// Adds a hook that runs before every handler, once its body could be read. It hands the context on, changed or not,
    /// or refuses the message.
    ///
    /// ```
    /// use cereus_app::{App, Context, Error};
    ///
    /// async fn require_login(context: Context) -> Result<Context, Error> {
    ///     match context.session().uid() {
    ///         None if context.route() != &"gate.login" => Err(Error::new("GAME-001", "log in first")),
    ///         _ => Ok(context),
    ///     }
    /// }
    /// let app = App::new(()).before(require_login);
    /// ```
    pub fn before<Fut>(mut self, hook: impl Fn(Context) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<Context, Error>> + Send + 'static,
    {
        self.hooks.add_before(hook);
        self
    }

    /// Adds a hook that runs after every handler that ran. It gets the result and returns what to make of it: an error
    /// can become a reply and the reverse.
    pub fn after<Fut>(mut self, hook: impl Fn(Context, Result<Bytes, Error>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.hooks.add_after(hook);
        self
    }

    /// As [`before`](Self::before), for calls of other servers.
    pub fn before_remote<Fut>(mut self, hook: impl Fn(RemoteContext) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<RemoteContext, Error>> + Send + 'static,
    {
        self.remote_hooks.add_before(hook);
        self
    }

    /// As [`after`](Self::after), for calls of other servers.
    pub fn after_remote<Fut>(
        mut self,
        hook: impl Fn(RemoteContext, Result<Bytes, Error>) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.remote_hooks.add_after(hook);
        self
    }

    /// Adds a check of the handshake. A client that fails one is refused with code 400; the error is for the log. A second
    /// check of the same name takes the place of the first.
    pub fn handshake_validator<Fut>(
        mut self,
        name: impl Into<String>,
        check: impl Fn(Session, HandshakeRequest) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let check = Arc::new(move |(session, request)| Box::pin(check(session, request)) as BoxFuture<_>);
        self.callbacks.handshake.insert(name.into(), check);
        self
    }

    /// Adds something that runs when a session is bound to a user, before it can be found by him. An error refuses the
    /// bind.
    pub fn on_bind<Fut>(mut self, callback: impl Fn(Session) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.callbacks.bind.push(Arc::new(move |session| Box::pin(callback(session))));
        self
    }

    /// Adds something that runs when a session was bound to a user. An error takes the bind back.
    pub fn on_after_bind<Fut>(mut self, callback: impl Fn(Session) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.callbacks.after_bind.push(Arc::new(move |session| Box::pin(callback(session))));
        self
    }

    /// Adds something that runs when a session ended, after the [session's own callbacks](Session::on_close).
    pub fn on_close<Fut>(mut self, callback: impl Fn(Session) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.callbacks.close.push(Box::new(move |session| Box::pin(callback(session))));
        self
    }

    /// Adds something that runs when the server listens, with where: to print it, or to tell a test.
    pub fn on_listening(mut self, callback: impl Fn(&[ListenEndpoint]) + Send + Sync + 'static) -> Self {
        self.callbacks.listening.push(Box::new(callback));
        self
    }

    /// How errors are written. Default: [`JsonSerializer`].
    pub fn serializer(mut self, serializer: impl Serializer) -> Self {
        self.serializer = Arc::new(serializer);
        self
    }

    /// Changes the settings of the client protocol: heartbeat, dictionary, compression, limits.
    ///
    /// ```
    /// use cereus_app::App;
    /// use std::time::Duration;
    ///
    /// let app = App::new(()).protocol(|protocol| protocol.heartbeat(Duration::from_secs(10)).max_packet_size(64 << 10));
    /// ```
    pub fn protocol(mut self, change: impl FnOnce(ServerConfigBuilder) -> ServerConfigBuilder) -> Self {
        self.protocol = change(self.protocol);
        self
    }

    /// The routes that have a two-byte code on the wire. Default: none.
    pub fn dictionary<R: AsRef<str>>(mut self, entries: impl IntoIterator<Item = (R, u16)>) -> Self {
        match cereus_core::RouteDictionary::new(entries) {
            Ok(dictionary) => self.protocol = self.protocol.dictionary(dictionary),
            Err(error) => self.errors.push(BuildError::Protocol(error.into())),
        }
        self
    }

    /// How long handlers may run, where a service does not say otherwise. Default: 30 s.
    pub fn handler_deadline(mut self, deadline: Duration) -> Self {
        self.settings.handler_deadline = deadline;
        self
    }

    /// How long a write to a client may make no progress before the connection is closed. Default: 10 s.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout;
        self
    }

    /// How long a [drain](Server::drain) waits for clients to leave by themselves. Default: it does not wait.
    pub fn session_drain(mut self, timeout: Duration) -> Self {
        self.settings.session_drain = timeout;
        self
    }

    /// How long a shutdown waits for handlers that run. Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.settings.drain_timeout = timeout;
        self
    }

    /// How many bytes of pushes may wait for one connection to take them over. Default: 1 MiB.
    pub fn max_mailbox_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_mailbox_bytes = bytes;
        self
    }

    /// How many bytes of memory may be taken by what waits in all connections and their mailboxes together, received and not
    /// handled, or not sent. Default: 1 GiB.
    ///
    /// While there are more, no connection may have more than an even share: its pushes find the queue full, whatever
    /// `max_queued_bytes` says, and one that goes on to grow is closed. Those that hold less notice nothing. Each connection
    /// may hold 4 KiB beside what is counted.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_buffered_bytes = bytes;
        self
    }

    /// How many connections there may be. More are closed as soon as they are accepted. Default: 100,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// How many connections may come from one address; of IPv6, from one network of 64 bits. Default: any number, because the
    /// customers of a mobile carrier share addresses. Behind a proxy that does not send a PROXY header, all clients have one.
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.settings.max_connections_per_address = Some(connections);
        self
    }

    /// How many connections may be without a finished handshake. Default: 16,384.
    pub fn max_unauthenticated(mut self, connections: usize) -> Self {
        self.settings.max_unauthenticated = connections;
        self
    }

    /// How much a client may send in a time. A request over the limit is answered with [`Error::TOO_MANY_REQUESTS`]. Default:
    /// as much as it likes.
    ///
    /// ```
    /// use cereus_app::{App, RateLimit};
    /// use std::time::Duration;
    ///
    /// let app = App::new(()).rate_limit(RateLimit::new(20, Duration::from_secs(1)).max_bytes(64 << 10));
    /// ```
    pub fn rate_limit(self, limit: RateLimit) -> Self {
        self.protocol(|protocol| protocol.rate_limit(limit))
    }

    /// What happens to pushes whose client does not read, where neither [their route](Self::push_policy) nor [they
    /// themselves](crate::OnFull) say otherwise. Default: the client is thrown out.
    pub fn full_policy(self, policy: FullPolicy) -> Self {
        self.protocol(|protocol| protocol.full_policy(policy))
    }

    /// What happens to pushes of a route whose client does not read, also to those that other servers send.
    ///
    /// ```
    /// use cereus_app::{App, FullPolicy};
    ///
    /// let app = App::new(()).push_policy("onPositions", FullPolicy::KeepLatest);
    /// ```
    pub fn push_policy(self, route: impl Into<Route>, policy: FullPolicy) -> Self {
        self.protocol(|protocol| protocol.route_policy(route, policy))
    }

    /// How often groups with a time to live are looked at. Default: 30 s.
    pub fn groups_tick(mut self, interval: Duration) -> Self {
        self.settings.groups_tick = interval;
        self
    }

    /// Checks everything and makes the server.
    ///
    /// # Errors
    ///
    /// Every mistake at once: nothing was opened or started then.
    pub fn build(self) -> Result<Server, BuildErrors> {
        let mut errors = self.errors;
        if !names::is_server_name(&self.server_type) {
            errors.push(BuildError::ServerName { what: "server type", name: self.server_type.clone() });
        }
        self.settings.check(&mut errors);
        if let Some(cluster) = &self.cluster {
            cluster.check(&mut errors);
        }
        check_modules(&self.modules, &mut errors);
        let config = self.protocol.serializer(self.serializer.name()).build().map_err(|mistakes| {
            errors.extend(mistakes.into_iter().map(BuildError::Protocol));
        });
        let mut builder = RouterBuilder {
            router: Router::new(&self.server_type),
            remotes: Remotes::default(),
            services: Vec::new(),
            remote_parts: Vec::new(),
            serializer: self.serializer.name(),
            deadline: self.settings.handler_deadline,
            errors,
        };
        let (state, hooks, remote_hooks) = (Arc::new(self.state), Arc::new(self.hooks), Arc::new(self.remote_hooks));
        let mut names = BTreeSet::new();
        for (index, service) in self.services.into_iter().enumerate() {
            if !names.insert(service.name.clone()) {
                builder.errors.push(BuildError::ServiceTwice { name: service.name });
                continue;
            }
            builder.add(index, service, &state, &hooks);
        }
        let mut names = BTreeSet::from(["sys".to_owned()]);
        for remote in self.remotes {
            if !names.insert(remote.name.clone()) {
                builder.errors.push(BuildError::RemoteTwice { name: remote.name });
                continue;
            }
            builder.add_remote(remote, &state, &remote_hooks);
        }
        match config {
            Ok(config) if builder.errors.is_empty() => Ok(Server::new(Parts {
                router: builder.router,
                config: Arc::new(config),
                serializer: self.serializer,
                callbacks: self.callbacks,
                remotes: builder.remotes,
                services: builder.services,
                remote_parts: builder.remote_parts,
                modules: self.modules,
                settings: self.settings,
                cluster: Mutex::new(self.cluster),
                groups: self.groups,
            })),
            _ => Err(BuildErrors(builder.errors)),
        }
    }
}

fn check_modules(modules: &[Part], errors: &mut Vec<BuildError>) {
    let mut names = BTreeSet::new();
    for part in modules {
        if !names.insert(&part.name) {
            errors.push(BuildError::ModuleTwice { name: part.name.clone() });
        }
    }
}

/// Adds services to a router and collects what is wrong with them.
struct RouterBuilder {
    router: Router,
    remotes: Remotes,
    services: Vec<Part>,
    remote_parts: Vec<Part>,
    serializer: &'static str,
    deadline: Duration,
    errors: Vec<BuildError>,
}

impl RouterBuilder {
    fn add<S>(&mut self, index: usize, service: Service<S>, state: &Arc<S>, hooks: &Arc<Hooks<Context>>) {
        let Service { name: service_name, entries, rename, concurrency, deadline, lifecycle } = service;
        self.check_name("service", &service_name);
        if deadline.is_some_and(|deadline| deadline.is_zero()) || concurrency == Some(0) {
            self.errors.push(BuildError::NothingRuns { service: service_name.clone() });
        }
        for entry in entries {
            let name = rename.as_ref().map_or_else(|| entry.name.clone(), |rename| rename(&entry.name));
            self.check_name("handler", &name);
            let route = format!("{service_name}.{name}");
            if let Some(body) = entry.formats.into_iter().flatten().find(|format| *format != self.serializer) {
                self.errors.push(BuildError::Serializer { route: route.clone(), body, app: self.serializer });
            }
            let endpoint = Endpoint {
                route: route.as_str().into(),
                handler: (entry.handler)(Arc::clone(state), Arc::clone(hooks)),
                answers: entry.answers,
                deadline: deadline.unwrap_or(self.deadline),
                service: index as u32,
                concurrency,
            };
            if !self.router.insert(endpoint) {
                self.errors.push(BuildError::RouteTwice { route });
            }
        }
        if let Some(lifecycle) = lifecycle {
            self.services.push(Part { name: service_name, lifecycle, module: None });
        }
    }

    fn add_remote<S>(&mut self, remote: Remote<S>, state: &Arc<S>, hooks: &Arc<Hooks<RemoteContext>>) {
        let Remote { name: remote_name, entries, deadline, lifecycle } = remote;
        self.check_name("remote", &remote_name);
        if deadline.is_some_and(|deadline| deadline.is_zero()) {
            self.errors.push(BuildError::NothingRuns { service: remote_name.clone() });
        }
        for (name, formats, handler) in entries {
            self.check_name("remote's function", &name);
            let route = format!("{remote_name}.{name}");
            if let Some(body) = formats.into_iter().flatten().find(|format| *format != ProtobufSerializer::NAME) {
                self.errors.push(BuildError::RemoteSerializer { route: route.clone(), body });
            }
            let function = Function {
                route: route.as_str().into(),
                handler: handler(Arc::clone(state), Arc::clone(hooks)),
                deadline: deadline.unwrap_or(self.deadline),
            };
            if !self.remotes.insert(function) {
                self.errors.push(BuildError::RouteTwice { route });
            }
        }
        if let Some(lifecycle) = lifecycle {
            self.remote_parts.push(Part { name: remote_name, lifecycle, module: None });
        }
    }

    fn check_name(&mut self, what: &'static str, name: &str) {
        if name.trim().is_empty() || name.contains('.') {
            self.errors.push(BuildError::Name { what, name: name.to_owned() });
        }
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("server_type", &self.server_type)
            .field("services", &self.services)
            .field("modules", &self.modules)
            .finish_non_exhaustive()
    }
}
