//! A server that runs in the background, on each of the runtimes.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    panic,
    sync::{Once, mpsc},
    thread,
    time::{Duration, Instant},
};

use cereus::{Endpoint, ServeError, Server};
use smol::{Timer, future};

/// How long a server may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a panic says that a test causes.
pub(crate) const ON_PURPOSE: &str = "on purpose";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Runtime {
    Tokio,
    Smol,
    AsyncStd,
}

impl Runtime {
    /// Serves until the server is shut down.
    pub(crate) fn serve(self, server: Server, endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
        match self {
            Self::Tokio => on_tokio(server, endpoints),
            Self::Smol => on_smol(server, endpoints),
            Self::AsyncStd => on_async_std(server, endpoints),
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
    ended: mpsc::Receiver<Result<(), ServeError>>,
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
        let (end, ended) = mpsc::channel();
        let (serving, endpoints) = (server.clone(), endpoints.into_iter().collect());
        let (failed, failure) = smol::channel::bounded(1);
        thread::spawn(move || {
            let result = runtime.serve(serving, endpoints);
            let _ = failed.try_send(());
            let _ = end.send(result);
        });
        let listening = async { server.listening().await };
        let failure = async {
            let _ = failure.recv().await;
            None
        };
        let late = async {
            Timer::after(PATIENCE).await;
            panic!("the server does not listen in time");
        };
        match smol::block_on(future::or(listening, future::or(failure, late))) {
            Some(endpoints) => {
                let endpoints = endpoints.iter().map(ToString::to_string).collect();
                Ok(Self { server, endpoints, ended, stopped: false })
            }
            None => match ended.recv_timeout(PATIENCE).expect("a server that cannot listen returns") {
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
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        match self.ended.recv_timeout(time) {
            Ok(result) => {
                let (end, ended) = mpsc::channel();
                let _ = end.send(result);
                self.ended = ended;
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for the end of a server that was told to shut down.
    pub(crate) fn wait(mut self) -> Result<(), ServeError> {
        self.stopped = true;
        self.ended.recv_timeout(PATIENCE).expect("the server did not stop in time")
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
            let result = self.ended.recv_timeout(PATIENCE).expect("the server did not stop in time");
            result.expect("the server did not stop in order");
        }
    }
}

/// Waits for a condition that nobody tells of.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "this did not come true in time: {what}");
        thread::sleep(Duration::from_millis(2));
    }
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
