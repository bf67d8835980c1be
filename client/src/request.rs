use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use cereus_core::Route;

use crate::{
    Disconnect, RequestError,
    shared::{Shared, call_back},
};

/// A request that is not sent yet: `.await` it, or [`call`](Self::call) it. Awaited, it is sent when that is polled first; dropping it then is giving it up, and its
/// answer, should it come, is dropped too.
#[must_use = "a request is sent when it is awaited or called"]
pub struct Request<T> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: Route,
    pub(crate) body: Result<Bytes, RequestError>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) read: fn(Bytes) -> Result<T, RequestError>,
}

impl<T> Request<T> {
    /// How long the answer may take, with the time that the request waits for a connection. Default: that of the
    /// [client](crate::ClientBuilder::request_timeout).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it now. The callback is called exactly once, in the task of the client: what it does should not take long.
    pub fn call(self, callback: impl FnOnce(Result<T, RequestError>) + Send + 'static)
    where
        T: 'static,
    {
        let Self { shared, route, body, timeout, read } = self;
        match body {
            Ok(body) => {
                let done = Done::Callback(Box::new(move |answer| callback(answer.and_then(read))));
                shared.send_request(route, body, timeout, Completion::new(done));
            }
            Err(error) => callback(Err(error)),
        }
    }
}

impl<T> fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, body, timeout, .. } = self;
        f.debug_struct("Request")
            .field("route", route)
            .field("body", body)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

impl<T> IntoFuture for Request<T> {
    type Output = Result<T, RequestError>;
    type IntoFuture = Reply<T>;

    fn into_future(self) -> Reply<T> {
        let slot = Arc::new(Slot::default());
        Reply { slot, stage: Stage::New(self) }
    }
}

/// The answer to a [`Request`], once it is there.
#[must_use = "a request is sent when its reply is awaited"]
#[derive(Debug)]
pub struct Reply<T> {
    slot: Arc<Slot>,
    stage: Stage<T>,
}

#[derive(Debug)]
enum Stage<T> {
    New(Request<T>),
    Sent { shared: Arc<Shared>, read: fn(Bytes) -> Result<T, RequestError> },
    Over,
}

impl<T> Future for Reply<T> {
    type Output = Result<T, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Stage::New(_) = self.stage
            && let Stage::New(request) = std::mem::replace(&mut self.stage, Stage::Over)
        {
            let Request { shared, route, body, timeout, read } = request;
            self.slot.lock().answer = Answer::Awaited(cx.waker().clone());
            shared.send_request(route, body?, timeout, Completion::new(Done::Slot(Arc::clone(&self.slot))));
            self.stage = Stage::Sent { shared, read };
        }
        let Stage::Sent { read, .. } = &self.stage else {
            panic!("a reply is polled after it was there");
        };
        let read = *read;
        let answer = {
            let mut state = self.slot.lock();
            match std::mem::replace(&mut state.answer, Answer::Taken) {
                Answer::Here(answer) => answer,
                Answer::Awaited(mut waker) => {
                    waker.clone_from(cx.waker());
                    state.answer = Answer::Awaited(waker);
                    return Poll::Pending;
                }
                Answer::Taken => return Poll::Pending,
            }
        };
        self.stage = Stage::Over;
        Poll::Ready(answer.and_then(read))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Stage::Sent { shared, .. } = &self.stage {
            shared.cancel(&self.slot);
        }
    }
}

impl<T> Unpin for Reply<T> {}

/// Where the answer to one request arrives.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<SlotState>);

#[derive(Debug, Default)]
pub(crate) struct SlotState {
    answer: Answer,
    /// The number of the connection and of the request on it, once it was sent.
    pub(crate) sent_as: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
enum Answer {
    Awaited(Waker),
    Here(Result<Bytes, RequestError>),
    #[default]
    Taken,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Nothing panics with the lock held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, answer: Result<Bytes, RequestError>) {
        let before = std::mem::replace(&mut self.lock().answer, Answer::Here(answer));
        if let Answer::Awaited(waker) = before {
            waker.wake();
        }
    }
}

/// Whoever waits for one answer is told exactly once, whatever becomes of the client.
pub(crate) struct Completion(Option<Done>);

pub(crate) enum Done {
    Slot(Arc<Slot>),
    Callback(Box<dyn FnOnce(Result<Bytes, RequestError>) + Send>),
}

impl Completion {
    pub(crate) const fn new(done: Done) -> Self {
        Self(Some(done))
    }

    pub(crate) fn complete(mut self, answer: Result<Bytes, RequestError>) {
        self.tell(answer);
    }

    /// The slot that waits for it.
    pub(crate) fn slot(&self) -> Option<&Arc<Slot>> {
        match &self.0 {
            Some(Done::Slot(slot)) => Some(slot),
            _ => None,
        }
    }

    fn tell(&mut self, answer: Result<Bytes, RequestError>) {
        match self.0.take() {
            Some(Done::Slot(slot)) => slot.complete(answer),
            Some(Done::Callback(callback)) => call_back(|| callback(answer)),
            None => {}
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.tell(Err(RequestError::Lost(Disconnect::RuntimeEnded)));
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

#[cfg(feature = "json")]
pub(crate) fn write_json(value: &impl serde::Serialize) -> Result<Bytes, RequestError> {
    let written = serde_json::to_vec(value);
    written.map(Into::into).map_err(|error| RequestError::Body(format!("this has no form in JSON: {error}")))
}

#[cfg(feature = "json")]
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(body)
        .map_err(|error| RequestError::Body(format!("the body is not the JSON that was expected: {error}")))
}

#[cfg(feature = "protobuf")]
pub(crate) fn read_protobuf<T: prost::Message + Default>(body: &[u8]) -> Result<T, RequestError> {
    T::decode(body)
        .map_err(|error| RequestError::Body(format!("the body is not the protobuf that was expected: {error}")))
}
