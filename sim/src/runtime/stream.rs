use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use cereus_core::Instant;
use cereus_transports::rt::{ByteStream, Runtime, Timer};

use super::{SimRuntime, SimTimer, lock, wake};
use crate::{Delivery, Link, LinkConfig, Profile, Rng};

/// One end of a connection of a [`SimRuntime`].
///
/// Dropped, it is closed in both directions: the peer still reads what was written, and cannot write any more.
#[derive(Debug)]
pub struct SimStream {
    runtime: SimRuntime,
    input: Arc<Mutex<Pipe>>,
    output: Arc<Mutex<Pipe>>,
    /// Set to when the next bytes arrive.
    timer: SimTimer,
    /// The address of the end that connected.
    client: SocketAddr,
}

/// One direction, and who waits at its ends.
struct Pipe {
    link: Link,
    /// What every read comes to from now on.
    end: Option<io::Result<()>>,
    /// Somebody has tried to read.
    is_served: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    tap: Option<Box<dyn Tap>>,
}

/// Sees what is put into one direction of a connection, and what is taken out.
pub(crate) trait Tap: Send {
    fn written(&mut self, _bytes: &[u8], _now: Instant) {}
    fn read(&mut self, _bytes: &[u8], _now: Instant) {}
}

impl SimStream {
    /// Both ends of a connection: first that of the one who connects.
    pub(super) fn pair(runtime: &SimRuntime, profile: &Profile, mut rng: Rng, client: SocketAddr) -> (Self, Self) {
        let mut pipe = |config: &LinkConfig| Arc::new(Mutex::new(Pipe::new(Link::new(config.clone(), rng.next_u64()))));
        let (up, down) = (pipe(profile.uplink()), pipe(profile.downlink()));
        let end = |input: &Arc<_>, output: &Arc<_>| Self {
            input: Arc::clone(input),
            output: Arc::clone(output),
            timer: Runtime::timer(runtime),
            runtime: runtime.clone(),
            client,
        };
        (end(&down, &up), end(&up, &down))
    }

    /// What lies between the two ends. To be asked of the end that connected.
    pub fn wire(&self) -> Wire {
        Wire {
            runtime: self.runtime.clone(),
            up: Arc::clone(&self.output),
            down: Arc::clone(&self.input),
            client: self.client,
        }
    }
}

impl ByteStream for SimStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let now = self.runtime.now();
        let mut pipe = lock(&self.input);
        pipe.is_served = true;
        if let Some(end) = pipe.ended() {
            return Poll::Ready(end);
        }
        match pipe.link.poll_up_to(buf.len(), now) {
            Some(Delivery::Bytes(bytes)) => {
                buf[..bytes.len()].copy_from_slice(&bytes);
                if let Some(tap) = &mut pipe.tap {
                    tap.read(&bytes, now);
                }
                let writer = pipe.writer.take();
                drop(pipe);
                wake(writer);
                Poll::Ready(Ok(bytes.len()))
            }
            Some(Delivery::Eof) => {
                pipe.end = Some(Ok(()));
                Poll::Ready(Ok(0))
            }
            Some(Delivery::Reset) => {
                pipe.end = Some(Err(io::ErrorKind::ConnectionReset.into()));
                drop(pipe);
                reset(&self.output, now);
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            None => {
                pipe.reader = Some(cx.waker().clone());
                let next = pipe.link.next();
                drop(pipe);
                if let Some(at) = next {
                    let set = self.timer.poll_until(at, cx);
                    debug_assert!(set.is_pending(), "what had arrived was not delivered");
                }
                Poll::Pending
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let now = self.runtime.now();
        let mut pipe = lock(&self.output);
        if pipe.link.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len = buf.len().min(pipe.link.room());
        if len == 0 && !buf.is_empty() {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.link.send(&buf[..len], now);
        if let Some(tap) = &mut pipe.tap {
            tap.written(&buf[..len], now);
        }
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
        Poll::Ready(Ok(len))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        close(&self.output, self.runtime.now());
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        close(&self.output, self.runtime.now());
        let writer = {
            let mut pipe = lock(&self.input);
            pipe.link.discard();
            pipe.writer.take()
        };
        wake(writer);
    }
}

impl Pipe {
    const fn new(link: Link) -> Self {
        Self { link, end: None, is_served: false, reader: None, writer: None, tap: None }
    }

    fn ended(&self) -> Option<io::Result<usize>> {
        match self.end.as_ref()? {
            Ok(()) => Some(Ok(0)),
            Err(error) => Some(Err(error.kind().into())),
        }
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("link", &self.link).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Ends one direction behind what was written.
fn close(pipe: &Mutex<Pipe>, now: Instant) {
    let mut pipe = lock(pipe);
    if pipe.link.is_closed() {
        return;
    }
    pipe.link.close(now);
    let reader = pipe.reader.take();
    drop(pipe);
    wake(reader);
}

fn reset(pipe: &Mutex<Pipe>, now: Instant) {
    let mut pipe = lock(pipe);
    pipe.link.reset(now);
    let (reader, writer) = (pipe.reader.take(), pipe.writer.take());
    drop(pipe);
    wake(reader);
    wake(writer);
}

/// What lies between the ends of a connection: a test breaks it here.
#[derive(Clone, Debug)]
pub struct Wire {
    runtime: SimRuntime,
    up: Arc<Mutex<Pipe>>,
    down: Arc<Mutex<Pipe>>,
    client: SocketAddr,
}

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

impl Wire {
    /// Nothing arrives until then, or for ever; what is sent waits, and stalls its sender when the link is full.
    pub fn stall(&self, direction: Direction, until: Option<Instant>) {
        lock(self.pipe(direction)).link.stall(until);
    }

    /// Ends a stall.
    pub fn resume(&self, direction: Direction) {
        let reader = {
            let mut pipe = lock(self.pipe(direction));
            pipe.link.resume();
            pipe.reader.take()
        };
        wake(reader);
    }

    /// Ends one direction behind what was sent: half a close.
    pub fn close(&self, direction: Direction) {
        close(self.pipe(direction), self.runtime.now());
    }

    /// Breaks the connection: what is on its way is lost, and both ends fail.
    pub fn reset(&self) {
        let now = self.runtime.now();
        reset(&self.up, now);
        reset(&self.down, now);
    }

    /// How many bytes are on their way.
    pub fn in_flight(&self, direction: Direction) -> usize {
        lock(self.pipe(direction)).link.in_flight()
    }

    /// As whom the server knows the client.
    pub const fn client(&self) -> SocketAddr {
        self.client
    }

    /// Whether something that has arrived was not read.
    pub(crate) fn is_unread(&self, direction: Direction, now: Instant) -> bool {
        lock(self.pipe(direction)).link.next().is_some_and(|at| at <= now)
    }

    /// Whether the other end was accepted, and is read.
    pub(crate) fn is_served(&self, direction: Direction) -> bool {
        lock(self.pipe(direction)).is_served
    }

    pub(crate) fn tap(&self, direction: Direction, tap: impl Tap + 'static) {
        lock(self.pipe(direction)).tap = Some(Box::new(tap));
    }

    const fn pipe(&self, direction: Direction) -> &Arc<Mutex<Pipe>> {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }
}
