use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use cereus_core::Route;
use futures_core::Stream;
use hashbrown::HashMap;

use crate::shared::call_back;

/// What a push counts beside its route and its body.
const PUSH_COST: usize = 64;

/// What the server tells unasked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Push {
    /// What for.
    pub route: Route,
    /// The body, inflated.
    pub body: Bytes,
}

impl Push {
    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`RequestError::Body`](crate::RequestError::Body): it is something else.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, crate::RequestError> {
        crate::request::read_json(&self.body)
    }

    /// Reads the body as protobuf.
    ///
    /// # Errors
    ///
    /// [`RequestError::Body`](crate::RequestError::Body): it is something else.
    #[cfg(feature = "protobuf")]
    pub fn protobuf<T: prost::Message + Default>(&self) -> Result<T, crate::RequestError> {
        crate::request::read_protobuf(&self.body)
    }

    fn cost(&self) -> usize {
        self.route.len() + self.body.len() + PUSH_COST
    }
}

/// The pushes of one route, or of all. A stream; it ends when the client is closed.
///
/// They wait for whoever takes them in a buffer that is [bounded](crate::ClientBuilder::push_buffer): when it is full the oldest
/// are dropped, and [counted](Self::missed). Nobody else waits for that.
#[derive(Debug)]
pub struct Pushes(Arc<Buffer>);

impl Pushes {
    /// Waits for the next one; `None` when the client is closed.
    pub async fn next(&mut self) -> Option<Push> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next one, if it is there already.
    pub fn try_next(&mut self) -> Option<Push> {
        self.0.lock().take()
    }

    /// How many were dropped because nobody took them in time.
    pub fn missed(&self) -> u64 {
        self.0.lock().missed
    }
}

impl Stream for Pushes {
    type Item = Push;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Push>> {
        let mut waiting = self.0.lock();
        match waiting.take() {
            Some(push) => Poll::Ready(Some(push)),
            None if waiting.ended => Poll::Ready(None),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[derive(Debug)]
struct Buffer {
    limit: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    pushes: VecDeque<Push>,
    bytes: usize,
    missed: u64,
    ended: bool,
    waker: Option<Waker>,
}

impl Waiting {
    fn take(&mut self) -> Option<Push> {
        let push = self.pushes.pop_front()?;
        self.bytes -= push.cost();
        Some(push)
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics with the lock held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, push: Push) {
        let waker = {
            let mut waiting = self.lock();
            waiting.bytes += push.cost();
            waiting.pushes.push_back(push);
            // The latest stays, however long it is.
            while waiting.bytes > self.limit && waiting.pushes.len() > 1 {
                waiting.take();
                waiting.missed += 1;
            }
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn end(&self) {
        let waker = {
            let mut waiting = self.lock();
            waiting.ended = true;
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A callback that is called with each push of a route. Dropping this changes nothing.
#[derive(Debug)]
pub struct Subscription {
    subscribers: Weak<Subscribers>,
    route: Option<Route>,
    id: u64,
}

impl Subscription {
    /// Lets the callback be called no more. A call that is running goes on.
    pub fn cancel(self) {
        if let Some(subscribers) = self.subscribers.upgrade() {
            subscribers.lock().change(self.route, |all| all.retain(|subscriber| subscriber.id != self.id));
        }
    }
}

/// Who is told of pushes.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_route: HashMap<Route, Arc<[Subscriber]>>,
    /// Those who want the pushes of all routes.
    to_all: Arc<[Subscriber]>,
    last_id: u64,
    ended: bool,
}

#[derive(Clone, Debug)]
struct Subscriber {
    id: u64,
    sink: Sink,
}

#[derive(Clone)]
enum Sink {
    Callback(Arc<dyn Fn(Push) + Send + Sync>),
    Stream(Weak<Buffer>),
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Callback(_)) { "Callback" } else { "Stream" })
    }
}

impl Sink {
    fn is_gone(&self) -> bool {
        matches!(self, Self::Stream(buffer) if buffer.strong_count() == 0)
    }

    fn deliver(&self, push: Push) {
        match self {
            Self::Callback(callback) => call_back(|| callback(push)),
            Self::Stream(buffer) => {
                if let Some(buffer) = buffer.upgrade() {
                    buffer.add(push);
                }
            }
        }
    }
}

impl Table {
    fn change(&mut self, route: Option<Route>, change: impl FnOnce(&mut Vec<Subscriber>)) {
        let before = match &route {
            Some(route) => self.by_route.get(route).cloned().unwrap_or_default(),
            None => Arc::clone(&self.to_all),
        };
        let mut subscribers: Vec<_> = before.iter().filter(|subscriber| !subscriber.sink.is_gone()).cloned().collect();
        change(&mut subscribers);
        match route {
            Some(route) if subscribers.is_empty() => drop(self.by_route.remove(&route)),
            Some(route) => drop(self.by_route.insert(route, subscribers.into())),
            None => self.to_all = subscribers.into(),
        }
    }

    fn add(&mut self, route: Option<Route>, sink: Sink) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.change(route, |all| all.push(Subscriber { id, sink }));
        id
    }
}

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A route of its own, or all.
    pub(crate) fn on(
        self: &Arc<Self>,
        route: Option<Route>,
        callback: Arc<dyn Fn(Push) + Send + Sync>,
    ) -> Subscription {
        let id = self.lock().add(route.clone(), Sink::Callback(callback));
        Subscription { subscribers: Arc::downgrade(self), route, id }
    }

    pub(crate) fn stream(&self, route: Option<Route>, limit: usize) -> Pushes {
        let mut table = self.lock();
        let waiting = Waiting { ended: table.ended, ..Waiting::default() };
        let buffer = Arc::new(Buffer { limit, waiting: Mutex::new(waiting) });
        table.add(route, Sink::Stream(Arc::downgrade(&buffer)));
        Pushes(buffer)
    }

    pub(crate) fn deliver(&self, push: Push) {
        let (for_route, to_all) = {
            let table = self.lock();
            (table.by_route.get(&push.route).cloned(), Arc::clone(&table.to_all))
        };
        for subscriber in for_route.iter().flat_map(|subscribers| subscribers.iter()).chain(to_all.iter()) {
            subscriber.sink.deliver(push.clone());
        }
    }

    /// No more pushes come.
    pub(crate) fn end(&self) {
        let Table { by_route, to_all, .. } = {
            let mut table = self.lock();
            std::mem::replace(&mut *table, Table { ended: true, ..Table::default() })
        };
        for subscriber in by_route.values().flat_map(|subscribers| subscribers.iter()).chain(to_all.iter()) {
            if let Sink::Stream(buffer) = &subscriber.sink
                && let Some(buffer) = buffer.upgrade()
            {
                buffer.end();
            }
        }
    }
}
