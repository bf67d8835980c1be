//! A runtime in memory, polled by hand: the shipping driver without a socket, a clock or another thread.

use std::{
    fmt,
    future::{Future, pending, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use cereus::{
    App, Raw, Service, Tcp,
    transports::rt::{ByteStream, Listener, Runtime, Timer},
};
use cereus_core::Instant;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Default)]
struct Memory {
    tasks: Arc<Mutex<Vec<Task>>>,
    /// What the client sent and the server did not read, and the reverse.
    wire: Arc<Mutex<[BytesMut; 2]>>,
}

/// A server with one client that has shaken hands, and its socket.
pub(crate) struct Connection {
    memory: Memory,
    task: Task,
}

impl Connection {
    /// To a server with so many routes; `echo.raw` answers what it is asked.
    pub(crate) fn to_server_with(routes: usize) -> Self {
        let mut services = Service::new("echo").request("raw", async |body: Raw| body);
        for index in 1..routes {
            services = services.request(format!("raw{index}"), async |body: Raw| body);
        }
        let server = App::new(()).service(services).build().expect("the app is right");
        let memory = Memory::default();
        let mut serve = Box::pin(cereus::serve(memory.clone(), server, [Tcp::bind("127.0.0.1:1")]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(serve.as_mut().poll(&mut cx).is_pending());
        // The accept loop spawns the connection's own task.
        let mut accept = memory.tasks.lock().expect("one thread").remove(0);
        assert!(accept.as_mut().poll(&mut cx).is_pending());
        let task = memory.tasks.lock().expect("one thread").pop().expect("a connection");
        // The server lives as long as this process.
        std::mem::forget((serve, accept));
        let mut connection = Self { memory, task };
        connection.exchange(b"\x01\0\0\x02{}");
        connection.exchange(b"\x02\0\0\0");
        connection
    }

    /// Lets the server read something. Returns how many bytes it wrote.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> usize {
        self.memory.wire.lock().expect("one thread")[0].extend_from_slice(bytes);
        assert!(self.task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut wire = self.memory.wire.lock().expect("one thread");
        let written = wire[1].len();
        wire[1].clear();
        written
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Runtime for Memory {
    type Timer = Never;
    type Listener = Once;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().expect("one thread").push(Box::pin(task));
    }

    fn timer(&self) -> Never {
        Never
    }

    fn now(&self) -> Instant {
        Instant::EPOCH
    }

    fn bind(&self, _address: SocketAddr) -> impl Future<Output = io::Result<Once>> + Send {
        ready(Ok(Once(Some(self.clone()))))
    }
}

/// Time stands still.
struct Never;

impl Timer for Never {
    fn poll_until(&mut self, _at: Instant, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// One client comes, no other.
struct Once(Option<Memory>);

impl Listener for Once {
    type Stream = Memory;

    async fn accept(&mut self) -> io::Result<(Memory, SocketAddr)> {
        match self.0.take() {
            Some(memory) => Ok((memory, SocketAddr::from(([127, 0, 0, 1], 1)))),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

impl ByteStream for Memory {
    fn poll_read(&mut self, _cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.wire.lock().expect("one thread");
        let len = buf.len().min(wire[0].len());
        buf[..len].copy_from_slice(&wire[0][..len]);
        wire[0].advance(len);
        if len == 0 { Poll::Pending } else { Poll::Ready(Ok(len)) }
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.lock().expect("one thread")[1].extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
