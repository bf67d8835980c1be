//! Pushes that wait for whoever listens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cereus_client::Push;
use tokio::sync::Notify;

/// How many bytes wait for each route; the latest push waits however long it is.
const MOST_BYTES: usize = 64 << 10;
/// How many routes are told apart: a server may make them up.
const MOST_ROUTES: usize = 256;
/// What a push counts beside its body.
const PUSH_COST: usize = 64;

/// The pushes of one connection that nobody listened to yet, in the order in which they came. Nobody waits for them to be taken: of
/// too many the oldest are dropped.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    routes: HashMap<String, Queue>,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Queue {
    bodies: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    fn take(&mut self) -> Option<Bytes> {
        let body = self.bodies.pop_front()?;
        self.bytes -= body.len() + PUSH_COST;
        Some(body)
    }
}

impl Inbox {
    pub(super) fn put(&self, push: Push) {
        self.lock().put(push.route.to_string(), push.body);
        self.changed.notify_waiters();
    }

    /// Waits for the next push of this route.
    pub(super) async fn take(&self, route: &str) -> Bytes {
        loop {
            // Whatever comes after the look is told.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(body) = self.lock().routes.get_mut(route).and_then(Queue::take) {
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

impl Waiting {
    fn put(&mut self, route: String, body: Bytes) {
        if self.routes.len() == MOST_ROUTES && !self.routes.contains_key(&route) {
            self.dropped += 1;
            return;
        }
        let queue = self.routes.entry(route).or_default();
        queue.bytes += body.len() + PUSH_COST;
        queue.bodies.push_back(body);
        while queue.bytes > MOST_BYTES && queue.bodies.len() > 1 {
            queue.take();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_latest_of_each_route_in_order() {
        let inbox = Inbox::default();
        for number in 0..2000 {
            inbox.lock().put("a".to_owned(), format!("{number:036}").into());
        }
        inbox.lock().put("b".to_owned(), "first".into());
        let kept = (MOST_BYTES / 100) as u64;
        assert_eq!(inbox.dropped(), 2000 - kept);
        assert_eq!(inbox.take("a").await, format!("{:036}", 2000 - kept));
        assert_eq!(inbox.take("a").await, format!("{:036}", 2001 - kept));
        assert_eq!(inbox.take("b").await, "first");
        for number in 0..1000 {
            inbox.lock().put(number.to_string(), Bytes::new());
        }
        assert_eq!(inbox.lock().routes.len(), MOST_ROUTES);
    }
}
