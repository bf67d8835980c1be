use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
};

use cereus_cluster::{KeptAlive, names};
use etcd_client::{Client, PutOptions};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;

#[tokio::test]
async fn records_are_those_of_pitaya() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let mut info = server_with("t", "i", "region", "r");
    info.metadata.insert("grpcHost".to_owned(), "1".to_owned());
    (info.frontend, info.hostname) = (true, "h".to_owned());
    let lease = register(&etcd, info).await;

    let mut raw = raw(&service).await;
    let expected =
        r#"{"id":"i","type":"t","metadata":{"grpcHost":"1","region":"r"},"frontend":true,"hostname":"h"}"#.to_owned();
    assert_eq!(read(&mut raw, "pitaya/servers/t/i").await, Some((expected, lease)));
    assert_eq!(raw.lease_time_to_live(lease.get(), None).await.unwrap().granted_ttl(), 60);

    register(&etcd.prefix("mine/"), server("t", "j")).await;
    assert!(read(&mut raw, "mine/servers/t/j").await.is_some());
    let all = raw.get("", Some(etcd_client::GetOptions::new().with_all_keys())).await.unwrap();
    assert_eq!(all.kvs().len(), 2);
}

#[tokio::test]
async fn a_watch_tells_all_that_there_is_and_then_what_changes() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let first = server("room", "r1");
    let lease = register(&etcd, first.clone()).await;
    let (mut watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [first]);

    let second = server("gate", "g1");
    let gone = register(&etcd, second.clone()).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(second));
    let changed = server_with("room", "r1", "region", "eu");
    etcd.put(Arc::new(changed.clone()), lease).await.unwrap();
    assert_eq!(watching.next().await, RegistryEvent::Put(changed.clone()));
    etcd.revoke(gone).await.unwrap();
    assert_eq!(watching.next().await, RegistryEvent::Delete { server_type: "gate".to_owned(), id: "g1".to_owned() });
    // What is over is over.
    etcd.revoke(gone).await.unwrap();

    let (_watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [changed]);
}

#[tokio::test]
async fn a_record_goes_when_its_lease_ends() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let (mut watching, _) = Watching::synced(&etcd).await;
    // etcd makes it two seconds.
    let lease = etcd.grant(Duration::from_millis(1)).await.unwrap();
    let info = server("room", "r1");
    etcd.put(Arc::new(info.clone()), lease).await.unwrap();
    assert_eq!(watching.next().await, RegistryEvent::Put(info.clone()));
    assert_eq!(watching.next().await, RegistryEvent::Delete { server_type: "room".to_owned(), id: "r1".to_owned() });
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Lost));
    assert!(text(etcd.put(Arc::new(info), lease).await).contains("lease not found"));
}

#[tokio::test]
async fn of_two_records_with_one_id_the_newer_comes_last() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let (old, new) = (server("room", "s1"), server("game", "s1"));
    register(&etcd, old.clone()).await;
    register(&etcd, new.clone()).await;
    let (_watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [old, new]);
}

#[tokio::test]
async fn a_lease_that_another_revoked_is_lost() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let lease = register(&etcd, server("room", "r1")).await;
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
    raw(&service).await.lease_revoke(lease.get()).await.unwrap();
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Lost));
    assert_eq!(etcd.keep_alive(LeaseId::new(1)).await, Ok(KeptAlive::Lost));
}

#[tokio::test]
async fn what_is_no_record_is_skipped_and_logged_once() {
    let log = Log::get();
    let service = Server::start();
    let etcd = Etcd::new([service.url()]).prefix("bad/");
    let mut raw = raw(&service).await;
    let bad = [
        ("bad/servers/room/json", "{"),
        ("bad/servers/room/null", "null"),
        ("bad/servers/room/empty", ""),
        ("bad/servers/room/nameless", r#"{"id":"","type":"room"}"#),
        ("bad/servers/room/typeless", r#"{"id":"x"}"#),
        ("bad/servers/room/a/b", r#"{"id":"b","type":"room"}"#),
        ("bad/servers/room", r#"{"id":"room","type":"room"}"#),
        ("bad/servers//x", r#"{"id":"x","type":"room"}"#),
        ("bad/servers/room/", r#"{"id":"x","type":"room"}"#),
    ];
    put_all(&mut raw, &bad).await;
    let good = server("room", "good");
    put_all(&mut raw, &[(&names::server_key("bad/", "room", "good"), &good.to_json())]).await;

    let (mut watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, std::slice::from_ref(&good));
    // And while it watches.
    put_all(&mut raw, &bad).await;
    put_all(&mut raw, &[("bad/servers/room/late", "[]"), ("bad/servers/room/strange", STRANGE)]).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "strange")));
    let (_watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [good, server("room", "strange")]);

    let keys = bad.iter().map(|(key, _)| *key).chain(["bad/servers/room/late"]);
    assert_eq!(log.warnings("bad/"), keys.map(|key| (key.to_owned(), 1)).collect());

    // One that was mended and breaks again is news.
    put_all(&mut raw, &[("bad/servers/room/json", &server("room", "json").to_json())]).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "json")));
    put_all(&mut raw, &[("bad/servers/room/json", "{"), ("bad/servers/room/last", STRANGE)]).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "strange")));
    assert_eq!(log.warnings("bad/")["bad/servers/room/json"], 2);
}

/// What libpitaya-cluster writes, and a member that nobody knows.
const STRANGE: &str = r#"{"id":"strange","type":"room","metadata":"","frontend":false,"hostname":"","more":{}}"#;

async fn put_all(raw: &mut Client, records: &[(&str, &str)]) {
    for (key, value) in records {
        raw.put(*key, *value, Some(PutOptions::new())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_falls_too_far_behind_ends() {
    let service = Server::start();
    let etcd = Etcd::new([service.url()]);
    // It is not taken from, so that what etcd sends stays where it is.
    let (mut watching, _) = Watching::synced(&etcd).await;
    let mut raw = raw(&service).await;
    let large = "x".repeat(64 << 10);
    for round in 0..4000 {
        let info = if round < 2000 { server("room", "r1") } else { server_with("room", "r1", "large", &large) };
        raw.put("pitaya/servers/room/r1", info.to_json(), None).await.unwrap();
    }
    let last = raw.put("pitaya/servers/room/r1", server("room", "last").to_json(), None).await.unwrap();
    raw.compact(last.header().unwrap().revision(), None).await.unwrap();
    while let Some(event) = soon(poll_fn(|cx| watching.changes.poll_recv(cx))).await {
        assert_ne!(event, RegistryEvent::Put(server("room", "last")), "nothing was missed");
    }
    let error = watching.end().await.to_string();
    assert!(error.contains("compacted"), "{error}");
    let (_watching, all) = Watching::synced(&etcd).await;
    assert_eq!(all, [server("room", "last")]);
}

/// Counts the warnings that name a key.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<BTreeMap<String, usize>>>);

impl Log {
    fn get() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing::subscriber::set_global_default(log.clone()).unwrap();
            log
        })
        .clone()
    }

    fn warnings(&self, prefix: &str) -> BTreeMap<String, usize> {
        let keys = self.0.lock().unwrap();
        keys.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, count)| (key.clone(), *count)).collect()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("cereus_cluster")
    }

    fn event(&self, event: &Event<'_>) {
        struct Key(Option<String>);
        impl Visit for Key {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if field.name() == "key" {
                    self.0 = Some(format!("{value:?}"));
                }
            }
        }
        let mut key = Key(None);
        event.record(&mut key);
        if let Some(key) = key.0 {
            *self.0.lock().unwrap().entry(key).or_default() += 1;
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
