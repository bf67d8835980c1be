use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    Route,
    json::{self, JsonError, JsonReader, JsonType},
};

/// How many objects and arrays of a handshake may be inside each other.
const MAX_DEPTH: usize = 128;

/// What a client says about itself before anything else (specification, section 3.2).
///
/// ```
/// use cereus_core::HandshakeRequest;
///
/// let request = HandshakeRequest::parse(br#"{"sys": {"platform": "ios", "libVersion": "0.3.5"}}"#)?;
/// assert_eq!(request.platform, "ios");
/// assert!(request.inflates());
///
/// let mut request = HandshakeRequest::default();
/// request.platform = "web".into();
/// assert!(!request.inflates());
/// assert_eq!(HandshakeRequest::parse(&request.encode())?, request);
/// # Ok::<(), cereus_core::HandshakeError>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct HandshakeRequest {
    /// What the client runs on, for example `ios` or `android`.
    pub platform: String,
    /// The version of the client library; browsers have none.
    pub lib_version: String,
    /// The build number of the game.
    pub client_build_number: String,
    /// The version of the game.
    pub client_version: String,
    /// Whatever the application wants to know.
    pub user: Option<Map<String, Value>>,
}

impl HandshakeRequest {
    /// Reads the body of a client's handshake packet, as leniently as Go does.
    ///
    /// Names match in any letter case, unknown members are ignored, and everything may be missing or `null`. Of repeated
    /// members the last counts; repeated `sys` and `user` objects add up. A `null` takes back `user`, but nothing else.
    ///
    /// # Errors
    ///
    /// Text that is not JSON, and a known member of another type.
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let mut request = Self::default();
        parse_document(body, |reader, name| {
            if json::is_same_name(&name, "sys") {
                read_object(reader, "sys", |reader, name| request.read_sys(reader, &name))
            } else if json::is_same_name(&name, "user") {
                request.read_user(reader)
            } else {
                Ok(reader.skip()?)
            }
        })?;
        Ok(request)
    }

    /// The body of the handshake packet that a client sends.
    pub fn encode(&self) -> Vec<u8> {
        let sys = json!({
            "platform": self.platform,
            "libVersion": self.lib_version,
            "clientBuildNumber": self.client_build_number,
            "clientVersion": self.client_version,
        });
        let document = match &self.user {
            Some(user) => json!({ "sys": sys, "user": user }),
            None => json!({ "sys": sys }),
        };
        document.to_string().into_bytes()
    }

    /// Whether the client inflates what it receives.
    ///
    /// libpitaya and the Go client do, and tell their version. They also need routes as text in pushes, since they
    /// do not understand the codes of a dictionary there. All others are browsers: codes are fine, zlib is not.
    pub const fn inflates(&self) -> bool {
        !self.lib_version.is_empty()
    }

    fn read_sys(&mut self, reader: &mut JsonReader<'_>, name: &str) -> Result<(), HandshakeError> {
        let known = [
            ("platform", "sys.platform", &mut self.platform),
            ("libVersion", "sys.libVersion", &mut self.lib_version),
            ("clientBuildNumber", "sys.clientBuildNumber", &mut self.client_build_number),
            ("clientVersion", "sys.clientVersion", &mut self.client_version),
        ];
        match known.into_iter().find(|(known, ..)| json::is_same_name(name, known)) {
            Some((_, member, field)) => read_string(reader, member, field),
            None => Ok(reader.skip()?),
        }
    }

    fn read_user(&mut self, reader: &mut JsonReader<'_>) -> Result<(), HandshakeError> {
        if reader.peek()? == JsonType::Null {
            self.user = None;
            return Ok(reader.skip()?);
        }
        let user = self.user.get_or_insert_default();
        read_object(reader, "user", |reader, name| {
            user.insert(name, reader.value()?);
            Ok(())
        })
    }
}

/// What a server answers to a handshake (specification, section 3.3).
///
/// ```
/// use cereus_core::HandshakeResponse;
/// use std::time::Duration;
///
/// let response = HandshakeResponse::new(HandshakeResponse::OK, Duration::from_secs(30), [], "json");
/// let body = response.encode();
/// assert_eq!(body, br#"{"code":200,"sys":{"dict":{},"heartbeat":30,"serializer":"json"}}"#);
/// assert_eq!(HandshakeResponse::parse(&body)?, response);
/// # Ok::<(), cereus_core::HandshakeError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HandshakeResponse {
    /// [`OK`](Self::OK), [`REFUSED`](Self::REFUSED), or what another server means.
    pub code: u16,
    /// How often either side sends a heartbeat; zero for never. Existing clients need whole seconds.
    pub heartbeat: Duration,
    /// The routes that have a code, in their order.
    pub dictionary: Vec<(Route, u16)>,
    /// What the bodies of messages are written in.
    pub serializer: String,
}

impl HandshakeResponse {
    /// The server accepts the client.
    pub const OK: u16 = 200;

    /// The server does not accept the client.
    pub const REFUSED: u16 = 400;

    /// A response with these routes, in any order.
    pub fn new(
        code: u16,
        heartbeat: Duration,
        dictionary: impl IntoIterator<Item = (Route, u16)>,
        serializer: impl Into<String>,
    ) -> Self {
        let mut dictionary: Vec<_> = dictionary.into_iter().collect();
        dictionary.sort_unstable();
        Self { code, heartbeat, dictionary, serializer: serializer.into() }
    }

    /// Reads the body of a server's handshake packet, inflated if need be.
    ///
    /// Only `code` is required. Without a serializer it is `json`; an interval of zero or less is zero.
    ///
    /// # Errors
    ///
    /// Text that is not JSON, no `code`, and a known member of another type or out of range.
    pub fn parse(body: &[u8]) -> Result<Self, HandshakeError> {
        let mut code = None;
        let mut sys = ResponseSys::default();
        parse_document(body, |reader, name| {
            if json::is_same_name(&name, "code") {
                code = Some(read_code(reader, "code")?);
                Ok(())
            } else if json::is_same_name(&name, "sys") {
                read_object(reader, "sys", |reader, name| sys.read(reader, &name))
            } else {
                Ok(reader.skip()?)
            }
        })?;
        Ok(Self {
            code: code.ok_or(HandshakeError::Missing { member: "code" })?,
            heartbeat: sys.heartbeat,
            dictionary: sys.dictionary.into_iter().map(|(route, code)| (route.into(), code)).collect(),
            serializer: sys.serializer.unwrap_or_else(|| "json".into()),
        })
    }

    /// The body of the handshake packet that a server sends, not deflated.
    ///
    /// Bytes of a route that are not UTF-8 cannot be written in JSON: they become replacement characters.
    pub fn encode(&self) -> Vec<u8> {
        let dictionary: Map<_, _> =
            self.dictionary.iter().map(|(route, code)| (route.to_string(), Value::from(*code))).collect();
        let heartbeat = match self.heartbeat.subsec_nanos() {
            0 => Value::from(self.heartbeat.as_secs()),
            _ => Value::from(self.heartbeat.as_secs_f64()),
        };
        let sys = json!({ "dict": dictionary, "heartbeat": heartbeat, "serializer": self.serializer });
        json!({ "code": self.code, "sys": sys }).to_string().into_bytes()
    }
}

#[derive(Default)]
struct ResponseSys {
    heartbeat: Duration,
    dictionary: BTreeMap<String, u16>,
    serializer: Option<String>,
}

impl ResponseSys {
    fn read(&mut self, reader: &mut JsonReader<'_>, name: &str) -> Result<(), HandshakeError> {
        if json::is_same_name(name, "heartbeat") {
            self.heartbeat = read_seconds(reader, "sys.heartbeat")?;
            Ok(())
        } else if json::is_same_name(name, "dict") {
            read_object(reader, "sys.dict", |reader, route| {
                self.dictionary.insert(route, read_code(reader, "sys.dict")?);
                Ok(())
            })
        } else if json::is_same_name(name, "serializer") {
            if reader.peek()? == JsonType::Null {
                return Ok(reader.skip()?);
            }
            read_string(reader, "sys.serializer", self.serializer.get_or_insert_default())
        } else {
            Ok(reader.skip()?)
        }
    }
}

/// What is wrong with a handshake. Whoever sent it is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The body is not JSON.
    #[error("the handshake is not JSON: cannot be read from byte {offset} on")]
    NotJson {
        /// Where the first byte is that cannot stand there; the length if the body ends too early.
        offset: usize,
    },
    /// The body is JSON, but not an object.
    #[error("the handshake is not a JSON object")]
    NotAnObject,
    /// Objects and arrays are inside each other beyond the limit.
    #[error("the handshake is nested deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// A number is larger than a 64-bit float can be.
    #[error("the number before byte {offset} of the handshake is too large")]
    NumberTooLarge {
        /// Where the number ends.
        offset: usize,
    },
    /// A known member has a value of another type, or one out of range.
    #[error("`{member}` in the handshake is not {expected}")]
    WrongType {
        /// The path of the member.
        member: &'static str,
        /// What should stand there.
        expected: &'static str,
    },
    /// A member that must be there is not.
    #[error("`{member}` is missing in the handshake")]
    Missing {
        /// The path of the member.
        member: &'static str,
    },
}

impl From<JsonError> for HandshakeError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax { offset } => Self::NotJson { offset },
            JsonError::TooDeep { max } => Self::TooDeep { max },
            JsonError::NumberTooLarge { offset } => Self::NumberTooLarge { offset },
        }
    }
}

/// Reads the members of the one object that a handshake is; `null` has none.
fn parse_document(
    body: &[u8],
    member: impl FnMut(&mut JsonReader<'_>, String) -> Result<(), HandshakeError>,
) -> Result<(), HandshakeError> {
    json::parse(body, MAX_DEPTH, |reader| match reader.peek()? {
        JsonType::Null => Ok(reader.skip()?),
        JsonType::Object => reader.object(member),
        _ => Err(HandshakeError::NotAnObject),
    })
}

/// Reads the members of an object; `null` has none.
fn read_object<'a>(
    reader: &mut JsonReader<'a>,
    member: &'static str,
    each: impl FnMut(&mut JsonReader<'a>, String) -> Result<(), HandshakeError>,
) -> Result<(), HandshakeError> {
    match reader.peek()? {
        JsonType::Null => Ok(reader.skip()?),
        JsonType::Object => reader.object(each),
        _ => Err(HandshakeError::WrongType { member, expected: "an object" }),
    }
}

/// Reads a string; `null` leaves the field as it was.
fn read_string(reader: &mut JsonReader<'_>, member: &'static str, field: &mut String) -> Result<(), HandshakeError> {
    match reader.peek()? {
        JsonType::Null => reader.skip()?,
        JsonType::String => *field = reader.string()?,
        _ => return Err(HandshakeError::WrongType { member, expected: "a string" }),
    }
    Ok(())
}

fn read_code(reader: &mut JsonReader<'_>, member: &'static str) -> Result<u16, HandshakeError> {
    let number = read_float(reader)?;
    let code = number.map(|number| number as u16).filter(|&code| Some(f64::from(code)) == number);
    code.ok_or(HandshakeError::WrongType { member, expected: "an integer from 0 to 65535" })
}

fn read_seconds(reader: &mut JsonReader<'_>, member: &'static str) -> Result<Duration, HandshakeError> {
    if reader.peek()? == JsonType::Null {
        reader.skip()?;
        return Ok(Duration::ZERO);
    }
    let seconds = read_float(reader)?.and_then(|number| Duration::try_from_secs_f64(number.max(0.0)).ok());
    seconds.ok_or(HandshakeError::WrongType { member, expected: "a number of seconds" })
}

/// Reads a number; `None` is a value of another type.
fn read_float(reader: &mut JsonReader<'_>) -> Result<Option<f64>, HandshakeError> {
    match reader.peek()? {
        JsonType::Number => Ok(reader.number()?.parse().ok()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use proptest::prelude::*;

    use super::*;

    fn parse(body: &str) -> HandshakeRequest {
        HandshakeRequest::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn repeated_objects_add_up() {
        let request = parse(r#"{"sys":{"platform":"a","libVersion":"1"},"SYS":{"platform":"b"},"sys":null}"#);
        assert_eq!((&*request.platform, &*request.lib_version), ("b", "1"));
        let request = parse(r#"{"user":{"a":1,"b":{"c":2}},"u\u017fer":{"b":{"d":3}}}"#);
        assert_eq!(Value::from(request.user), json!({ "a": 1, "b": { "d": 3 } }));
    }

    #[test]
    fn null_takes_back_only_user() {
        let request = parse(r#"{"sys":{"platform":"a","platform":null},"user":{"a":1},"user":null}"#);
        assert_eq!((&*request.platform, request.user), ("a", None));
    }

    #[test]
    fn integers_keep_their_value() {
        let user = parse(r#"{"user":{"n":[18446744073709551615,-9223372036854775808,9007199254740993,-0,1.0]}}"#).user;
        assert_eq!(Value::from(user), json!({ "n": [u64::MAX, i64::MIN, 9_007_199_254_740_993_i64, -0.0, 1.0] }));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(HandshakeRequest::parse(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        let error = HandshakeRequest::parse(nested(MAX_DEPTH).as_bytes());
        assert_eq!(error, Err(HandshakeError::TooDeep { max: MAX_DEPTH }));
    }

    #[test]
    fn errors_say_where() {
        let error = |body: &str| HandshakeRequest::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error(r#"{"sys":{},}"#), HandshakeError::NotJson { offset: 10 });
        assert_eq!(error(r#"{"sys""#), HandshakeError::NotJson { offset: 6 });
        assert_eq!(error("{} x"), HandshakeError::NotJson { offset: 3 });
        let expected = "a string";
        let wrong = HandshakeError::WrongType { member: "sys.clientBuildNumber", expected };
        assert_eq!(error(r#"{"sys":{"clientBuildNumber":20}}"#), wrong);
    }

    #[test]
    fn response_is_read_leniently() {
        let parse = |body: &str| HandshakeResponse::parse(body.as_bytes());
        let refused = HandshakeResponse::new(500, Duration::ZERO, [], "json");
        assert_eq!(parse(r#"{"code":500}"#), Ok(refused.clone()));
        assert_eq!(parse(r#"{"code":5e2,"sys":{"heartbeat":-1,"dict":null,"serializer":null}}"#), Ok(refused));
        assert_eq!(parse("null"), Err(HandshakeError::Missing { member: "code" }));
        for body in [
            r#"{"code":"200"}"#,
            r#"{"code":65536}"#,
            r#"{"code":1,"sys":{"dict":{"a":-1}}}"#,
            r#"{"code":1,"sys":{"dict":{"a":1.5}}}"#,
            r#"{"code":1,"sys":{"heartbeat":1e999}}"#,
        ] {
            assert!(matches!(parse(body), Err(HandshakeError::WrongType { .. })), "{body}");
        }
    }

    #[test]
    fn routes_that_are_not_text_are_written_lossily() {
        let route = Route::from_bytes(bytes::Bytes::from_static(b"a\xff"));
        let response = HandshakeResponse::new(HandshakeResponse::OK, Duration::ZERO, [(route, 1)], "json");
        let read = HandshakeResponse::parse(&response.encode()).unwrap();
        assert_eq!(read.dictionary, vec![(Route::from("a\u{fffd}"), 1)]);
    }

    /// What JSON is made of. Few other texts get far into a reader.
    const ORDINARY: &[&[u8]] = &[
        b"{", b"}", b"[", b"]", b",", b":", b" ", b"\"a\"", b"{\"a\":", b",\"b\":", b"\"", b"\\n", b"\\u0041", b"\n",
        b"-", b"0", b"17", b".5", b"e2", b"E+", b"null", b"true", b"fals",
    ];

    /// What only a lenient reader takes, and the names that a handshake has.
    const LENIENT: &[&[u8]] = &[
        b"\\ud83d",
        b"\\ude00",
        b"\\u",
        b"\xff",
        b"\xe4\xbd",
        b"e999",
        b"{\"sys\":",
        b"\"user\":{",
        b"\"code\":1,",
        b"\"dict\":{",
    ];

    fn almost_json() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select([ORDINARY, LENIENT].concat()), 0..20)
            .prop_map(|tokens| tokens.concat())
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in any::<Vec<u8>>()) {
            let _ = (HandshakeRequest::parse(&body), HandshakeResponse::parse(&body));
        }

        #[test]
        fn almost_json_is_read_or_refused(body in almost_json()) {
            let _ = (HandshakeRequest::parse(&body), HandshakeResponse::parse(&body));
        }

        #[test]
        fn whatever_serde_json_reads_is_read(body in almost_json()) {
            if serde_json::from_slice::<Value>(&body).is_ok() {
                prop_assert!(json::parse(&body, MAX_DEPTH, JsonReader::value).is_ok());
                prop_assert!(json::parse(&body, MAX_DEPTH, JsonReader::skip).is_ok());
            }
        }

        #[test]
        fn ordinary_text_is_read_where_serde_json_reads_it(
            body in prop::collection::vec(prop::sample::select(ORDINARY), 0..9).prop_map(|tokens| tokens.concat()),
        ) {
            let read = json::parse(&body, MAX_DEPTH, JsonReader::value).is_ok();
            prop_assert_eq!(read, serde_json::from_slice::<Value>(&body).is_ok());
        }

        #[test]
        fn request_survives_the_wire(
            strings in any::<[String; 4]>(),
            user in prop::option::of(prop::collection::btree_map(any::<String>(), any_value(), 0..4)),
        ) {
            let [platform, lib_version, client_build_number, client_version] = strings;
            let user = user.map(|user| user.into_iter().collect());
            let request = HandshakeRequest { platform, lib_version, client_build_number, client_version, user };
            prop_assert_eq!(HandshakeRequest::parse(&request.encode()), Ok(request));
        }

        #[test]
        fn response_survives_the_wire(
            code in any::<u16>(),
            millis in any::<u32>(),
            dictionary in prop::collection::btree_map(any::<String>(), any::<u16>(), 0..8),
            serializer in any::<String>(),
        ) {
            let dictionary = dictionary.into_iter().map(|(route, code)| (Route::from(route), code));
            let response = HandshakeResponse::new(code, Duration::from_millis(millis.into()), dictionary, serializer);
            prop_assert_eq!(HandshakeResponse::parse(&response.encode()), Ok(response));
        }
    }
}
