//! The registry, the bindings and the groups in an etcd that is real, and killed, paused, locked and encrypted.

#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    future::{Future, poll_fn},
    sync::Arc,
    time::{Duration, Instant},
};

use cereus_cluster::{
    Changes, ChangesReceiver, Etcd, EtcdGroups, LeaseId, Registry, RegistryError, RegistryEvent, ServerInfo,
};
use cereus_service_tests::Etcd as Server;
use etcd_client::Client;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

mod access;
mod bindings;
mod command;
mod groups;
mod node;
mod outage;
mod registry;

/// How long anything may take that should happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a node tries again.
const RETRY: Duration = Duration::from_millis(500);
/// The time to live where it does not matter.
const TTL: Duration = Duration::from_secs(60);

/// Waits for what should happen.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// A client that is not under test.
async fn raw(server: &Server) -> Client {
    Client::connect([server.url()], None).await.unwrap()
}

/// The value and the lease at a key.
async fn read(client: &mut Client, key: &str) -> Option<(String, LeaseId)> {
    let found = client.get(key, None).await.unwrap();
    found.kvs().first().map(|kv| (kv.value_str().unwrap().to_owned(), LeaseId::new(kv.lease())))
}

fn server(server_type: &str, id: &str) -> ServerInfo {
    ServerInfo::new(server_type, id)
}

/// A server with a member of its metadata.
fn server_with(server_type: &str, id: &str, key: &str, value: &str) -> ServerInfo {
    let mut info = ServerInfo::new(server_type, id);
    info.metadata = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    info
}

/// Puts a record in under a lease of its own.
async fn register(etcd: &Etcd, info: ServerInfo) -> LeaseId {
    let lease = etcd.grant(TTL).await.unwrap();
    etcd.put(Arc::new(info), lease).await.unwrap();
    lease
}

/// A watch that runs.
struct Watching {
    changes: ChangesReceiver,
    end: JoinHandle<RegistryError>,
}

impl Watching {
    fn new(etcd: &Etcd) -> Self {
        let (sender, changes) = Changes::new();
        let etcd = etcd.clone();
        Self { changes, end: tokio::spawn(async move { etcd.watch(sender).await }) }
    }

    /// One that has told all that there is.
    async fn synced(etcd: &Etcd) -> (Self, Vec<ServerInfo>) {
        let mut watching = Self::new(etcd);
        match watching.next().await {
            RegistryEvent::Resync(all) => (watching, all),
            other => panic!("not all that there is but {other:?}"),
        }
    }

    async fn next(&mut self) -> RegistryEvent {
        soon(poll_fn(|cx| self.changes.poll_recv(cx))).await.expect("the watch goes on")
    }

    async fn end(self) -> RegistryError {
        soon(self.end).await.unwrap()
    }
}

/// Tries until it succeeds, as a node does. Returns how long it took.
async fn until_ok<T, E: Debug, F: Future<Output = Result<T, E>>>(mut attempt: impl FnMut() -> F) -> (T, Duration) {
    let start = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return (value, start.elapsed()),
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error:?}"),
        }
        sleep(RETRY).await;
    }
}

/// The text of an error.
fn text<T: Debug>(result: Result<T, impl ToString>) -> String {
    result.unwrap_err().to_string()
}

fn groups(server: &Server) -> EtcdGroups {
    Etcd::new([server.url()]).groups()
}
