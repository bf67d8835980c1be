use alloc::{boxed::Box, sync::Arc};

use bytes::{BufMut, Bytes};
#[cfg(all(test, loom))]
use checks::OnceBox;
#[cfg(not(all(test, loom)))]
use once_cell::race::OnceBox;

use crate::{
    FullPolicy, MessageId, MessageType, Route, SendError, ServerConfig,
    message::{Head, RouteField},
    packet::{MAX_BODY_LEN, PacketHeader, PacketType},
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
    policy: FullPolicy,
    plain: Bytes,
    // Made for the first client that needs it.
    deflated: OnceBox<Option<Bytes>>,
    browser: OnceBox<Result<Form, SendError>>,
    native: OnceBox<Result<Form, SendError>>,
}

/// A push as clients of one kind are sent it.
#[derive(Debug)]
pub(crate) struct Form {
    /// The header of the packet and the head of the message.
    head: Box<[u8]>,
    route: RouteField,
    body: Bytes,
}

impl EncodedPush {
    /// Encodes a push.
    ///
    /// # Errors
    ///
    /// [`SendError::RouteTooLong`], [`SendError::TooLarge`].
    pub fn new(config: &ServerConfig, route: &Route, body: impl Into<Bytes>) -> Result<Self, SendError> {
        Self::with_policy(config, route, body, None)
    }

    /// Encodes a push that has a policy of its own, and not that of its route.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_policy(
        config: &ServerConfig,
        route: &Route,
        body: impl Into<Bytes>,
        policy: impl Into<Option<FullPolicy>>,
    ) -> Result<Self, SendError> {
        let plain = body.into();
        if config.dictionary().code(route).is_none() {
            RouteField::text(route).map_err(SendError::from_message)?;
        }
        if plain.len() + route.len() + 4 > MAX_BODY_LEN {
            return Err(SendError::TooLarge(plain.len()));
        }
        Ok(Self(Arc::new(Encoded {
            config: config.clone(),
            route: route.clone(),
            policy: policy.into().unwrap_or_else(|| config.full_policy(route)),
            plain,
            deflated: OnceBox::new(),
            browser: OnceBox::new(),
            native: OnceBox::new(),
        })))
    }

    /// The route.
    pub fn route(&self) -> &Route {
        &self.0.route
    }

    /// The body as it was given.
    pub fn body(&self) -> &Bytes {
        &self.0.plain
    }

    /// What happens to it when the queue of a connection is full.
    pub fn policy(&self) -> FullPolicy {
        self.0.policy
    }

    pub(crate) fn is_for(&self, config: &ServerConfig) -> bool {
        self.0.config.same(config)
    }

    /// What a client of this kind understands.
    pub(crate) fn form(&self, native: bool) -> Result<&Form, SendError> {
        let form = if native { &self.0.native } else { &self.0.browser };
        form.get_or_init(|| Box::new(self.0.form(native))).as_ref().map_err(SendError::clone)
    }
}

impl Encoded {
    fn form(&self, native: bool) -> Result<Form, SendError> {
        let Self { config, route, plain, deflated, .. } = self;
        let compression = config.settings().compression;
        let deflated = match compression.applies_to(native) {
            true => deflated.get_or_init(|| Box::new(compression.deflate(native, plain))).as_ref(),
            false => None,
        };
        let head = push_head(route, config.dictionary().code(route), deflated.is_some(), native, plain)?;
        Form::new(head, deflated.unwrap_or(plain).clone())
    }
}

impl Form {
    fn new(head: Head, body: Bytes) -> Result<Self, SendError> {
        let body_len = head.encoded_len() + body.len();
        let packet = PacketHeader::new(PacketType::Data, body_len).map_err(|_| SendError::TooLarge(body_len))?;
        let mut bytes = packet.encode().to_vec();
        head.encode(&mut bytes);
        Ok(Self { head: bytes.into(), route: head.route, body })
    }

    /// The length of the packet's body.
    pub(crate) fn body_len(&self) -> usize {
        self.head.len() - PacketHeader::LEN + self.body.len()
    }

    pub(crate) fn route(&self) -> &RouteField {
        &self.route
    }

    /// Appends the packet.
    pub(crate) fn encode(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.head);
        buf.put_slice(&self.body);
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

#[cfg(loom)]
#[cfg(test)]
mod checks;
