use std::fmt;

use bytes::Bytes;

use crate::Error;

/// How this server writes errors, and the name of its encoding, which clients are told in the handshake.
///
/// Bodies are encoded by the types that handlers take and return ([`Json`](crate::Json), [`Protobuf`](crate::Protobuf));
/// each names its encoding, and an app refuses to be built with a handler of another one. For a third encoding implement
/// this trait, [`FromBody`](crate::FromBody) and [`IntoBody`](crate::IntoBody).
///
/// ```
/// use bytes::Bytes;
/// use cereus_app::{App, Error, FromBody, IntoBody, Serializer, Service};
///
/// #[derive(Debug)]
/// struct Lines;
///
/// impl Serializer for Lines {
///     fn name(&self) -> &'static str { "lines" }
///     fn error(&self, error: &Error) -> Bytes { format!("{}\n{}", error.code(), error.message()).into() }
/// }
///
/// struct Text(Vec<String>);
///
/// impl FromBody for Text {
///     const FORMAT: Option<&'static str> = Some("lines");
///     fn from_body(body: &Bytes) -> Result<Self, Error> {
///         Ok(Self(std::str::from_utf8(body)?.lines().map(str::to_owned).collect()))
///     }
/// }
/// impl IntoBody for Text {
///     const FORMAT: Option<&'static str> = Some("lines");
///     fn into_body(self) -> Result<Bytes, Error> { Ok(self.0.join("\n").into()) }
/// }
///
/// async fn reverse(Text(mut lines): Text) -> Text {
///     lines.reverse();
///     Text(lines)
/// }
///
/// let server = App::new(()).serializer(Lines).service(Service::new("text").request("reverse", reverse)).build()?;
/// # Ok::<(), cereus_app::BuildErrors>(())
/// ```
pub trait Serializer: fmt::Debug + Send + Sync + 'static {
    /// The name, as clients are told.
    fn name(&self) -> &'static str;

    /// The body of an error answer. Never empty.
    fn error(&self, error: &Error) -> Bytes;
}

/// The serializer `json`, the default.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit")]
pub struct JsonSerializer;

impl JsonSerializer {
    pub(crate) const NAME: &'static str = "json";
}

impl Serializer for JsonSerializer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn error(&self, error: &Error) -> Bytes {
        #[derive(serde::Serialize)]
        struct Payload<'a> {
            code: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            msg: &'a str,
            #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            metadata: &'a std::collections::BTreeMap<String, String>,
        }
        let code = if error.code().is_empty() { Error::UNKNOWN } else { error.code() };
        let payload = Payload { code, msg: error.message(), metadata: error.metadata() };
        // Strings always have a JSON form.
        serde_json::to_vec(&payload).unwrap_or_else(|_| b"{}".to_vec()).into()
    }
}

/// The serializer `protobuf`.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit")]
pub struct ProtobufSerializer;

impl ProtobufSerializer {
    pub(crate) const NAME: &'static str = "protobuf";
}

impl Serializer for ProtobufSerializer {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn error(&self, error: &Error) -> Bytes {
        let code = if error.code().is_empty() { Error::UNKNOWN } else { error.code() };
        let payload = cereus_cluster::protos::Error {
            code: code.to_owned(),
            msg: error.message().to_owned(),
            metadata: error.metadata().clone(),
        };
        prost::Message::encode_to_vec(&payload).into()
    }
}
