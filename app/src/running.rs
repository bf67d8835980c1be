use std::{
    any::Any,
    future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context as TaskContext, Poll},
};

use bytes::Bytes;
use cereus_core::Instant;

use crate::{Error, handler::Reply};

/// A handler that runs, until it ends or its deadline comes. Whatever of it panics takes nothing else with it.
pub(crate) struct Running {
    pub(crate) future: Reply,
    pub(crate) deadline: Instant,
}

impl Running {
    /// Calls a handler. What of it runs before its future does may panic as well.
    pub(crate) fn start(name: &str, start: impl FnOnce() -> Reply, deadline: Instant) -> Self {
        let future = catch_unwind(AssertUnwindSafe(start))
            .unwrap_or_else(|panic| Box::pin(future::ready(Err(panicked(name, &*panic)))));
        Self { future, deadline }
    }

    pub(crate) fn poll(&mut self, name: &str, cx: &mut TaskContext<'_>, now: Instant) -> Poll<Result<Bytes, Error>> {
        let polled = if now >= self.deadline {
            Poll::Ready(Err(cut(name)))
        } else {
            // A future that panicked is never polled again, and what it shares is the application's to protect.
            catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx)))
                .unwrap_or_else(|panic| Poll::Ready(Err(panicked(name, &*panic))))
        };
        if polled.is_ready() {
            // What is left of it is the application's, too, and may panic when it is dropped. Nothing is allocated here.
            let ended = std::mem::replace(&mut self.future, Box::pin(future::pending()));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(ended))) {
                panicked(name, &*panic);
            }
        }
        polled
    }
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let error = Error::panicked(panic);
    tracing::error!(route = name, %error, "a handler panicked");
    error
}

fn cut(name: &str) -> Error {
    tracing::warn!(route = name, "a handler was cut at its deadline");
    Error::new(Error::TIMEOUT, format!("`{name}` did not end within its deadline"))
}
