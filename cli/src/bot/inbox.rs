//! Pushes that wait for whoever listens.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cereus_client::Push;
use tokio::sync::Notify;

/// What a push counts beside its route and its body.
const PUSH_COST: usize = 64;

/// The pushes of one connection that nobody listened to yet, in the order in which they came. Nobody waits for them to be taken: of
/// too many the oldest of the route that holds most are dropped, so that one that comes often does not drive out one that is rare.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug)]
struct Waiting {
    /// None is empty.
    routes: BTreeMap<String, Queue>,
    bytes: usize,
    most_bytes: usize,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Queue {
    bodies: VecDeque<Bytes>,
    bytes: usize,
}

impl Inbox {
    /// `most_bytes`: how much waits; the latest push waits however long it is.
    pub(super) fn new(most_bytes: usize) -> Self {
        let waiting = Waiting { routes: BTreeMap::new(), bytes: 0, most_bytes, dropped: 0 };
        Self { waiting: Mutex::new(waiting), changed: Notify::new() }
    }

    pub(super) fn put(&self, push: &Push) {
        // A slice of what came would keep all of it.
        self.lock().put(&push.route.to_string(), Bytes::copy_from_slice(&push.body));
        self.changed.notify_waiters();
    }

    /// Waits for the next push of this route.
    pub(super) async fn take(&self, route: &str) -> Bytes {
        loop {
            // Whatever comes after the look is told.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(body) = self.lock().take(route) {
                return body;
            }
            changed.await;
        }
    }

    /// How many were dropped because nobody listened.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics with the lock held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn cost(route: &str, body: &Bytes) -> usize {
    route.len() + body.len() + PUSH_COST
}

impl Waiting {
    fn put(&mut self, route: &str, body: Bytes) {
        let cost = cost(route, &body);
        while self.bytes > 0 && self.bytes + cost > self.most_bytes {
            self.drop_oldest();
        }
        let queue = self.routes.entry(route.to_owned()).or_default();
        queue.bodies.push_back(body);
        queue.bytes += cost;
        self.bytes += cost;
    }

    fn take(&mut self, route: &str) -> Option<Bytes> {
        let queue = self.routes.get_mut(route)?;
        let body = queue.bodies.pop_front()?;
        queue.bytes -= cost(route, &body);
        self.bytes -= cost(route, &body);
        if queue.bodies.is_empty() {
            self.routes.remove(route);
        }
        Some(body)
    }

    fn drop_oldest(&mut self) {
        let longest = self.routes.iter().max_by_key(|(_, queue)| queue.bytes);
        let route = longest.map(|(route, _)| route.clone()).unwrap_or_default();
        self.take(&route);
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_rare_stays() {
        let inbox = Inbox::new(1000);
        inbox.lock().put("rare", "first".into());
        for number in 0..2000 {
            inbox.lock().put("a", format!("{number:035}").into());
        }
        // 73 bytes, and 100 for each of the others.
        let kept = 9;
        assert_eq!(inbox.dropped(), 2000 - kept);
        assert_eq!(inbox.take("a").await, format!("{:035}", 2000 - kept));
        assert_eq!(inbox.take("a").await, format!("{:035}", 2001 - kept));
        assert_eq!(inbox.take("rare").await, "first");
        for number in 0..1000 {
            inbox.lock().put(&number.to_string(), Bytes::new());
        }
        assert!(inbox.lock().routes.len() <= 1000 / PUSH_COST);
        inbox.lock().put("long", vec![0; 2000].into());
        assert_eq!(inbox.take("long").await.len(), 2000);
        let waiting = inbox.lock();
        assert_eq!((waiting.routes.len(), waiting.bytes), (0, 0));
    }
}
