//! What all connections together may take: how many there are, and how many bytes wait in them.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::PoisonError,
};

use hashbrown::{HashMap, hash_map::Entry};

use crate::{
    Server,
    server::Task,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Who is let in.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    connections: AtomicUsize,
    /// Those whose handshake is not finished.
    unauthenticated: AtomicUsize,
    /// Empty unless addresses have a limit.
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    Connections,
    Unauthenticated,
    Address,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = match self {
            Self::Connections => "max_connections",
            Self::Unauthenticated => "max_unauthenticated",
            Self::Address => "max_connections_per_address",
        };
        write!(f, "there are as many connections as `{setting}` allows")
    }
}

/// A connection that was let in, and what it takes of what all share. It counts as long as it is there.
pub(crate) struct Admitted {
    task: Task,
    authenticated: bool,
    address: Option<IpAddr>,
    /// What it holds. Most hold less than a page, and never touch the budget.
    pages: usize,
}

const PAGE: usize = 4 << 10;

impl Admitted {
    /// Counts a connection, if there is room for it.
    pub(crate) fn new(server: &Server) -> Result<Self, Refusal> {
        let (admission, settings) = (server.admission(), server.settings());
        if !take_one(&admission.connections, settings.max_connections) {
            return Err(Refusal::Connections);
        }
        if !take_one(&admission.unauthenticated, settings.max_unauthenticated) {
            admission.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Unauthenticated);
        }
        Ok(Self { task: server.task(), authenticated: false, address: None, pages: 0 })
    }

    /// Counts the peer, once it is known.
    pub(crate) fn comes_from(&mut self, peer: SocketAddr) -> Result<(), Refusal> {
        let server = self.task.server();
        let Some(max) = server.settings().max_connections_per_address else {
            return Ok(());
        };
        let address = counted_as(peer.ip());
        let mut by_address = server.admission().by_address();
        let count = by_address.entry(address).or_default();
        if *count >= max {
            return Err(Refusal::Address);
        }
        *count += 1;
        drop(by_address);
        self.address = Some(address);
        Ok(())
    }

    /// The handshake is finished.
    pub(crate) fn authenticated(&mut self) {
        if !std::mem::replace(&mut self.authenticated, true) {
            self.task.server().admission().unauthenticated.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Tells how much it holds. Whether it must go: it took more, and all together have too much.
    pub(crate) fn holds(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.pages, bytes / PAGE);
        if self.pages == before {
            return false;
        }
        let (server, held) = (self.task.server(), self.pages * PAGE);
        server.budget().replace(before * PAGE, held);
        held > before * PAGE && server.budget().is_over() && bytes > server.budget().share(server.sessions().count())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.authenticated();
        self.holds(0);
        let admission = self.task.server().admission();
        admission.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = admission.by_address().entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Admission {
    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics with the lock held.
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_one(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
}

/// One subscriber of IPv6 has a whole network of 2^64 addresses.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

/// The bytes that wait in all connections and their mailboxes.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }

    /// Somebody held so many bytes, and now holds so many.
    pub(crate) fn replace(&self, before: usize, now: usize) {
        if now > before {
            self.held.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.held() > self.max
    }

    /// What each connection may hold when all hold too much.
    pub(crate) fn share(&self, connections: usize) -> usize {
        self.max / connections.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_subscriber() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
    }
}
