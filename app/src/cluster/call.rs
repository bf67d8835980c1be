use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use cereus_cluster::{
    CallError, CallId, Hop, Propagated, ServerInfo,
    protos::{self, Msg, Request, Response},
};
use cereus_core::{Instant, duration};
use prost::Message;

use crate::{
    Error,
    cluster::{Shared, shared::Answer},
};

/// A call in flight. When it is dropped, nobody waits for it any more.
pub(crate) struct Call {
    shared: Arc<Shared>,
    id: CallId,
    answer: Arc<Answer>,
    state: State,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Waited,
    /// To be sent and to come to its end, whoever waits.
    Detached,
    Done,
}

impl Call {
    pub(crate) const fn new(shared: Arc<Shared>, id: CallId, answer: Arc<Answer>) -> Self {
        Self { shared, id, answer, state: State::Waited }
    }

    /// Lets it come to its end also when it is dropped.
    pub(crate) fn detach(mut self) -> Self {
        self.state = State::Detached;
        self
    }
}

impl Future for Call {
    type Output = Result<Response, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.answer.poll(cx);
        if polled.is_ready() {
            self.state = State::Done;
        }
        polled
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        match self.state {
            State::Waited => self.shared.cancel(self.id),
            State::Detached => self.answer.forget(),
            State::Done => {}
        }
    }
}

/// What a call is part of: it carries on what came with that, and has no more time than that has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) propagated: Propagated,
    pub(crate) deadline: Option<Instant>,
}

/// Whom is called, and what for: for the envelope and for errors.
#[derive(Clone, Copy)]
pub(crate) struct Called<'a> {
    pub(crate) server: &'a ServerInfo,
    pub(crate) route: &'a str,
    pub(crate) timeout: Duration,
}

impl Called<'_> {
    /// The metadata of the request.
    pub(crate) fn metadata(&self, shared: &Shared, origin: &Origin, unix_nanos: u64) -> Bytes {
        let hop = Hop {
            peer_id: &shared.own.id,
            peer_service: &shared.own.server_type,
            route: self.route,
            timeout: self.timeout,
            unix_nanos,
        };
        origin.propagated.encode(&hop).into()
    }

    /// The envelope of a call of the application's own.
    pub(crate) fn request(&self, shared: &Shared, origin: &Origin, unix_nanos: u64, data: Bytes) -> Bytes {
        let msg = Msg { route: self.route.to_owned(), data, ..Msg::default() };
        let request = Request {
            r#type: protos::RpcType::User as i32,
            msg: Some(msg),
            frontend_id: shared.frontend_id(),
            metadata: self.metadata(shared, origin, unix_nanos),
            ..Request::default()
        };
        request.encode_to_vec().into()
    }

    /// What the caller is told.
    pub(crate) fn result(&self, shared: &Shared, result: Result<Response, CallError>) -> Result<Bytes, Error> {
        match result {
            Ok(Response { error: Some(error), .. }) => Err(answered(error)),
            Ok(response) => Ok(response.data),
            Err(error) => Err(self.error(shared, &error)),
        }
    }

    pub(crate) fn error(&self, shared: &Shared, error: &CallError) -> Error {
        match error {
            CallError::Timeout => {
                let nanos = i64::try_from(self.timeout.as_nanos()).unwrap_or(i64::MAX);
                Error::new(Error::TIMEOUT, error.to_string())
                    .with("timeout", duration::format(nanos))
                    .with("route", self.route)
                    .with("server", &shared.own.id)
                    .with("peer.id", &self.server.id)
            }
            CallError::TooMany => Error::new(Error::INTERNAL, error.to_string()),
            error => {
                Error::new(Error::UNKNOWN, error.to_string()).with("route", self.route).with("peer.id", &self.server.id)
            }
        }
    }
}

/// The error that a server answered with.
pub(crate) fn answered(error: protos::Error) -> Error {
    let code = if error.code.is_empty() { Error::UNKNOWN.to_owned() } else { error.code };
    error.metadata.into_iter().fold(Error::new(code, error.msg), |error, (name, value)| error.with(name, value))
}

/// An error as an answer.
pub(crate) fn refusal(error: &Error) -> Response {
    let error = protos::Error {
        code: error.code().to_owned(),
        msg: error.message().to_owned(),
        metadata: error.metadata().clone(),
    };
    Response { error: Some(error), ..Response::default() }
}

/// A kick on its way. It takes place whether or not anybody waits; to wait tells whether it did.
pub struct Kicking(Inner);

enum Inner {
    Ready(Option<Error>),
    Running(Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>),
}

impl Kicking {
    pub(crate) const fn done() -> Self {
        Self(Inner::Ready(None))
    }

    pub(crate) const fn failed(error: Error) -> Self {
        Self(Inner::Ready(Some(error)))
    }

    pub(crate) fn running(call: impl Future<Output = Result<(), Error>> + Send + 'static) -> Self {
        Self(Inner::Running(Box::pin(call)))
    }
}

impl Future for Kicking {
    /// Whether it took place.
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Inner::Ready(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            Inner::Running(call) => call.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Kicking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kicking")
    }
}
