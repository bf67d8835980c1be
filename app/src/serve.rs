use std::{fmt, future::Future, io, pin::pin, time::Duration};

use cereus_core::Instant;
use cereus_transports::{
    Endpoint, Transport,
    rt::{Listener, Runtime, Timer},
};
use futures_lite::future::{self, poll_fn};
use thiserror::Error as ThisError;

use crate::{Error, Server, driver::Driver, mailbox::Letter, module};

/// How long an accept loop rests after an error such as too many open files.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Serves a server on a runtime until it is [shut down](Server::shutdown). Runtime crates wrap this.
///
/// Start: services and modules are initialised, then all endpoints are opened, then clients are accepted. Stop: no new
/// clients and no new messages; handlers that run may end within the drain timeout; sessions are closed; modules and
/// services are shut down.
///
/// # Errors
///
/// An endpoint cannot be opened, a module or service cannot be initialised, or the server was served before. What was
/// initialised is shut down then.
pub async fn serve<R: Runtime>(
    runtime: R,
    server: Server,
    endpoints: impl IntoIterator<Item = Endpoint>,
) -> Result<(), ServeError> {
    let clock = runtime.clone();
    if !server.set_clock(move || clock.now()) {
        return Err(ServeError::ServedBefore);
    }
    let (services, modules) = server.parts();
    let mut started = [0; 2];
    let result = match start(&runtime, &server, endpoints.into_iter().collect(), &mut started).await {
        Ok(()) => {
            server.stopping().await;
            end_sessions(&runtime, &server).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    server.shutdown();
    let [started_services, started_modules] = started;
    module::stop(&modules[..started_modules], &server).await;
    module::stop(&services[..started_services], &server).await;
    result
}

/// `started` counts the services and the modules that were initialised.
async fn start<R: Runtime>(
    runtime: &R,
    server: &Server,
    endpoints: Vec<Endpoint>,
    started: &mut [usize; 2],
) -> Result<(), ServeError> {
    for endpoint in &endpoints {
        endpoint.resolve().map_err(|error| ServeError::Listen { endpoint: endpoint.to_string(), error })?;
    }
    let (services, modules) = server.parts();
    for (parts, started) in [services, modules].into_iter().zip(started) {
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
    for (listener, transports) in accepting {
        // Whoever waits for the end may want the address back.
        let (accept_on, server, task) = (runtime.clone(), server.clone(), server.task());
        runtime.spawn(async move {
            let accept = accept(&accept_on, &server, listener, transports);
            future::or(accept, server.stopping()).await;
            drop(task);
        });
    }
    let (ticker, ticking) = (runtime.clone(), server.clone());
    runtime.spawn(async move {
        let expire = expire_groups(&ticker, &ticking);
        future::or(expire, ticking.stopping()).await;
    });
    server.set_listening(listening);
    Ok(())
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

async fn accept<R: Runtime>(
    runtime: &R,
    server: &Server,
    mut listener: R::Listener,
    transports: Box<dyn Fn() -> Box<dyn Transport> + Send + Sync>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let session = server.sessions().create(peer, server.clone());
                runtime.spawn(Driver::new(runtime.clone(), stream, transports(), session));
            }
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
        server.groups().expire();
    }
}

/// Lets sessions come to their end: first those that nothing runs for, at the end of the drain timeout all of them.
async fn end_sessions<R: Runtime>(runtime: &R, server: &Server) {
    server.sessions().for_each(|session| session.mailbox().command(Letter::Drain));
    if timeout(runtime, server.settings().drain_timeout, server.all_tasks_ended()).await {
        return;
    }
    tracing::warn!(sessions = server.sessions().count(), "the drain timeout is over: closing all sessions");
    server.sessions().for_each(|session| session.mailbox().command(Letter::Close));
    if !timeout(runtime, server.config().close_timeout(), server.all_tasks_ended()).await {
        tracing::warn!("some handlers still run: leaving them behind");
    }
}

async fn sleep<R: Runtime>(runtime: &R, duration: Duration) {
    let (mut timer, at): (_, Instant) = (runtime.timer(), runtime.now() + duration);
    poll_fn(|cx| timer.poll_until(at, cx)).await;
}

/// Whether something ended within a time.
async fn timeout<R: Runtime>(runtime: &R, duration: Duration, task: impl Future<Output = ()>) -> bool {
    let task = pin!(async {
        task.await;
        true
    });
    future::or(task, async {
        sleep(runtime, duration).await;
        false
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
