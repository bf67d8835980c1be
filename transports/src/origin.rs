//! Which pages may open a WebSocket: a browser says in `Origin` whose page it acts for.

use std::net::Ipv6Addr;

use thiserror::Error;

/// The origins whose pages may connect. By default all of them, as with Pitaya; with the first call of
/// [`allow`](Self::allow) or [`allow_same`](Self::allow_same) only those.
///
/// Browsers alone send an `Origin`, and do not let a page change it: this protects their users from pages of others, which
/// could act in their name. Native clients send none and are always let in; whoever writes his own client can send any.
///
/// ```
/// use cereus_transports::Origins;
///
/// let origins = Origins::default().allow("https://play.example.com")?.allow("https://*.example.org:8443")?;
/// assert!(Origins::default().allow("play.example.com").is_err());
/// # Ok::<(), cereus_transports::OriginError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Origins {
    restricted: bool,
    same: bool,
    allowed: Vec<Pattern>,
}

/// What was given as an origin is none.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "`{0}` is no origin: give scheme://host or scheme://host:port without a path, such as https://play.example.com, \
     https://*.example.com for all subdomains, or null"
)]
pub struct OriginError(String);

impl Origins {
    /// Lets pages of this origin in: `scheme://host`, with a port if it is not the usual one of `http` or `https`;
    /// `*.` at the start of the host stands for one or more subdomains; `null` is what pages without an origin send, such as files.
    ///
    /// # Errors
    ///
    /// This is no origin.
    pub fn allow(mut self, origin: &str) -> Result<Self, OriginError> {
        let pattern = Pattern::parse(origin).ok_or_else(|| OriginError(origin.to_owned()))?;
        self.restricted = true;
        self.allowed.push(pattern);
        Ok(self)
    }

    /// Lets pages in that were loaded from the very host and port that they connect to, by whatever scheme: the request's `Host`.
    pub const fn allow_same(mut self) -> Self {
        self.restricted = true;
        self.same = true;
        self
    }

    /// Nobody with an origin gets in but who is allowed from now on.
    pub(crate) const fn restrict(mut self) -> Self {
        self.restricted = true;
        self
    }

    /// Whether a request with these headers may become a WebSocket.
    pub(crate) fn allows<'a>(
        &self,
        mut origins: impl Iterator<Item = &'a [u8]>,
        hosts: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let (origin, None) = (origins.next(), origins.next()) else { return !self.restricted };
        let Some(origin) = origin.filter(|_| self.restricted) else { return true };
        let text = str::from_utf8(origin).unwrap_or_default().trim();
        if text == "null" {
            return self.allowed.contains(&Pattern::Null);
        }
        let Some(origin) = Origin::parse(text) else { return false };
        self.allowed.iter().any(|pattern| pattern.matches(&origin)) || self.same && origin.is_of(hosts)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Pattern {
    Null,
    Exact(Origin),
    /// Of this origin's host.
    Subdomains(Origin),
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        match text.split_once("://*.") {
            Some((scheme, rest)) => Origin::parse(&format!("{scheme}://{rest}")).map(Self::Subdomains),
            None => Origin::parse(text).map(Self::Exact),
        }
    }

    fn matches(&self, origin: &Origin) -> bool {
        match self {
            Self::Null => false,
            Self::Exact(exact) => exact == origin,
            Self::Subdomains(of) => {
                let subdomain = origin.host.strip_suffix(&of.host).and_then(|rest| rest.strip_suffix('.'));
                subdomain.is_some_and(|name| !name.is_empty()) && (&of.scheme, of.port) == (&origin.scheme, origin.port)
            }
        }
    }
}

/// In one form, whichever way it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Origin {
    scheme: String,
    host: String,
    /// The usual one if none was given and there is one.
    port: Option<u16>,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port_number(port)?)),
            _ => (authority, None),
        };
        let usual = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let host = host_name(host).filter(|_| is_scheme)?;
        Some(Self { scheme: scheme.to_owned(), host, port: port.or(usual) })
    }

    /// Whether this is where a request went that has these `Host` headers.
    fn is_of<'a>(&self, mut hosts: impl Iterator<Item = &'a [u8]>) -> bool {
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let host = str::from_utf8(host).unwrap_or_default().trim();
        Self::parse(&format!("{}://{host}", self.scheme)).is_some_and(|own| own == *self)
    }
}

fn port_number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Names that are not ASCII come encoded (`xn--`).
fn host_name(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    (is_name && !text.is_empty() && !text.starts_with('.')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowing(origins: &[&str]) -> Origins {
        origins.iter().fold(Origins::default(), |all, origin| all.allow(origin).unwrap())
    }

    fn check(origins: &Origins, origin: &str, host: &str) -> bool {
        origins.allows([origin.as_bytes()].into_iter(), [host.as_bytes()].into_iter())
    }

    #[test]
    fn all_are_allowed_until_some_are() {
        for origin in ["https://example.com", "null", "not an origin", ""] {
            assert!(check(&Origins::default(), origin, "a"), "{origin}");
            assert!(!check(&Origins::default().restrict(), origin, "a"), "{origin}");
        }
        assert!(!check(&allowing(&["null"]), "https://a.example.com", "a"));
    }

    #[test]
    fn who_has_no_origin_is_let_in() {
        let none = || [].into_iter();
        assert!(allowing(&["null"]).allows(none(), none()));
        assert!(Origins::default().allow_same().allows(none(), none()));
        let two = [&b"https://example.com"[..], b"https://example.com"].into_iter();
        assert!(!allowing(&["https://example.com"]).allows(two, none()));
    }

    #[test]
    fn listed_ones_match_in_any_spelling() {
        let list =
            ["https://Play.example.com", "http://localhost:8080", "https://[2001:DB8:0::1]", "capacitor://localhost"];
        let origins = allowing(&list);
        for origin in [
            "https://play.example.com",
            "HTTPS://PLAY.EXAMPLE.COM:443",
            "http://localhost:8080",
            "https://[2001:db8::1]",
            "https://[2001:db8::1]:443",
            "capacitor://localhost",
        ] {
            assert!(check(&origins, origin, ""), "{origin}");
        }
        for origin in [
            "http://play.example.com",
            "https://play.example.com:8443",
            "https://example.com",
            "https://a.play.example.com",
            "https://play.example.com.evil.org",
            "https://play.example.com/",
            "https://play.example.com@evil.org",
            "http://localhost",
            "http://localhost:80800",
            "https://[2001:db8::2]",
            "null",
            "",
        ] {
            assert!(!check(&origins, origin, ""), "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_subdomains() {
        let origins = allowing(&["https://*.example.com"]);
        for origin in ["https://a.example.com", "https://a.b.example.com:443"] {
            assert!(check(&origins, origin, ""), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil.org",
        ] {
            assert!(!check(&origins, origin, ""), "{origin}");
        }
    }

    #[test]
    fn the_same_is_that_of_the_host_header() {
        let origins = Origins::default().allow_same();
        for (origin, host) in [
            ("http://localhost:3250", "localhost:3250"),
            ("https://example.com", "EXAMPLE.com"),
            ("https://example.com", "example.com:443"),
            ("http://[::1]:3250", "[::1]:3250"),
        ] {
            assert!(check(&origins, origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3250", "localhost"),
            ("https://evil.org", "example.com"),
            ("https://a.example.com", "example.com"),
            ("null", "null"),
            ("https://example.com", ""),
        ] {
            assert!(!check(&origins, origin, host), "{origin} {host}");
        }
        let (origin, hosts) = ([&b"http://a"[..]].into_iter(), [&b"a"[..], b"a"].into_iter());
        assert!(!origins.allows(origin, hosts));
        let both = origins.allow("https://other.example.com").unwrap();
        assert!(check(&both, "https://other.example.com", "a") && check(&both, "https://a", "a"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "*",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/game",
            "https://user@example.com",
            "https://example.com:port",
            "https://example.com:",
            "https://example.com:+1",
            "https://example.com:70000",
            "https://a.*.example.com",
            "https://*",
            "https://*.",
            "https://*example.com",
            "https://bücher.example",
            "https://[1.2.3.4]",
            "https://[::1",
            "1http://example.com",
            "://example.com",
            "https://example.com https://example.org",
        ] {
            let error = Origins::default().allow(text).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}` is no origin: ")), "{error}");
        }
    }
}
