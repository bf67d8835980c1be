use std::{fmt, net::SocketAddr};

use cereus_app::{App, Cluster, Server};
use cereus_transports::Tcp;

use crate::{Journal, Serving, SimCluster, SimRuntime};

/// Where a server of a [`World`](super::World) runs, for the function that makes its app.
#[derive(Clone, Debug)]
pub struct Host {
    pub(super) id: String,
    pub(super) runtime: SimRuntime,
    pub(super) cluster: SimCluster,
    pub(super) journal: Journal,
}

impl Host {
    /// The id of the server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The runtime, for handlers that sleep or spawn. What is spawned on it ends with the server.
    pub const fn runtime(&self) -> &SimRuntime {
        &self.runtime
    }

    /// What the app is to be given as its cluster, if it is to be in one.
    pub fn cluster(&self) -> Cluster {
        self.cluster.of(&self.id)
    }

    /// Where handlers tell what they do.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// A server that may run, crash, and run again.
pub(super) struct Place {
    pub(super) build: Box<dyn Fn(&Host) -> Server>,
    /// Where clients connect to, if they do.
    pub(super) address: Option<SocketAddr>,
    pub(super) running: Option<Running>,
}

pub(super) struct Running {
    pub(super) server: Server,
    pub(super) serving: Serving,
    pub(super) runtime: SimRuntime,
}

impl Place {
    pub(super) fn new<S: Send + Sync + 'static>(
        address: Option<SocketAddr>,
        build: impl Fn(&Host) -> App<S> + 'static,
    ) -> Self {
        let build = move |host: &Host| build(host).build().unwrap_or_else(|error| panic!("`{}`: {error}", host.id));
        Self { build: Box::new(build), address, running: None }
    }

    pub(super) fn start(&mut self, host: Host) -> &Running {
        let server = (self.build)(&host);
        let endpoint = self.address.map(|address| Tcp::bind(address.to_string()));
        let serving = host.runtime.serve(server.clone(), endpoint);
        self.running.insert(Running { server, serving, runtime: host.runtime })
    }
}

impl Running {
    /// Whether it is one of a cluster.
    pub(super) fn is_member(&self) -> bool {
        self.server.rpc().own().is_some()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("address", &self.address).field("runs", &self.running.is_some()).finish()
    }
}
