use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use async_nats::{ClientError, Event};
use tokio::time::Instant;

use crate::BusEvent;

/// What the events have to look at, other than messages on the subscriptions that they poll themselves; wakes them.
///
/// It is touched by wakers: nothing is called with the lock held.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    inner: Mutex<Inner>,
    dropped: Limit,
    refused: Limit,
    unreachable: Limit,
}

#[derive(Debug, Default)]
struct Inner {
    raised: Raised,
    ended: bool,
    waker: Option<Waker>,
}

/// What happened since it was looked at last.
#[derive(Debug, Default)]
pub(crate) struct Raised {
    /// Users to whom something was sent.
    pub(crate) users: Vec<u32>,
    /// Answers that there will not be.
    pub(crate) undelivered: Vec<BusEvent>,
    /// Something happened to the connection.
    pub(crate) link: bool,
    /// The connection was lost. It may be there again already.
    pub(crate) down: bool,
    /// The server will stop.
    pub(crate) lame_duck: bool,
}

impl Signals {
    pub(crate) fn raise(&self, change: impl FnOnce(&mut Raised)) {
        let mut inner = self.lock();
        change(&mut inner.raised);
        let waker = inner.waker.take();
        drop(inner);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Swaps in what happened for an empty `raised`. The task is woken when anything else happens. Returns whether
    /// nobody needs the connection any more.
    pub(crate) fn take(&self, raised: &mut Raised, cx: &Context<'_>) -> bool {
        let mut inner = self.lock();
        mem::swap(&mut inner.raised, raised);
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        inner.ended
    }

    /// Nobody needs the connection any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.raise(|_| ());
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Takes in what the library tells.
    pub(crate) fn handle(&self, event: &Event) {
        match event {
            Event::SlowConsumer(_) => self.dropped.log(|before| {
                tracing::warn!(before, "messages from NATS are dropped: this server does not keep up with them");
            }),
            Event::ServerError(error) => self.refused.log(|before| {
                tracing::warn!(before, %error, "the NATS server refused something: look at what it permits to this user");
            }),
            Event::ClientError(ClientError::MaxReconnects) => {
                tracing::error!("NATS was not reached in `Nats::max_reconnects` attempts: the bus ends");
            }
            Event::ClientError(error) => self.unreachable.log(|before| {
                tracing::warn!(before, %error, "NATS cannot be reached: trying again");
            }),
            _ => {}
        }
        self.raise(|raised| {
            raised.link = true;
            raised.down |= *event == Event::Disconnected;
            raised.lame_duck |= *event == Event::LameDuckMode;
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics with the lock held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets through one line of a kind in ten seconds.
#[derive(Debug, Default)]
struct Limit(Mutex<(Option<Instant>, u64)>);

impl Limit {
    const PERIOD: Duration = Duration::from_secs(10);

    /// Passes on how many lines were held back.
    fn log(&self, write: impl FnOnce(u64)) {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, held_back) = &mut *state;
        if last.is_some_and(|last| now < last + Self::PERIOD) {
            *held_back += 1;
            return;
        }
        *last = Some(now);
        let held_back = mem::take(held_back);
        drop(state);
        write(held_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_lines_are_let_through() {
        let limit = Limit::default();
        let mut lines = 0;
        for _ in 0..100 {
            limit.log(|_| lines += 1);
        }
        assert_eq!(lines, 1);
    }
}
