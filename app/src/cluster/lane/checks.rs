//! Jobs that come while their lane runs empty: `bash .ci/loom`.

use std::{
    convert::Infallible,
    future::{self, Future, poll_fn},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use cereus_core::Instant;
use cereus_transports::rt::{ByteStream, Listener, Runtime, Timer};
use loom::future::block_on;

use super::{Guard, Job, Lane, LaneKey};
use crate::{
    App, Error, Server,
    checks::{check, on_thread},
    cluster::Incoming,
    handler::Reply,
};

/// A runtime whose time stands still.
#[derive(Clone, Debug)]
struct Still;

impl Runtime for Still {
    type Timer = Self;
    type Listener = NoSocket;

    fn spawn(&self, _: impl Future<Output = ()> + Send + 'static) {}

    fn timer(&self) -> Self {
        Self
    }

    fn now(&self) -> Instant {
        Instant::EPOCH
    }

    async fn bind(&self, _: SocketAddr) -> io::Result<NoSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Timer for Still {
    fn poll_until(&mut self, _: Instant, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

struct NoSocket(Infallible);

impl Listener for NoSocket {
    type Stream = Self;

    async fn accept(&mut self) -> io::Result<(Self, SocketAddr)> {
        match self.0 {}
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.0 {}
    }
}

impl ByteStream for NoSocket {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

struct World {
    server: Server,
    incoming: Arc<Incoming>,
    concurrency: usize,
    ran: Arc<Mutex<Ran>>,
}

#[derive(Default)]
struct Ran {
    names: String,
    waiting: Option<Waker>,
}

impl World {
    fn new(concurrency: usize) -> Arc<Self> {
        let server = App::new(()).build().unwrap();
        Arc::new(Self { server, incoming: Arc::default(), concurrency, ran: Arc::default() })
    }

    /// Puts a job into the lane, and runs the lane if nobody does.
    fn put(&self, name: char, start: impl FnOnce() -> Reply + Send + 'static) {
        let ran = Arc::clone(&self.ran);
        let start = move || {
            let waiting = {
                let mut ran = ran.lock().unwrap();
                ran.names.push(name);
                ran.waiting.take()
            };
            waiting.into_iter().for_each(Waker::wake);
            start()
        };
        let job = Job {
            name: "room.join".into(),
            start: Box::new(start),
            reply: None,
            ack: false,
            answer_by: None,
            deadline: Duration::from_secs(1),
            guard: Guard { incoming: Arc::clone(&self.incoming), _task: self.server.task() },
        };
        let key = LaneKey { frontend: "gate".into(), session: 1, group: 0 };
        if let Some(queue) = self.incoming.lanes.push(&key, job) {
            block_on(Lane {
                lanes: Arc::clone(&self.incoming),
                key,
                queue,
                concurrency: self.concurrency,
                running: Vec::new(),
                runtime: Still,
                server: self.server.clone(),
            });
        }
    }

    fn names(&self) -> String {
        self.ran.lock().unwrap().names.clone()
    }
}

fn done() -> Reply {
    Box::pin(future::ready(Ok(Bytes::new())))
}

#[test]
fn each_job_runs_once_and_none_overtakes_another() {
    check(|| {
        let world = World::new(1);
        let other = on_thread(&world, |world| ['a', 'b'].map(|name| world.put(name, done)));
        world.put('x', done);
        other.join().unwrap();
        assert!(["abx", "axb", "xab"].contains(&&*world.names()), "{}", world.names());
        assert!(super::lock(&world.incoming.lanes.0).is_empty());
    });
}

#[test]
fn a_lane_that_waits_for_a_job_takes_another() {
    check(|| {
        let world = World::new(2);
        // The first ends when the second has run.
        let ran = Arc::clone(&world.ran);
        let first = move || -> Reply {
            Box::pin(poll_fn(move |cx| {
                let mut ran = ran.lock().unwrap();
                if ran.names.len() == 2 {
                    return Poll::Ready(Ok::<_, Error>(Bytes::new()));
                }
                ran.waiting = Some(cx.waker().clone());
                Poll::Pending
            }))
        };
        let other = on_thread(&world, move |world| world.put('a', first));
        world.put('b', done);
        other.join().unwrap();
        assert_eq!(world.names().len(), 2);
    });
}
