use std::{
    cell::Cell,
    future::{Future, poll_fn},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use cereus_core::{ClientConfig, ClientConnection, CloseReason, Instant};
use cereus_transports::{
    Transport, TransportError,
    rt::{ByteStream, Connector, Runtime, Timer},
};

use crate::{
    Address, Disconnect, Reconnect, State,
    connect::connect,
    shared::{Delivery, Shared},
};

/// How many bytes wait to be written before nothing more is encoded.
const OUT_LIMIT: usize = 64 << 10;

/// What is read at once; a larger one after one that was filled.
const SMALL_READ: usize = 512;
const READ: usize = 4 << 10;
const LARGE_READ: usize = 64 << 10;

/// How many turns there are before other tasks get theirs.
const TURNS: usize = 16;

thread_local! {
    /// What is being written by the connection that this thread is at: only one whose socket is stalled holds a buffer.
    static SCRATCH: Cell<BytesMut> = Cell::new(BytesMut::new());
    /// What the connection that this thread is at has to hand out.
    static DELIVERIES: Cell<Vec<Delivery>> = const { Cell::new(Vec::new()) };
}

/// More room than this is not kept for the next time.
const DELIVERIES_KEPT: usize = 1 << 10;

/// How connections are made, and made again.
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) transport: Box<dyn Fn() -> Result<Box<dyn Transport>, String> + Send + Sync>,
    pub(crate) config: ClientConfig,
    pub(crate) connect_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) reconnect: Reconnect,
}

/// The task of a client: one connection after the other.
pub(crate) struct Driver<R> {
    runtime: R,
    shared: Arc<Shared>,
    plan: Plan,
}

impl<R> Drop for Driver<R> {
    /// Also when the runtime drops the task: nobody waits for ever.
    fn drop(&mut self) {
        if !self.shared.state().1.is_closed() {
            end(&self.shared, Disconnect::RuntimeEnded);
        }
    }
}

fn end(shared: &Shared, reason: Disconnect) {
    let mut deliveries = DELIVERIES.take();
    {
        let mut inner = shared.lock();
        let reason = inner.end(reason, &mut deliveries);
        inner.drop_waiting(&reason, &mut deliveries);
        inner.set_state(State::Closed(reason));
        inner.forget_task();
    }
    shared.changed.notify(usize::MAX);
    deliver(shared, deliveries);
    shared.subscribers.end();
}

/// Hands out what came, with nothing locked.
fn deliver(shared: &Shared, mut deliveries: Vec<Delivery>) {
    for delivery in deliveries.drain(..) {
        match delivery {
            Delivery::Answer(completion, answer) => completion.complete(answer),
            Delivery::Push(push) => shared.subscribers.deliver(push),
        }
    }
    if deliveries.capacity() <= DELIVERIES_KEPT {
        DELIVERIES.set(deliveries);
    }
}

impl<R: Runtime + Connector> Driver<R> {
    pub(crate) const fn new(runtime: R, shared: Arc<Shared>, plan: Plan) -> Self {
        Self { runtime, shared, plan }
    }

    pub(crate) async fn run(self) {
        let mut attempt = 0;
        let reason = loop {
            let (open_since, reason) = self.live().await;
            if self.shared.lock().closing {
                break Disconnect::Local;
            }
            // One that was thrown out at once is no better than none.
            if open_since.is_some_and(|since| self.runtime.now() >= since + self.plan.connect_timeout) {
                attempt = 0;
            }
            attempt += 1;
            let Some(delay) = self.plan.reconnect.delay(attempt, &reason) else {
                break if attempt > 1 && self.plan.reconnect.delay(1, &reason).is_some() {
                    Disconnect::GaveUp { attempts: attempt, last: Box::new(reason) }
                } else {
                    reason
                };
            };
            tracing::debug!(server = %self.plan.address, %reason, attempt, ?delay, "the connection is made again");
            self.shared.set_state(State::Reconnecting { attempt, delay, reason });
            if self.pause(delay).await {
                break Disconnect::Local;
            }
        };
        tracing::debug!(server = %self.plan.address, %reason, "the client is closed");
        end(&self.shared, reason);
    }

    /// Waits until it is time, or there is no time to wait. Returns whether to end.
    async fn pause(&self, delay: Duration) -> bool {
        let (mut timer, until) = (self.runtime.timer(), self.runtime.now() + delay);
        poll_fn(|cx| {
            let hurry = std::mem::take(&mut self.shared.lock().hurry);
            if hurry { Poll::Ready(()) } else { self.poll_away(&mut timer, until, cx) }
        })
        .await;
        self.shared.lock().closing
    }

    /// What goes on while there is no socket: requests that are late are given up. Ready when it is time, or time to end.
    fn poll_away(&self, timer: &mut R::Timer, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (now, mut deliveries) = (self.runtime.now(), DELIVERIES.take());
            let (closing, next) = {
                let mut inner = self.shared.lock();
                inner.listen(cx.waker());
                inner.handle_timeout(now, &mut deliveries);
                (inner.closing, inner.poll_timeout())
            };
            deliver(&self.shared, deliveries);
            if closing || now >= until {
                return Poll::Ready(());
            }
            ready!(timer.poll_until(next.map_or(until, |at| at.min(until)), cx));
        }
    }

    /// One connection from its beginning to its end: since when it was open, and why it is no more.
    async fn live(&self) -> (Option<Instant>, Disconnect) {
        let deadline = self.runtime.now() + self.plan.connect_timeout;
        let stream = match self.dial(deadline).await {
            Ok(stream) => stream,
            Err(reason) => return (None, reason),
        };
        let transport = match (self.plan.transport)() {
            Ok(transport) => transport,
            Err(why) => return (None, Disconnect::Unreachable(why)),
        };
        let now = self.runtime.now();
        self.shared.lock().begin(ClientConnection::new(self.plan.config.clone(), now));
        let mut line = Line {
            driver: self,
            stream,
            transport,
            out: BytesMut::new(),
            timer: self.runtime.timer(),
            open_since: None,
            stalled: None,
            armed: None,
            next_timeout: None,
            input_ended: false,
            last_read: 0,
            held_back: false,
            ending: None,
        };
        let reason = poll_fn(|cx| line.poll(cx)).await;
        let open_since = line.open_since;
        let mut deliveries = DELIVERIES.take();
        let reason = self.shared.lock().end(reason, &mut deliveries);
        deliver(&self.shared, deliveries);
        (open_since, reason)
    }

    async fn dial(&self, deadline: Instant) -> Result<R::Stream, Disconnect> {
        let mut timer = self.runtime.timer();
        let mut connecting = Box::pin(connect(&self.runtime, &self.plan.address));
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                let address = &self.plan.address;
                return Poll::Ready(connected.map_err(|error| Disconnect::Unreachable(format!("{address}: {error}"))));
            }
            self.poll_away(&mut timer, deadline, cx)
                .map(|()| Err(Disconnect::ConnectTimeout(self.plan.connect_timeout)))
        })
        .await
    }
}

/// One socket, and what is spoken on it.
struct Line<'a, R: Runtime + Connector> {
    driver: &'a Driver<R>,
    stream: R::Stream,
    transport: Box<dyn Transport>,
    out: BytesMut,
    timer: R::Timer,
    /// Since when the handshake is done.
    open_since: Option<Instant>,
    /// Since when a write has made no progress.
    stalled: Option<Instant>,
    /// When the timer wakes this task.
    armed: Option<Instant>,
    /// When the connection or a request has something to do.
    next_timeout: Option<Instant>,
    input_ended: bool,
    /// How many bytes came last.
    last_read: usize,
    /// There was more to be sent than was encoded.
    held_back: bool,
    ending: Option<Ending>,
}

/// What is left is being written.
struct Ending {
    reason: Disconnect,
    until: Instant,
    /// The transport has said farewell.
    said: bool,
    /// The server was told that nothing more comes.
    half_closed: bool,
}

impl<R: Runtime + Connector> Line<'_, R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Disconnect> {
        let mut now = self.driver.runtime.now();
        // Something other than input may have woken this task.
        let mut has_more = true;
        for _ in 0..TURNS {
            let came = match self.last_read {
                ..SMALL_READ => self.read::<SMALL_READ>(cx),
                SMALL_READ..READ => self.read::<READ>(cx),
                READ.. => self.read::<LARGE_READ>(cx),
            };
            if let Some(at) = came {
                now = at;
            } else if !has_more {
                ready!(self.poll_timer(cx, now));
                now = self.driver.runtime.now();
            }
            has_more = self.advance(cx, now);
            has_more |= self.write(cx, now) && (self.held_back || self.ending.is_some());
            if let Some(reason) = self.poll_end(cx, now) {
                return Poll::Ready(reason);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let stalled = self.stalled.map(|since| since + self.driver.plan.write_timeout);
        let ending = self.ending.as_ref().map(|ending| ending.until);
        let Some(at) = [self.next_timeout, stalled, ending].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        // One that comes too early is set anew then, which is cheaper than to set it with each message.
        if self.armed.is_some_and(|armed| now < armed && armed <= at) {
            return Poll::Pending;
        }
        self.armed = Some(at);
        let due = self.timer.poll_until(at, cx);
        if due.is_ready() {
            self.armed = None;
        }
        due
    }

    /// Reads once. Returns when something came: what it answers was asked before, however long this task has been at it.
    // A frame of its own: the large buffer must not be part of every turn's.
    #[inline(never)]
    fn read<const N: usize>(&mut self, cx: &mut Context<'_>) -> Option<Instant> {
        if self.input_ended {
            return None;
        }
        let mut scratch = [0; N];
        let Poll::Ready(read) = self.stream.poll_read(cx, &mut scratch) else { return None };
        let now = self.driver.runtime.now();
        let ended = match read {
            // It is only read until the server has seen that this side ended.
            Ok(1..) if self.ending.is_some() => None,
            Ok(len @ 1..) => {
                self.last_read = len;
                self.receive(&scratch[..len], now).err()
            }
            Ok(0) => {
                self.input_ended = true;
                Some(self.transport.handle_eof().err().unwrap_or(TransportError::Closed))
            }
            Err(error) => {
                self.input_ended = true;
                Some(TransportError::Protocol(error.to_string()))
            }
        };
        if let Some(error) = ended {
            self.end_input(error, now);
        }
        Some(now)
    }

    fn receive(&mut self, wire: &[u8], now: Instant) -> Result<(), TransportError> {
        let mut deliveries = DELIVERIES.take();
        let (decoded, connected) = {
            let mut inner = self.driver.shared.lock();
            inner.be_busy();
            let connection = &mut inner.connection;
            let decoded = self.transport.decode(wire, &mut |packets| {
                if let Some(connection) = connection {
                    connection.handle_input(packets, now);
                }
            });
            let (connected, closed) = inner.take_events(now, &mut deliveries);
            if connected {
                inner.set_state(State::Open);
            }
            self.begin_to_end(closed, now);
            (decoded, connected)
        };
        if connected {
            self.open_since = Some(now);
            self.driver.shared.changed.notify(usize::MAX);
        }
        deliver(&self.driver.shared, deliveries);
        decoded
    }

    fn end_input(&mut self, error: TransportError, now: Instant) {
        let reason = match error {
            TransportError::Closed => {
                let mut inner = self.driver.shared.lock();
                if let Some(connection) = &mut inner.connection {
                    connection.handle_eof(now);
                }
                // There is only the end to be told: events are always taken at once.
                let (_, closed) = inner.take_events(now, &mut Vec::new());
                drop(inner);
                return self.begin_to_end(closed, now);
            }
            TransportError::Untrusted(why) => Disconnect::Untrusted(why),
            TransportError::Refused(why) => Disconnect::Unreachable(format!("{}: {why}", self.driver.plan.address)),
            error if self.open_since.is_none() => {
                Disconnect::Unreachable(format!("{}: {error}", self.driver.plan.address))
            }
            error => {
                tracing::debug!(server = %self.driver.plan.address, %error, "the transport ended");
                Disconnect::Ended(CloseReason::Transport)
            }
        };
        self.end(reason, now);
    }

    fn begin_to_end(&mut self, closed: Option<CloseReason>, now: Instant) {
        match closed {
            None => {}
            Some(CloseReason::Local) => self.end(Disconnect::Local, now),
            Some(CloseReason::HandshakeRefused(code)) => self.end(Disconnect::Refused(code), now),
            Some(CloseReason::HandshakeTimeout) => {
                self.end(Disconnect::ConnectTimeout(self.driver.plan.connect_timeout), now);
            }
            Some(CloseReason::PeerClosed) if self.open_since.is_none() => {
                let why = "the server closed the connection without an answer to the handshake";
                self.end(Disconnect::Unreachable(format!("{}: {why}", self.driver.plan.address)), now);
            }
            Some(reason) => self.end(Disconnect::Ended(reason), now),
        }
    }

    fn end(&mut self, reason: Disconnect, now: Instant) {
        let until = now + self.driver.plan.close_timeout;
        self.ending.get_or_insert(Ending { reason, until, said: false, half_closed: false });
    }

    /// Does what is due and takes what is to be sent. Returns whether something was handed out.
    fn advance(&mut self, cx: &Context<'_>, now: Instant) -> bool {
        if self.stalled.is_some_and(|since| now >= since + self.driver.plan.write_timeout) {
            self.fail(CloseReason::WriteTimeout, now);
        }
        let mut deliveries = DELIVERIES.take();
        let before = self.out.len();
        {
            let mut inner = self.driver.shared.lock();
            // A heartbeat is the time to give back memory.
            if inner.handle_timeout(now, &mut deliveries) {
                self.transport.release();
            }
            if inner.closing
                && self.ending.is_none()
                && let Some(connection) = &mut inner.connection
            {
                connection.close(now);
            }
            let (_, closed) = inner.take_events(now, &mut deliveries);
            self.begin_to_end(closed, now);
            if self.open_since.is_some() && self.ending.is_none() {
                inner.send_waiting(now, &mut deliveries);
            }
            if before == 0 {
                self.out = SCRATCH.take();
            }
            self.encode(&mut inner.connection);
            self.held_back = self.out.len() >= OUT_LIMIT || inner.has_waiting();
            self.next_timeout = inner.poll_timeout();
            inner.listen(cx.waker());
        }
        let has_news = !deliveries.is_empty();
        deliver(&self.driver.shared, deliveries);
        has_news
    }

    /// Takes what is to be sent, and a farewell when that is all there will be.
    fn encode(&mut self, connection: &mut Option<ClientConnection>) {
        let before = self.out.len();
        if self.ending.as_ref().is_none_or(|ending| !ending.said) {
            let next = &mut |buf: &mut BytesMut| connection.as_mut()?.poll_transmit(buf);
            self.transport.encode(next, &mut self.out, OUT_LIMIT);
        }
        if let Some(ending) = &mut self.ending
            && !ending.said
            && self.out.len() == before
            && before < OUT_LIMIT
        {
            ending.said = true;
            self.transport.close(&mut self.out);
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        while !self.out.is_empty() {
            match self.stream.poll_write(cx, &self.out) {
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return progress;
                }
                Poll::Ready(Ok(len @ 1..)) => {
                    match len == self.out.len() {
                        true => self.out.clear(),
                        false => self.out.advance(len),
                    }
                    self.stalled = None;
                    progress = true;
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.fail(CloseReason::Transport, now);
                    return true;
                }
            }
        }
        self.stalled = None;
        let buffer = std::mem::take(&mut self.out);
        // One that a large packet needed is given back.
        if buffer.capacity() <= 2 * OUT_LIMIT {
            SCRATCH.set(buffer);
        }
        progress
    }

    /// The socket is of no use any more.
    fn fail(&mut self, reason: CloseReason, now: Instant) {
        self.end(Disconnect::Ended(reason), now);
        self.out = BytesMut::new();
        if let Some(ending) = &mut self.ending {
            ending.until = now;
        }
    }

    /// Waits until all was written and, where this side wished to end, the server has seen it.
    fn poll_end(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<Disconnect> {
        let ending = self.ending.as_mut()?;
        if ending.said && self.out.is_empty() && !ending.half_closed {
            ending.half_closed = self.stream.poll_close(cx).is_ready();
        }
        let heard = self.input_ended || ending.reason != Disconnect::Local;
        let over = now >= ending.until || (ending.half_closed && heard);
        if over { self.ending.take().map(|ending| ending.reason) } else { None }
    }
}
