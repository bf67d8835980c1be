//! Cereus on tokio: the [runtime seam](cereus_transports::rt), and [`serve`].

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use cereus_core::Instant;
use cereus_transports::rt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::coop::unconstrained,
    time::{self, Sleep},
};

/// Serves a server on the tokio runtime that this is called in, until it is shut down.
///
/// The signals `SIGTERM`, `SIGINT` and `SIGQUIT` [drain, shut down, or end it at once](cereus_app::Server::signal); on Windows
/// Ctrl-C. To leave signals alone, call [`cereus_app::serve`] with [`Tokio::new`].
///
/// # Errors
///
/// As [`cereus_app::serve`].
///
/// # Panics
///
/// Outside of a tokio runtime with IO and time.
#[cfg(feature = "serve")]
pub async fn serve(
    server: cereus_app::Server,
    endpoints: impl IntoIterator<Item = cereus_transports::Endpoint>,
) -> Result<(), cereus_app::ServeError> {
    let signals = signals(server.clone());
    futures_lite::future::or(cereus_app::serve(Tokio::new(), server, endpoints), signals).await
}

/// Hands signals on. Never ends.
#[cfg(all(feature = "serve", unix))]
async fn signals<T>(server: cereus_app::Server) -> T {
    use cereus_app::Signal;
    use futures_lite::future::{or, pending};
    use tokio::signal::unix::{SignalKind, signal};

    let hand_on = async |kind, asks| {
        // One that cannot be listened for does what it always does.
        if let Ok(mut signals) = signal(kind) {
            while signals.recv().await.is_some() {
                server.signal(asks);
            }
        }
        pending().await
    };
    let quick = or(hand_on(SignalKind::interrupt(), Signal::Interrupt), hand_on(SignalKind::quit(), Signal::Interrupt));
    or(hand_on(SignalKind::terminate(), Signal::Terminate), quick).await
}

/// Hands Ctrl-C on. Never ends.
#[cfg(all(feature = "serve", not(unix)))]
async fn signals<T>(server: cereus_app::Server) -> T {
    while tokio::signal::ctrl_c().await.is_ok() {
        server.signal(cereus_app::Signal::Interrupt);
    }
    std::future::pending().await
}

/// The tokio runtime that is current where it is used.
#[derive(Clone, Copy, Debug)]
pub struct Tokio {
    epoch: time::Instant,
}

impl Tokio {
    /// A runtime whose clock begins now.
    #[expect(clippy::new_without_default, reason = "it looks at the clock")]
    pub fn new() -> Self {
        Self { epoch: time::Instant::now() }
    }
}

impl rt::Runtime for Tokio {
    type Timer = Timer;
    type Listener = Listener;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    fn timer(&self) -> Timer {
        Timer { epoch: self.epoch, sleep: None }
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.epoch.elapsed())
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener)
    }
}

impl rt::Connector for Tokio {
    type Stream = Stream;

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true).map(|()| Stream(stream))
    }
}

/// A timer of tokio's.
#[derive(Debug)]
pub struct Timer {
    epoch: time::Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl rt::Timer for Timer {
    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let at = self.epoch + at.since_epoch();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        // A task that used up its budget would not be registered with the timer.
        Pin::new(&mut unconstrained(sleep.as_mut())).poll(cx)
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl rt::Listener for Listener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true).map(|()| (Stream(stream), peer))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A TCP connection.
#[derive(Debug)]
pub struct Stream(TcpStream);

impl rt::ByteStream for Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
