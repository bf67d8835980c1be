use std::sync::atomic::{AtomicU64, Ordering};

use cereus_core::{CloseReason, PushLosses};

use crate::limits::Refusal;

/// What became of connections, messages and pushes that met a limit, since the server was built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were refused: there are [`max_connections`](crate::App::max_connections).
    pub refused_connections: u64,
    /// Connections that were refused: [`max_unauthenticated`](crate::App::max_unauthenticated) have not finished their handshake.
    pub refused_unauthenticated: u64,
    /// Connections that were refused: their address has
    /// [`max_connections_per_address`](crate::App::max_connections_per_address).
    pub refused_addresses: u64,
    /// Packets that were over the [rate limit](crate::App::rate_limit).
    pub limited_packets: u64,
    /// Pushes that were dropped, because the client does not read.
    pub dropped_pushes: u64,
    /// Pushes that were replaced by a newer one of their route, because the client had not read them.
    pub replaced_pushes: u64,
    /// Pushes that were refused with [`PushError::Full`](crate::PushError::Full).
    pub refused_pushes: u64,
    /// Connections that were closed because pushes that must arrive found their queue full.
    pub slow_clients: u64,
    /// Connections that were closed because a write made no progress.
    pub stalled_clients: u64,
    /// Connections that were closed because they held more than their share of
    /// [`max_buffered_bytes`](crate::App::max_buffered_bytes).
    pub overloads: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    refused_connections: AtomicU64,
    refused_unauthenticated: AtomicU64,
    refused_addresses: AtomicU64,
    limited_packets: AtomicU64,
    dropped_pushes: AtomicU64,
    replaced_pushes: AtomicU64,
    refused_pushes: AtomicU64,
    slow_clients: AtomicU64,
    stalled_clients: AtomicU64,
    overloads: AtomicU64,
}

impl Counters {
    pub(crate) fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Connections => &self.refused_connections,
            Refusal::Unauthenticated => &self.refused_unauthenticated,
            Refusal::Address => &self.refused_addresses,
        };
        add(counter, 1);
    }

    pub(crate) fn refused_push(&self) {
        add(&self.refused_pushes, 1);
    }

    pub(crate) fn closed(&self, reason: &CloseReason) {
        match reason {
            CloseReason::SlowPeer => add(&self.slow_clients, 1),
            CloseReason::WriteTimeout => add(&self.stalled_clients, 1),
            CloseReason::Overloaded => add(&self.overloads, 1),
            _ => {}
        }
    }

    pub(crate) fn read(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            refused_connections: read(&self.refused_connections),
            refused_unauthenticated: read(&self.refused_unauthenticated),
            refused_addresses: read(&self.refused_addresses),
            limited_packets: read(&self.limited_packets),
            dropped_pushes: read(&self.dropped_pushes),
            replaced_pushes: read(&self.replaced_pushes),
            refused_pushes: read(&self.refused_pushes),
            slow_clients: read(&self.slow_clients),
            stalled_clients: read(&self.stalled_clients),
            overloads: read(&self.overloads),
        }
    }
}

/// What of one connection has been counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    losses: PushLosses,
    limited_packets: u64,
}

impl Counted {
    /// Counts what has happened since the last time.
    pub(crate) fn update(&mut self, counters: &Counters, losses: PushLosses, limited_packets: u64) {
        if losses == self.losses && limited_packets == self.limited_packets {
            return;
        }
        add(&counters.dropped_pushes, losses.dropped - self.losses.dropped);
        add(&counters.replaced_pushes, losses.replaced - self.losses.replaced);
        add(&counters.limited_packets, limited_packets - self.limited_packets);
        *self = Self { losses, limited_packets };
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
