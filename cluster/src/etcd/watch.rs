use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Client, EventType, GetOptions, KeyValue, WatchOptions, WatchResponse};
use tracing::warn;

use super::{
    connection::MAX_MESSAGE,
    failure::{Failure, Kind, in_time},
};
use crate::{Changes, ServerInfo, names};

/// How many keys are remembered of records that cannot be read. More are not logged.
const MAX_UNREADABLE: usize = 1000;

/// All records, and then what changes, until something is missed.
pub(super) struct Watch {
    pub(super) prefix: String,
    /// How long etcd may take until it has begun.
    pub(super) timeout: Duration,
    pub(super) changes: Changes,
    pub(super) unreadable: Arc<Unreadable>,
}

impl Watch {
    pub(super) async fn run(self, client: Client) -> Failure {
        match self.follow(&client).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn follow(&self, client: &Client) -> Result<Infallible, Failure> {
        let servers = names::servers_key(&self.prefix);
        let mut kv = client.kv_client().max_decoding_message_size(MAX_MESSAGE);
        let all = GetOptions::new().with_prefix();
        let all = in_time(self.timeout, kv.get(servers.as_str(), Some(all))).await?;
        let header = all.header().ok_or_else(|| missed("an answer has no revision"))?;
        let revision = header.revision();
        let mut records: Vec<_> = all.kvs().iter().collect();
        // The last of an id counts: a server that came back as another type has two until its old lease is over.
        records.sort_by_key(|record| record.mod_revision());
        self.changes.resync(records.into_iter().filter_map(|record| self.read(record)).collect()).await;

        let mut watch = client.watch_client().max_decoding_message_size(MAX_MESSAGE);
        let since = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let mut stream = in_time(self.timeout, watch.watch(servers, Some(since))).await?;
        loop {
            let message = stream.message().await?.ok_or_else(|| missed("it ended the watch"))?;
            self.tell(&message).await?;
        }
    }

    async fn tell(&self, message: &WatchResponse) -> Result<(), Failure> {
        if message.compact_revision() > 0 {
            return Err(missed("changes were compacted before they could be told"));
        }
        if message.canceled() {
            return Err(missed(&format!("it cancelled the watch: {}", message.cancel_reason())));
        }
        for event in message.events() {
            match (event.event_type(), event.kv()) {
                (EventType::Put, Some(record)) => {
                    if let Some(info) = self.read(record) {
                        self.changes.put(info).await;
                    }
                }
                (EventType::Delete, Some(record)) => {
                    self.unreadable.forget(record.key());
                    if let Some((server_type, id)) = self.server(record.key()) {
                        self.changes.delete(server_type, id).await;
                    }
                }
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// The type and the id in a key.
    fn server<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let (server_type, id) = names::parse_server_key(&self.prefix, std::str::from_utf8(key).ok()?)?;
        (!server_type.is_empty() && !id.is_empty()).then_some((server_type, id))
    }

    /// The server that a record tells of. Whoever wrote one that cannot be read is at fault, and no other server is to
    /// suffer from it.
    fn read(&self, record: &KeyValue) -> Option<ServerInfo> {
        let wrong = if self.server(record.key()).is_none() {
            "its key is not one of a type and an id".to_owned()
        } else {
            match ServerInfo::from_json(record.value()) {
                Ok(info) => {
                    self.unreadable.forget(record.key());
                    return Some(info);
                }
                Err(error) => error.to_string(),
            }
        };
        self.unreadable.log(record.key(), &wrong);
        None
    }
}

fn missed(why: &str) -> Failure {
    Failure::new(Kind::Broken, format!("etcd: {why}"))
}

/// Logs each record that cannot be read once, until it can be read or is gone.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<BTreeSet<Vec<u8>>>);

impl Unreadable {
    fn log(&self, key: &[u8], wrong: &str) {
        let mut keys = self.keys();
        let is_new = keys.len() < MAX_UNREADABLE && keys.insert(key.to_vec());
        drop(keys);
        if is_new {
            let key = String::from_utf8_lossy(key);
            warn!(%key, "a record in etcd is skipped: {wrong}");
        }
    }

    fn forget(&self, key: &[u8]) {
        self.keys().remove(key);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
