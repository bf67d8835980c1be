//! What the tests of apps share: a server, and a client that does what it is told.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use cereus_app::{App, Server};
use cereus_core::{ClientConfig, ClientConnection, ClientEvent, CloseReason, Instant, MessageId, Route};
use cereus_sim::{Serving, SimRuntime, SimStream, SimTimer};
use cereus_transports::{
    Tcp,
    rt::{ByteStream, Connector, Runtime, Timer},
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const NANO: Duration = Duration::from_nanos(1);

/// The interval of heartbeats.
pub(crate) const H: Duration = Duration::from_secs(30);

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3250);

/// An app whose state is the runtime, so that its handlers can sleep.
pub(crate) fn app(runtime: &SimRuntime) -> App<SimRuntime> {
    App::new(runtime.clone())
}

/// The server of this app, listening.
pub(crate) fn serve(runtime: &SimRuntime, app: App<SimRuntime>) -> (Server, Serving) {
    let server = app.build().expect("the app is right");
    let serving = runtime.serve(server.clone(), [Tcp::bind(ADDRESS.to_string())]);
    runtime.run_idle();
    assert!(!serving.is_over(), "{:?}", serving.take_result());
    (server, serving)
}

/// A real client connection and its stream, in a task of their own.
#[derive(Clone)]
pub(crate) struct Client {
    runtime: SimRuntime,
    side: Arc<Mutex<Side>>,
}

struct Side {
    connection: ClientConnection,
    stream: SimStream,
    timer: SimTimer,
    out: BytesMut,
    events: Vec<(Instant, ClientEvent)>,
    reads: bool,
    writes: bool,
    ended: bool,
    task: Option<Waker>,
}

impl Client {
    /// A client that has shaken hands.
    pub(crate) fn connect(runtime: &SimRuntime) -> Self {
        Self::connect_to(runtime, ADDRESS)
    }

    /// A client of the server at this address that has shaken hands.
    pub(crate) fn connect_to(runtime: &SimRuntime, address: SocketAddr) -> Self {
        let client = Self::start(runtime, address);
        runtime.run_until(|| client.count(|event| matches!(event, ClientEvent::Connected(_))) == 1);
        // The acknowledgement is on its way.
        runtime.run_idle();
        client
    }

    fn start(runtime: &SimRuntime, address: SocketAddr) -> Self {
        let mut connecting = Box::pin(runtime.connect(address));
        let connected = connecting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(stream)) = connected else { panic!("a server listens: {connected:?}") };
        let side = Arc::new(Mutex::new(Side {
            connection: ClientConnection::new(ClientConfig::default(), runtime.now()),
            stream,
            timer: Runtime::timer(runtime),
            out: BytesMut::new(),
            events: Vec::new(),
            reads: true,
            writes: true,
            ended: false,
            task: None,
        }));
        let client = Self { runtime: runtime.clone(), side };
        let task = client.clone();
        runtime.spawn(poll_fn(move |cx| task.lock().poll(cx, task.runtime.now())));
        client
    }

    /// Sends a request.
    pub(crate) fn request(&self, route: &'static str, body: impl Into<Bytes>) -> MessageId {
        let id = self.lock().connection.request(&Route::from_static(route), body);
        self.wake();
        id.expect("it is connected")
    }

    /// Sends a notify.
    pub(crate) fn notify(&self, route: &'static str, body: impl Into<Bytes>) {
        let sent = self.lock().connection.notify(&Route::from_static(route), body);
        self.wake();
        sent.expect("it is connected");
    }

    /// Sends a request and runs until it is answered.
    pub(crate) fn ask(&self, route: &'static str, body: impl Into<Bytes>) -> Result<Bytes, Bytes> {
        let id = self.request(route, body);
        self.runtime.run_until(|| self.answer(id).is_some() || self.closed().is_some());
        self.answer(id).unwrap_or_else(|| panic!("closed before the answer: {:?}", self.events())).1
    }

    /// While it does not read, what the server sends stays where it is.
    pub(crate) fn read(&self, reads: bool) {
        self.lock().reads = reads;
        self.wake();
    }

    /// From now on it sends nothing, not even heartbeats.
    pub(crate) fn fall_silent(&self) {
        self.lock().writes = false;
    }

    /// The events so far, without their times.
    pub(crate) fn events(&self) -> Vec<ClientEvent> {
        self.lock().events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// How many events were like this.
    pub(crate) fn count(&self, which: impl Fn(&ClientEvent) -> bool) -> usize {
        self.lock().events.iter().filter(|(_, event)| which(event)).count()
    }

    /// The bodies of the pushes so far.
    pub(crate) fn pushes(&self) -> Vec<Bytes> {
        let body = |event| if let ClientEvent::Push { body, .. } = event { Some(body) } else { None };
        self.events().into_iter().filter_map(body).collect()
    }

    /// When and how a request was answered.
    pub(crate) fn answer(&self, request: MessageId) -> Option<(Instant, Result<Bytes, Bytes>)> {
        self.lock().events.iter().find_map(|(at, event)| match event {
            ClientEvent::Response { id, body } if *id == request => Some((*at, Ok(body.clone()))),
            ClientEvent::Error { id, body } if *id == request => Some((*at, Err(body.clone()))),
            _ => None,
        })
    }

    /// When and how the connection ended.
    pub(crate) fn closed(&self) -> Option<(Instant, CloseReason)> {
        match self.lock().events.last() {
            Some((at, ClientEvent::Closed(reason))) => Some((*at, reason.clone())),
            _ => None,
        }
    }

    fn wake(&self) {
        let task = self.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Side> {
        self.side.lock().expect("a client does not panic")
    }
}

impl Side {
    /// The task of a client: it ends with the connection, and leaves the stream open until the server has closed it.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.task = Some(cx.waker().clone());
        while self.read(cx, now) | self.act(cx, now) | self.write(cx) {}
        if self.ended && self.connection.is_closed() {
            let _ = self.stream.poll_close(cx);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut buf = [0; 1024];
        if !self.reads || self.ended {
            return false;
        }
        match self.stream.poll_read(cx, &mut buf) {
            Poll::Pending => return false,
            Poll::Ready(Ok(len)) if len > 0 => self.connection.handle_input(&buf[..len], now),
            Poll::Ready(_) => {
                self.ended = true;
                self.connection.handle_eof(now);
            }
        }
        true
    }

    fn act(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut acted = false;
        while let Some(at) = self.connection.poll_timeout()
            && self.timer.poll_until(at, cx).is_ready()
        {
            self.connection.handle_timeout(now);
            acted = true;
        }
        while let Some(event) = self.connection.poll_event() {
            self.events.push((now, event));
            acted = true;
        }
        acted
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        while self.connection.poll_transmit(&mut self.out).is_some() {}
        if !self.writes || self.out.is_empty() {
            return false;
        }
        match self.stream.poll_write(cx, &self.out) {
            Poll::Pending => false,
            Poll::Ready(Ok(len)) => {
                self.out.advance(len);
                true
            }
            Poll::Ready(Err(_)) => {
                self.out.clear();
                true
            }
        }
    }
}
