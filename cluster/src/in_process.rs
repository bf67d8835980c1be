use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::poll_fn,
    sync::{Arc, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    Address, Bus, BusError, BusEvent, BusEvents, CallId, Changes, KeptAlive, LeaseId, Registry, RegistryError,
    RegistryEvent, ReplyTo, ServerInfo, Transmit, Undelivered,
    queue::{self, Receiver, Sender},
    sync::{Mutex, MutexGuard, RwLock},
};

/// A bus and a registry inside one process: any number of clusters, each with any number of servers, no service.
///
/// The envelopes are those that travel on NATS, with the same limits. One value is one cluster; clones are the same one.
///
/// ```
/// use cereus_cluster::InProcess;
///
/// let cluster = InProcess::new().max_payload(64 << 10);
/// let (bus, registry) = (cluster.bus(), cluster.registry()); // of one server
/// ```
#[derive(Clone, Debug)]
pub struct InProcess {
    world: Arc<World>,
    limits: Limits,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    max_payload: usize,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct World {
    routes: RwLock<Routes>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Routes {
    servers: BTreeMap<String, Arc<Inbox>>,
    /// By the numbers of their starts.
    starts: BTreeMap<u64, Arc<Inbox>>,
    last_start: u64,
    types: BTreeMap<String, BTreeSet<String>>,
    /// By the type of the frontend and the uid: the ids of the frontends.
    users: BTreeMap<(String, String), BTreeSet<String>>,
}

impl InProcess {
    /// A cluster without servers.
    pub fn new() -> Self {
        let limits = Limits { max_payload: 1 << 20, max_messages: 65_536, max_bytes: 64 << 20 };
        Self { world: Arc::default(), limits }
    }

    /// How long an envelope may be. Default: 1 MiB, as NATS has it.
    #[must_use]
    pub const fn max_payload(mut self, bytes: usize) -> Self {
        self.limits.max_payload = bytes;
        self
    }

    /// How many envelopes may wait for one server. More are refused. Default: 65,536.
    #[must_use]
    pub const fn max_messages(mut self, messages: usize) -> Self {
        self.limits.max_messages = messages;
        self
    }

    /// How many bytes may wait for one server. Default: 64 MiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// The bus, for one server.
    pub fn bus(&self) -> InProcessBus {
        InProcessBus { world: Arc::clone(&self.world), limits: self.limits, own: OnceLock::new() }
    }

    /// The registry, for one server.
    pub fn registry(&self) -> InProcessRegistry {
        InProcessRegistry { world: Arc::clone(&self.world) }
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

/// The bus of one server of an [`InProcess`] cluster.
#[derive(Debug)]
pub struct InProcessBus {
    world: Arc<World>,
    limits: Limits,
    own: OnceLock<Own>,
}

#[derive(Debug)]
struct Own {
    info: Arc<ServerInfo>,
    /// Where answers go. It differs from start to start: what is for a server before does not reach one that has its id now.
    start: u64,
}

impl InProcessBus {
    fn deliver(&self, to: &Inbox, message: Transmit) -> Result<(), Undelivered> {
        let own = self.own.get();
        let reply = message.call.zip(own).map(|(call, own)| ReplyTo::new(format!("{}/{call}", own.start)));
        to.put(BusEvent::Message { kind: message.kind, reply, payload: message.payload }, &self.limits)
    }
}

impl Routes {
    /// Gives a call its end. A caller whose queue is full learns it from the deadline.
    fn answer(&self, to: &ReplyTo, result: Result<Bytes, Undelivered>, limits: &Limits) {
        let find = |(start, call): (&str, &str)| Some((self.starts.get(&start.parse().ok()?)?, CallId::parse(call)?));
        if let Some((inbox, call)) = to.as_str().split_once('/').and_then(find) {
            let _ = inbox.put(BusEvent::Reply { call, result }, limits);
        }
    }
}

impl Bus for InProcessBus {
    async fn start(&self, own: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        let mut routes = self.world.routes.write().unwrap_or_else(PoisonError::into_inner);
        let start = routes.last_start + 1;
        let taken = routes.servers.contains_key(&own.id);
        if taken || self.own.set(Own { info: Arc::clone(&own), start }).is_err() {
            let text = format!("there is a server with the id `{}` in this cluster already: choose another", own.id);
            return Err(BusError::new(text));
        }
        let inbox = Arc::new(Inbox::default());
        let up = BusEvent::Up { max_payload: self.limits.max_payload };
        inbox.put(up, &self.limits).map_err(|error| BusError::new(error.to_string()))?;
        routes.last_start = start;
        routes.starts.insert(start, Arc::clone(&inbox));
        routes.servers.insert(own.id.clone(), Arc::clone(&inbox));
        routes.types.entry(own.server_type.clone()).or_default().insert(own.id.clone());
        Ok(Box::new(Events { world: Arc::clone(&self.world), own, start, inbox }))
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        let routes = self.world.routes.read().unwrap_or_else(PoisonError::into_inner);
        let (call, own) = (message.call, self.own.get());
        let delivered = match &message.to {
            Address::Server(info) => match routes.servers.get(&info.id) {
                Some(inbox) => self.deliver(inbox, message),
                None => Err(Undelivered::NoResponders),
            },
            Address::Reply(to) => {
                routes.answer(to, Ok(message.payload), &self.limits);
                return Ok(());
            }
            Address::User { frontend_type, uid } => {
                let ids = routes.users.get(&(frontend_type.to_string(), uid.to_string()));
                self.deliver_all(&routes, ids, &message)
            }
            Address::Type(server_type) => self.deliver_all(&routes, routes.types.get(&**server_type), &message),
        };
        if let (Err(error), Some(call), Some(own)) =
            (delivered, call, own.and_then(|own| routes.starts.get(&own.start)))
        {
            let _ = own.put(BusEvent::Reply { call, result: Err(error) }, &self.limits);
        }
        Ok(())
    }

    async fn subscribe_user(&self, uid: &str) -> Result<(), BusError> {
        let own = self.own.get().ok_or_else(|| BusError::new("the bus has not been started"))?;
        let mut routes = self.world.routes.write().unwrap_or_else(PoisonError::into_inner);
        let key = (own.info.server_type.clone(), uid.to_owned());
        routes.users.entry(key).or_default().insert(own.info.id.clone());
        Ok(())
    }

    async fn unsubscribe_user(&self, uid: &str) {
        let Some(own) = self.own.get() else { return };
        let mut routes = self.world.routes.write().unwrap_or_else(PoisonError::into_inner);
        let key = (own.info.server_type.clone(), uid.to_owned());
        if let Some(ids) = routes.users.get_mut(&key) {
            ids.remove(&own.info.id);
            if ids.is_empty() {
                routes.users.remove(&key);
            }
        }
    }

    async fn stop(&self) {}
}

impl InProcessBus {
    /// Delivered if one of them took it.
    fn deliver_all(
        &self,
        routes: &Routes,
        ids: Option<&BTreeSet<String>>,
        message: &Transmit,
    ) -> Result<(), Undelivered> {
        let mut result = Err(Undelivered::NoResponders);
        for inbox in ids.into_iter().flatten().filter_map(|id| routes.servers.get(id)) {
            result = self.deliver(inbox, message.clone()).or(result);
        }
        result
    }
}

/// What waits for one server.
#[derive(Default)]
struct Inbox(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    events: VecDeque<BusEvent>,
    bytes: usize,
    waker: Option<Waker>,
}

impl Inbox {
    fn put(&self, event: BusEvent, limits: &Limits) -> Result<(), Undelivered> {
        let mut waiting = lock(&self.0);
        let len = len(&event);
        if waiting.events.len() >= limits.max_messages || waiting.bytes + len > limits.max_bytes {
            return Err(Undelivered::Failed("too much waits for the server".to_owned()));
        }
        waiting.bytes += len;
        waiting.events.push_back(event);
        let waker = waiting.waker.take();
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

fn len(event: &BusEvent) -> usize {
    match event {
        BusEvent::Message { payload, .. } | BusEvent::Reply { result: Ok(payload), .. } => payload.len(),
        _ => 0,
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.0);
        f.debug_struct("Inbox").field("events", &waiting.events.len()).field("bytes", &waiting.bytes).finish()
    }
}

/// What a server takes its mail out of. When it is dropped, the server can no longer be reached.
struct Events {
    world: Arc<World>,
    own: Arc<ServerInfo>,
    start: u64,
    inbox: Arc<Inbox>,
}

impl BusEvents for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        let mut waiting = lock(&self.inbox.0);
        match waiting.events.pop_front() {
            Some(event) => {
                waiting.bytes -= len(&event);
                Poll::Ready(Some(event))
            }
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut routes = self.world.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.servers.remove(&self.own.id);
        routes.starts.remove(&self.start);
        if let Some(ids) = routes.types.get_mut(&self.own.server_type) {
            ids.remove(&self.own.id);
        }
        routes.users.retain(|_, ids| {
            ids.remove(&self.own.id);
            !ids.is_empty()
        });
        drop(routes);
        // Whoever called it is told at once.
        let left = std::mem::take(&mut *lock(&self.inbox.0)).events;
        let routes = self.world.routes.read().unwrap_or_else(PoisonError::into_inner);
        for event in left {
            if let BusEvent::Message { reply: Some(reply), .. } = event {
                routes.answer(&reply, Err(Undelivered::NoResponders), &NO_LIMITS);
            }
        }
    }
}

const NO_LIMITS: Limits = Limits { max_payload: usize::MAX, max_messages: usize::MAX, max_bytes: usize::MAX };

/// The registry of an [`InProcess`] cluster. Its leases last until they are revoked: a process that ends takes the registry
/// with it.
#[derive(Debug)]
pub struct InProcessRegistry {
    world: Arc<World>,
}

#[derive(Debug, Default)]
struct Records {
    by_id: BTreeMap<String, (LeaseId, ServerInfo)>,
    leases: BTreeSet<LeaseId>,
    last_lease: i64,
    watchers: Vec<Sender<RegistryEvent>>,
}

impl Records {
    /// A watcher that does not keep up is dropped: it starts again.
    fn tell(&mut self, event: &RegistryEvent) {
        self.watchers.retain(|watcher| watcher.try_send(event.clone()).is_ok());
    }
}

impl Registry for InProcessRegistry {
    async fn grant(&self, _ttl: Duration) -> Result<LeaseId, RegistryError> {
        let mut records = lock(&self.world.records);
        records.last_lease += 1;
        let lease = LeaseId::new(records.last_lease);
        records.leases.insert(lease);
        Ok(lease)
    }

    async fn put(&self, info: Arc<ServerInfo>, lease: LeaseId) -> Result<(), RegistryError> {
        let mut records = lock(&self.world.records);
        if !records.leases.contains(&lease) {
            return Err(RegistryError::new("the lease is over"));
        }
        records.by_id.insert(info.id.clone(), (lease, (*info).clone()));
        records.tell(&RegistryEvent::Put((*info).clone()));
        Ok(())
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<KeptAlive, RegistryError> {
        let is_there = lock(&self.world.records).leases.contains(&lease);
        Ok(if is_there { KeptAlive::Yes } else { KeptAlive::Lost })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), RegistryError> {
        let mut records = lock(&self.world.records);
        records.leases.remove(&lease);
        let gone: Vec<_> =
            records.by_id.values().filter(|(of, _)| *of == lease).map(|(_, info)| info.clone()).collect();
        for ServerInfo { server_type, id, .. } in gone {
            records.by_id.remove(&id);
            records.tell(&RegistryEvent::Delete { server_type, id });
        }
        Ok(())
    }

    async fn watch(&self, changes: Changes) -> RegistryError {
        let (receiver, all) = self.subscribe();
        changes.resync(all).await;
        loop {
            match poll_fn(|cx| receiver.poll_recv(cx)).await {
                Some(RegistryEvent::Put(info)) => changes.put(info).await,
                Some(RegistryEvent::Delete { server_type, id }) => changes.delete(server_type, id).await,
                Some(_) => {}
                None => return RegistryError::new("changes were missed"),
            }
        }
    }
}

impl InProcessRegistry {
    fn subscribe(&self) -> (Receiver<RegistryEvent>, Vec<ServerInfo>) {
        let (sender, receiver) = queue::bounded(1024);
        let mut records = lock(&self.world.records);
        records.watchers.push(sender);
        (receiver, records.by_id.values().map(|(_, info)| info.clone()).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(loom)]
#[cfg(test)]
mod checks;
