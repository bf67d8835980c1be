use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{ClientError, Event};
use tokio::time::Instant;

use crate::{BusEvent, signals};

/// What the events have to look at, other than messages on the subscriptions that they poll themselves; wakes them. Ended
/// when nobody needs the connection any more.
pub(crate) type Signals = signals::Signals<Raised>;

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

impl Raised {
    /// Takes in what the library tells.
    pub(crate) fn note(&mut self, event: &Event) {
        self.link = true;
        self.down |= *event == Event::Disconnected;
        self.lame_duck |= *event == Event::LameDuckMode;
    }
}

/// What of that is for those who read logs.
#[derive(Debug, Default)]
pub(crate) struct Log {
    dropped: Limit,
    refused: Limit,
    unreachable: Limit,
}

impl Log {
    pub(crate) fn write(&self, event: &Event) {
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
