use std::{fmt, future::Future, io, pin::pin, sync::Arc, time::Duration};

use cereus_core::Instant;
use cereus_transports::{
    Endpoint, Transports,
    rt::{Listener, Runtime, Timer},
};
use futures_lite::future::{self, poll_fn};
use thiserror::Error as ThisError;

use crate::{Error, Server, cluster, mailbox::Letter, module, opening, server};

/// How long an accept loop rests after an error such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Serves a server on a runtime until it is [shut down](Server::shutdown). The `serve` of a runtime crate wraps this, and
/// handles the signals of the system as well.
///
/// Start: the cluster is connected; services, remotes and modules are initialised; all endpoints are opened; the server is
/// put into the registry; then clients are accepted. A server without endpoints is a backend.
///
/// Stop: the server leaves the registry and takes no new clients; clients get the time of `session_drain` to leave if it was
/// [drained](Server::drain); no new messages; handlers and calls that run may end within the drain timeout; sessions are
/// closed; modules, remotes and services are shut down; the bus is let go.
///
/// # Errors
///
/// The cluster cannot be reached, an endpoint cannot be opened, a module or service cannot be initialised, or the server was
/// served before. What was initialised is shut down then.
pub async fn serve<R: Runtime>(
    runtime: R,
    server: Server,
    endpoints: impl IntoIterator<Item = Endpoint>,
) -> Result<(), ServeError> {
    if !server.set_runtime(facts(&runtime)) {
        return Err(ServeError::ServedBefore);
    }
    let mut started = [0; 3];
    let result = match start(&runtime, &server, endpoints.into_iter().collect(), &mut started).await {
        Ok(()) => {
            server.draining().await;
            leave(&runtime, &server).await;
            drain_sessions(&runtime, &server).await;
            server.shutdown();
            end_sessions(&runtime, &server).await;
            Ok(())
        }
        Err(error) => {
            server.shutdown();
            leave(&runtime, &server).await;
            Err(error)
        }
    };
    for (parts, started) in server.parts().into_iter().zip(started).rev() {
        module::stop(&parts[..started], &server).await;
    }
    if let Some(shared) = server.shared() {
        timeout(&runtime, shared.settings.bus_timeout, Arc::clone(&shared.bus).stop()).await;
        shared.end();
    }
    result
}

/// What of a runtime is needed where its type is not known.
fn facts<R: Runtime>(runtime: &R) -> server::Runtime {
    let (now, unix_time, spawn, sleeper) = (runtime.clone(), runtime.clone(), runtime.clone(), runtime.clone());
    server::Runtime {
        now: Box::new(move || now.now()),
        unix_time: Box::new(move || unix_time.unix_time()),
        spawn: Box::new(move |task| spawn.spawn(task)),
        sleep: Box::new(move |duration| {
            let runtime = sleeper.clone();
            Box::pin(async move { sleep(&runtime, duration).await })
        }),
    }
}

/// `started` counts the services, the remotes and the modules that were initialised.
async fn start<R: Runtime>(
    runtime: &R,
    server: &Server,
    endpoints: Vec<Endpoint>,
    started: &mut [usize; 3],
) -> Result<(), ServeError> {
    for endpoint in &endpoints {
        endpoint.resolve().map_err(|error| ServeError::Listen { endpoint: endpoint.to_string(), error })?;
    }
    cluster::start(runtime, server, !endpoints.is_empty()).await.map_err(ServeError::Cluster)?;
    for (parts, started) in server.parts().into_iter().zip(started) {
        module::start(parts, server, started).await.map_err(|(name, error)| ServeError::Init { name, error })?;
    }
    let mut listening = Vec::new();
    let mut accepting = Vec::new();
    for endpoint in endpoints {
        let failed = |error| ServeError::Listen { endpoint: endpoint.to_string(), error };
        let (listener, endpoint) = listen(runtime, &endpoint).await.map_err(failed)?;
        tracing::info!(%endpoint, "listening");
        listening.push(endpoint.clone());
        accepting.push((listener, endpoint.transports(server.config().max_packet_size())));
    }
    cluster::join(runtime, server).await.map_err(ServeError::Cluster)?;
    for (listener, transports) in accepting {
        // Whoever waits for the end may want the address back.
        let (accept_on, server, task) = (runtime.clone(), server.clone(), server.task());
        runtime.spawn(async move {
            let accept = accept(&accept_on, &server, listener, transports);
            future::or(accept, server.draining()).await;
            drop(task);
        });
    }
    let (ticker, ticking) = (runtime.clone(), server.clone());
    runtime.spawn(async move {
        let expire = expire_groups(&ticker, &ticking);
        future::or(expire, ticking.stopping()).await;
    });
    server.set_listening(listening);
    tracing::info!("all modules started!");
    Ok(())
}

/// Leaves the registry, and gives others the time to notice.
async fn leave<R: Runtime>(runtime: &R, server: &Server) {
    let Some(shared) = server.shared() else {
        return;
    };
    shared.leave();
    let left = timeout(runtime, shared.settings.registry_timeout, shared.wait_until(|facts| facts.left)).await;
    if left.is_none() {
        tracing::warn!("the registry does not answer: the record of this server goes when its time is over");
    }
    if !shared.settings.leave_delay.is_zero() {
        future::or(sleep(runtime, shared.settings.leave_delay), server.aborting()).await;
    }
}

/// Lets clients leave by themselves, as long as nobody is in more of a hurry.
async fn drain_sessions<R: Runtime>(runtime: &R, server: &Server) {
    let limit = server.settings().session_drain;
    if server.is_stopping() || limit.is_zero() {
        return;
    }
    tracing::info!(sessions = server.sessions().count(), ?limit, "waiting for sessions to end");
    let ended = future::or(server.all_sessions_ended(), server.stopping());
    if timeout(runtime, limit, ended).await.is_none() {
        tracing::warn!(sessions = server.sessions().count(), "the time for sessions to end is over");
    }
}

async fn listen<R: Runtime>(runtime: &R, endpoint: &Endpoint) -> io::Result<(R::Listener, Endpoint)> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in endpoint.resolve()? {
        match runtime.bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr()?;
                return Ok((listener, endpoint.clone().at(address)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn accept<R: Runtime>(runtime: &R, server: &Server, mut listener: R::Listener, transports: Transports) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match transports(peer) {
                Ok(transport) => opening::start(runtime, server, stream, peer, transport),
                Err(error) => tracing::debug!(%peer, %error, "a connection was refused"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(runtime, ACCEPT_REST).await;
            }
        }
    }
}

async fn expire_groups<R: Runtime>(runtime: &R, server: &Server) {
    loop {
        sleep(runtime, server.settings().groups_tick).await;
        server.group_store().expire(server.now());
    }
}

/// Lets sessions come to their end: first those that nothing runs for, at the end of the drain timeout all of them.
async fn end_sessions<R: Runtime>(runtime: &R, server: &Server) {
    server.sessions().for_each(|session| session.mailbox().command(Letter::Drain));
    let ended = async {
        server.all_tasks_ended().await;
        true
    };
    let aborted = async {
        server.aborting().await;
        false
    };
    if timeout(runtime, server.settings().drain_timeout, future::or(ended, aborted)).await == Some(true) {
        return;
    }
    tracing::warn!(sessions = server.sessions().count(), "closing all sessions, whatever still runs");
    server.sessions().for_each(|session| session.mailbox().command(Letter::Close));
    if timeout(runtime, server.config().close_timeout(), server.all_tasks_ended()).await.is_none() {
        tracing::warn!("some handlers still run: leaving them behind");
    }
}

pub(crate) async fn sleep<R: Runtime>(runtime: &R, duration: Duration) {
    let (mut timer, at): (_, Instant) = (runtime.timer(), runtime.now() + duration);
    poll_fn(|cx| timer.poll_until(at, cx)).await;
}

/// What something came to, if it ended within a time.
pub(crate) async fn timeout<R: Runtime, T>(
    runtime: &R,
    duration: Duration,
    task: impl Future<Output = T>,
) -> Option<T> {
    let task = pin!(async { Some(task.await) });
    future::or(task, async {
        sleep(runtime, duration).await;
        None
    })
    .await
}

/// Why a server could not be served.
#[derive(ThisError)]
#[non_exhaustive]
pub enum ServeError {
    /// An endpoint cannot be opened.
    #[error("cannot listen on {endpoint}: {error}")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// What the system said.
        error: io::Error,
    },
    /// A module or service cannot be initialised.
    #[error("`{name}` cannot be initialised: {error}")]
    Init {
        /// Its name.
        name: String,
        /// What it said.
        error: Error,
    },
    /// The cluster cannot be reached.
    #[error("{0}")]
    Cluster(Error),
    /// A server is served once.
    #[error("this server was served before: build another one")]
    ServedBefore,
}

impl fmt::Debug for ServeError {
    /// As text: this is what a `main` that returns it shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
