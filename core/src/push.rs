use alloc::sync::Arc;

use bytes::Bytes;

use crate::{
    MessageId, MessageType, Route, SendError, ServerConfig,
    message::{Head, RouteField},
    packet::MAX_BODY_LEN,
};

/// A push that was encoded once, for any number of clients of one configuration. Cheap to clone.
///
/// Clients differ: it holds the route as text and as a code, the body as it is and deflated, and
/// [`push_encoded`](crate::ServerConnection::push_encoded) picks what each of them understands.
///
/// ```
/// use cereus_core::{EncodedPush, Route, ServerConfig};
///
/// let config = ServerConfig::default();
/// let push = EncodedPush::new(&config, &Route::from_static("onMessage"), r#"{"text":"hi"}"#)?;
/// assert_eq!(push.route(), &"onMessage");
/// # Ok::<(), cereus_core::SendError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EncodedPush(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    config: ServerConfig,
    route: Route,
    code: Option<u16>,
    plain: Bytes,
    deflated: Option<Bytes>,
}

impl EncodedPush {
    /// Encodes a push.
    ///
    /// # Errors
    ///
    /// [`SendError::RouteTooLong`], [`SendError::TooLarge`].
    pub fn new(config: &ServerConfig, route: &Route, body: impl Into<Bytes>) -> Result<Self, SendError> {
        let plain = body.into();
        let code = config.dictionary().code(route);
        if code.is_none() {
            RouteField::text(route).map_err(SendError::from_message)?;
        }
        if plain.len() + route.len() + 4 > MAX_BODY_LEN {
            return Err(SendError::TooLarge(plain.len()));
        }
        let deflated = config.settings().compression.deflate(true, &plain);
        Ok(Self(Arc::new(Encoded { config: config.clone(), route: route.clone(), code, plain, deflated })))
    }

    /// The route.
    pub fn route(&self) -> &Route {
        &self.0.route
    }

    /// The body as it was given.
    pub fn body(&self) -> &Bytes {
        &self.0.plain
    }

    pub(crate) fn is_for(&self, config: &ServerConfig) -> bool {
        self.0.config.same(config)
    }

    /// What a client of this kind understands.
    pub(crate) fn pick(&self, client_inflates: bool) -> Result<(Head, Bytes), SendError> {
        let Encoded { config, route, code, plain, deflated } = &*self.0;
        let deflated = deflated.as_ref().filter(|_| config.settings().compression.applies_to(client_inflates));
        let head = push_head(route, *code, deflated.is_some(), client_inflates, plain)?;
        Ok((head, deflated.unwrap_or(plain).clone()))
    }
}

/// The head of a push for a client of this kind. Native clients know no codes and cannot take an empty body.
pub(crate) fn push_head(
    route: &Route,
    code: Option<u16>,
    compressed: bool,
    native: bool,
    body: &[u8],
) -> Result<Head, SendError> {
    if native && body.is_empty() {
        return Err(SendError::EmptyPush);
    }
    let route = match code {
        Some(code) if !native => RouteField::Code(code),
        _ => RouteField::text(route).map_err(SendError::from_message)?,
    };
    Ok(Head { kind: MessageType::Push, error: false, compressed, id: MessageId::NONE, route })
}
