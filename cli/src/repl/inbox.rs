//! What comes from the server, in its order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cereus_client::{Push, RequestError, State};
use jiff::Timestamp;
use tokio::sync::Notify;

/// How many bytes of pushes wait while nobody looks.
const MOST_BYTES: usize = 4 << 20;
/// What a push counts beside its route and its body.
const PUSH_COST: usize = 64;

/// Something that came.
#[derive(Debug)]
pub(super) enum Incoming {
    Push(Push),
    /// The end of the request with this number.
    Answer {
        number: u64,
        route: String,
        took: Duration,
        result: Result<Bytes, RequestError>,
    },
    /// Of the connection with this number.
    State {
        connection: u64,
        state: State,
    },
}

/// Pushes, answers and states queue here between the tasks of the clients and the one that prints. Pushes are bounded: the oldest
/// are dropped, and counted. Answers are as many as there are requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Timestamp, Incoming)>,
    bytes: usize,
    dropped: u64,
}

impl Inbox {
    pub(super) fn put(&self, incoming: Incoming) {
        self.lock().put(Timestamp::now(), incoming);
        self.0.changed.notify_one();
    }

    /// Waits for what comes next. Dropping it loses nothing.
    pub(super) async fn next(&self) -> (Timestamp, Incoming) {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }

    pub(super) fn try_next(&self) -> Option<(Timestamp, Incoming)> {
        self.lock().take()
    }

    /// How many pushes were dropped since this was asked last.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics with the lock held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn put(&mut self, at: Timestamp, incoming: Incoming) {
        self.bytes += cost(&incoming);
        self.waiting.push_back((at, incoming));
        while self.bytes > MOST_BYTES
            && let Some(oldest) = self.waiting.iter().position(|(_, incoming)| matches!(incoming, Incoming::Push(_)))
            && let Some((_, push)) = self.waiting.remove(oldest)
        {
            self.bytes -= cost(&push);
            self.dropped += 1;
        }
    }

    fn take(&mut self) -> Option<(Timestamp, Incoming)> {
        let next = self.waiting.pop_front()?;
        self.bytes -= cost(&next.1);
        Some(next)
    }
}

fn cost(incoming: &Incoming) -> usize {
    match incoming {
        Incoming::Push(push) => push.route.len() + push.body.len() + PUSH_COST,
        _ => 0,
    }
}
