use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;
use tonic::Status;

use crate::{
    BusEvent, BusEvents, Kind, ReplyTo,
    queue::{self, Receiver, Sender},
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) calls: usize,
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A place where calls of others wait for their answers, and the queue in which they are taken in.
pub(crate) fn new(limits: Limits) -> (Arc<Intake>, Events) {
    let (queue, receiver) = queue::bounded(limits.events);
    let intake = Arc::new(Intake { queue, limits, bytes: AtomicUsize::new(0), waiting: Mutex::default() });
    (Arc::clone(&intake), Events { intake, receiver })
}

/// The calls of others that wait for their answers.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: Sender<BusEvent>,
    limits: Limits,
    /// How many bytes wait in the queue to be taken in.
    bytes: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    calls: BTreeMap<u64, oneshot::Sender<Result<Bytes, Status>>>,
    closed: bool,
}

/// A call that has been read.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) call: u64,
    pub(crate) kind: Kind,
    pub(crate) from: String,
    pub(crate) payload: Bytes,
}

impl Intake {
    /// A call that will wait for its answer.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<WaitingCall, Status> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(stopped());
        }
        if waiting.calls.len() >= self.limits.calls {
            return Err(Status::resource_exhausted("too many calls wait for this server"));
        }
        let number = waiting.next;
        waiting.next += 1;
        let (sender, answer) = oneshot::channel();
        waiting.calls.insert(number, sender);
        Ok(WaitingCall { intake: Arc::clone(self), number, answer })
    }

    /// Puts a call into the queue. One that finds no room there is answered.
    pub(crate) fn hand_over(&self, arrived: Arrived) {
        let Arrived { call, kind, from, payload } = arrived;
        let len = payload.len();
        let reply = Some(ReplyTo::new(format!("{from}/{call}")));
        let event = BusEvent::Message { kind, reply, payload };
        if self.bytes.fetch_add(len, Ordering::Relaxed) + len > self.limits.bytes || self.queue.try_send(event).is_err()
        {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            self.end(call, Err(Status::resource_exhausted("too much waits for this server")));
        }
    }

    /// Answers a call. If it does not wait any more, the answer goes nowhere.
    pub(crate) fn answer(&self, to: &ReplyTo, payload: Bytes) {
        if let Some(call) = number(to) {
            self.end(call, Ok(payload));
        }
    }

    /// Answers all calls, and those that are still to come.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let calls = std::mem::take(&mut waiting.calls);
        drop(waiting);
        for call in calls.into_values() {
            // Its client may have gone.
            let _ = call.send(Err(stopped()));
        }
    }

    /// The queue, for what is not a call.
    pub(crate) const fn queue(&self) -> &Sender<BusEvent> {
        &self.queue
    }

    fn end(&self, call: u64, result: Result<Bytes, Status>) {
        let waiting = self.lock().calls.remove(&call);
        if let Some(waiting) = waiting {
            let _ = waiting.send(result);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics with the lock held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stopped() -> Status {
    Status::unavailable("this server has stopped")
}

/// The number of a call is behind the address of its client, which is there for those who read logs.
fn number(to: &ReplyTo) -> Option<u64> {
    to.as_str().rsplit_once('/')?.1.parse().ok()
}

/// A call that waits for its answer. Dropped, as it is when its client goes, it is forgotten.
#[derive(Debug)]
pub(crate) struct WaitingCall {
    intake: Arc<Intake>,
    number: u64,
    answer: oneshot::Receiver<Result<Bytes, Status>>,
}

impl WaitingCall {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Future for WaitingCall {
    type Output = Result<Bytes, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(stopped())))
    }
}

impl Drop for WaitingCall {
    fn drop(&mut self) {
        self.intake.lock().calls.remove(&self.number);
    }
}

/// What takes calls and answers out of the queue.
#[derive(Debug)]
pub(crate) struct Events {
    intake: Arc<Intake>,
    receiver: Receiver<BusEvent>,
}

impl BusEvents for Events {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        let event = self.receiver.poll_recv(cx);
        if let Poll::Ready(Some(BusEvent::Message { payload, .. })) = &event {
            self.intake.bytes.fetch_sub(payload.len(), Ordering::Relaxed);
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Nobody is left who could answer.
        self.intake.close();
    }
}
