//! The one task that moves events between bus, registry and the machine, and decides nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use cereus_cluster::{
    BusEvent, BusEvents, Change, Changes, ChangesReceiver, ClusterEvent, ClusterNode, KeptAlive, RegistryCommand,
    RegistryError, RegistryEvent, ServerInfo, names::record,
};
use cereus_core::Instant;
use cereus_transports::rt::{Runtime, Timer};

use crate::{
    Error, Server,
    cluster::{Cluster, DynRegistry, Shared, incoming::Intake, shared::Output, sys},
    hook::BoxFuture,
    serve::timeout,
};

/// How many events are taken in before the machine is asked what to do, and how often that happens before other tasks get
/// their turn.
const EVENTS: usize = 64;
const TURNS: usize = 16;

/// Connects to the bus and looks who is there. The server is not in the registry yet.
pub(crate) async fn start<R: Runtime>(runtime: &R, server: &Server, frontend: bool) -> Result<(), Error> {
    let Some(mut cluster) = server.take_cluster() else {
        return Ok(());
    };
    let own = own_record(&mut cluster, server.server_type(), frontend);
    let clock = runtime.clone();
    let shared = Arc::new(Shared::new(&mut cluster, own, Box::new(move || clock.now())));
    let limit = cluster.settings.start_timeout;

    let start = Arc::clone(&shared.bus).start(Arc::clone(&shared.own));
    let events = within(runtime, limit, "the bus", async { start.await.map_err(|error| error.to_string()) }).await?;
    server.set_shared(Arc::clone(&shared));
    shared.watch();
    runtime.spawn(Task {
        intake: Intake { runtime: runtime.clone(), server: server.clone(), shared: Arc::clone(&shared) },
        events,
        bus_ended: false,
        registry: Registry {
            registry: cluster.registry,
            timeout: cluster.settings.registry_timeout,
            running: Vec::new(),
            watch: None,
        },
        timer: runtime.timer(),
        shared: Arc::clone(&shared),
    });
    if shared.storage.is_some() {
        super::bindings::keep(runtime, Arc::clone(&shared));
    }
    within(runtime, limit, "the registry", async {
        shared.wait_until(|facts| facts.synced).await;
        Ok(())
    })
    .await
}

/// Puts the server into the registry.
pub(crate) async fn join<R: Runtime>(runtime: &R, server: &Server) -> Result<(), Error> {
    let Some(shared) = server.shared() else {
        return Ok(());
    };
    shared.join();
    within(runtime, shared.settings.start_timeout, "the registry", async {
        shared.wait_until(|facts| facts.registered).await;
        Ok(())
    })
    .await
}

async fn within<R: Runtime, T>(
    runtime: &R,
    limit: Duration,
    what: &str,
    task: impl Future<Output = Result<T, String>>,
) -> Result<T, Error> {
    let failed = |text: String| Error::new(Error::INTERNAL, format!("{what} of the cluster: {text}"));
    match timeout(runtime, limit, task).await {
        Some(result) => result.map_err(failed),
        None => Err(failed(format!(
            "not ready within {limit:?} (`Cluster::start_timeout`): does it run, and is its address right?"
        ))),
    }
}

fn own_record(cluster: &mut Cluster, server_type: &str, frontend: bool) -> ServerInfo {
    let mut own = ServerInfo::new(server_type, cluster.id.take().unwrap_or_else(crate::random::uuid));
    own.frontend = frontend;
    own.hostname = hostname();
    own.metadata = std::mem::take(&mut cluster.metadata);
    own.metadata.insert(record::CEREUS.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    cluster.bus.advertise(&mut own);
    own
}

fn hostname() -> String {
    let file = || std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
    std::env::var("HOSTNAME").ok().or_else(file).unwrap_or_default()
}

struct Task<R: Runtime> {
    intake: Intake<R>,
    events: Box<dyn BusEvents>,
    bus_ended: bool,
    registry: Registry,
    timer: R::Timer,
    shared: Arc<Shared>,
}

impl<R: Runtime> Task<R> {
    /// Does once what can be done now. Returns whether anything was done.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> (bool, Option<Instant>) {
        let mut bus = Vec::new();
        while bus.len() < EVENTS && !self.bus_ended {
            match self.events.poll_next(cx) {
                Poll::Ready(Some(event)) => bus.push(event),
                Poll::Ready(None) => {
                    self.bus_ended = true;
                    bus.push(BusEvent::Down);
                    tracing::error!("the bus has ended: this server is shut down");
                    self.intake.server.shutdown();
                }
                Poll::Pending => break,
            }
        }
        let registry = self.registry.poll(cx);
        let progress = !bus.is_empty() || !registry.is_empty();
        let mut output = Output::default();
        let input = |node: &mut ClusterNode| {
            bus.into_iter().for_each(|event| node.handle_bus(event, now));
            registry.into_iter().for_each(|event| node.handle_registry(event, now));
            node.handle_timeout(now);
        };
        self.shared.drive(now, input, &mut output);
        let progress = progress || !output.events.is_empty() || !output.commands.is_empty();
        output.commands.into_iter().for_each(|command| self.registry.execute(&self.intake.runtime, command));
        output.events.into_iter().for_each(|event| self.handle(event));
        (progress, output.wake_at)
    }

    fn handle(&self, event: ClusterEvent) {
        match event {
            ClusterEvent::Request(request, reply) => self.intake.request(request, reply),
            ClusterEvent::Push(push, reply) => self.intake.push(push, reply),
            ClusterEvent::Kick(kick, reply) => self.intake.kick(&kick, reply),
            ClusterEvent::Bind(bind, reply) => self.intake.bind(&bind, reply),
            ClusterEvent::Server(change) => self.server_changed(change),
            ClusterEvent::Unreadable { kind, reply, error } => {
                let from = reply.as_ref().map_or("somebody who wants no answer", |reply| reply.as_str());
                tracing::warn!(?kind, from, error, "an envelope of another server cannot be read");
            }
            ClusterEvent::RegistryFailed(error) => tracing::warn!(error, "the registry failed: trying again"),
            ClusterEvent::Link { up: true } => tracing::info!("the bus is connected"),
            ClusterEvent::Link { up: false } => {
                tracing::warn!("the bus is not connected: calls wait for it, or for their deadline")
            }
            ClusterEvent::Finished { result: Err(error), .. } => {
                tracing::debug!(%error, "a call that nobody waits for failed")
            }
            _ => {}
        }
    }

    fn server_changed(&self, change: Change) {
        self.shared.bus.servers_changed(&self.shared.servers());
        match change {
            Change::Added(server) => tracing::info!(id = server.id, server_type = server.server_type, "a server came"),
            Change::Updated(server) => {
                tracing::info!(id = server.id, server_type = server.server_type, "a server changed")
            }
            Change::Removed(server) => {
                tracing::info!(id = server.id, server_type = server.server_type, "a server went");
                if !self.shared.incoming.watched.of_server(&server.id).is_empty() {
                    self.intake.runtime.spawn(sys::probe(self.intake.server.clone(), server));
                }
            }
            _ => {}
        }
    }
}

impl<R: Runtime> Future for Task<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.set_task(cx.waker());
        for _ in 0..TURNS {
            if this.shared.facts().ended {
                return Poll::Ready(());
            }
            let now = this.intake.runtime.now();
            let (progress, wake_at) = this.turn(cx, now);
            if progress {
                continue;
            }
            let Some(at) = wake_at else {
                return Poll::Pending;
            };
            if this.timer.poll_until(at, cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What is asked of the registry at this time.
struct Registry {
    registry: Arc<dyn DynRegistry>,
    timeout: Duration,
    running: Vec<BoxFuture<RegistryEvent>>,
    watch: Option<(BoxFuture<RegistryError>, ChangesReceiver)>,
}

impl Registry {
    fn execute<R: Runtime>(&mut self, runtime: &R, command: RegistryCommand) {
        let registry = Arc::clone(&self.registry);
        if command == RegistryCommand::Watch {
            let (changes, receiver) = Changes::new();
            self.watch = Some((registry.watch(changes), receiver));
            return;
        }
        let (runtime, limit) = (runtime.clone(), self.timeout);
        self.running.push(Box::pin(async move {
            let late = || RegistryEvent::Failed(RegistryError::new(format!("no answer within {limit:?}")));
            timeout(&runtime, limit, run(registry, command)).await.unwrap_or_else(late)
        }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Vec<RegistryEvent> {
        let mut events = Vec::new();
        self.running.retain_mut(|running| match running.as_mut().poll(cx) {
            Poll::Ready(event) => {
                events.push(event);
                false
            }
            Poll::Pending => true,
        });
        if let Some((watch, changes)) = &mut self.watch {
            let ended = watch.as_mut().poll(cx);
            while events.len() < EVENTS
                && let Poll::Ready(Some(event)) = changes.poll_recv(cx)
            {
                events.push(event);
            }
            if let Poll::Ready(error) = ended {
                self.watch = None;
                events.push(RegistryEvent::WatchLost(error));
            }
        }
        events
    }
}

async fn run(registry: Arc<dyn DynRegistry>, command: RegistryCommand) -> RegistryEvent {
    let result = match command {
        RegistryCommand::Grant { ttl } => registry.grant(ttl).await.map(RegistryEvent::Granted),
        RegistryCommand::Put { lease, info } => registry.put(info, lease).await.map(|()| RegistryEvent::Registered),
        RegistryCommand::Revoke { lease } => {
            // It goes by itself if this fails.
            return registry.revoke(lease).await.map_or(RegistryEvent::Revoked, |()| RegistryEvent::Revoked);
        }
        RegistryCommand::KeepAlive { lease } => registry.keep_alive(lease).await.map(|kept| match kept {
            KeptAlive::Yes => RegistryEvent::KeptAlive,
            KeptAlive::Lost => RegistryEvent::LeaseLost,
        }),
        _ => Err(RegistryError::new("not a command")),
    };
    result.unwrap_or_else(RegistryEvent::Failed)
}
