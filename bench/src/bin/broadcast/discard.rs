//! Clients without sockets: they shake hands, never say anything again, and take whatever they are sent.

use std::future::{self, Future};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use cereus::core::Instant;
use cereus::tokio::{Timer, Tokio};
use cereus::transports::rt::{ByteStream, Listener, Runtime};
use tokio::sync::Notify;

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

/// Tokio, but for the clients.
#[derive(Clone, Debug)]
pub(crate) struct Discard {
    tokio: Tokio,
    clients: Arc<Clients>,
}

/// What all clients have in common.
#[derive(Debug)]
pub(crate) struct Clients {
    count: usize,
    /// What each of them says.
    handshake: &'static [u8],
    /// How many have said it all.
    connected: AtomicUsize,
    /// Bytes that they wait for.
    missing: AtomicUsize,
    /// Told when they wait for nothing any more.
    taken: Notify,
    /// Whether what they are sent is written down.
    records: AtomicBool,
    recorded: Mutex<Vec<Vec<u8>>>,
}

impl Clients {
    pub(crate) fn new(count: usize, handshake: &'static [u8]) -> Arc<Self> {
        Arc::new(Self {
            count,
            handshake,
            connected: AtomicUsize::new(0),
            missing: AtomicUsize::new(0),
            taken: Notify::new(),
            records: AtomicBool::new(false),
            recorded: Mutex::new(vec![Vec::new(); count]),
        })
    }

    pub(crate) fn are_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire) == self.count
    }

    /// What is sent from now on counts: so many bytes each.
    pub(crate) fn expect(&self, bytes: usize) {
        self.missing.store(self.count * bytes, Ordering::Release);
    }

    /// Waits until all have all that they expect.
    pub(crate) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Writes down what is sent from now on; the first bytes are all that each expects.
    pub(crate) fn record(&self) {
        self.expect(1);
        self.records.store(true, Ordering::Release);
    }

    /// What was written down, by client. Nothing more is.
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.records.store(false, Ordering::Release);
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut recorded, vec![Vec::new(); self.count])
    }

    fn take(&self, index: usize, bytes: &[u8]) {
        let mut counts = bytes.len();
        if self.records.load(Ordering::Acquire) {
            let recorded = &mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner)[index];
            counts = usize::from(recorded.is_empty());
            recorded.extend_from_slice(bytes);
        }
        // What nobody waits for, such as the answer to the handshake, must not count as what comes later.
        let left = |missing: usize| missing.checked_sub(counts);
        if self.missing.fetch_update(Ordering::AcqRel, Ordering::Acquire, left) == Ok(counts) {
            self.taken.notify_one();
        }
    }
}

impl Discard {
    pub(crate) fn new(clients: Arc<Clients>) -> Self {
        Self { tokio: Tokio::new(), clients }
    }
}

impl Runtime for Discard {
    type Timer = Timer;
    type Listener = Coming;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tokio.spawn(task);
    }

    fn timer(&self) -> Timer {
        self.tokio.timer()
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }

    fn bind(&self, _address: SocketAddr) -> impl Future<Output = io::Result<Coming>> + Send {
        future::ready(Ok(Coming { clients: Arc::clone(&self.clients), next: 0 }))
    }
}

/// All clients come at once, and no more after them.
#[derive(Debug)]
pub(crate) struct Coming {
    clients: Arc<Clients>,
    next: usize,
}

impl Listener for Coming {
    type Stream = Client;

    async fn accept(&mut self) -> io::Result<(Client, SocketAddr)> {
        if self.next == self.clients.count {
            future::pending::<()>().await;
        }
        let client = Client { clients: Arc::clone(&self.clients), index: self.next, said: Said::Nothing };
        self.next += 1;
        Ok((client, ADDRESS.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ADDRESS.into())
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Client {
    clients: Arc<Clients>,
    index: usize,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Nothing,
    Handshake,
    /// And it was read: the server asked for more.
    All,
}

impl ByteStream for Client {
    fn poll_read(&mut self, _cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.said {
            Said::Nothing => {
                let handshake = self.clients.handshake;
                buf[..handshake.len()].copy_from_slice(handshake);
                self.said = Said::Handshake;
                return Poll::Ready(Ok(handshake.len()));
            }
            Said::Handshake => {
                self.said = Said::All;
                self.clients.connected.fetch_add(1, Ordering::AcqRel);
            }
            Said::All => {}
        }
        Poll::Pending
    }

    fn poll_write(&mut self, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.clients.take(self.index, buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
