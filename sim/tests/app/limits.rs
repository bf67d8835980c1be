//! What all connections together may take, and what is counted.

use std::{
    net::SocketAddr,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use cereus_app::{App, FullPolicy, OnFull, PushError, RateLimit, Raw, Server, Service, Session};
use cereus_core::ClientEvent;
use cereus_sim::{Client, SimRuntime, SimStream};
use cereus_transports::{
    WebSocket,
    rt::{ByteStream, Connector},
};

use super::support::{H, MINUTE, SECOND, app, connect, serve};

const KIB: usize = 1 << 10;

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

fn echoing(runtime: &SimRuntime) -> App<SimRuntime> {
    app(runtime).service(Service::new("room").request("echo", echo))
}

/// A connection whose client has said nothing yet.
fn mute(runtime: &SimRuntime) -> SimStream {
    let mut connecting = Box::pin(runtime.connect(SocketAddr::from(([127, 0, 0, 1], 3250))));
    let connected = connecting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(stream)) = connected else { panic!("a server listens") };
    runtime.run_idle();
    stream
}

fn send(runtime: &SimRuntime, stream: &mut SimStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match stream.poll_write(&mut Context::from_waker(Waker::noop()), bytes) {
            Poll::Ready(Ok(len)) => bytes = &bytes[len..],
            Poll::Ready(Err(_)) => return,
            Poll::Pending => runtime.run_idle(),
        }
    }
    runtime.run_idle();
}

/// Whether the server has closed it.
fn is_over(stream: &mut SimStream) -> bool {
    let mut buf = [0; 4096];
    loop {
        match stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => return false,
        }
    }
}

#[test]
fn there_are_no_more_connections_than_allowed() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).max_connections(2));
    let (one, _other) = (connect(&runtime), connect(&runtime));
    assert!(is_over(&mut mute(&runtime)));
    assert_eq!((server.sessions().count(), server.stats().refused_connections), (2, 1));
    one.fall_silent();
    runtime.advance(4 * H);
    assert_eq!(connect(&runtime).ask("room.echo", "x"), Ok("x".into()));
}

#[test]
fn an_address_has_no_more_connections_than_allowed() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).max_connections_per_address(3));
    for _ in 0..5 {
        let clients = [(); 3].map(|()| connect(&runtime));
        assert!(is_over(&mut mute(&runtime)));
        server.sessions().for_each(Session::close);
        runtime.run_until(|| clients.iter().all(|client| client.closed().is_some()) && server.sessions().count() == 0);
        runtime.advance(MINUTE);
    }
    assert_eq!(server.stats().refused_addresses, 5);
}

#[test]
fn connections_without_a_handshake_are_limited_on_their_own() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).max_unauthenticated(2));
    // Those that have finished it do not count.
    let clients = [(); 5].map(|()| connect(&runtime));
    let _mute = [mute(&runtime), mute(&runtime)];
    assert!(is_over(&mut mute(&runtime)));
    assert_eq!((server.sessions().count(), server.stats().refused_unauthenticated), (7, 1));
    // Those who say nothing go at the end of their time.
    runtime.advance(2 * H + SECOND);
    assert_eq!(server.sessions().count(), 5);
    assert_eq!(connect(&runtime).ask("room.echo", "x"), Ok("x".into()));
    assert!(clients.iter().all(|client| client.closed().is_none()));
}

#[test]
fn a_request_over_the_rate_limit_is_answered_with_its_code() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).rate_limit(RateLimit::new(4, SECOND)));
    let client = connect(&runtime);
    assert_eq!([(); 2].map(|()| client.ask("room.echo", "x")), [Ok("x".into()), Ok("x".into())]);
    let error = client.ask("room.echo", "x").unwrap_err();
    let text = r#"{"code":"PIT-429","msg":"too many messages: send fewer, or later","metadata":{"route":"room.echo"}}"#;
    assert_eq!(error, text);
    assert_eq!(server.stats().limited_packets, 1);
    runtime.advance(SECOND);
    assert_eq!(client.ask("room.echo", "x"), Ok("x".into()));
}

#[test]
fn a_request_over_the_rate_limit_may_be_left_without_an_answer() {
    let runtime = SimRuntime::new();
    let limit = RateLimit::new(4, SECOND).drop_silently(true);
    let (server, _) = serve(&runtime, echoing(&runtime).rate_limit(limit));
    let client = connect(&runtime);
    let ids = [(); 4].map(|()| client.request("room.echo", "x"));
    runtime.advance(MINUTE);
    assert_eq!(ids.map(|id| client.answer(id).is_some()), [true, true, false, false]);
    assert_eq!((server.stats().limited_packets, client.closed()), (2, None));
}

/// Clients that read nothing, and all that is pushed to them.
struct Stalled {
    runtime: SimRuntime,
    server: Server,
    slow: Vec<Client>,
    quick: Client,
}

impl Stalled {
    /// More than what is being written to all of them.
    const MAX: usize = 2 << 20;

    fn new(policy: FullPolicy) -> Self {
        let runtime = SimRuntime::new();
        let app = echoing(&runtime).max_buffered_bytes(Self::MAX).full_policy(policy).write_timeout(MINUTE);
        let (server, _) = serve(&runtime, app);
        let slow: Vec<_> = (0..20).map(|_| connect(&runtime)).collect();
        let quick = connect(&runtime);
        slow.iter().for_each(|client| client.read(false));
        runtime.run_idle();
        Self { runtime, server, slow, quick }
    }

    /// Pushes to all of them, and returns how much waited at most.
    fn push(&self, pushes: usize) -> usize {
        let mut held = 0;
        for _ in 0..pushes {
            self.server.broadcast("on.push", vec![b'x'; KIB]).expect("the push is right");
            self.runtime.run_idle();
            held = held.max(self.server.buffered_bytes());
        }
        held
    }

    /// One page and one turn of each may come on top.
    fn assert_bounded(&self, held: usize) {
        assert!(held > Self::MAX / 2 && held < Self::MAX + 21 * 70 * KIB, "{held} bytes wait");
        assert_eq!(self.quick.ask("room.echo", "still here"), Ok("still here".into()));
        assert_eq!(self.quick.closed(), None);
    }
}

#[test]
fn all_connections_together_hold_no_more_than_allowed() {
    let world = Stalled::new(FullPolicy::Close);
    let held = world.push(1000);
    world.assert_bounded(held);
    assert_eq!(world.quick.pushes().len(), 1000);
    let stats = world.server.stats();
    let closed = stats.slow_clients + stats.overloads;
    assert!(closed > 10, "{stats:?}");
    assert_eq!(world.server.sessions().count() as u64 + closed, 21);
    // The rest goes when its writes make no progress for too long.
    world.runtime.advance(2 * MINUTE);
    assert_eq!((world.server.sessions().count(), world.server.buffered_bytes()), (1, 0));
}

#[test]
fn those_who_may_miss_pushes_stay_and_hold_no_more_than_their_share() {
    let world = Stalled::new(FullPolicy::KeepLatest);
    let held = world.push(1000);
    world.assert_bounded(held.max(Stalled::MAX));
    let stats = world.server.stats();
    assert_eq!((world.server.sessions().count(), stats.slow_clients + stats.overloads), (21, 0), "{stats:?}");
    // All but those that are in the streams and the output buffers, and one in each queue.
    assert!(stats.replaced_pushes > 20 * 700, "{stats:?}");
    for client in &world.slow {
        client.read(true);
    }
    world.runtime.run_idle();
    for client in &world.slow {
        assert_eq!(client.pushes().len() as u64, 1000 - stats.replaced_pushes / 20);
    }
    assert_eq!(world.server.buffered_bytes(), 0);
}

#[test]
fn what_is_received_and_never_whole_counts_too() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).max_buffered_bytes(Stalled::MAX));
    let quick = connect(&runtime);
    let mut greedy: Vec<_> = (0..20).map(|_| mute(&runtime)).collect();
    for stream in &mut greedy {
        send(&runtime, stream, b"\x01\0\0\x02{}");
        send(&runtime, stream, b"\x02\0\0\0\x04\xff\xff\xff");
    }
    let mut held = 0;
    for _ in 0..100 {
        for stream in &mut greedy {
            send(&runtime, stream, &[b'x'; 2 * KIB]);
            held = held.max(server.buffered_bytes());
        }
    }
    assert!(held > Stalled::MAX / 2 && held <= Stalled::MAX + 64 * KIB, "{held} bytes wait");
    assert!(server.stats().overloads > 0);
    assert_eq!(quick.ask("room.echo", "still here"), Ok("still here".into()));
    drop(greedy);
    runtime.run_idle();
    assert_eq!((server.sessions().count(), server.buffered_bytes()), (1, 0));
}

#[test]
fn a_transport_that_waits_for_a_long_greeting_is_not_waited_for() {
    let runtime = SimRuntime::new();
    let server = echoing(&runtime).build().expect("the app is right");
    let _serving = runtime.serve(server.clone(), [WebSocket::bind("127.0.0.1:3250")]);
    runtime.run_idle();
    let mut stream = mute(&runtime);
    let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    send(&runtime, &mut stream, upgrade);
    // A message of 16 MB begins.
    send(&runtime, &mut stream, b"\x82\xff\0\0\0\0\x01\0\0\0mask");
    let mut sent = 0;
    while !is_over(&mut stream) {
        send(&runtime, &mut stream, &[b'x'; KIB]);
        sent += 1;
        assert!(sent < 100, "{sent} KiB are taken");
        assert!(server.buffered_bytes() < 100 * KIB);
    }
    assert!(sent > 64, "the handshake itself may have 64 KiB, not {sent}");
}

/// Pushes until the mailbox takes no more, without letting its driver run.
#[test]
fn a_mailbox_that_its_connection_does_not_empty_counts_too() {
    let runtime = SimRuntime::new();
    let (server, _) = serve(&runtime, echoing(&runtime).max_buffered_bytes(100 * KIB));
    let clients: Vec<_> = (0..10).map(|_| connect(&runtime)).collect();
    let mut refused = 0;
    for _ in 0..100 {
        server.sessions().for_each(|session| match session.push("on.push", vec![b'x'; KIB]) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, PushError::Full);
                refused += 1;
            }
        });
    }
    assert!(server.buffered_bytes() <= 102 * KIB, "{}", server.buffered_bytes());
    assert_eq!(server.stats().refused_pushes, refused);
    runtime.run_idle();
    let arrived: u64 = clients.iter().map(|client| client.pushes().len() as u64).sum();
    assert_eq!((arrived + refused, server.buffered_bytes()), (1000, 0));
}

#[test]
fn each_push_may_have_its_own_policy_and_its_outcome_is_counted() {
    let runtime = SimRuntime::new();
    let app = echoing(&runtime)
        .push_policy("on.position", FullPolicy::KeepLatest)
        .protocol(|protocol| protocol.max_queued_bytes(64 * KIB));
    let (server, _) = serve(&runtime, app);
    let client = connect(&runtime);
    client.read(false);
    runtime.advance(SECOND);
    let push = |route: &'static str, policy: Option<FullPolicy>, number: u8| {
        let body = vec![number; KIB];
        match policy {
            Some(policy) => server.broadcast(route, OnFull(policy, body)),
            None => server.broadcast(route, body),
        }
        .expect("the push is right");
        runtime.run_idle();
    };
    // The stream and the output buffer are full then.
    (0..140).for_each(|_| push("on.chat", None, 0));
    (1..=100).for_each(|number| push("on.position", None, number));
    (1..=100).for_each(|number| push("on.spark", Some(FullPolicy::DropOldest), number));
    push("on.chat", None, 1);
    push("on.position", Some(FullPolicy::Close), 101);
    let stats = server.stats();
    assert_eq!(stats.replaced_pushes, 99, "{stats:?}");
    assert!(stats.dropped_pushes > 30, "{stats:?}");
    assert_eq!(client.closed(), None);
    client.read(true);
    runtime.run_idle();
    let of = |route: &str| {
        let number = |event: ClientEvent| match event {
            ClientEvent::Push { route: of, body } if of == route => Some(body[0]),
            _ => None,
        };
        client.events().into_iter().filter_map(number).collect::<Vec<_>>()
    };
    assert_eq!(of("on.chat").len(), 141, "what must arrive arrives");
    let last_position = of("on.position");
    assert!(matches!(last_position[..], [100, 101] | [101]), "{last_position:?}");
    let sparks = of("on.spark");
    assert!(sparks.is_sorted(), "{sparks:?}");
    let lost = stats.dropped_pushes as usize - usize::from(last_position == [101]);
    assert_eq!(sparks.len() + lost, 100);
}

#[test]
fn how_slow_clients_ended_is_counted() {
    let runtime = SimRuntime::new();
    let app = echoing(&runtime).protocol(|protocol| protocol.max_queued_bytes(64 * KIB));
    let (server, _) = serve(&runtime, app);
    let (slow, stalled) = (connect(&runtime), connect(&runtime));
    slow.read(false);
    stalled.read(false);
    let sessions = {
        let mut found = Vec::new();
        server.sessions().for_each(|session| found.push(session.clone()));
        found.sort_by_key(|session| session.id().get());
        found
    };
    for _ in 0..300 {
        let _ = sessions[0].push("on.push", Bytes::from(vec![b'x'; KIB]));
        runtime.run_idle();
    }
    for _ in 0..150 {
        let _ = sessions[1].push("on.push", Bytes::from(vec![b'x'; KIB]));
        runtime.run_idle();
    }
    runtime.advance(Duration::from_secs(11));
    let stats = server.stats();
    assert_eq!((stats.slow_clients, stats.stalled_clients), (1, 1), "{stats:?}");
}
