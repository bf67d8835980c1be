use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use cereus_cluster::{BindingStorage, GroupStorage, KeptAlive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// How soon a failure is told that needs no waiting.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One attempt at a watch.
async fn resync(etcd: &Etcd) -> Result<Vec<ServerInfo>, RegistryError> {
    let mut watching = Watching::new(etcd);
    match poll_fn(|cx| watching.changes.poll_recv(cx)).await {
        Some(RegistryEvent::Resync(all)) => Ok(all),
        Some(other) => panic!("not all that there is but {other:?}"),
        None => Err(watching.end().await),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_dies_and_comes_back() {
    let mut service = Server::start();
    let etcd = Etcd::new([service.url()]);
    let bindings = etcd.bindings();
    let info = server("room", "r1");
    let (mut watching, _) = Watching::synced(&etcd).await;
    let lease = register(&etcd, info.clone()).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(info.clone()));

    let killed = Instant::now();
    service.kill();
    watching.end().await;
    assert!(killed.elapsed() < AT_ONCE, "the watch ends after {:?}", killed.elapsed());
    // As long as etcd is gone, nobody waits.
    for _ in 0..5 {
        let start = Instant::now();
        assert!(text(etcd.keep_alive(lease).await).contains(&service.url()));
        assert!(text(bindings.get("gate", "u1").await).contains("refused"));
        assert!(Watching::new(&etcd).end().await.to_string().contains("refused"));
        assert!(start.elapsed() < AT_ONCE, "it fails after {:?}", start.elapsed());
    }

    let attempts = [(); 2].map(|()| etcd.clone()).map(|etcd| {
        tokio::spawn(async move {
            let all = until_ok(|| resync(&etcd)).await;
            let kept = until_ok(|| etcd.keep_alive(lease)).await;
            (all.0, kept.0, Instant::now())
        })
    });
    service.restart();
    let back = Instant::now();
    for attempt in attempts {
        let (all, kept, end) = attempt.await.unwrap();
        assert_eq!((all, kept), (vec![info.clone()], KeptAlive::Yes));
        let took = end.saturating_duration_since(back);
        assert!(took < Duration::from_secs(2), "it works again after {took:?}");
    }
    assert_eq!(bindings.get("gate", "u1").await, Ok(None));
}

/// The resync has what a watch from the last known revision could not tell any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_and_was_compacted_meanwhile_is_in_the_resync() {
    let mut service = Server::start();
    let etcd = Etcd::new([service.url()]);
    register(&etcd, server("room", "r1")).await;
    let (watching, _) = Watching::synced(&etcd).await;
    service.restart();
    watching.end().await;

    let mut raw = raw(&service).await;
    raw.delete("pitaya/servers/room/r1", None).await.unwrap();
    let put = raw.put("pitaya/servers/room/r2", server("room", "r2").to_json(), None).await.unwrap();
    raw.compact(put.header().unwrap().revision(), None).await.unwrap();
    let (all, _) = until_ok(|| resync(&etcd)).await;
    assert_eq!(all, [server("room", "r2")]);
}

/// The connection stays open, and nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_silent_is_noticed() {
    let service = Server::start();
    let silence = Duration::from_secs(7);
    let etcd = Etcd::new([service.url()]).silence_timeout(silence).request_timeout(AT_ONCE).dial_timeout(AT_ONCE);
    let (mut watching, _) = Watching::synced(&etcd).await;
    let lease = register(&etcd, server("room", "r1")).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "r1")));
    service.pause();

    let paused = Instant::now();
    assert!(text(etcd.keep_alive(lease).await).contains("no answer within 1s"));
    assert!(text(etcd.keep_alive(lease).await).contains("no answer within 1s"));
    assert!(paused.elapsed() < 3 * AT_ONCE, "two answers are waited for {:?}", paused.elapsed());
    // All wait for the same attempt to connect.
    let start = Instant::now();
    let attempts = [(); 8].map(|()| etcd.clone()).map(|etcd| tokio::spawn(async move { etcd.keep_alive(lease).await }));
    for attempt in attempts {
        assert!(text(attempt.await.unwrap()).contains("no answer within 1s"));
    }
    assert!(start.elapsed() < 2 * AT_ONCE, "all of them take {:?}", start.elapsed());
    watching.end().await;
    let took = paused.elapsed();
    assert!(took > 4 * AT_ONCE && took < silence + AT_ONCE, "the watch ends after {took:?}");

    service.resume();
    let (all, _) = until_ok(|| resync(&etcd)).await;
    assert_eq!(all, [server("room", "r1")]);
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
}

/// An idle watch lives longer than etcd may be silent: it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_has_nothing_to_tell_lives_on() {
    let service = Server::start();
    let silence = Duration::from_secs(7);
    let etcd = Etcd::new([service.url()]).silence_timeout(silence);
    let (mut watching, _) = Watching::synced(&etcd).await;
    let quiet = timeout(silence + 2 * AT_ONCE, poll_fn(|cx| watching.changes.poll_recv(cx))).await;
    assert!(quiet.is_err(), "{quiet:?}");
    register(&etcd, server("room", "r1")).await;
    assert_eq!(watching.next().await, RegistryEvent::Put(server("room", "r1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_takes_over() {
    let (mut one, other, silent) = (Server::start(), Server::start(), Server::start());
    silent.pause();
    let gone = format!("http://127.0.0.1:{}", cereus_service_tests::free_port());
    // Neither one that is gone nor one that is silent is in the way.
    let etcd = Etcd::new([gone.clone(), silent.url(), one.url()]);
    for _ in 0..20 {
        etcd.grant(TTL).await.unwrap();
    }
    let first = Etcd::new([one.url(), gone]);
    let (watching, _) = Watching::synced(&first).await;
    one.kill();
    watching.end().await;
    assert!(text(first.grant(TTL).await).contains("; etcd at "));

    one.restart();
    let etcd = Etcd::new([one.url(), other.url()]);
    for _ in 0..2 {
        etcd.grant(TTL).await.unwrap();
        // Not even the first request fails, whichever of them it was.
        one.kill();
        etcd.grant(TTL).await.unwrap();
        one.restart();
    }
}

/// Whoever gives up early finds a good connection the next time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_leaves_no_dead_connection() {
    let (one, other) = (Server::start(), Server::start());
    let etcd = Etcd::new([one.url(), other.url()]);
    etcd.grant(TTL).await.unwrap();
    for service in [&one, &other] {
        service.pause();
        // Only one of them is the one in use.
        let _ = timeout(Duration::from_millis(1500), etcd.grant(TTL)).await;
        timeout(Duration::from_millis(1000), etcd.grant(TTL)).await.unwrap().unwrap();
        service.resume();
    }
}

/// Stands before etcd and can break a connection under a request.
struct Relay {
    url: String,
    breaks: Arc<AtomicBool>,
}

impl Relay {
    async fn start(service: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (etcd, breaks) = (service.url().replace("http://", ""), Arc::new(AtomicBool::new(false)));
        let is_to_break = Arc::clone(&breaks);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let upstream = TcpStream::connect(&etcd).await.unwrap();
                tokio::spawn(relay(client, upstream, Arc::clone(&is_to_break)));
            }
        });
        Self { url, breaks }
    }

    /// The next request of a client is the last of its connection, and etcd never sees it.
    fn break_at_next(&self) {
        self.breaks.store(true, Ordering::SeqCst);
    }

    fn has_broken(&self) -> bool {
        !self.breaks.load(Ordering::SeqCst)
    }
}

async fn relay(client: TcpStream, upstream: TcpStream, breaks: Arc<AtomicBool>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_etcd, mut to_etcd) = upstream.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_etcd, &mut to_client).await });
    let mut buf = vec![0; 64 << 10];
    while let n @ 1.. = from_client.read(&mut buf).await? {
        if has_request(&buf[..n]) && breaks.swap(false, Ordering::SeqCst) {
            back.abort();
            break;
        }
        to_etcd.write_all(&buf[..n]).await?;
    }
    Ok(())
}

/// If one of these frames of HTTP/2 is HEADERS: what else a client sends, it sends at any time.
fn has_request(mut frames: &[u8]) -> bool {
    while let [l2, l1, l0, kind, ..] = *frames {
        if kind == 1 {
            return true;
        }
        let len = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        frames = frames.get(9 + len..).unwrap_or_default();
    }
    false
}

/// A request that was sent on a connection that broke is sent again, unless the second answer would be another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_and_lost_is_sent_again_where_it_does_no_harm() {
    let service = Server::start();
    let relay = Relay::start(&service).await;
    let etcd = Etcd::new([relay.url.clone()]);
    let (bindings, groups) = (etcd.bindings(), etcd.groups());
    let lease = etcd.grant(TTL).await.unwrap();

    relay.break_at_next();
    etcd.grant(TTL).await.unwrap();
    assert!(relay.has_broken());
    relay.break_at_next();
    assert_eq!(etcd.keep_alive(lease).await, Ok(KeptAlive::Yes));
    relay.break_at_next();
    bindings.put("gate", &["u1".into()], "g1", lease).await.unwrap();
    relay.break_at_next();
    assert_eq!(bindings.get("gate", "u1").await, Ok(Some("g1".to_owned())));
    assert!(relay.has_broken());

    relay.break_at_next();
    let lost = groups.create("room", None).await;
    assert!(relay.has_broken() && lost.is_err(), "who knows whether it was done: {lost:?}");
    groups.create("room", None).await.unwrap();
}
