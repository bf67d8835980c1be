use std::{fmt, str::FromStr};

use thiserror::Error;

/// Where a server is: `tcp://host:port`, `tls://host:port`, `ws://host:port/path`, `wss://host:port/path`; without a scheme it is
/// raw TCP.
///
/// ```
/// use cereus_client::Address;
///
/// let address: Address = "wss://play.example.com/game?region=eu".parse()?;
/// assert_eq!((address.host(), address.port()), ("play.example.com", 443));
/// assert_eq!("[::1]:3250".parse::<Address>()?.to_string(), "tcp://[::1]:3250");
/// # Ok::<(), cereus_client::AddressError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

/// What is spoken on the socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Scheme {
    /// Packets.
    Tcp,
    /// Packets in TLS.
    Tls,
    /// A WebSocket.
    Ws,
    /// A WebSocket in TLS.
    Wss,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Ws, Self::Wss];

    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Only WebSockets have a usual one.
    const fn port(self) -> Option<u16> {
        match self {
            Self::Tcp | Self::Tls => None,
            Self::Ws => Some(80),
            Self::Wss => Some(443),
        }
    }

    /// Whether TLS is spoken.
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// Whether a WebSocket is spoken.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// What comes before `://`.
    #[error("`{0}://` is not known: use tcp, tls, ws or wss")]
    Scheme(String),
    /// There is no host.
    #[error("`{0}` has no host: write `tcp://host:port`")]
    Host(String),
    /// What comes after the last colon.
    #[error("`{0}` has no port between 1 and 65535: write `tcp://host:port`")]
    Port(String),
    /// Only a WebSocket has a path, and there are no blanks in it.
    #[error("`{0}` has a path that cannot be: only `ws` and `wss` have one, without blanks")]
    Path(String),
}

impl Address {
    /// What is spoken.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name of the host, or its IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What a WebSocket is asked for.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Host and port, without the port that everybody expects.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.scheme.port() == Some(self.port) { host } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Tcp, text),
            Some((name, rest)) => {
                let known = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name);
                (known.ok_or_else(|| AddressError::Scheme(name.to_owned()))?, rest)
            }
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        let is_path_wrong =
            (!scheme.is_websocket() && path.len() > 1) || path.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_path_wrong {
            return Err(AddressError::Path(text.to_owned()));
        }
        let (host, port) = split_port(authority);
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().ok().filter(|port| *port != 0),
        };
        let port = port.ok_or_else(|| AddressError::Port(text.to_owned()))?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '@') {
            return Err(AddressError::Host(text.to_owned()));
        }
        let path = if path == "/" { String::new() } else { path };
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }
}

/// The host without its brackets, and what follows the colon.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // What follows the bracket and is no port cannot be one.
        return (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').unwrap_or("")) });
    }
    match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, expected) in [
            ("localhost:3250", "tcp://localhost:3250"),
            ("tls://10.0.0.1:3252/", "tls://10.0.0.1:3252"),
            ("ws://localhost", "ws://localhost"),
            ("ws://localhost:80/", "ws://localhost"),
            ("wss://a:444/b?c=d", "wss://a:444/b?c=d"),
            ("ws://a?c=d", "ws://a/?c=d"),
            ("ws://[::1]:3251", "ws://[::1]:3251"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("http://a:1", "`http://` is not known: use tcp, tls, ws or wss"),
            ("localhost", "`localhost` has no port between 1 and 65535: write `tcp://host:port`"),
            ("localhost:0", "`localhost:0` has no port between 1 and 65535: write `tcp://host:port`"),
            ("localhost:70000", "`localhost:70000` has no port between 1 and 65535: write `tcp://host:port`"),
            ("[::1]3250", "`[::1]3250` has no port between 1 and 65535: write `tcp://host:port`"),
            (":3250", "`:3250` has no host: write `tcp://host:port`"),
            ("a b:1", "`a b:1` has no host: write `tcp://host:port`"),
            ("a:1/path", "`a:1/path` has a path that cannot be: only `ws` and `wss` have one, without blanks"),
            ("ws://a/b c", "`ws://a/b c` has a path that cannot be: only `ws` and `wss` have one, without blanks"),
        ] {
            assert_eq!(text.parse::<Address>().map_err(|error| error.to_string()), Err(expected.to_owned()));
        }
    }
}
