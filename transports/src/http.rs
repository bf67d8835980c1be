//! The little HTTP that a WebSocket port needs: the upgrade, a few pages, and a refusal for everything else.

use std::mem::MaybeUninit;

use bytes::Bytes;
use httparse::{Error, Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

use crate::{Origins, WebSocketConfig};

/// More header lines than any browser or proxy sends.
const MAX_HEADERS: usize = 64;

/// A file that a WebSocket port serves to plain HTTP requests, such as a browser client.
///
/// ```
/// use cereus_transports::Page;
///
/// let page = Page::new("/", "text/html; charset=utf-8", "<!doctype html><title>Lobby</title>");
/// assert_eq!(page.path, "/");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The path it is served at, such as `/index.html`, compared byte for byte. A query string is not part of it.
    pub path: String,
    /// The value of `Content-Type`.
    pub mime: String,
    /// What is served.
    pub body: Bytes,
}

impl Page {
    /// A page at `path`.
    pub fn new(path: impl Into<String>, mime: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { path: path.into(), mime: mime.into(), body: body.into() }
    }
}

/// What is sent in answer to a request head.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 101 opens the WebSocket; every other status ends the connection.
    pub(crate) status: u16,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    fn upgrade(key: &[u8]) -> Self {
        let accept = derive_accept_key(key);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        Self { status: 101, bytes: head.into_bytes() }
    }

    fn last(status: u16, extra: &str, mime: &str, body: &[u8], with_body: bool) -> Self {
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\n\
             {extra}\r\n\r\n",
            reason(status),
            body.len(),
        );
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(body);
        }
        Self { status, bytes }
    }

    fn refusal(status: u16, extra: &str, text: &str) -> Self {
        Self::last(status, extra, "text/plain; charset=utf-8", text.as_bytes(), true)
    }

    /// The refusal of what is not a whole request.
    pub(crate) fn bad_request() -> Self {
        Self::refusal(400, CLOSE, "This is not a whole HTTP request. This port speaks WebSocket.\n")
    }

    /// The refusal of a request head that is longer than allowed.
    pub(crate) fn head_too_large() -> Self {
        Self::refusal(431, CLOSE, "The request head is too large. This port speaks WebSocket.\n")
    }
}

const CLOSE: &str = "Connection: close";

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    }
}

/// The length of the request head at the start of `bytes` and the answer to it, or `None` while it may go on. What
/// cannot become HTTP any more is refused without waiting for the end.
pub(crate) fn answer(bytes: &[u8], config: &WebSocketConfig) -> Option<(usize, Answer)> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Partial) => None,
        Ok(Status::Complete(len)) => Some((len, answer_request(&request, config))),
        Err(error) => Some((bytes.len(), answer_error(error))),
    }
}

fn answer_error(error: Error) -> Answer {
    match error {
        Error::TooManyHeaders => Answer::head_too_large(),
        Error::Version => Answer::refusal(505, CLOSE, "This port speaks HTTP/1.1 and WebSocket.\n"),
        _ => Answer::bad_request(),
    }
}

fn answer_request(request: &Request<'_, '_>, config: &WebSocketConfig) -> Answer {
    let method = request.method.unwrap_or_default();
    let upgrade = has_token(request.headers, "upgrade", "websocket");
    match method {
        "GET" if upgrade => answer_upgrade(request, &config.origins),
        "GET" | "HEAD" => answer_page(method, request.path.unwrap_or_default(), &config.pages),
        _ => Answer::refusal(405, "Allow: GET, HEAD\r\nConnection: close", "This port speaks WebSocket.\n"),
    }
}

fn answer_upgrade(request: &Request<'_, '_>, origins: &Origins) -> Answer {
    if request.version != Some(1) {
        return Answer::refusal(505, CLOSE, "A WebSocket begins with HTTP/1.1.\n");
    }
    if !has_token(request.headers, "connection", "upgrade") {
        return Answer::refusal(400, CLOSE, "\"Connection: upgrade\" is missing; did a proxy remove it?\n");
    }
    if !has_token(request.headers, "sec-websocket-version", "13") {
        let extra = "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: upgrade, close";
        return Answer::refusal(426, extra, "Only version 13 of WebSocket is spoken here.\n");
    }
    if !origins.allows(values(request.headers, "origin"), values(request.headers, "host")) {
        return Answer::refusal(403, CLOSE, "Pages of this origin may not connect here.\n");
    }
    let mut keys = values(request.headers, "sec-websocket-key");
    match (keys.next().map(<[u8]>::trim_ascii), keys.next()) {
        (Some(key), None) if is_key(key) => Answer::upgrade(key),
        _ => Answer::refusal(400, CLOSE, "Sec-WebSocket-Key must be 16 bytes in base64.\n"),
    }
}

fn answer_page(method: &str, target: &str, pages: &[Page]) -> Answer {
    let path = target.split('?').next().unwrap_or_default();
    let with_body = method == "GET";
    if let Some(page) = pages.iter().find(|page| page.path == path) {
        return Answer::last(200, CLOSE, &page.mime, &page.body, with_body);
    }
    let status = if pages.is_empty() { 400 } else { 404 };
    let text = b"There is no page here. This port speaks WebSocket.\n";
    Answer::last(status, CLOSE, "text/plain; charset=utf-8", text, with_body)
}

fn values<'a>(headers: &'a [Header<'_>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// Whether a header that is a list, perhaps over several lines, has this element.
fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether this is the base64 of 16 bytes: 22 digits and the padding.
fn is_key(key: &[u8]) -> bool {
    key.strip_suffix(b"==").is_some_and(|digits| {
        digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    })
}
