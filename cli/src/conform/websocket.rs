//! WebSocket frames made by hand, for a library would refuse to send wrong ones.

use std::time::Instant;

use super::wire::{Got, Target, Wire};

/// The key of RFC 6455's own example, whose answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// No head of a response is longer.
const MAX_HEAD: usize = 16 << 10;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A key that leaves bytes readable in reports.
const PLAIN: [u8; 4] = [0; 4];

/// One frame as a client sends it.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, Some(PLAIN), payload)
}

/// The same with a key that changes every byte.
pub(super) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, Some([0x37, 0xfa, 0x21, 0x3d]), payload)
}

/// A frame that is not the last of its message.
pub(super) fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(opcode, Some(PLAIN), payload)
}

/// A frame as only servers may send it.
pub(super) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, None, payload)
}

fn encode(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(bit | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    bytes.extend(payload.iter().zip(mask.unwrap_or_default().iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// One frame of the server.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) is_last: bool,
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

/// Takes the first frame, if it is whole.
pub(super) fn next(buffer: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let [first, second, ..] = buffer[..] else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err("a frame of the server is masked, which only a client's may be".into());
    }
    if first & 0x70 != 0 {
        return Err("a frame of the server uses an extension that was not agreed on".into());
    }
    let extended = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(length) = buffer.get(2..2 + extended) else { return Ok(None) };
    let length = match extended {
        0 => u64::from(second),
        _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    let start = 2 + extended;
    let Some(end) = usize::try_from(length).ok().and_then(|length| start.checked_add(length)) else {
        return Err(format!("a frame of the server announces {length} bytes"));
    };
    if buffer.len() < end {
        return Ok(None);
    }
    let payload = buffer[start..end].to_vec();
    buffer.drain(..end);
    Ok(Some(Frame { is_last: first & 0x80 != 0, opcode: first & 0x0f, payload }))
}

/// The request for a WebSocket at this path.
pub(super) fn request(target: &Target, path: &str) -> String {
    let address = &target.address;
    let host = if address.host().contains(':') { format!("[{}]", address.host()) } else { address.host().to_owned() };
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n",
        address.port()
    );
    for (name, value) in &target.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head + "\r\n"
}

/// The head of an HTTP response, and what follows it.
pub(super) fn head(wire: &mut Wire, until: Instant) -> Result<(String, Vec<u8>), String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match wire.receive(until) {
            _ if bytes.len() > MAX_HEAD => return Err("the head of the HTTP response has no end".into()),
            Got::Bytes(more) => bytes.extend(more),
            Got::End(why) => return Err(format!("no HTTP response came: {why}")),
            Got::Nothing => return Err("no HTTP response came in time".into()),
        }
    }
}

/// The status of a response.
pub(super) fn status(head: &str) -> Option<u16> {
    head.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether this is the answer to [`request`].
pub(super) fn accepts(head: &str) -> Result<(), String> {
    let line = head.lines().next().unwrap_or_default();
    if status(head) != Some(101) {
        return Err(format!("the request for a WebSocket was answered with `{line}`"));
    }
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim())
    };
    match header("sec-websocket-accept") {
        Some(ACCEPT) => {}
        other => return Err(format!("Sec-WebSocket-Accept is {other:?}, not {ACCEPT}")),
    }
    match header("sec-websocket-extensions") {
        Some(extension) => Err(format!("the extension {extension} was not asked for")),
        None => Ok(()),
    }
}
