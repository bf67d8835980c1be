use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use async_nats::{Client, Statistics, connection::State};

use super::{running::round_trip, signals::Raised};
use crate::BusEvent;

/// Whether the connection is up, as far as it was told.
pub(crate) struct Link {
    client: Client,
    statistics: Arc<Statistics>,
    /// Which connection is, counted from the first.
    up: Option<u64>,
    /// Done as soon as there is a connection, whose server has the subscriptions.
    restored: Option<Pin<Box<dyn Future<Output = Option<()>> + Send>>>,
    /// How many connections there had been when this was begun.
    begun: u64,
    leaving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Link {
    /// Of a client that is connected.
    pub(crate) fn new(client: Client, out: &mut VecDeque<BusEvent>) -> Self {
        let statistics = client.statistics();
        let mut link = Self { client, statistics, up: None, restored: None, begun: 0, leaving: None };
        link.tell_up(out);
        link
    }

    pub(crate) fn poll(&mut self, raised: &Raised, out: &mut VecDeque<BusEvent>, cx: &mut Context<'_>) {
        if let Some(up) = self.up
            && (raised.down || raised.link && (up != self.connects() || self.is_disconnected()))
        {
            self.up = None;
            out.push_back(BusEvent::Down);
        }
        if self.up.is_none() {
            if raised.down || self.begun != self.connects() {
                // What it sent may be lost.
                self.restored = None;
            }
            self.poll_restored(out, cx);
        }
        if raised.lame_duck && self.leaving.is_none() {
            self.leaving = Some(Box::pin(leave(self.client.clone())));
        }
        if let Some(leaving) = &mut self.leaving
            && leaving.as_mut().poll(cx).is_ready()
        {
            self.leaving = None;
        }
    }

    /// Being told that a connection was lost may come late, when there is another: asking the server whether it is
    /// there cannot go wrong.
    fn poll_restored(&mut self, out: &mut VecDeque<BusEvent>, cx: &mut Context<'_>) {
        let connects = self.connects();
        let restored = self.restored.get_or_insert_with(|| {
            self.begun = connects;
            let client = self.client.clone();
            Box::pin(async move { round_trip(&client).await })
        });
        if let Poll::Ready(restored) = restored.as_mut().poll(cx) {
            self.restored = None;
            if restored.is_some() {
                self.tell_up(out);
            }
        }
    }

    fn tell_up(&mut self, out: &mut VecDeque<BusEvent>) {
        self.up = Some(self.connects());
        out.push_back(BusEvent::Up { max_payload: self.client.max_payload() });
    }

    fn connects(&self) -> u64 {
        self.statistics.connects.load(Ordering::Relaxed)
    }

    fn is_disconnected(&self) -> bool {
        self.client.connection_state() == State::Disconnected
    }
}

/// Goes to another server, if there is one. What is sent until then goes to the old one.
async fn leave(client: Client) {
    if client.server_pool().await.is_ok_and(|servers| servers.len() > 1) {
        tracing::info!("the NATS server will stop: connecting to another one");
        // They fail when the client is closed.
        let _ = client.flush().await;
        let _ = client.force_reconnect().await;
    } else {
        tracing::warn!("the NATS server will stop, and no other one is known: give `Nats::new` several addresses");
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("up", &self.up).finish_non_exhaustive()
    }
}
