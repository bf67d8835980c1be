//! Requests of other servers while they run: the messages of one session one after the other, everything else at once.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context as TaskContext, Poll, Waker},
};

use bytes::Bytes;
use cereus_cluster::{ReplyTo, protos::Response};
use cereus_core::Instant;
use cereus_transports::rt::{Runtime, Timer};
use hashbrown::HashMap;

use crate::{
    Error, Server,
    cluster::{Shared, call::refusal},
    handler::Reply,
    running::Running,
    sync::{Mutex, MutexGuard},
};

/// One request that is about to run.
pub(crate) struct Job {
    pub(crate) name: Arc<str>,
    /// Makes the future: nothing of it happens before.
    pub(crate) start: Box<dyn FnOnce() -> Reply + Send>,
    /// Where the answer goes.
    pub(crate) reply: Option<ReplyTo>,
    /// A notify is answered with this, whatever it returned.
    pub(crate) ack: bool,
    /// When the caller waits no more.
    pub(crate) answer_by: Option<Instant>,
    pub(crate) deadline: std::time::Duration,
    /// Counts as long as it is there.
    pub(crate) guard: Guard,
}

/// Whose messages do not overtake each other.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct LaneKey {
    pub(crate) frontend: String,
    pub(crate) session: i64,
    /// Zero: all services whose messages run one after the other.
    pub(crate) group: u32,
}

/// The lanes in use.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<HashMap<LaneKey, Arc<Mutex<Queue>>>>);

#[derive(Default)]
pub(crate) struct Queue {
    jobs: VecDeque<Job>,
    waker: Option<Waker>,
}

impl Lanes {
    /// Puts a job into its lane. Returns the lane if it is new: somebody has to run it.
    pub(crate) fn push(&self, key: &LaneKey, job: Job) -> Option<Arc<Mutex<Queue>>> {
        let mut lanes = lock(&self.0);
        if let Some(queue) = lanes.get(key) {
            let mut queue = lock(queue);
            queue.jobs.push_back(job);
            let waker = queue.waker.take();
            drop(queue);
            drop(lanes);
            waker.into_iter().for_each(Waker::wake);
            return None;
        }
        let queue = Arc::new(Mutex::new(Queue { jobs: VecDeque::from([job]), waker: None }));
        lanes.insert(key.clone(), Arc::clone(&queue));
        Some(queue)
    }

    /// Removes a lane with nothing in it.
    fn remove_empty(&self, key: &LaneKey) -> bool {
        let mut lanes = lock(&self.0);
        let empty = lanes.get(key).is_none_or(|queue| lock(queue).jobs.is_empty());
        if empty {
            lanes.remove(key);
        }
        empty
    }
}

/// Runs what is in one lane, so many at a time, until it is empty.
pub(crate) struct Lane<R: Runtime> {
    pub(crate) lanes: Arc<super::Incoming>,
    pub(crate) key: LaneKey,
    pub(crate) queue: Arc<Mutex<Queue>>,
    pub(crate) concurrency: usize,
    pub(crate) running: Vec<RunningJob<R>>,
    pub(crate) runtime: R,
    pub(crate) server: Server,
}

impl<R: Runtime> Future for Lane<R> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            this.running.retain_mut(|job| Pin::new(job).poll(cx).is_pending());
            let next = {
                let mut queue = lock(&this.queue);
                let room = this.running.len() < this.concurrency;
                let next = if room { queue.jobs.pop_front() } else { None };
                if next.is_none() {
                    queue.waker = Some(cx.waker().clone());
                }
                next
            };
            match next {
                Some(job) => this.running.push(RunningJob::new(this.runtime.clone(), this.server.clone(), job)),
                None if !this.running.is_empty() => return Poll::Pending,
                None if this.lanes.lanes.remove_empty(&this.key) => return Poll::Ready(()),
                None => {}
            }
        }
    }
}

/// One request that runs. It is answered when its caller stops waiting, if not before, and runs to its end or to its deadline.
pub(crate) struct RunningJob<R: Runtime> {
    running: Running,
    name: Arc<str>,
    shared: Option<Arc<Shared>>,
    reply: Option<ReplyTo>,
    ack: bool,
    answer_by: Option<Instant>,
    runtime: R,
    timer: R::Timer,
    _guard: Guard,
}

impl<R: Runtime> RunningJob<R> {
    pub(crate) fn new(runtime: R, server: Server, job: Job) -> Self {
        let Job { name, start, reply, ack, answer_by, deadline, guard } = job;
        let running = Running::start(&name, start, runtime.now() + deadline);
        let shared = server.shared().cloned();
        Self { running, name, shared, reply, ack, answer_by, timer: runtime.timer(), runtime, _guard: guard }
    }

    fn answer(&mut self, result: Result<Bytes, Error>) {
        let response = match result {
            Ok(_) if self.ack => Response { data: Bytes::from_static(cereus_cluster::names::ACK), error: None },
            Ok(data) => Response { data, error: None },
            Err(error) => {
                tracing::debug!(route = %self.name, %error, "a request of another server failed");
                refusal(&error)
            }
        };
        if let (Some(shared), Some(reply)) = (&self.shared, self.reply.take()) {
            shared.reply(reply, &response);
        }
    }
}

impl<R: Runtime> Future for RunningJob<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let now = this.runtime.now();
            if let Poll::Ready(result) = this.running.poll(&this.name, cx, now) {
                this.answer(result);
                return Poll::Ready(());
            }
            if this.answer_by.is_some_and(|at| now >= at) {
                this.answer_by = None;
                this.answer(Err(Error::new(
                    Error::INTERNAL,
                    format!("`{}` did not end in the time that its caller waits", this.name),
                )));
            }
            let at = this.answer_by.map_or(this.running.deadline, |at| at.min(this.running.deadline));
            if this.timer.poll_until(at, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Counts a request, and as a task of the server, as long as it is there.
pub(crate) struct Guard {
    pub(crate) incoming: Arc<super::Incoming>,
    pub(crate) _task: crate::server::Task,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.incoming.ended();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(loom)]
#[cfg(test)]
mod checks;
