//! The load: every connection keeps a fixed number of requests in flight, all from one thread.
//!
//! It shares the machine with the server, so it does little: one read and one write per wake-up of a connection,
//! requests copied from a finished tail. It reads the protocol with its own few lines, not with `cereus-core`: a
//! mistake there cannot hide here.

mod client;

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::UsageWho;

use self::client::Connection;
use crate::servers::cpu_time;

/// A server that answers nothing for so long is stuck.
const STALL: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Connections.
    pub clients: usize,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Bytes in a request's body.
    pub body: usize,
    /// The route asked for, of up to 255 bytes.
    pub route: &'a str,
    /// What is to be answered.
    pub answer: &'a Answer,
    /// How long to load before measuring.
    pub warm_up: Duration,
    /// How long to measure.
    pub window: Duration,
}

/// What is to be answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The request's body. An echo of the request itself counts too, so that one loader serves a server that reads nothing.
    Echo,
    /// The same body always.
    Fixed(Vec<u8>),
}

/// What one run amounts to.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Answers in the whole run.
    pub answered: u64,
    /// Answers within the window.
    pub measured: u64,
    /// How long that was.
    pub window: Duration,
    /// What the loader itself took within the window.
    pub loader_cpu: Duration,
}

/// Connects, warms up, measures, and lets the last answers in.
///
/// # Errors
///
/// The server cannot be reached, answers something else, or not at all.
pub fn run(address: SocketAddr, plan: &Plan<'_>) -> Result<Load, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(plan.clients);
    for index in 0..plan.clients {
        let mut connection = Connection::open(address, plan, index)
            .map_err(|error| format!("connection {index} to {address}: {error}"))?;
        poll.registry().register(&mut connection.stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        connections.push(connection);
    }

    let mut events = Events::with_capacity(plan.clients);
    let largest = 32 + plan.route.len() + plan.body;
    let mut scratch = vec![0; (2 * largest).max(64 * 1024)];
    let mut phase = Phase::WarmUp { until: Instant::now() + plan.warm_up };
    let mut answered = 0;
    let mut in_flight = plan.clients * plan.depth;
    for connection in &mut connections {
        connection.ask(plan.depth);
        connection.flush()?;
    }
    loop {
        poll.poll(&mut events, Some(STALL)).or_else(|error| match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        })?;
        if events.is_empty() {
            return Err(format!("no answer for {STALL:?}, {in_flight} requests in flight, {answered} answered").into());
        }
        for event in &events {
            let index = event.token().0;
            let connection = &mut connections[index];
            let asking = !matches!(phase, Phase::Drain(_));
            let answers = connection
                .turn(&mut scratch, asking)
                .map_err(|error| format!("connection {index}, {answered} answered: {error}"))?;
            answered += answers as u64;
            if !asking {
                in_flight -= answers;
            }
        }
        phase = phase.advance(answered, plan.window)?;
        if let Phase::Drain(load) = phase
            && in_flight == 0
        {
            if connections.iter().any(|connection| !connection.is_even()) {
                return Err("a request was answered twice and another never".into());
            }
            return Ok(Load { answered, ..load });
        }
    }
}

/// Where a run is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    WarmUp {
        until: Instant,
    },
    Measure {
        start: Instant,
        answered: u64,
        cpu: Duration,
    },
    /// Nothing more is asked.
    Drain(Load),
}

impl Phase {
    /// `answered` requests have been answered by now.
    fn advance(self, answered: u64, window: Duration) -> nix::Result<Self> {
        let now = Instant::now();
        Ok(match self {
            Self::WarmUp { until } if now >= until => {
                Self::Measure { start: now, answered, cpu: cpu_time(UsageWho::RUSAGE_SELF)? }
            }
            Self::Measure { start, answered: before, cpu } if now >= start + window => Self::Drain(Load {
                answered,
                measured: answered - before,
                window: now - start,
                loader_cpu: cpu_time(UsageWho::RUSAGE_SELF)?.saturating_sub(cpu),
            }),
            unchanged => unchanged,
        })
    }
}
