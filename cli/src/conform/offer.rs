//! What the server under test offers, as its file of routes says.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::verdict::{Stop, skip};
use crate::failure::Failure;

/// A file of routes with everything in it.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// Where the kit puts texts of its own into a body.
const TEXT: &str = "$TEXT";

/// Whose protocol it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Family {
    Cereus,
    #[default]
    Pitaya,
    Nano,
    Pomelo,
}

impl Family {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cereus => "Cereus",
            Self::Pitaya => "Pitaya",
            Self::Nano => "nano",
            Self::Pomelo => "pomelo",
        }
    }

    /// Those that have an error flag, compressed bodies and strict handshakes.
    pub(super) const fn is_pitaya(self) -> bool {
        matches!(self, Self::Cereus | Self::Pitaya)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Offer {
    pub(super) family: Family,
    pub(super) serializer: Option<String>,
    /// In seconds.
    pub(super) heartbeat: Option<f64>,
    pub(super) handshake: Option<String>,
    pub(super) refused: Option<Refused>,
    echo: Option<Call>,
    notify: Option<Call>,
    dictionary: Option<Call>,
    error: Option<Call>,
    missing: Option<Call>,
    kick: Option<Call>,
    slow: Option<Call>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    pub(super) handshake: String,
    #[serde(default = "refused")]
    pub(super) code: u16,
}

const fn refused() -> u16 {
    cereus_client::HandshakeResponse::REFUSED
}

/// A message that the server knows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Call {
    pub(super) route: String,
    body: String,
    hex: Option<String>,
    /// The route of the push that it causes.
    pub(super) push: Option<String>,
    /// The code of the error that answers it.
    pub(super) code: Option<String>,
}

impl Offer {
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let offer: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let calls = [
            ("echo", &offer.echo),
            ("notify", &offer.notify),
            ("dictionary", &offer.dictionary),
            ("error", &offer.error),
            ("missing", &offer.missing),
            ("kick", &offer.kick),
            ("slow", &offer.slow),
        ];
        for (name, call) in calls {
            if let Some(call) = call {
                call.check().map_err(|what| format!("{name}: {what}"))?;
            }
        }
        Ok(offer)
    }

    pub(super) fn echo(&self) -> Result<&Call, Stop> {
        entry(&self.echo, "echo", "a request that is answered with its own body")
    }

    pub(super) fn has_echo(&self) -> bool {
        self.echo.is_some()
    }

    pub(super) fn notify(&self) -> Result<&Call, Stop> {
        entry(&self.notify, "notify", "a notify that causes a push")
    }

    /// What may cause a push with a route of the dictionary.
    pub(super) fn dictionary(&self) -> Result<&Call, Stop> {
        let call = self.dictionary.as_ref().or(self.notify.as_ref());
        call.ok_or_else(|| missing("dictionary", "a notify that causes a push whose route is in the dictionary"))
    }

    pub(super) fn error(&self) -> Result<&Call, Stop> {
        entry(&self.error, "error", "a request that is answered with an error")
    }

    pub(super) fn missing(&self) -> Result<&Call, Stop> {
        entry(&self.missing, "missing", "a route that no handler has")
    }

    pub(super) fn kick(&self) -> Result<&Call, Stop> {
        entry(&self.kick, "kick", "a message after which the client is kicked")
    }

    pub(super) fn slow(&self) -> Result<&Call, Stop> {
        entry(&self.slow, "slow", "a request whose answer takes its time")
    }
}

fn entry<'a>(call: &'a Option<Call>, name: &str, what: &str) -> Result<&'a Call, Stop> {
    call.as_ref().ok_or_else(|| missing(name, what))
}

fn missing(name: &str, what: &str) -> Stop {
    skip(format!("the file of routes has no [{name}], {what}"))
}

impl Call {
    fn check(&self) -> Result<(), String> {
        if self.route.is_empty() || self.route.len() > cereus_core::MAX_ROUTE_LEN {
            return Err("its route must have 1 to 255 bytes".into());
        }
        match &self.hex {
            Some(_) if !self.body.is_empty() => Err("it has both `body` and `hex`".into()),
            Some(hex) => unhex(hex).map(|_| ()).ok_or_else(|| "`hex` is not hexadecimal".into()),
            None => Ok(()),
        }
    }

    /// The body, with this text where one can be put.
    pub(super) fn body(&self, text: &str) -> Vec<u8> {
        match self.hex.as_deref().and_then(unhex) {
            Some(bytes) => bytes,
            None => self.body.replace(TEXT, text).into_bytes(),
        }
    }

    /// The body with this text in it, for checks that make no sense without.
    pub(super) fn body_with(&self, text: &str) -> Result<Vec<u8>, Stop> {
        match self.body.contains(TEXT) {
            true => Ok(self.body(text)),
            false => Err(skip("the body of this entry has no $TEXT in it, so it cannot be varied")),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if digits.len().is_multiple_of(2) { digits.chunks(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_offers_everything() {
        // What is commented out, too; a comment in words begins with a capital letter or ends a sentence.
        let entry =
            |line: &str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let lines = EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(|rest| entry(rest)).unwrap_or(line));
        for text in [EXAMPLE.to_owned(), lines.collect::<Vec<_>>().join("\n")] {
            let offer = Offer::parse(&text).unwrap();
            assert_eq!(offer.family, Family::Cereus);
            assert_eq!(offer.echo().unwrap().body_with("a").unwrap(), b"\"a\"");
            assert!([offer.error(), offer.missing(), offer.kick(), offer.slow()].iter().all(Result::is_ok));
            assert_eq!(offer.refused.is_some(), text != EXAMPLE);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("famly = 1", "unknown field `famly`"),
            ("family = \"other\"", "unknown variant `other`"),
            ("[echo]\nbody = 'x'", "echo: its route must have 1 to 255 bytes"),
            ("[echo]\nroute = 'a.b'\nhex = '0'", "echo: `hex` is not hexadecimal"),
            ("[echo]\nroute = 'a.b'\nhex = '00'\nbody = 'x'", "echo: it has both"),
        ] {
            let error = Offer::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
