use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use cereus_core::{CloseReason, Instant, ProtocolError, ServerConnection, ServerEvent};
use cereus_transports::{
    Transport, TransportError,
    rt::{ByteStream, Runtime, Timer},
};

use crate::{
    Session,
    handlers::{Handlers, send_push},
    limits::Admitted,
    mailbox::Letter,
    stats::Counted,
};

/// How many bytes wait to be written before nothing more is encoded.
const OUT_LIMIT: usize = 64 << 10;

/// What is read at once. A buffer is cleared before it is used, so most reads go into one that fits most bursts; the large
/// one is for what filled it, the small one for a socket that is probably empty.
const READ: usize = 2 << 10;
const LARGE_READ: usize = 64 << 10;
const SMALL_READ: usize = 64;

/// How many turns there are before other tasks get theirs.
const TURNS: usize = 4;

/// What a transport may hold of its own before the handshake.
const UPGRADE: usize = 16 << 10;

thread_local! {
    /// What is being written by the connection that this thread is at: only one whose socket is stalled holds a buffer.
    static SCRATCH: Cell<BytesMut> = Cell::new(BytesMut::new());
}

/// One connection: the only loop between a socket and its [`ServerConnection`], for every runtime and transport.
pub(crate) struct Driver<R: Runtime, S> {
    runtime: R,
    stream: S,
    transport: Box<dyn Transport>,
    connection: ServerConnection,
    session: Session,
    handlers: Handlers,
    /// What is to be written.
    out: BytesMut,
    phase: Phase,
    /// How the peer ended the input, to be told when what came before it was looked at.
    ended: Option<Result<(), Box<TransportError>>>,
    /// The connection's last event, once it was polled.
    closed: Option<Box<CloseReason>>,
    /// Since when a write has made no progress.
    stalled: Option<Instant>,
    next_read: NextRead,
    /// The last look at the connection's events found none.
    drained: bool,
    /// The last heartbeat tick has not been used to give memory back.
    tidy: bool,
    /// What the mailbox was told to wait in the connection.
    told: usize,
    timer: R::Timer,
    /// When the timer wakes this task.
    armed: Option<Instant>,
    waker: Option<Waker>,
    /// A shutdown waits for this connection as long as this is there.
    admitted: Admitted,
    counted: Counted,
    /// Fewer pushes may wait than usual, because all connections together hold too much.
    squeezed: bool,
}

/// What the next read of this wake-up may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NextRead {
    /// The socket is empty, and wakes this task when it no longer is.
    Nothing,
    Small,
    Usual,
    Large,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Open,
    /// What is left is being written.
    Flushing {
        until: Instant,
        linger: bool,
    },
    /// The peer was told that nothing more comes.
    HalfClosed {
        until: Instant,
        linger: bool,
    },
    Done,
}

impl<R: Runtime, S: ByteStream> Driver<R, S> {
    pub(crate) fn new(
        runtime: R,
        stream: S,
        transport: Box<dyn Transport>,
        session: Session,
        admitted: Admitted,
    ) -> Self {
        let server = session.server();
        Self {
            admitted,
            counted: Counted::default(),
            squeezed: false,
            connection: ServerConnection::new(server.shared_config().clone(), runtime.now()),
            timer: runtime.timer(),
            handlers: Handlers::new(session.clone()),
            runtime,
            stream,
            transport,
            session,
            out: BytesMut::new(),
            phase: Phase::Open,
            ended: None,
            closed: None,
            stalled: None,
            next_read: NextRead::Usual,
            drained: false,
            tidy: false,
            told: 0,
            armed: None,
            waker: None,
        }
    }

    /// Goes on where opening the connection has ended.
    pub(crate) fn opened(mut self, early: &[u8], ended: Option<TransportError>) -> Self {
        self.connection.handle_input(early, self.runtime.now());
        self.ended = ended.map(|error| Err(Box::new(error)));
        self
    }

    /// Does once what can be done now. Returns whether anything was done.
    fn turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = self.read_mail(now);
        progress |= match self.next_read {
            NextRead::Nothing => false,
            // It was the mail that woke this task.
            NextRead::Usual if !progress => self.read::<READ>(cx, now),
            NextRead::Usual | NextRead::Small => self.read::<SMALL_READ>(cx, now),
            NextRead::Large => self.read::<LARGE_READ>(cx, now),
        };
        // After reading: a peer whose bytes were there is not silent, however late this task is.
        progress |= self.handle_timeout(now);
        if !progress && self.is_waiting() {
            return false;
        }
        if self.phase == Phase::Open {
            progress |= self.dispatch(cx, now);
            self.end_input(now);
        }
        progress |= self.write(cx, now);
        self.tell_mailbox();
        self.count();
        self.tidy_up();
        progress |= self.close(cx, now);
        progress && !(self.is_waiting() && self.next_read == NextRead::Nothing)
    }

    /// Whether all that could happen without new input, mail or a timeout has happened.
    fn is_waiting(&self) -> bool {
        self.phase == Phase::Open && self.drained && self.handlers.is_idle() && self.out.is_empty()
    }

    fn read_mail(&mut self, now: Instant) -> bool {
        let budget = self.session.server().budget();
        let Some(letters) = self.session.mailbox().take(budget) else {
            return false;
        };
        if budget.is_over() || self.squeezed {
            self.squeezed = budget.is_over();
            let share = budget.share(self.session.server().sessions().count());
            self.connection.set_max_queued_bytes(if self.squeezed { share } else { usize::MAX });
        }
        letters.for_each(|letter| match letter {
            Letter::Kick(reason) => {
                tracing::debug!(session = %self.session.id(), peer = ?self.session.peer(), "kicking");
                self.connection.kick(reason.as_deref(), now);
            }
            Letter::Close => self.connection.close(now),
            // It only had to wake this task.
            Letter::Drain => {}
            push => send_push(&self.session, &mut self.connection, push),
        });
        true
    }

    fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.connection.poll_timeout().is_some_and(|at| now >= at);
        if due {
            self.connection.handle_timeout(now);
            self.tidy = true;
        }
        if self.stalled.is_some_and(|since| now >= since + self.session.server().settings().write_timeout) {
            self.connection.abort(CloseReason::WriteTimeout);
            self.break_off();
        }
        due
    }

    // A frame of its own: the large buffer must not be part of every turn's.
    #[inline(never)]
    fn read<const N: usize>(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let discard = self.phase != Phase::Open;
        if self.ended.is_some() || self.phase == Phase::Done || (!discard && !self.connection.wants_input()) {
            return false;
        }
        let mut scratch = [0; N];
        match self.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => {
                self.next_read = NextRead::Nothing;
                false
            }
            Poll::Ready(Ok(0)) => {
                self.ended = Some(self.transport.handle_eof().map_err(Box::new));
                true
            }
            Poll::Ready(Ok(_)) if discard => true,
            Poll::Ready(Ok(len)) => {
                self.next_read = match len {
                    _ if len < N => NextRead::Small,
                    SMALL_READ => NextRead::Usual,
                    _ => NextRead::Large,
                };
                let connection = &mut self.connection;
                let decoded = self.transport.decode(&scratch[..len], &mut |packets| {
                    connection.handle_input(packets, now);
                });
                if let Err(error) = decoded {
                    self.ended = Some(Err(Box::new(error)));
                }
                true
            }
            Poll::Ready(Err(error)) => {
                self.fail(&error);
                true
            }
        }
    }

    /// Lets handlers run and starts new ones while there is room for their answers.
    fn dispatch(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = !self.handlers.is_idle() && self.handlers.poll(&mut self.connection, cx, now);
        self.drained = false;
        loop {
            let room = self.connection.has_room() && self.out.len() < OUT_LIMIT;
            if !room || self.handlers.is_tired() || self.handlers.is_draining() || self.connection.is_closed() {
                break;
            }
            match self.handlers.start_next(&mut self.connection, cx, now) {
                Ok(true) => progress = true,
                Ok(false) => {
                    self.drained = true;
                    break;
                }
                Err(reason) => self.closed = Some(Box::new(reason)),
            }
        }
        if self.handlers.is_draining() && self.handlers.is_idle() {
            self.connection.close(now);
        }
        progress
    }

    /// Tells the connection how the peer ended its input, once what came before has had its chance.
    fn end_input(&mut self, now: Instant) {
        match self.ended.take().map(|ended| ended.map_err(|error| *error)) {
            None => {}
            Some(Ok(()) | Err(TransportError::Closed)) => {
                self.connection.handle_eof(now);
                self.ended = Some(Ok(()));
            }
            Some(Err(error)) => {
                tracing::debug!(session = %self.session.id(), %error, "the transport ended");
                let reason = match error {
                    TransportError::Packet(error) => ProtocolError::Packet(error).into(),
                    _ => CloseReason::Transport,
                };
                self.connection.abort(reason);
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let held = !self.out.is_empty();
        if !held {
            self.out = SCRATCH.take();
        }
        let progress = self.flush(cx, now);
        if self.out.is_empty() {
            let buffer = std::mem::take(&mut self.out);
            // One that a large packet needed is given back.
            if !held && buffer.capacity() <= 2 * OUT_LIMIT {
                SCRATCH.set(buffer);
            }
        }
        progress
    }

    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let mut progress = false;
        let mut has_more = !matches!(self.phase, Phase::HalfClosed { .. });
        while self.phase != Phase::Done {
            if has_more && self.out.len() < OUT_LIMIT {
                let connection = &mut self.connection;
                self.transport.encode(&mut |buf| connection.poll_transmit(buf), &mut self.out, OUT_LIMIT);
                has_more = self.out.len() >= OUT_LIMIT;
            }
            if self.out.is_empty() {
                self.stalled = None;
                break;
            }
            match self.stream.poll_write(cx, &self.out) {
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    break;
                }
                Poll::Ready(Ok(0)) => self.fail(&io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => {
                    match self.out.len() == len {
                        true => self.out.clear(),
                        false => self.out.advance(len),
                    }
                    self.stalled = None;
                }
                Poll::Ready(Err(error)) => self.fail(&error),
            }
            progress = true;
        }
        progress
    }

    fn fail(&mut self, error: &io::Error) {
        tracing::debug!(session = %self.session.id(), %error, "the socket failed");
        self.connection.abort(CloseReason::Transport);
        self.break_off();
    }

    /// The socket is of no use any more.
    fn break_off(&mut self) {
        if let Some(reason) = self.take_close_reason() {
            self.end_session(&reason);
        }
        self.out = BytesMut::new();
        self.phase = Phase::Done;
    }

    fn take_close_reason(&mut self) -> Option<CloseReason> {
        if let Some(reason) = self.closed.take() {
            return Some(*reason);
        }
        while self.connection.is_closed() {
            if let ServerEvent::Closed(reason) = self.connection.poll_event()? {
                return Some(reason);
            }
        }
        None
    }

    /// Ends the session as soon as its connection is closed, and the socket when everything was written.
    fn close(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        match self.phase {
            Phase::Open => {
                let Some(reason) = self.take_close_reason() else {
                    return false;
                };
                self.end_session(&reason);
                let linger = matches!(
                    reason,
                    CloseReason::Kicked
                        | CloseReason::HandshakeRefused(_)
                        | CloseReason::Local
                        | CloseReason::Transport
                        | CloseReason::Protocol(ProtocolError::Handshake(_))
                );
                self.phase = Phase::Flushing { until: now + self.session.server().config().close_timeout(), linger };
                true
            }
            Phase::Flushing { until, .. } | Phase::HalfClosed { until, .. } if now >= until => {
                self.phase = Phase::Done;
                true
            }
            Phase::Flushing { until, linger } if self.out.is_empty() => {
                self.transport.close(&mut self.out);
                self.phase = Phase::HalfClosed { until, linger };
                true
            }
            Phase::HalfClosed { linger, .. } if self.out.is_empty() => {
                let closed = self.stream.poll_close(cx).is_ready();
                let heard = !linger || self.ended.is_some();
                if closed && heard {
                    self.phase = Phase::Done;
                }
                closed && heard
            }
            _ => false,
        }
    }

    /// The session can no longer be found; handlers that run go on without it, then what waits for its end runs.
    fn end_session(&mut self, reason: &CloseReason) {
        tracing::debug!(session = %self.session.id(), peer = ?self.session.peer(), %reason, "connection closed");
        let session = self.session.clone();
        session.server().sessions().remove(&session);
        session.server().counters().closed(reason);
        let handlers = std::mem::replace(&mut self.handlers, Handlers::new(session.clone()));
        if handlers.is_idle() && !session.was_introduced() {
            return;
        }
        let task = session.server().task();
        let detached = Detached { handlers, timer: self.runtime.timer(), runtime: self.runtime.clone() };
        self.runtime.spawn(async move {
            detached.await;
            session.server().clone().after_close(session).await;
            drop(task);
        });
    }

    fn tell_mailbox(&mut self) {
        let (waiting, mailbox) = (self.connection.queued(), self.session.mailbox());
        if waiting != self.told || mailbox.is_untold() {
            self.told = waiting;
            mailbox.set_in_connection(waiting);
        }
    }

    /// Counts what happened in this turn where all connections are counted, and sees that this one does not hold too much.
    fn count(&mut self) {
        let server = self.session.server();
        let (losses, limited) = (self.connection.push_losses(), self.connection.limited_packets());
        self.counted.update(server.counters(), losses, limited);
        let held_back = self.transport.buffered();
        let held = held_back + self.connection.capacity() + self.handlers.buffered() + self.out.capacity();
        if self.admitted.holds(held) {
            self.connection.abort(CloseReason::Overloaded);
            self.break_off();
        }
        if self.admitted.is_authenticated() {
            return;
        }
        if self.connection.is_connected() {
            self.admitted.authenticated();
        } else if held_back > self.connection.config().max_handshake_size() + UPGRADE {
            // A packet that the transport holds back until it is whole: the connection cannot know of it.
            self.connection.abort(CloseReason::Transport);
        }
    }

    /// Gives memory back once a heartbeat, if nothing needs it.
    fn tidy_up(&mut self) {
        if self.tidy && self.out.is_empty() {
            self.tidy = false;
            self.transport.release();
            self.handlers.release();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Flushing { until, .. } | Phase::HalfClosed { until, .. } => Some(until),
            Phase::Open | Phase::Done => None,
        };
        let stalled = self.stalled.map(|since| since + self.session.server().settings().write_timeout);
        [self.connection.poll_timeout(), self.handlers.deadline(), phase, stalled].into_iter().flatten().min()
    }

    /// Sets the timer if it would wake too late. Ready: a deadline has come already.
    fn arm(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Some(at) = self.next_deadline() else {
            return Poll::Pending;
        };
        if now >= at {
            return Poll::Ready(());
        }
        if self.armed.is_some_and(|armed| now < armed && armed <= at) {
            return Poll::Pending;
        }
        let polled = self.timer.poll_until(at, cx);
        self.armed = polled.is_pending().then_some(at);
        polled
    }

    /// Reads a little of everything that a turn looks at. With thousands of connections none of it is in the cache, and the
    /// processor waits for all of it at once here instead of for one after the other: a fifth of what a broadcast costs.
    fn prefetch(&self) {
        let Self { connection, handlers, out, phase, ended, closed, stalled, told, armed, .. } = self;
        std::hint::black_box((connection.queued(), connection.poll_timeout(), connection.buffered()));
        std::hint::black_box((connection.has_room(), handlers.is_idle(), out.len(), *phase == Phase::Open));
        std::hint::black_box((ended.is_some(), closed.is_some(), stalled.is_some(), *told, armed.is_some()));
    }

    /// Makes sure that mail and timer wake this task, whoever polls it.
    fn register(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.session.mailbox().set_driver(waker);
            self.waker = Some(waker.clone());
            self.armed = None;
        }
    }
}

impl<R: Runtime, S: ByteStream> Future for Driver<R, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.prefetch();
        this.register(cx.waker());
        let mut now = this.runtime.now();
        this.next_read = NextRead::Usual;
        this.handlers.rest();
        for _ in 0..TURNS {
            let progress = this.turn(cx, now);
            if this.phase == Phase::Done {
                return Poll::Ready(());
            }
            if this.handlers.is_tired() {
                break;
            }
            if !progress {
                if this.arm(cx, now).is_pending() {
                    return Poll::Pending;
                }
                now = this.runtime.now();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Handlers whose connection ended: they run to their end or to their deadline.
struct Detached<R: Runtime> {
    handlers: Handlers,
    timer: R::Timer,
    runtime: R,
}

impl<R: Runtime> Future for Detached<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { handlers, timer, runtime } = self.get_mut();
        loop {
            if handlers.poll_detached(cx, runtime.now()).is_ready() {
                return Poll::Ready(());
            }
            match handlers.deadline() {
                Some(at) if timer.poll_until(at, cx).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    }
}
