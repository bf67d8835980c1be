//! What the checks share: where they run, and how a handler and its test wait for each other.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::Poll,
};

use cereus::{App, Endpoint, Error, Json, Raw, Service, Tcp, WebSocket};

use crate::{
    client::{Client, tls},
    net::{self, PATIENCE},
    server::{Running, Runtime},
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Tcp,
    WebSocket,
    Tls,
    Wss,
}

impl Scheme {
    /// Whether a message is a packet.
    pub(crate) fn has_messages(self) -> bool {
        matches!(self, Self::WebSocket | Self::Wss)
    }
}

/// Where a check runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On {
    pub(crate) runtime: Runtime,
    pub(crate) scheme: Scheme,
}

impl On {
    /// Serves an app at a port of its own.
    pub(crate) fn serve<S: Send + Sync + 'static>(self, app: App<S>) -> Running {
        Running::start(self.runtime, app.build().unwrap(), [self.endpoint()])
    }

    pub(crate) fn endpoint(self) -> Endpoint {
        match self.scheme {
            Scheme::Tcp => Tcp::bind("127.0.0.1:0"),
            Scheme::WebSocket => WebSocket::bind("127.0.0.1:0"),
            Scheme::Tls => Tcp::bind("127.0.0.1:0").tls(&tls::server()),
            Scheme::Wss => WebSocket::bind("127.0.0.1:0").tls(&tls::server()),
        }
    }
}

impl Running {
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.endpoint())
    }
}

/// The service `echo` with the handler `raw`, which shows that a connection works.
pub(crate) fn echo<S: Send + Sync + 'static>() -> Service<S> {
    async fn raw(body: Raw) -> Raw {
        body
    }
    Service::new("echo").request("raw", raw)
}

pub(crate) fn assert_works(client: &mut Client) {
    assert_eq!(client.request("echo.raw", "ping").unwrap(), "ping");
}

/// The service `user` with the handler `bind`.
pub(crate) fn users<S: Send + Sync + 'static>() -> Service<S> {
    async fn bind(session: cereus::Session, Json(uid): Json<String>) -> Result<Json<i64>, Error> {
        session.bind(uid).await?;
        Ok(Json(session.id().get()))
    }
    Service::new("user").request("bind", bind)
}

/// A client that is bound to a user.
pub(crate) fn login(running: &Running, uid: &str) -> Client {
    let mut client = running.connect();
    let _: i64 = client.json("user.bind", uid);
    client
}

/// What handlers tell their test.
pub(crate) struct Told<T>(mpsc::Receiver<T>);

pub(crate) fn tell<T>() -> (mpsc::Sender<T>, Told<T>) {
    let (tell, told) = mpsc::channel();
    (tell, Told(told))
}

impl<T> Told<T> {
    /// What is told next.
    pub(crate) fn next(&self) -> T {
        net::receive(&self.0, PATIENCE).expect("a handler did not tell in time")
    }

    /// Whether nothing waits.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Handlers wait before it until their test lets them pass.
#[derive(Clone)]
pub(crate) struct Gate(smol::channel::Sender<()>, smol::channel::Receiver<()>);

impl Gate {
    pub(crate) fn new() -> Self {
        let (open, pass) = smol::channel::unbounded();
        Self(open, pass)
    }

    /// Lets as many pass.
    pub(crate) fn open(&self, times: usize) {
        (0..times).for_each(|_| self.0.try_send(()).unwrap());
    }

    pub(crate) async fn pass(&self) {
        self.1.recv().await.unwrap();
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, entry: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry.into());
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets others run so many times.
pub(crate) async fn give_way(mut times: u32) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
