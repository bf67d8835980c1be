//! The runtime seam: five small traits. A runtime crate implements them; nothing that a user names is generic over them.
//!
//! Signatures use types of `std` only, and the traits say what is needed, not what a socket can do.

use std::{
    fmt,
    future::Future,
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use cereus_core::Instant;

/// An async runtime: where tasks run, what time it is, and how listeners and timers are made.
pub trait Runtime: Clone + fmt::Debug + Send + Sync + Unpin + 'static {
    /// Its timers.
    type Timer: Timer;
    /// Its listening sockets.
    type Listener: Listener;

    /// Runs a task to its end, without anybody waiting for it.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// A timer that is not set yet. It holds next to nothing until it is.
    fn timer(&self) -> Self::Timer;

    /// The time since an epoch that stays the same as long as this value and its clones live.
    fn now(&self) -> Instant;

    /// The time of day, since 1970. Only what is told to others depends on it.
    fn unix_time(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }

    /// Listens on an address.
    fn bind(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Listener>> + Send;
}

/// Wakes a task at a time.
pub trait Timer: Send + Unpin + 'static {
    /// Ready once `at` has come; otherwise the task is woken then. A new time replaces the one before.
    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()>;
}

/// A connected stream of bytes.
pub trait ByteStream: Send + Unpin + 'static {
    /// Reads what is there. No bytes at all: the peer sends no more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as there is room for, without a buffer of its own.
    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>>;

    /// Tells the peer that nothing more is sent. It can still be read.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A listening socket.
pub trait Listener: Send + 'static {
    /// Its connections.
    type Stream: ByteStream;

    /// The next connection and the address of its peer. Small packets go out at once (`TCP_NODELAY`).
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens, with the port that was chosen if it was left open.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Connects to listening sockets.
pub trait Connector: Send + Sync + 'static {
    /// Its connections.
    type Stream: ByteStream;

    /// Connects to an address. Small packets go out at once (`TCP_NODELAY`).
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}
