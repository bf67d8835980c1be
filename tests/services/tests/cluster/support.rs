//! Servers of Cereus that meet in etcd and talk over NATS or gRPC, each with a runtime of its own.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cereus::{App, Cluster, Etcd, Grpc, Nats, Server, Tcp};
use cereus_service_tests as fixtures;

/// Longer than anything should ever take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The services of one test.
pub(crate) struct Services {
    pub(crate) nats: fixtures::Nats,
    pub(crate) etcd: fixtures::Etcd,
}

impl Services {
    pub(crate) fn start() -> Self {
        Self { nats: fixtures::Nats::start(), etcd: fixtures::Etcd::start() }
    }

    pub(crate) fn over_nats(&self) -> Meeting {
        Meeting { nats: Some(self.nats.url()), ..self.over_grpc() }
    }

    pub(crate) fn over_grpc(&self) -> Meeting {
        Meeting { nats: None, etcd: self.etcd.url(), prefix: "test/".to_owned() }
    }
}

/// Over what the servers of a test talk, and where they meet.
#[derive(Clone)]
pub(crate) struct Meeting {
    pub(crate) nats: Option<String>,
    pub(crate) etcd: String,
    pub(crate) prefix: String,
}

impl Meeting {
    pub(crate) fn cluster(&self, id: &str) -> Cluster {
        let etcd = self.etcd();
        let cluster = match &self.nats {
            Some(nats) => Cluster::new(Nats::new(nats.as_str()), etcd),
            None => {
                let bindings = etcd.bindings();
                Cluster::new(Grpc::bind("127.0.0.1:0"), etcd).bindings(bindings)
            }
        };
        cluster.server_id(id).record_ttl(Duration::from_secs(10)).start_timeout(PATIENCE)
    }

    pub(crate) fn etcd(&self) -> Etcd {
        Etcd::new([self.etcd.as_str()]).prefix(self.prefix.as_str())
    }
}

/// What a server runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Tokio,
    Smol,
    AsyncStd,
}

/// A server that is ready. Dropped, it is shut down and waited for.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// Where clients connect.
    pub(crate) endpoint: String,
    runtime: tokio::runtime::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn frontend<S: Send + Sync + 'static>(app: App<S>) -> Self {
        Self::start(app, true)
    }

    pub(crate) fn backend<S: Send + Sync + 'static>(app: App<S>) -> Self {
        Self::start(app, false)
    }

    fn start<S: Send + Sync + 'static>(app: App<S>, frontend: bool) -> Self {
        Self::start_on(On::Tokio, app, frontend)
    }

    /// Starts a server on a runtime. The libraries of NATS, etcd and gRPC always run on tokio.
    pub(crate) fn start_on<S: Send + Sync + 'static>(on: On, app: App<S>, frontend: bool) -> Self {
        let server = app.build().expect("the app is right");
        let serving = server.clone();
        let (failed, failure) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        let thread = thread::spawn(move || {
            let endpoints = frontend.then(|| Tcp::bind("127.0.0.1:0"));
            let ended = match on {
                On::Tokio => runtime.block_on(cereus::serve(cereus::tokio::Tokio::new(), serving, endpoints)),
                On::Smol => smol::block_on(cereus::serve(cereus::smol::Smol::new(), serving, endpoints)),
                On::AsyncStd => smol::block_on(cereus::serve(cereus::async_std::AsyncStd::new(), serving, endpoints)),
            };
            if let Err(error) = ended {
                let _ = failed.send(error.to_string());
            }
        });
        let began = Instant::now();
        while !server.is_ready() {
            if let Ok(error) = failure.recv_timeout(Duration::from_millis(5)) {
                panic!("the server does not start: {error}");
            }
            assert!(began.elapsed() < PATIENCE, "the server does not start");
        }
        let endpoints = smol::block_on(server.listening()).expect("it listens");
        let endpoint = endpoints.first().map(ToString::to_string).unwrap_or_default();
        Self { server, endpoint, runtime: handle, thread: Some(thread) }
    }

    /// How many tasks its runtime has, those of the bus and the registry among them.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Waits until this server sees another one, or sees it no more.
    pub(crate) fn wait_for(&self, id: &str, there: bool) {
        eventually(&format!("`{id}` is {}there", if there { "" } else { "not " }), || {
            self.server.rpc().servers().by_id(id).is_some() == there
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the server panicked");
        }
    }
}

/// Looks again and again until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "this did not come about: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
