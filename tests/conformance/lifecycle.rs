//! Start and stop (specification, sections 13.1, 13.2 and 13.13).

use std::{
    future,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use bytes::Bytes;
use cereus::{
    App, Error, Json, Lifecycle, Module, Raw, ServeError, Server, Service, Session, Tcp, WebSocket,
    core::{ClientEvent, CloseReason},
};

use crate::{
    client::{Client, open},
    common::{Gate, Log, On, assert_works, echo, tell},
    net::{self, PATIENCE},
    server::{Running, Runtime, eventually},
};

pub(crate) fn shutdown_drains(on: On) {
    let (tell, told) = tell();
    let gate = Gate::new();
    let pass = gate.clone();
    let closed = Log::default();
    let close_log = closed.clone();
    let work = move |_: Session| {
        let (tell, pass) = (tell.clone(), pass.clone());
        async move {
            let _ = tell.send(());
            pass.pass().await;
            Json("answer")
        }
    };
    let app = App::new(()).service(Service::new("work").request("do", work)).service(echo()).on_close(move |_| {
        close_log.add("closed");
        async {}
    });
    let running = on.serve(app);
    let endpoint = running.endpoint().to_owned();
    let (mut busy, mut idle) = (running.connect(), running.connect());
    let id = busy.send_all([("work.do", ""); 2])[0];
    told.next();
    assert_works(&mut idle);

    running.server().shutdown();
    assert!(running.server().is_stopping());
    // Those for whom nothing runs are closed at once, and nobody new comes in.
    assert_eq!(idle.expect_closed(), CloseReason::PeerClosed);
    eventually("new connections are refused", || open(&endpoint).is_err());
    gate.open(2);
    assert_eq!(busy.next_event(), ClientEvent::Response { id, body: "\"answer\"".into() });
    // What had not started yet does not.
    assert_eq!(busy.expect_closed(), CloseReason::PeerClosed);
    drop((busy, idle));
    running.wait().unwrap();
    assert!(told.is_silent(), "a handler was started after the shutdown");
    assert_eq!(closed.entries().len(), 2);
}

pub(crate) fn shutdown_sends_long_answers(on: On) {
    const LONG: usize = 12 << 20;
    let (tell, told) = tell();
    let long = move |_: Session| {
        let _ = tell.send(());
        async { Raw(vec![7; LONG].into()) }
    };
    let running = on.serve(App::new(()).service(Service::new("reply").request("long", long)));
    let mut client = running.connect();
    let id = client.send("reply.long", "");
    told.next();
    running.server().shutdown();
    // The answer was made and cannot be written at once, since nobody reads it yet: the end has to wait for that.
    eventually("the session ended", || running.server().sessions().count() == 0);
    assert!(!running.ends_within(Duration::from_millis(200)), "the server stopped before the answer was written");
    assert_eq!(client.answer_to(id).unwrap().len(), LONG);
    client.expect_closed();
    drop(client);
    running.wait().unwrap();
}

pub(crate) fn drain_timeout_bounds(on: On) {
    const TIMEOUT: Duration = Duration::from_millis(150);
    let (tell, told) = tell();
    let never = move |_: Session| {
        let _ = tell.send(());
        future::pending::<Raw>()
    };
    let app = App::new(())
        .service(Service::new("work").request("never", never))
        .drain_timeout(TIMEOUT)
        .protocol(|protocol| protocol.close_timeout(TIMEOUT));
    let running = on.serve(app);
    let mut client = running.connect();
    client.send("work.never", "");
    told.next();
    let start = net::now();
    running.server().shutdown();
    running.wait().unwrap();
    assert!(net::since(start) >= TIMEOUT, "stopped after {:?}", net::since(start));
    client.expect_closed();
}

/// Logs what happens to it. Fails where it is told to.
struct Part {
    name: &'static str,
    fails: &'static str,
    log: Log,
}

impl Part {
    fn tell(&self, what: &str, server: &Server) -> Result<(), Error> {
        self.log.add(format!("{what} {}", self.name));
        // All of it happens without sessions.
        assert_eq!(server.sessions().count(), 0);
        if self.fails == what { Err(Error::new("GAME-001", "the disk is full")) } else { Ok(()) }
    }
}

impl Lifecycle for Part {
    async fn init(&self, server: &Server) -> Result<(), Error> {
        self.tell("init", server)
    }

    async fn after_init(&self, server: &Server) {
        let _ = self.tell("after_init", server);
    }

    async fn before_shutdown(&self, server: &Server) {
        let _ = self.tell("before_shutdown", server);
    }

    async fn shutdown(&self, server: &Server) -> Result<(), Error> {
        self.tell("shutdown", server)
    }
}

impl Module for Part {
    fn name(&self) -> &str {
        self.name
    }
}

fn part(name: &'static str, fails: &'static str, log: &Log) -> Part {
    Part { name, fails, log: log.clone() }
}

pub(crate) fn parts_start_and_stop_in_order(runtime: Runtime) {
    let log = Log::default();
    let listening = log.clone();
    let server = App::new(())
        .module(part("module 2", "shutdown", &log))
        .module(part("module 3", "", &log))
        .module_before(part("module 1", "", &log))
        .service(echo().lifecycle(part("service 1", "", &log)))
        .service(Service::new("other").lifecycle(part("service 2", "", &log)))
        .on_listening(move |_| listening.add("listening"))
        .build()
        .unwrap();
    assert_eq!(server.module::<Part>("module 2").unwrap().name, "module 2");
    assert!(server.module::<Part>("module 4").is_none() && server.module::<String>("module 2").is_none());
    assert!(log.entries().is_empty());
    let running = Running::start(runtime, server, [Tcp::bind("127.0.0.1:0")]);
    let start = [
        "init service 1",
        "init service 2",
        "after_init service 1",
        "after_init service 2",
        "init module 1",
        "init module 2",
        "init module 3",
        "after_init module 1",
        "after_init module 2",
        "after_init module 3",
        "listening",
    ];
    assert_eq!(log.entries(), start);
    let mut client = running.connect();
    assert_works(&mut client);
    running.server().shutdown();
    client.expect_closed();
    drop(client);
    running.wait().unwrap();
    let stop = [
        "before_shutdown module 3",
        "before_shutdown module 2",
        "before_shutdown module 1",
        "shutdown module 3",
        "shutdown module 2",
        "shutdown module 1",
        "before_shutdown service 2",
        "before_shutdown service 1",
        "shutdown service 2",
        "shutdown service 1",
    ];
    assert_eq!(log.entries()[start.len()..], stop);
}

/// An address that nobody uses, nor will: below the ports that systems choose from, and another one each time.
fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    let mut addresses = (0..100).map(|_| format!("127.0.0.1:{}", first + NEXT.fetch_add(1, Ordering::Relaxed) % 100));
    addresses.find(|address| net::is_free(address)).expect("a port is free")
}

pub(crate) fn init_failure_listens_nowhere(runtime: Runtime) {
    let log = Log::default();
    let listening = log.clone();
    let server = App::new(())
        .service(echo().lifecycle(part("service", "", &log)))
        .module(part("module 1", "", &log))
        .module(part("module 2", "init", &log))
        .module(part("module 3", "", &log))
        .on_listening(move |_| listening.add("listening"))
        .build()
        .unwrap();
    let address = free_address();
    let error = Running::try_start(runtime, server, [Tcp::bind(&address)]).err().expect("an init that failed");
    assert_eq!(error.to_string(), "`module 2` cannot be initialised: GAME-001: the disk is full");
    assert!(matches!(error, ServeError::Init { name, .. } if name == "module 2"));
    assert!(open(&format!("tcp://{address}")).is_err());
    // What was initialised is shut down, and nothing else.
    let expected = [
        "init service",
        "after_init service",
        "init module 1",
        "init module 2",
        "before_shutdown module 1",
        "shutdown module 1",
        "before_shutdown service",
        "shutdown service",
    ];
    assert_eq!(log.entries(), expected);
}

pub(crate) fn address_in_use(runtime: Runtime) {
    let log = Log::default();
    let free = free_address();
    let holder = Running::start(runtime, App::new(()).build().unwrap(), [Tcp::bind("127.0.0.1:0")]);
    let taken = holder.endpoint().trim_start_matches("tcp://").to_owned();
    let server = App::new(()).module(part("module", "", &log)).build().unwrap();
    let error = Running::try_start(runtime, server, [Tcp::bind(&free), WebSocket::bind(&taken)]).err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot listen on ws://{taken}: ")), "{text}");
    assert!(text.to_lowercase().contains("in use"), "{text}");
    // The other endpoint was given back, and the module was shut down.
    assert!(net::is_free(&free));
    assert_eq!(log.entries(), ["init module", "after_init module", "before_shutdown module", "shutdown module"]);
}

pub(crate) fn address_that_is_none(runtime: Runtime) {
    let log = Log::default();
    let server = App::new(()).module(part("module", "", &log)).build().unwrap();
    let error = Running::try_start(runtime, server.clone(), [Tcp::bind("nowhere")]).err().unwrap();
    assert!(error.to_string().starts_with("cannot listen on tcp://nowhere: "), "{error}");
    assert!(log.entries().is_empty());
    // Whoever waits for it to listen is told.
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("a server that cannot listen lets others wait");
    };
    assert!(smol::block_on(smol::future::or(server.listening(), late)).is_none());
    let server = App::new(()).build().unwrap();
    let endpoint = Tcp::bind("127.0.0.1:0").page("/", "text/html", "");
    let error = Running::try_start(runtime, server, [endpoint]).err().unwrap();
    assert!(error.to_string().contains("WebSocket::bind"), "{error}");
}

pub(crate) fn serve_twice(runtime: Runtime) {
    let server = App::new(()).service(echo()).build().unwrap();
    let running = Running::start(runtime, server.clone(), [Tcp::bind("127.0.0.1:0")]);
    let again = || runtime.serve(server.clone(), vec![Tcp::bind("127.0.0.1:0")]);
    assert!(matches!(again(), Err(ServeError::ServedBefore)));
    // The first is not disturbed.
    assert_works(&mut running.connect());
    running.stop().unwrap();
    assert_eq!(again().unwrap_err().to_string(), "this server was served before: build another one");
}

pub(crate) fn port_is_free_again(runtime: Runtime) {
    let build = || App::new(()).service(echo()).build().unwrap();
    let address = free_address();
    let first = Running::start(runtime, build(), [Tcp::bind(&address)]);
    let mut client = first.connect();
    assert_works(&mut client);
    drop(client);
    first.stop().unwrap();
    // As soon as `serve` returned.
    for _ in 0..10 {
        let next = Running::start(runtime, build(), [Tcp::bind(&address)]);
        next.stop().unwrap();
    }
}

pub(crate) fn several_endpoints(runtime: Runtime) {
    let server = App::new(()).service(echo()).build().unwrap();
    let endpoints = [Tcp::bind("127.0.0.1:0"), WebSocket::bind("localhost:0"), Tcp::bind("127.0.0.1:0")];
    let running = Running::start(runtime, server, endpoints);
    let schemes: Vec<_> = running.endpoints().iter().map(|endpoint| endpoint.split_once(':').unwrap().0).collect();
    assert_eq!(schemes, ["tcp", "ws", "tcp"]);
    let mut clients: Vec<_> = running.endpoints().iter().map(|endpoint| Client::connect(endpoint)).collect();
    clients.iter_mut().for_each(assert_works);
    assert_eq!(running.server().sessions().count(), 3);
    assert_eq!(running.server().broadcast("on", Bytes::from("1")).unwrap(), 3);
    for client in &mut clients {
        assert_eq!(client.expect_push("on"), "1");
    }
}
