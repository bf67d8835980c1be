//! A server that runs in the background, on each of the runtimes.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    panic,
    sync::{Once, mpsc},
    task::Poll,
    thread,
    time::Duration,
};

use cereus::{Endpoint, ServeError, Server};
use cereus_sim::Serving;
use smol::future;

use crate::net;

/// How long a server may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a panic says that a test causes.
pub(crate) const ON_PURPOSE: &str = "on purpose";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
    AsyncStd,
    Simulated,
}

impl Runtime {
    /// Serves until the server is shut down.
    pub(crate) fn serve(self, server: Server, endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
        match self {
            Self::Tokio => on_tokio(server, endpoints),
            Self::Smol => on_smol(server, endpoints),
            Self::AsyncStd => on_async_std(server, endpoints),
            Self::Simulated => Ended::Simulated(net::simulate().serve(server, endpoints)).within(PATIENCE).unwrap(),
        }
    }
}

/// A runtime of its own, which ends with the server as that of a program does.
fn on_tokio(server: Server, endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(cereus::serve(cereus_tokio::Tokio::new(), server, endpoints))
}

fn on_smol(server: Server, endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
    smol::block_on(cereus::serve(cereus_async_std::Smol::new(), server, endpoints))
}

fn on_async_std(server: Server, endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
    smol::block_on(cereus::serve(cereus_async_std::async_std::AsyncStd::new(), server, endpoints))
}

/// A server that listens. Dropped, it is shut down and waited for.
pub(crate) struct Running {
    server: Server,
    endpoints: Vec<String>,
    ended: Ended,
    stopped: bool,
}

impl Running {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(runtime: Runtime, server: Server, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self::try_start(runtime, server, endpoints).unwrap_or_else(|error| panic!("{runtime:?} cannot serve: {error}"))
    }

    /// Starts a server, or tells why it cannot be.
    pub(crate) fn try_start(
        runtime: Runtime,
        server: Server,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Result<Self, ServeError> {
        silence_panics_on_purpose();
        let ended = Ended::serve(runtime, server.clone(), endpoints.into_iter().collect());
        let failure = async {
            ended.happens().await;
            None
        };
        let listening = net::block_on(PATIENCE, future::or(server.listening(), failure));
        match listening.expect("the server does not listen in time") {
            Some(endpoints) => {
                let endpoints = endpoints.iter().map(ToString::to_string).collect();
                Ok(Self { server, endpoints, ended, stopped: false })
            }
            None => match ended.within(PATIENCE).expect("a server that cannot listen returns") {
                Ok(()) => panic!("the server was stopped before it listened"),
                Err(error) => Err(error),
            },
        }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens first.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoints[0]
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whether it comes to its end within a time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        net::block_on(time, self.ended.happens()).is_some()
    }

    /// Waits for the end of a server that was told to shut down.
    pub(crate) fn wait(mut self) -> Result<(), ServeError> {
        self.stopped = true;
        self.ended.within(PATIENCE).expect("the server did not stop in time")
    }

    /// Shuts it down and waits for its end.
    pub(crate) fn stop(self) -> Result<(), ServeError> {
        self.server.shutdown();
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown();
        // A test that failed has said enough.
        if !self.stopped && !thread::panicking() {
            let result = self.ended.within(PATIENCE).expect("the server did not stop in time");
            result.expect("the server did not stop in order");
        }
    }
}

/// How a server's end is heard of.
enum Ended {
    Thread(mpsc::Receiver<Result<(), ServeError>>, smol::channel::Receiver<()>),
    Simulated(Serving),
}

impl Ended {
    /// Serves in the background.
    fn serve(runtime: Runtime, server: Server, endpoints: Vec<Endpoint>) -> Self {
        if runtime == Runtime::Simulated {
            return Self::Simulated(net::simulate().serve(server, endpoints));
        }
        let ((end, ended), (over, is_over)) = (mpsc::channel(), smol::channel::bounded(1));
        thread::spawn(move || {
            let _ = end.send(runtime.serve(server, endpoints));
            drop(over);
        });
        Self::Thread(ended, is_over)
    }

    /// Waits until it has happened.
    async fn happens(&self) {
        match self {
            Self::Thread(_, is_over) => drop(is_over.recv().await),
            Self::Simulated(serving) => {
                future::poll_fn(|_| if serving.is_over() { Poll::Ready(()) } else { Poll::Pending }).await
            }
        }
    }

    /// What came of it, once.
    fn within(&self, time: Duration) -> Option<Result<(), ServeError>> {
        match self {
            Self::Thread(ended, _) => net::receive(ended, time),
            Self::Simulated(serving) => net::find(net::now() + time, || serving.take_result()),
        }
    }
}

/// Waits for a condition that nobody tells of.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let held = net::find(net::now() + PATIENCE, || holds().then_some(()));
    assert!(held.is_some(), "this did not come true in time: {what}");
}

/// Keeps the output free of panics that a test causes.
fn silence_panics_on_purpose() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload_as_str() != Some(ON_PURPOSE) {
                usual(info);
            }
        }));
    });
}
