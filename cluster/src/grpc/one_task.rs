use std::{future::poll_fn, pin::Pin, task::Poll};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::{runtime::Handle, sync::mpsc};

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs in one task what hyper would give a task of its own: the connection, and a part of each call.
pub(crate) struct OneTask(mpsc::UnboundedSender<Job>);

impl OneTask {
    /// The task ends when all its jobs have, and no more can come.
    pub(crate) fn spawn(runtime: &Handle) -> Self {
        let (sender, mut jobs) = mpsc::unbounded_channel();
        let mut running = FuturesUnordered::<Job>::new();
        runtime.spawn(poll_fn(move |cx| {
            loop {
                let is_over = match jobs.poll_recv(cx) {
                    Poll::Ready(Some(job)) => {
                        running.push(job);
                        continue;
                    }
                    Poll::Ready(None) => true,
                    Poll::Pending => false,
                };
                match running.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) if is_over => return Poll::Ready(()),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        }));
        Self(sender)
    }
}

impl Executor<Job> for OneTask {
    fn execute(&self, job: Job) {
        // The task ends after all who could give it jobs, or with its runtime.
        let _ = self.0.send(job);
    }
}
