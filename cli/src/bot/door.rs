//! The way to servers, which all bots share.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use cereus_client::{Client, ClientBuilder, WhileAway};
use cereus_tokio::Tokio;

use super::inbox::Inbox;
use crate::{failure::Failure, reach::reach};

type Make = Box<dyn Fn(&str) -> Result<ClientBuilder, Failure> + Send + Sync>;

/// How many hosts are remembered: servers may send bots to ever new ones.
const MOST_KNOWN: usize = 1000;

/// How bots connect. What is learned by one is known to all: which of its schemes an address without one has, and whom to trust.
pub(super) struct Door {
    /// Where bots connect by themselves.
    home: String,
    /// What is tried, in this order, for an address without a scheme.
    schemes: &'static [&'static str],
    make: Make,
    /// How many bytes of pushes wait in each inbox.
    push_buffer: usize,
    known: Mutex<HashMap<String, ClientBuilder>>,
}

impl Door {
    pub(super) fn new(
        home: String,
        is_encrypted: bool,
        push_buffer: usize,
        make: impl Fn(&str) -> Result<ClientBuilder, Failure> + Send + Sync + 'static,
    ) -> Self {
        // As pitaya-bot does.
        let schemes: &[&str] = if is_encrypted { &["wss", "tls"] } else { &["ws", "tcp"] };
        Self { home, schemes, make: Box::new(make), push_buffer, known: Mutex::default() }
    }

    pub(super) fn home(&self) -> &str {
        &self.home
    }

    /// Connects, and lets pushes go to an inbox of this connection's own: those of an earlier one are not its.
    pub(super) async fn enter(&self, host: &str) -> Result<(Client, Arc<Inbox>), Failure> {
        let inbox = Arc::new(Inbox::new(self.push_buffer));
        let known = self.known().get(host).cloned();
        if let Some(builder) = known {
            return Ok((with_inbox(builder, &inbox).connect(Tokio::new()).await?, inbox));
        }
        let make = |address: &str| Ok(with_inbox(self.make(address)?, &inbox));
        let (client, address) = reach(host, self.schemes, make).await?;
        let builder = self.make(&address)?;
        if self.known().len() < MOST_KNOWN {
            self.known().insert(host.to_owned(), builder);
        }
        Ok((client, inbox))
    }

    fn make(&self, address: &str) -> Result<ClientBuilder, Failure> {
        Ok((self.make)(address)?.while_away(WhileAway::Fail))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, ClientBuilder>> {
        // Nothing panics with the lock held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_inbox(builder: ClientBuilder, inbox: &Arc<Inbox>) -> ClientBuilder {
    let inbox = Arc::clone(inbox);
    builder.on_any_push(move |push| inbox.put(&push))
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("home", &self.home).field("schemes", &self.schemes).finish_non_exhaustive()
    }
}
