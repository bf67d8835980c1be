use bytes::Bytes;
use cereus_core::{MAX_ROUTE_LEN, Route, SendError, packet::MAX_BODY_LEN};
use thiserror::Error;

use crate::{IntoBody, Server};

/// Encodes the body of a push and checks what can be checked before it is on its way.
pub(crate) fn encode<B: IntoBody>(server: &Server, route: &Route, body: B) -> Result<Bytes, PushError> {
    if let Some(format) = B::FORMAT
        && format != server.config().serializer()
    {
        return Err(PushError::Serializer { body: format, app: server.config().serializer().to_owned() });
    }
    if route.len() > MAX_ROUTE_LEN && server.config().dictionary().code(route).is_none() {
        return Err(PushError::Send(SendError::RouteTooLong(route.len())));
    }
    let body = body.into_body().map_err(|error| PushError::Body(error.message().to_owned()))?;
    if body.len() + route.len() + 4 > MAX_BODY_LEN {
        return Err(PushError::Send(SendError::TooLarge(body.len())));
    }
    Ok(body)
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
