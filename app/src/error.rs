use std::{any::Any, borrow::Cow, collections::BTreeMap, fmt};

use crate::PushError;

/// What a handler answers instead of a result, and what the client sees of it: a code, a text, metadata (specification,
/// section 4).
///
/// Any error of the standard library's kind becomes one with the code [`UNKNOWN`](Self::UNKNOWN) and its own text, so
/// that `?` works. It is no `std::error::Error` itself for that reason.
///
/// ```
/// use cereus_app::Error;
///
/// fn buy(coins: &str) -> Result<u32, Error> {
///     let coins: u32 = coins.parse()?; // PIT-000
///     if coins < 10 {
///         return Err(Error::new("SHOP-001", "not enough coins").with("missing", 10 - coins));
///     }
///     Ok(coins - 10)
/// }
/// assert_eq!(buy("many").unwrap_err().code(), Error::UNKNOWN);
/// assert_eq!(buy("7").unwrap_err().metadata()["missing"], "3");
/// ```
///
/// An enum of your own brings its codes along if it is turned into an `Error` and is no `std::error::Error`:
///
/// ```
/// use cereus_app::Error;
///
/// enum ShopError { SoldOut, NoSuchItem(u32) }
///
/// impl From<ShopError> for Error {
///     fn from(error: ShopError) -> Self {
///         match error {
///             ShopError::SoldOut => Self::new("SHOP-002", "sold out"),
///             ShopError::NoSuchItem(item) => Self::new("SHOP-003", "no such item").with("item", item),
///         }
///     }
/// }
/// # let _ = (ShopError::SoldOut, ShopError::NoSuchItem(1));
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Parts {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    metadata: BTreeMap<String, String>,
}

impl Error {
    /// An error without a code of its own: a panic, a missing reply, an error of a library.
    pub const UNKNOWN: &'static str = "PIT-000";
    /// The client is at fault: a route or a body that cannot be read.
    pub const BAD_REQUEST: &'static str = "PIT-400";
    /// There is no such handler.
    pub const NOT_FOUND: &'static str = "PIT-404";
    /// The handler did not end in time.
    pub const TIMEOUT: &'static str = "PIT-408";
    /// The client sends more than the [rate limit](crate::App::rate_limit) allows.
    pub const TOO_MANY_REQUESTS: &'static str = "PIT-429";
    /// The connection was closed before the message could be sent.
    pub const CLOSED: &'static str = "PIT-499";
    /// The server is at fault: no server of a type, a hook that panicked.
    pub const INTERNAL: &'static str = "PIT-500";

    /// An error with a code of the application's own.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { code: code.into(), message: message.into(), metadata: BTreeMap::new() }))
    }

    /// Adds metadata; a name that is there already gets the new value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.0.metadata.insert(name.into(), value.to_string());
        self
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::new(Self::UNKNOWN, text.unwrap_or("the handler panicked").to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let code = match (&error as &dyn Any).downcast_ref::<PushError>() {
            Some(PushError::Closed | PushError::Full) => Self::CLOSED,
            _ => Self::UNKNOWN,
        };
        Self::new(code, error.to_string())
    }
}
