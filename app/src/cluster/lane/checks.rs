//! Jobs that come while their lane runs empty: `bash .ci/loom`.

use std::{
    future::{self, poll_fn},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use loom::future::block_on;

use super::{Guard, Job, Lane, LaneKey};
use crate::{
    App, Error, Server,
    checks::{Still, check, on_thread},
    cluster::Incoming,
    handler::Reply,
};

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
                runtime: Still::default(),
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
