use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use cereus_core::{ClientConfig, ClientConnection, ClientEvent, CloseReason, Instant, MessageId, Route, SendError};
use cereus_transports::rt::{ByteStream, Runtime, Timer};

use crate::{Profile, SimRuntime, SimStream, SimTimer, Timed, Wire};

/// A client of a server on a [`SimRuntime`]: a real connection and its stream, in a task of their own. Clones are the same
/// client.
///
/// What it is told to send goes out when time is run, and what comes is kept.
#[derive(Clone)]
pub struct Client {
    runtime: SimRuntime,
    wire: Wire,
    side: Arc<Mutex<Side>>,
}

struct Side {
    connection: ClientConnection,
    stream: SimStream,
    timer: SimTimer,
    out: BytesMut,
    events: Vec<Timed<ClientEvent>>,
    /// How many of them were taken.
    taken: usize,
    reads: bool,
    writes: bool,
    ended: bool,
    task: Option<Waker>,
}

/// Making one.
impl Client {
    /// Connects, over links on which everything arrives at once, and shakes hands.
    ///
    /// # Panics
    ///
    /// When nobody listens there, or the server does not want it.
    pub fn connect(runtime: &SimRuntime, address: SocketAddr) -> Self {
        let connected = Self::start(runtime, address, ClientConfig::default(), &Profile::perfect(), 0);
        let client = connected.unwrap_or_else(|error| panic!("no server listens on {address}: {error}"));
        runtime.run_until(|| client.is_connected() || client.closed().is_some());
        assert!(client.is_connected(), "the connection ended: {:?}", client.closed());
        // The acknowledgement is on its way.
        runtime.run_idle();
        client
    }

    /// Connects, and shakes hands when time is run. What the links leave to chance, `seed` decides.
    ///
    /// # Errors
    ///
    /// Nobody listens there.
    pub fn start(
        runtime: &SimRuntime,
        address: SocketAddr,
        config: ClientConfig,
        profile: &Profile,
        seed: u64,
    ) -> io::Result<Self> {
        let stream = runtime.connect_over(address, profile, seed)?;
        let wire = stream.wire();
        let side = Arc::new(Mutex::new(Side {
            connection: ClientConnection::new(config, runtime.now()),
            stream,
            timer: Runtime::timer(runtime),
            out: BytesMut::new(),
            events: Vec::new(),
            taken: 0,
            reads: true,
            writes: true,
            ended: false,
            task: None,
        }));
        let client = Self { runtime: runtime.clone(), wire, side };
        let task = client.clone();
        runtime.spawn(poll_fn(move |cx| task.lock().poll(cx, task.runtime.now())));
        Ok(client)
    }
}

/// What it does.
impl Client {
    /// Sends a request.
    ///
    /// # Panics
    ///
    /// When it is not connected.
    pub fn request(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> MessageId {
        self.try_request(route, body).expect("it is connected")
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// It is not connected, or too much waits already.
    pub fn try_request(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> Result<MessageId, SendError> {
        self.act(|connection| connection.request(&route.into(), body))
    }

    /// Sends a notify.
    ///
    /// # Panics
    ///
    /// When it is not connected.
    pub fn notify(&self, route: impl Into<Route>, body: impl Into<Bytes>) {
        self.try_notify(route, body).expect("it is connected");
    }

    /// Sends a notify.
    ///
    /// # Errors
    ///
    /// It is not connected, or too much waits already.
    pub fn try_notify(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> Result<(), SendError> {
        self.act(|connection| connection.notify(&route.into(), body))
    }

    /// Sends a request and runs until it is answered.
    ///
    /// # Errors
    ///
    /// The body of an error answer.
    ///
    /// # Panics
    ///
    /// When the connection ends before the answer.
    pub fn ask(&self, route: impl Into<Route>, body: impl Into<Bytes>) -> Result<Bytes, Bytes> {
        let id = self.request(route, body);
        self.runtime.run_until(|| self.answer(id).is_some() || self.closed().is_some());
        self.answer(id).unwrap_or_else(|| panic!("closed before the answer: {:?}", self.events())).1
    }

    /// While it does not read, what the server sends stays where it is.
    pub fn read(&self, reads: bool) {
        self.lock().reads = reads;
        self.wake();
    }

    /// From now on it sends nothing, not even heartbeats.
    pub fn fall_silent(&self) {
        self.lock().writes = false;
    }

    /// Closes the connection, after what it was told to send.
    pub fn leave(&self) {
        let now = self.runtime.now();
        {
            let mut side = self.lock();
            side.connection.close(now);
            side.writes = true;
            side.reads = true;
        }
        self.wake();
    }

    /// What lies between it and its server.
    pub const fn wire(&self) -> &Wire {
        &self.wire
    }
}

/// What came of it.
impl Client {
    /// Whether it has shaken hands, and the connection has not ended.
    pub fn is_connected(&self) -> bool {
        self.closed().is_none() && self.count(|event| matches!(event, ClientEvent::Connected(_))) == 1
    }

    /// The events so far, without their times.
    pub fn events(&self) -> Vec<ClientEvent> {
        self.lock().events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// How many events were like this.
    pub fn count(&self, which: impl Fn(&ClientEvent) -> bool) -> usize {
        self.lock().events.iter().filter(|(_, event)| which(event)).count()
    }

    /// The bodies of the pushes so far.
    pub fn pushes(&self) -> Vec<Bytes> {
        let body = |event| if let ClientEvent::Push { body, .. } = event { Some(body) } else { None };
        self.events().into_iter().filter_map(body).collect()
    }

    /// When and how a request was answered.
    pub fn answer(&self, request: MessageId) -> Option<Timed<Result<Bytes, Bytes>>> {
        self.lock().events.iter().find_map(|(at, event)| match event {
            ClientEvent::Response { id, body } if *id == request => Some((*at, Ok(body.clone()))),
            ClientEvent::Error { id, body } if *id == request => Some((*at, Err(body.clone()))),
            _ => None,
        })
    }

    /// When and how the connection ended.
    pub fn closed(&self) -> Option<Timed<CloseReason>> {
        match self.lock().events.last() {
            Some((at, ClientEvent::Closed(reason))) => Some((*at, reason.clone())),
            _ => None,
        }
    }

    /// The events since this was asked last.
    pub fn new_events(&self) -> Vec<Timed<ClientEvent>> {
        let mut side = self.lock();
        let new = side.events[side.taken..].to_vec();
        side.taken = side.events.len();
        new
    }
}

impl Client {
    fn act<T>(&self, act: impl FnOnce(&mut ClientConnection) -> Result<T, SendError>) -> Result<T, SendError> {
        let acted = act(&mut self.lock().connection);
        self.wake();
        acted
    }

    fn wake(&self) {
        let task = self.lock().task.clone();
        task.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Side> {
        // Nothing panics with the lock held.
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.lock();
        f.debug_struct("Client")
            .field("connection", &side.connection)
            .field("events", &side.events)
            .finish_non_exhaustive()
    }
}

impl Side {
    /// The task of a client: it ends with the connection, and leaves the stream open until the server has closed it.
    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        self.task = Some(cx.waker().clone());
        while self.read(cx, now) | self.act(cx, now) | self.write(cx) {}
        if self.connection.is_closed() && self.out.is_empty() {
            let _ = self.stream.poll_close(cx);
            if self.ended {
                return Poll::Ready(());
            }
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
            Poll::Ready(Ok(_)) => {
                self.ended = true;
                self.connection.handle_eof(now);
            }
            Poll::Ready(Err(_)) => {
                self.ended = true;
                self.connection.abort(CloseReason::Transport);
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
