use std::{sync::Arc, time::Duration};

use crate::{Disconnect, shared::Shared};

/// How it is about the connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum State {
    /// The first connection is being made.
    Connecting,
    /// The server accepted the handshake.
    Open,
    /// The connection ended, and another one is made.
    Reconnecting {
        /// How often it was tried since, counted from 1.
        attempt: u32,
        /// How long this attempt waits.
        delay: Duration,
        /// How the connection, or the attempt before, ended.
        reason: Disconnect,
    },
    /// There is no connection, and there will be none.
    Closed(Disconnect),
}

impl State {
    /// Whether requests are sent at once.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Whether it is over.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// The states of a client, from the one that it is in now. Whoever looks too late sees only the latest.
#[derive(Debug)]
pub struct States {
    shared: Arc<Shared>,
    /// The last one that was seen.
    seen: u64,
}

impl States {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seen: 0 }
    }

    /// Waits for a state that was not seen yet; `None` after [`State::Closed`].
    pub async fn next(&mut self) -> Option<State> {
        loop {
            let listener = self.shared.changed.listen();
            let (number, state) = self.shared.state();
            if number > self.seen {
                self.seen = number;
                return Some(state);
            }
            if state.is_closed() {
                return None;
            }
            listener.await;
        }
    }
}

/// How long answers take: from the moment a request is given to the connection until its answer is read, handler included. The
/// shortest comes closest to what the network takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RoundTrip {
    /// The last one.
    pub last: Duration,
    /// What is to be expected: each counts an eighth.
    pub smoothed: Duration,
    /// The shortest of this connection.
    pub shortest: Duration,
}

impl RoundTrip {
    pub(crate) fn after(before: Option<Self>, last: Duration) -> Self {
        match before {
            None => Self { last, smoothed: last, shortest: last },
            Some(Self { smoothed, shortest, .. }) => {
                Self { last, smoothed: (smoothed * 7 + last) / 8, shortest: shortest.min(last) }
            }
        }
    }
}
