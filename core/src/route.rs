use alloc::string::String;
use core::{
    fmt,
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use thiserror::Error;

/// The longest route that a message can carry as text, in bytes.
pub const MAX_ROUTE_LEN: usize = 255;

/// The name of what a message is for: `serverType.service.method`, `service.method`, or any text for a push.
///
/// Cheap to clone: a slice of the buffer that it was read from, or of the program. Peers may send any bytes, so
/// [`as_str`](Self::as_str) is an `Option`.
///
/// ```
/// use cereus_core::Route;
///
/// let route = Route::from_static("room.join");
/// assert_eq!(route, "room.join");
/// let path = route.path()?;
/// assert_eq!((path.server_type, path.service, path.method), (None, "room", "join"));
/// # Ok::<(), cereus_core::RouteError>(())
/// ```
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Route(Bytes);

impl Route {
    /// A route of the program's own text; nothing is allocated.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// A route of any bytes, without a copy.
    pub const fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes as they are on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, unless the peer sent something else.
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }

    /// The length in bytes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Splits the route of a request or notify into its fields (specification, section 5).
    ///
    /// # Errors
    ///
    /// [`RouteError`] when it is not two or three fields, each with more than white space in it.
    pub fn path(&self) -> Result<RoutePath<'_>, RouteError> {
        let text = self.as_str().ok_or(RouteError::NotText)?;
        if text.split('.').any(|field| field.trim().is_empty()) {
            return Err(RouteError::EmptyField);
        }
        let mut fields = text.splitn(4, '.');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some(service), Some(method), None, None) => Ok(RoutePath { server_type: None, service, method }),
            (Some(server_type), Some(service), Some(method), None) => {
                Ok(RoutePath { server_type: Some(server_type), service, method })
            }
            _ => Err(RouteError::WrongFieldCount),
        }
    }
}

/// The fields of a route that a server handles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RoutePath<'a> {
    /// The type of server, when the route names one.
    pub server_type: Option<&'a str>,
    /// The service on that server.
    pub service: &'a str,
    /// The method of that service.
    pub method: &'a str,
}

/// Why a route cannot be split into fields. The peer is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum RouteError {
    /// The route is not UTF-8.
    #[error("the route is not UTF-8 text")]
    NotText,
    /// A field between the dots is empty or white space.
    #[error("a field of the route is empty")]
    EmptyField,
    /// A route has two or three fields.
    #[error("a route is `service.method` or `serverType.service.method`")]
    WrongFieldCount,
}

impl fmt::Display for Route {
    /// The text; bytes that are not UTF-8 are shown as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("\u{fffd}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({:?})", self.0)
    }
}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl core::borrow::Borrow<[u8]> for Route {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for Route {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Route {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl From<&str> for Route {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Route {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&Self> for Route {
    fn from(route: &Self) -> Self {
        route.clone()
    }
}
