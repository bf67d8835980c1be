use std::{
    convert::Infallible,
    future::Future,
    io, mem,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use cereus_core::Instant;
use cereus_transports::rt::{ByteStream, Listener, Runtime, Timer};
use loom::{future::block_on, thread::JoinHandle};

use super::spawn;

/// A runtime whose time stands still. Each task has a thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Still(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Still {
    /// Waits for all tasks to end. It must be done before what they use is dropped: loom knows nothing of how they share it.
    pub(crate) fn join(&self) {
        let tasks = mem::take(&mut *self.0.lock().unwrap());
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
}

impl Runtime for Still {
    type Timer = Self;
    type Listener = NoSocket;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = spawn(move || block_on(task));
        self.0.lock().unwrap().push(task);
    }

    fn timer(&self) -> Self {
        self.clone()
    }

    fn now(&self) -> Instant {
        Instant::EPOCH
    }

    async fn bind(&self, _: SocketAddr) -> io::Result<NoSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Timer for Still {
    fn poll_until(&mut self, _: Instant, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

pub(crate) struct NoSocket(Infallible);

impl Listener for NoSocket {
    type Stream = Self;

    async fn accept(&mut self) -> io::Result<(Self, SocketAddr)> {
        match self.0 {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.0 {}
    }
}

impl ByteStream for NoSocket {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
