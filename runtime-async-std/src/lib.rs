//! Cereus on smol: the [runtime seam](cereus_transports::rt), and [`serve`].
//!
//! async-std is no longer developed; its users are sent to smol by its own authors, and so are ours. What runs on it can
//! be kept with the feature `async-std` and its [`async_std`](mod@self::async_std) module. Both share sockets and timers
//! (`async-io`) and differ in where tasks run.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Instant as StdInstant,
};

use async_net::{TcpListener, TcpStream};
use cereus_core::Instant;
use cereus_transports::rt;
use futures_lite::{AsyncRead, AsyncWrite};

/// Serves a server on smol's global executor until it is shut down.
///
/// The signals `SIGTERM`, `SIGINT` and `SIGQUIT` [drain, shut down, or end it at once](cereus_app::Server::signal); on Windows
/// Ctrl-C. To leave signals alone, call [`cereus_app::serve`] with [`Smol::new`](AsyncIo::new).
///
/// # Errors
///
/// As [`cereus_app::serve`].
#[cfg(feature = "serve")]
pub async fn serve(
    server: cereus_app::Server,
    endpoints: impl IntoIterator<Item = cereus_transports::Endpoint>,
) -> Result<(), cereus_app::ServeError> {
    with_signals(Smol::new(), server, endpoints).await
}

#[cfg(feature = "serve")]
async fn with_signals<E: Executor>(
    runtime: AsyncIo<E>,
    server: cereus_app::Server,
    endpoints: impl IntoIterator<Item = cereus_transports::Endpoint>,
) -> Result<(), cereus_app::ServeError> {
    let signals = signals(server.clone());
    futures_lite::future::or(cereus_app::serve(runtime, server, endpoints), signals).await
}

/// Hands signals on. Never ends.
#[cfg(feature = "serve")]
async fn signals<T>(server: cereus_app::Server) -> T {
    use async_signal::{Signal, Signals};
    use futures_lite::StreamExt;

    #[cfg(unix)]
    let listened = [Signal::Term, Signal::Int, Signal::Quit];
    #[cfg(not(unix))]
    let listened = [Signal::Int];
    // Signals that cannot be listened for do what they always do.
    if let Ok(mut signals) = Signals::new(listened) {
        while let Some(Ok(signal)) = signals.next().await {
            #[cfg(unix)]
            let terminate = signal == Signal::Term;
            #[cfg(not(unix))]
            let terminate = false;
            server.signal(if terminate { cereus_app::Signal::Terminate } else { cereus_app::Signal::Interrupt });
        }
    }
    std::future::pending().await
}

/// async-std's executor. No longer developed: prefer smol.
#[cfg(feature = "async-std")]
pub mod async_std {
    use super::{AsyncIo, Executor, Future};

    /// Serves a server on async-std's executor until it is shut down. Signals are handled as by [`serve`](super::serve).
    ///
    /// # Errors
    ///
    /// As [`cereus_app::serve`].
    #[cfg(feature = "serve")]
    pub async fn serve(
        server: cereus_app::Server,
        endpoints: impl IntoIterator<Item = cereus_transports::Endpoint>,
    ) -> Result<(), cereus_app::ServeError> {
        super::with_signals(AsyncStd::new(), server, endpoints).await
    }

    /// async-std's executor.
    pub type AsyncStd = AsyncIo<AsyncStdExecutor>;

    /// Spawns on async-std's executor.
    #[derive(Clone, Copy, Debug)]
    #[non_exhaustive]
    pub struct AsyncStdExecutor;

    impl Executor for AsyncStdExecutor {
        const NEW: Self = Self;

        fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            ::async_std::task::spawn(task);
        }
    }
}

/// smol's global executor.
pub type Smol = AsyncIo<SmolExecutor>;

/// Spawns on smol's global executor.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SmolExecutor;

impl Executor for SmolExecutor {
    const NEW: Self = Self;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }
}

/// Where tasks run: all in which the runtimes of this crate differ.
pub trait Executor: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// The executor.
    const NEW: Self;

    /// Runs a task to its end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);
}

/// A runtime with the sockets and timers of `async-io`.
#[derive(Clone, Copy, Debug)]
pub struct AsyncIo<E> {
    executor: E,
    epoch: StdInstant,
}

impl<E: Executor> AsyncIo<E> {
    /// A runtime whose clock begins now.
    pub fn new() -> Self {
        Self { executor: E::NEW, epoch: StdInstant::now() }
    }
}

impl<E: Executor> Default for AsyncIo<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Executor> rt::Runtime for AsyncIo<E> {
    type Timer = Timer;
    type Listener = Listener;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task);
    }

    fn timer(&self) -> Timer {
        Timer { epoch: self.epoch, timer: None }
    }

    fn now(&self) -> Instant {
        Instant::from_epoch(self.epoch.elapsed())
    }

    async fn bind(&self, address: SocketAddr) -> io::Result<Listener> {
        TcpListener::bind(address).await.map(Listener)
    }
}

impl<E: Executor> rt::Connector for AsyncIo<E> {
    type Stream = Stream;

    async fn connect(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(stream))
    }
}

/// A timer of async-io's.
#[derive(Debug)]
pub struct Timer {
    epoch: StdInstant,
    timer: Option<(Instant, async_io::Timer)>,
}

impl rt::Timer for Timer {
    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let when = self.epoch + at.since_epoch();
        let (set, timer) = self.timer.get_or_insert_with(|| (at, async_io::Timer::at(when)));
        if *set != at {
            *set = at;
            timer.set_at(when);
        }
        Pin::new(timer).poll(cx).map(drop)
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl rt::Listener for Listener {
    type Stream = Stream;

    async fn accept(&mut self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Stream(stream), peer))
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
        Pin::new(&mut self.0).poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
