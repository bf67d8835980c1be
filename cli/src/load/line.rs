//! One connection of the load: a socket, the protocol, and nothing in between that a generator of load would have to pay for.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use cereus_client::ServerError;
use cereus_core::{ClientConfig, ClientConnection, ClientEvent, CloseReason, Instant, MessageId, SendError};
use cereus_tokio::{Timer as TokioTimer, Tokio};
use cereus_transports::{
    Transport, TransportError,
    rt::{Runtime, Timer},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc::Receiver,
};

use super::{record::LOST, run::Shared};
use crate::random::Random;

/// How many bytes are read at once, and wait to be written before nothing more is encoded.
const READ: usize = 16 << 10;
const OUT_LIMIT: usize = 64 << 10;

/// How many turns there are before other connections get theirs.
const TURNS: usize = 16;

/// What a connection is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Send one message, which should have been sent at this time.
    Send(Instant),
    /// Keep so many requests in flight.
    Keep(usize),
}

/// A request that has no answer yet.
#[derive(Debug)]
struct Asked {
    entry: usize,
    /// When it should have been sent: latency counts from here.
    begin: Instant,
    /// When it was sent.
    sent: Instant,
}

pub(super) struct Line {
    socket: TcpStream,
    transport: Box<dyn Transport>,
    connection: ClientConnection,
    serializer: String,
    out: BytesMut,
    clock: Tokio,
    /// When this turn began, or what it has read was read.
    now: Instant,
    timer: TokioTimer,
    /// When the timer wakes this task.
    armed: Option<Instant>,
    in_flight: BTreeMap<u64, Asked>,
    /// No request is late before this.
    deadline: Option<Instant>,
    /// How long an answer may take.
    patience: Duration,
    /// What [`Shared`] was told to be in flight.
    told: usize,
    orders: Option<Receiver<Order>>,
    depth: usize,
    number: usize,
    random: Random,
    shared: Arc<Shared>,
    is_open: bool,
    is_over: Option<String>,
}

/// What all lines are made with.
pub(super) struct Plan {
    pub(super) config: ClientConfig,
    pub(super) clock: Tokio,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

impl Line {
    /// Shakes hands.
    pub(super) async fn open(
        (socket, transport): (TcpStream, Box<dyn Transport>),
        plan: &Plan,
        number: usize,
        orders: Receiver<Order>,
        shared: Arc<Shared>,
    ) -> Result<Self, String> {
        socket.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut line = Self {
            socket,
            transport,
            connection: ClientConnection::new(plan.config.clone(), plan.clock.now()),
            serializer: String::new(),
            out: BytesMut::new(),
            clock: plan.clock,
            now: plan.clock.now(),
            timer: plan.clock.timer(),
            armed: None,
            in_flight: BTreeMap::new(),
            deadline: None,
            patience: plan.patience,
            told: 0,
            orders: Some(orders),
            depth: 0,
            number,
            random: Random::new(number as u64),
            shared,
            is_open: false,
            is_over: None,
        };
        let opened = poll_fn(|cx| match line.poll(cx) {
            Poll::Pending if line.is_open => Poll::Ready(Ok(())),
            poll => poll.map(Err),
        });
        opened.await.map(|()| line)
    }

    /// Does what it is told until the connection ends.
    pub(super) async fn run(mut self) {
        // It would wake the task that has shaken hands.
        self.armed = None;
        let why = poll_fn(|cx| self.poll(cx)).await;
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        let lost = self.in_flight.len();
        self.in_flight.clear();
        self.tell_in_flight();
        self.shared.recorder.write(self.number, |sample| {
            sample.failed_with(&format!("{LOST}: {why}"));
            (0..lost).for_each(|_| sample.failed_with(&format!("{LOST} before the answer")));
        });
    }

    /// Ready when the connection has ended, with the reason.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        // Something other than input may have woken this task.
        let mut has_more = true;
        for _ in 0..TURNS {
            if !self.read(cx) {
                if !has_more {
                    ready!(self.poll_timer(cx));
                }
                self.now = self.clock.now();
            }
            self.handle_timeout();
            self.take_events();
            self.take_orders(cx);
            self.keep_asking();
            let is_full = !self.connection.has_room();
            has_more = self.write(cx) && is_full;
            self.tell_in_flight();
            if let Some(why) = self.is_over.take() {
                return Poll::Ready(why);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut buffer = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut buffer);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
        if read.is_ready() {
            self.now = self.clock.now();
        }
        let now = self.now;
        let ended = match read {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.transport.handle_eof().err(),
            Poll::Ready(Ok(())) => {
                let connection = &mut self.connection;
                let decoded =
                    self.transport.decode(buffer.filled(), &mut |packets| connection.handle_input(packets, now));
                match decoded {
                    Ok(()) => return true,
                    Err(error) => Some(error),
                }
            }
            Poll::Ready(Err(error)) => Some(TransportError::Protocol(error.to_string())),
        };
        match ended {
            None | Some(TransportError::Closed) => self.connection.handle_eof(now),
            Some(error) => self.is_over = Some(error.to_string()),
        }
        true
    }

    fn handle_timeout(&mut self) {
        if self.connection.poll_timeout().is_some_and(|at| self.now >= at) {
            self.connection.handle_timeout(self.now);
            self.transport.release();
        }
        if self.deadline.is_some_and(|at| self.now >= at) {
            self.give_up();
        }
    }

    /// Gives up what is late. All is looked at, which is rare: no more than once in the time that an answer may take.
    fn give_up(&mut self) {
        let late: Vec<_> = self.in_flight.extract_if(.., |_, asked| self.now >= asked.sent + self.patience).collect();
        for (id, _) in late {
            self.connection.cancel(MessageId::new(id));
            self.shared.recorder.write(self.number, |sample| sample.failed_with("no answer in time"));
        }
        self.deadline = self.in_flight.values().map(|asked| asked.sent + self.patience).min();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                ClientEvent::Connected(handshake) => {
                    self.serializer = handshake.serializer;
                    self.is_open = true;
                }
                ClientEvent::Response { id, body } => self.answered(id, Ok(body.len())),
                ClientEvent::Error { id, body } => {
                    self.answered(id, Err(ServerError::parse(&self.serializer, body)));
                }
                ClientEvent::Kicked(_) => self.is_over = Some("kicked".to_owned()),
                ClientEvent::Closed(reason) => {
                    self.is_over.get_or_insert_with(|| ended(&reason));
                }
                _ => {}
            }
        }
    }

    fn answered(&mut self, id: MessageId, answer: Result<usize, ServerError>) {
        let Some(asked) = self.in_flight.remove(&id.get()) else { return };
        if !self.shared.counts(asked.sent) {
            return;
        }
        self.shared.recorder.write(self.number, |sample| match &answer {
            Ok(bytes) => sample.answered(asked.entry, self.now - asked.begin, *bytes),
            Err(error) if error.code.is_empty() => sample.failed_with("error without a code"),
            Err(error) => sample.failed_with(&error.code),
        });
    }

    fn take_orders(&mut self, cx: &mut Context<'_>) {
        while let Some(orders) = &mut self.orders
            && self.is_open
            && self.connection.has_room()
            && let Poll::Ready(order) = orders.poll_recv(cx)
        {
            match order {
                Some(Order::Send(due)) => drop(self.send(Some(due))),
                Some(Order::Keep(depth)) => {
                    self.depth = depth;
                    self.orders = None;
                }
                None => self.orders = None,
            }
        }
    }

    /// Closed loop: the next request goes out whenever an answer came.
    fn keep_asking(&mut self) {
        while self.in_flight.len() < self.depth
            && self.connection.has_room()
            && !self.shared.over.load(Ordering::Relaxed)
            && self.send(None).is_ok()
        {}
    }

    /// Sends one. `due`: when it should have been sent.
    fn send(&mut self, due: Option<Instant>) -> Result<(), SendError> {
        let now = self.now;
        let entry = self.shared.mix.choose(|| self.random.next());
        let asked = &self.shared.mix.entries[entry];
        let begin = due.unwrap_or(now);
        let sent = match asked.notify {
            true => self.connection.notify(&asked.route, asked.body.clone()).map(|()| None),
            false => self.connection.request(&asked.route, asked.body.clone()).map(Some),
        };
        self.shared.recorder.write(self.number, |sample| match &sent {
            Ok(id) => {
                sample.sent(due.map(|due| now - due));
                if id.is_none() {
                    sample.answered(entry, now - begin, 0);
                }
            }
            Err(error) => sample.failed_with(refusal(error)),
        });
        if let Some(id) = sent? {
            self.in_flight.insert(id.get(), Asked { entry, begin, sent: now });
            self.deadline.get_or_insert(now + self.patience);
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        loop {
            if self.out.len() < OUT_LIMIT {
                let connection = &mut self.connection;
                self.transport.encode(&mut |buf| connection.poll_transmit(buf), &mut self.out, OUT_LIMIT);
            }
            if self.out.is_empty() {
                return progress;
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.out) {
                Poll::Pending => return progress,
                Poll::Ready(Ok(len @ 1..)) if len == self.out.len() => self.out.clear(),
                Poll::Ready(Ok(len @ 1..)) => self.out.advance(len),
                Poll::Ready(Ok(0)) => {
                    self.is_over = Some("the socket takes no more".to_owned());
                    return progress;
                }
                Poll::Ready(Err(error)) => {
                    self.is_over = Some(error.to_string());
                    return progress;
                }
            }
            progress = true;
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = [self.connection.poll_timeout(), self.deadline].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        // One that comes too early is set anew then, which is cheaper than to set it with each message.
        if self.armed.is_some_and(|armed| self.now < armed && armed <= at) {
            return Poll::Pending;
        }
        self.armed = Some(at);
        ready!(self.timer.poll_until(at, cx));
        self.armed = None;
        Poll::Ready(())
    }

    fn tell_in_flight(&mut self) {
        let now = self.in_flight.len();
        if now != self.told {
            self.shared.in_flight.fetch_add(now.wrapping_sub(self.told), Ordering::Relaxed);
            self.told = now;
        }
    }
}

fn ended(reason: &CloseReason) -> String {
    match reason {
        CloseReason::PeerClosed => "closed by the server".to_owned(),
        reason => reason.to_string(),
    }
}

const fn refusal(error: &SendError) -> &'static str {
    match error {
        SendError::TooManyRequests(_) | SendError::QueueFull(_) => "not sent: too much waits already",
        SendError::NotConnected | SendError::Closed => "not sent: no connection",
        _ => "not sent",
    }
}
