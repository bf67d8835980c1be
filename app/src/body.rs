//! Bodies: what a handler takes and returns, and what a push carries.

use bytes::Bytes;
use cereus_core::FullPolicy;
#[cfg(feature = "json")]
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// What can be made of the body of a message: the last argument of a handler.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the body of a message",
    label = "not a body",
    note = "take `Json<T>` where `T: serde::Deserialize`, `Protobuf<T>` where `T: prost::Message`, or `Raw`"
)]
pub trait FromBody: Sized + Send {
    /// The serializer that this belongs to; `None` goes with any.
    const FORMAT: Option<&'static str>;

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// The client is at fault: any error is answered with [`Error::BAD_REQUEST`] and its text.
    fn from_body(body: &Bytes) -> Result<Self, Error>;
}

/// What can become the body of a message: a reply or a push.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become the body of a message",
    label = "not a body",
    note = "use `Json(value)` where the value is `serde::Serialize`, `Protobuf(message)`, `Raw(bytes)`, or bytes"
)]
pub trait IntoBody {
    /// The serializer that this belongs to; `None` goes with any.
    const FORMAT: Option<&'static str>;

    /// Writes the body.
    ///
    /// # Errors
    ///
    /// The value has no such form; a request is answered with [`Error::UNKNOWN`] then.
    fn into_body(self) -> Result<Bytes, Error>;

    /// What happens to a push of this when the client does not read; `None`: what is set for its route. See [`OnFull`].
    fn on_full(&self) -> Option<FullPolicy> {
        None
    }
}

/// The body of a push with a policy of its own, whatever is set for its [route](crate::App::push_policy).
///
/// ```
/// use cereus_app::{FullPolicy, Json, OnFull, Server};
///
/// fn tick(server: &Server, positions: &[(f32, f32)]) {
///     // The next ones come soon: whoever is behind needs only the latest.
///     let _ = server.broadcast("onPositions", OnFull(FullPolicy::KeepLatest, Json(positions)));
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a pair")]
pub struct OnFull<B>(pub FullPolicy, pub B);

impl<B: IntoBody> IntoBody for OnFull<B> {
    const FORMAT: Option<&'static str> = B::FORMAT;

    fn into_body(self) -> Result<Bytes, Error> {
        self.1.into_body()
    }

    fn on_full(&self) -> Option<FullPolicy> {
        Some(self.0)
    }
}

/// A JSON body.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Json<T>(pub T);

#[cfg(feature = "json")]
impl<T> From<T> for Json<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

#[cfg(feature = "json")]
impl<T: DeserializeOwned + Send> FromBody for Json<T> {
    const FORMAT: Option<&'static str> = Some(crate::JsonSerializer::NAME);

    fn from_body(body: &Bytes) -> Result<Self, Error> {
        Ok(Self(serde_json::from_slice(body)?))
    }
}

#[cfg(feature = "json")]
impl<T: Serialize> IntoBody for Json<T> {
    const FORMAT: Option<&'static str> = Some(crate::JsonSerializer::NAME);

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(serde_json::to_vec(&self.0)?.into())
    }
}

/// A protobuf body.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Protobuf<T>(pub T);

impl<T> From<T> for Protobuf<T> {
    fn from(message: T) -> Self {
        Self(message)
    }
}

impl<T: prost::Message + Default> FromBody for Protobuf<T> {
    const FORMAT: Option<&'static str> = Some(crate::ProtobufSerializer::NAME);

    fn from_body(body: &Bytes) -> Result<Self, Error> {
        Ok(Self(T::decode(body.clone())?))
    }
}

impl<T: prost::Message> IntoBody for Protobuf<T> {
    const FORMAT: Option<&'static str> = Some(crate::ProtobufSerializer::NAME);

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(self.0.encode_to_vec().into())
    }
}

/// A body as it is, whatever the serializer.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a pattern")]
pub struct Raw(pub Bytes);

impl FromBody for Raw {
    const FORMAT: Option<&'static str> = None;

    fn from_body(body: &Bytes) -> Result<Self, Error> {
        Ok(Self(body.clone()))
    }
}

impl IntoBody for Raw {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(self.0)
    }
}

impl IntoBody for Bytes {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(self)
    }
}

impl IntoBody for Vec<u8> {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(self.into())
    }
}

impl IntoBody for &'static [u8] {
    const FORMAT: Option<&'static str> = None;

    fn into_body(self) -> Result<Bytes, Error> {
        Ok(Bytes::from_static(self))
    }
}

/// What a request handler may return: a body, or an error, or perhaps nothing.
#[diagnostic::on_unimplemented(
    message = "a request handler cannot return `{Self}`",
    label = "not a reply",
    note = "return `Json(value)`, `Protobuf(message)`, `Raw(bytes)`, an `Option` of one, or `Result<_, cereus::Error>` of one",
    note = "a handler that returns nothing is registered with `notify`"
)]
pub trait IntoReply {
    /// The serializer that this belongs to; `None` goes with any.
    const FORMAT: Option<&'static str>;

    /// The body of the answer, or the error.
    ///
    /// # Errors
    ///
    /// What the client is answered.
    fn into_reply(self) -> Result<Bytes, Error>;
}

impl<B: IntoBody> IntoReply for B {
    const FORMAT: Option<&'static str> = B::FORMAT;

    fn into_reply(self) -> Result<Bytes, Error> {
        self.into_body()
    }
}

impl<R: IntoReply, E: Into<Error>> IntoReply for Result<R, E> {
    const FORMAT: Option<&'static str> = R::FORMAT;

    fn into_reply(self) -> Result<Bytes, Error> {
        self.map_err(Into::into)?.into_reply()
    }
}

impl<R: IntoReply> IntoReply for Option<R> {
    const FORMAT: Option<&'static str> = R::FORMAT;

    fn into_reply(self) -> Result<Bytes, Error> {
        self.ok_or_else(|| Error::new(Error::UNKNOWN, "reply must not be null"))?.into_reply()
    }
}

/// What a notify handler may return: nothing, or an error for the log.
#[diagnostic::on_unimplemented(
    message = "a notify handler cannot return `{Self}`",
    label = "a notify is never answered",
    note = "return nothing or `Result<(), cereus::Error>`; a handler that answers is registered with `request`"
)]
pub trait IntoNothing {
    /// Nothing, or the error.
    ///
    /// # Errors
    ///
    /// What is logged.
    fn into_nothing(self) -> Result<(), Error>;
}

impl IntoNothing for () {
    fn into_nothing(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: Into<Error>> IntoNothing for Result<(), E> {
    fn into_nothing(self) -> Result<(), Error> {
        self.map_err(Into::into)
    }
}
