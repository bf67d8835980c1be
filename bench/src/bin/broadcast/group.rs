//! A server, its clients, and the group that holds them all.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cereus::{App, IntoBody, Server, Tcp};
use cereus_bench::servers::cpu_time;
use nix::sys::resource::UsageWho;
use tokio::time::{sleep, timeout};

use crate::discard::{Clients, Discard};

/// A browser, which gets bodies as they are, and a client of libpitaya, which gets longer ones deflated. Both acknowledge at
/// once.
pub(crate) const BROWSER: &[u8] = b"\x01\0\0\x02{}\x02\0\0\0";
pub(crate) const NATIVE: &[u8] = b"\x01\0\0\x1c{\"sys\":{\"libVersion\":\"1.0\"}}\x02\0\0\0";

const NAME: &str = "all";
const ROUTE: &str = "onMessage";

/// Whoever does not have its bytes after so long never gets them.
const STALL: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Group {
    server: Server,
    clients: Arc<Clients>,
    len: usize,
}

/// What one broadcast took for each session, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: f64,
    pub(crate) wall: f64,
}

impl Group {
    /// Lets clients come, binds each to a user, and puts them all into one group.
    pub(crate) async fn start(len: usize, handshake: &'static [u8]) -> Result<Self, Failure> {
        // No heartbeat comes in between.
        let server = App::new(()).protocol(|protocol| protocol.heartbeat(Duration::from_secs(24 * 60 * 60))).build()?;
        let clients = Clients::new(len, handshake);
        tokio::spawn(cereus::serve(Discard::new(Arc::clone(&clients)), server.clone(), [Tcp::bind("127.0.0.1:1")]));
        server.listening().await.ok_or("the server stopped before it listened")?;
        timeout(STALL, async {
            while !clients.are_connected() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await?;

        let mut sessions = Vec::new();
        server.sessions().for_each(|session| sessions.push(session.clone()));
        server.groups().create(NAME).await?;
        for (number, session) in sessions.iter().enumerate() {
            session.bind(format!("user-{number}")).await.map_err(|error| error.to_string())?;
            server.groups().add(NAME, session.uid().ok_or("a session without its user")?).await?;
        }
        Ok(Self { server, clients, len })
    }

    /// Broadcasts once, looks at what came, and returns how many bytes each got.
    pub(crate) async fn check(&self, body: &Bytes) -> Result<usize, Failure> {
        let made = AtomicUsize::new(0);
        self.clients.record();
        self.broadcast(Counted { body: body.clone(), made: &made }).await?;
        timeout(STALL, self.clients.taken()).await?;
        let recorded = self.clients.recorded();
        if !is_packet(&recorded[0]) || recorded.iter().any(|bytes| *bytes != recorded[0]) {
            return Err("not all sessions were sent the same packet at once".into());
        }
        match made.into_inner() {
            1 => Ok(recorded[0].len()),
            times => Err(format!("the body was made {times} times").into()),
        }
    }

    /// Broadcasts so often, each time when all have what was sent before, `bytes` each.
    pub(crate) async fn measure(&self, body: &Bytes, bytes: usize, times: usize) -> Result<Cost, Failure> {
        let (cpu, wall) = (cpu_time(UsageWho::RUSAGE_SELF)?, Instant::now());
        for _ in 0..times {
            self.clients.expect(bytes);
            self.broadcast(body.clone()).await?;
            timeout(STALL, self.clients.taken()).await?;
        }
        let (cpu, wall) = (cpu_time(UsageWho::RUSAGE_SELF)?.saturating_sub(cpu), wall.elapsed());
        let per_session = |time: Duration| time.as_secs_f64() * 1e6 / (times * self.len) as f64;
        Ok(Cost { cpu: per_session(cpu), wall: per_session(wall) })
    }

    async fn broadcast(&self, body: impl IntoBody) -> Result<(), Failure> {
        let missed = self.server.groups().broadcast(NAME, ROUTE, body).await.map_err(|error| error.to_string())?;
        if missed.is_empty() { Ok(()) } else { Err(format!("{} sessions were not reached", missed.len()).into()) }
    }
}

/// Whether this is one packet, and all of it.
fn is_packet(bytes: &[u8]) -> bool {
    matches!(bytes, [_, high, middle, low, body @ ..] if u32::from_be_bytes([0, *high, *middle, *low]) as usize == body.len())
}

/// Counts how often the body is made.
struct Counted<'a> {
    body: Bytes,
    made: &'a AtomicUsize,
}

impl IntoBody for Counted<'_> {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, cereus::Error> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Ok(self.body)
    }
}
