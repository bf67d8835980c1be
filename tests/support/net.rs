//! Where a test and its server meet: at the sockets and the clock of this machine, or on a simulated runtime, which the
//! thread of the test drives whenever it waits for something.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::{OnceLock, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant as StdInstant},
};

use cereus::core::Instant;
use cereus_sim::{Profile, SimRuntime, SimStream};
use cereus_transports::rt::ByteStream;

/// How long anything may take. Far more than it ever needs, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    /// The runtime of this thread's test, if it is a simulated one.
    static SIMULATED: RefCell<Option<SimRuntime>> = const { RefCell::new(None) };
}

/// From now on this thread's test has a simulated runtime.
pub(crate) fn simulate() -> SimRuntime {
    SIMULATED.with_borrow_mut(|simulated| simulated.get_or_insert_default().clone())
}

fn simulated() -> Option<SimRuntime> {
    SIMULATED.with_borrow(Clone::clone)
}

/// What time it is.
pub(crate) fn now() -> Instant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    match simulated() {
        Some(runtime) => runtime.now(),
        None => Instant::from_epoch(START.get_or_init(StdInstant::now).elapsed()),
    }
}

/// How long it has been since then.
pub(crate) fn since(start: Instant) -> Duration {
    now() - start
}

/// Waits for a while.
pub(crate) fn pause(duration: Duration) {
    match simulated() {
        Some(runtime) => runtime.advance(duration),
        None => thread::sleep(duration),
    }
}

/// What is found until then. On sockets it is looked for every other millisecond.
pub(crate) fn find<T>(deadline: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    loop {
        let found = look();
        if found.is_some() || now() >= deadline {
            return found;
        }
        match simulated() {
            Some(runtime) => runtime.step(deadline),
            None => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// What another thread or a task tells, if it does so in time.
pub(crate) fn receive<T>(from: &mpsc::Receiver<T>, within: Duration) -> Option<T> {
    match simulated() {
        Some(_) => find(now() + within, || from.try_recv().ok()),
        None => from.recv_timeout(within).ok(),
    }
}

/// What comes of a future, if it ends in time.
pub(crate) fn block_on<T>(within: Duration, future: impl Future<Output = T>) -> Option<T> {
    if simulated().is_none() {
        let late = async {
            smol::Timer::after(within).await;
            None
        };
        return smol::block_on(smol::future::or(async { Some(future.await) }, late));
    }
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    find(now() + within, || match future.as_mut().poll(&mut cx) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}

/// Runs tasks beside each other. A simulated runtime is driven by one thread: there they go one after the other.
pub(crate) fn together<'a>(tasks: Vec<Box<dyn FnOnce() + Send + 'a>>) {
    if simulated().is_some() {
        return tasks.into_iter().for_each(|task| task());
    }
    thread::scope(|scope| {
        for task in tasks {
            scope.spawn(task);
        }
    });
}

/// Whether nobody listens on an address.
pub(crate) fn is_free(address: &str) -> bool {
    match simulated() {
        Some(_) => Stream::connect(address.parse().unwrap()).is_err(),
        None => TcpListener::bind(address).is_ok(),
    }
}

/// A connection whose reads and writes block.
pub(crate) enum Stream {
    Socket(TcpStream),
    Simulated(Simulated),
}

pub(crate) struct Simulated {
    runtime: SimRuntime,
    stream: RefCell<SimStream>,
    read_timeout: Cell<Duration>,
}

impl Stream {
    /// Connects to an address.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        if let Some(runtime) = simulated() {
            let stream = runtime.connect_over(address, &Profile::perfect(), 0)?;
            let (stream, read_timeout) = (RefCell::new(stream), Cell::new(PATIENCE));
            return Ok(Self::Simulated(Simulated { runtime, stream, read_timeout }));
        }
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::Socket(stream))
    }

    /// How long a read may block. At first: [`PATIENCE`].
    pub(crate) fn set_read_timeout(&self, timeout: Duration) {
        match self {
            Self::Socket(stream) => stream.set_read_timeout(Some(timeout)).unwrap(),
            Self::Simulated(stream) => stream.read_timeout.set(timeout),
        }
    }

    /// Sends nothing more.
    pub(crate) fn finish(&self) {
        match self {
            Self::Socket(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Simulated(Simulated { stream, .. }) => {
                let closed = stream.borrow_mut().poll_close(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(closed, Poll::Ready(Ok(()))));
            }
        }
    }
}

impl Simulated {
    /// Lets the simulation run until something is done, or its time is over.
    fn block<T>(
        &self,
        timeout: Duration,
        mut poll: impl FnMut(&mut SimStream, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let (deadline, mut cx) = (self.runtime.now() + timeout, Context::from_waker(Waker::noop()));
        let done = find(deadline, || match poll(&mut self.stream.borrow_mut(), &mut cx) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        });
        done.unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.read(buf),
            Self::Simulated(stream) => stream.block(stream.read_timeout.get(), |stream, cx| stream.poll_read(cx, buf)),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(stream) => stream.write(buf),
            Self::Simulated(stream) => stream.block(PATIENCE, |stream, cx| stream.poll_write(cx, buf)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Socket(stream) => stream.flush(),
            Self::Simulated(_) => Ok(()),
        }
    }
}
