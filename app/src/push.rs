use bytes::Bytes;
use cereus_cluster::protos;
use cereus_core::{FullPolicy, MAX_ROUTE_LEN, Route, SendError, packet::MAX_BODY_LEN};
use thiserror::Error;

use crate::{Error, IntoBody, Server};

/// A push, but for its route.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) body: Bytes,
    /// Its own policy, if it has one.
    pub(crate) on_full: Option<FullPolicy>,
}

impl Content {
    /// What another server sent.
    pub(crate) fn received(body: Bytes, on_full: protos::OnFull) -> Self {
        let on_full = match on_full {
            protos::OnFull::RoutePolicy => None,
            protos::OnFull::Close => Some(FullPolicy::Close),
            protos::OnFull::DropOldest => Some(FullPolicy::DropOldest),
            protos::OnFull::KeepLatest => Some(FullPolicy::KeepLatest),
        };
        Self { body, on_full }
    }

    /// The policy as other servers are told.
    pub(crate) fn on_full(&self) -> i32 {
        let on_full = match self.on_full {
            Some(FullPolicy::Close) => protos::OnFull::Close,
            Some(FullPolicy::DropOldest) => protos::OnFull::DropOldest,
            Some(FullPolicy::KeepLatest) => protos::OnFull::KeepLatest,
            _ => protos::OnFull::RoutePolicy,
        };
        on_full.into()
    }
}

impl IntoBody for Content {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(self.body)
    }

    fn on_full(&self) -> Option<FullPolicy> {
        self.on_full
    }
}

/// Encodes the body of a push and checks what can be checked before it is on its way.
pub(crate) fn encode<B: IntoBody>(server: &Server, route: &Route, body: B) -> Result<Content, PushError> {
    if let Some(format) = B::FORMAT
        && format != server.config().serializer()
    {
        return Err(PushError::Serializer { body: format, app: server.config().serializer().to_owned() });
    }
    if route.len() > MAX_ROUTE_LEN && server.config().dictionary().code(route).is_none() {
        return Err(PushError::Send(SendError::RouteTooLong(route.len())));
    }
    let on_full = body.on_full();
    let body = body.into_body().map_err(|error| PushError::Body(error.message().to_owned()))?;
    if body.len() + route.len() + 4 > MAX_BODY_LEN {
        return Err(PushError::Send(SendError::TooLarge(body.len())));
    }
    Ok(Content { body, on_full })
}

/// Why a push was not taken. The caller is at fault, or the client is gone.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PushError {
    /// The connection ended.
    #[error("the session is closed")]
    Closed,
    /// More is pushed than the connection takes over.
    #[error("too many pushes wait for this session: use `push_wait`, or push less")]
    Full,
    /// libpitaya cannot take a push without a body.
    #[error("this client cannot take a push with an empty body: send at least one byte")]
    Empty,
    /// The route or the body is too long.
    #[error(transparent)]
    Send(SendError),
    /// A backend reaches a client by its user only.
    #[error("you have to bind an UID to the session to do that")]
    NoUser,
    /// The frontend of the session is not there.
    #[error("the frontend of the session is not there")]
    NoFrontend,
    /// The body cannot be encoded.
    #[error("the body of the push cannot be encoded: {0}")]
    Body(String),
    /// The body is of another serializer than the app.
    #[error("a {body} body cannot be pushed by an app whose serializer is {app}")]
    Serializer {
        /// The serializer that the body belongs to.
        body: &'static str,
        /// The app's.
        app: String,
    },
}
