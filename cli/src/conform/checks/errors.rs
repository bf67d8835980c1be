//! What clients are told of errors (specification, section 4).

use cereus_core::Message;
use serde_json::Value;

use super::super::{
    bytes::request,
    check::Check,
    offer::{Call, Family},
    peer::{Event, Peer, Received},
    probe::{Probe, QUIET},
    verdict::{Found, Mark, Stop, fail, pass, skip, warn},
};

const NOT_FOUND: &str = "PIT-404";

pub(super) const CHECKS: &[Check] = &[
    Check::with(
        "errors.unknown-route",
        "4.2",
        "A request for a route that no handler has is answered with PIT-404",
        unknown_route,
    ),
    Check::with(
        "errors.unknown-type",
        "3.11, A14",
        "A request for a type of server that nobody knows is answered",
        unknown_type,
    ),
    Check::with("errors.code", "4.1", "A handler's error arrives with its code", code),
    Check::with("errors.shape", "4.1", "The body of an error has a code, a message, and texts as metadata", shape),
    Check::with("errors.connection-stays", "4", "After errors the connection works on", connection_stays),
];

/// The body of an error.
struct Payload {
    code: String,
    message: String,
}

/// Reads the body of an error in the serializer of the server.
fn payload(probe: &Probe<'_>, message: &Message) -> Result<Payload, Stop> {
    let serializer = probe.welcome.map_or("json", |welcome| welcome.serializer.as_str());
    let payload = match serializer {
        "json" => json(&message.body),
        "protobuf" => protobuf(&message.body).ok_or_else(|| "it is no protos.Error".to_owned()),
        other => return Err(skip(format!("the kit cannot read bodies of the serializer {other:?}"))),
    };
    payload.map_err(|why| fail(format!("the body of the error cannot be read: {why}")))
}

fn json(body: &[u8]) -> Result<Payload, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Value::Object(members) = value else { return Err("it is no JSON object".into()) };
    let text = |name: &str| match members.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("`{name}` is {other}, not a text")),
    };
    let is_text = |metadata: &Value| metadata.as_object().is_some_and(|all| all.values().all(Value::is_string));
    match members.get("metadata") {
        Some(metadata) if !is_text(metadata) => Err(format!("`metadata` is {metadata}, not an object of texts")),
        _ => Ok(Payload { code: text("code")?, message: text("msg")? }),
    }
}

/// Fields 1 and 2 are texts, 3 are entries of a map.
fn protobuf(mut body: &[u8]) -> Option<Payload> {
    let mut payload = Payload { code: String::new(), message: String::new() };
    while let Some((tag, rest)) = body.split_first() {
        let (length, rest) = varint(rest)?;
        let (field, rest) = rest.split_at_checked(length)?;
        match tag {
            0x0a => payload.code = String::from_utf8(field.to_vec()).ok()?,
            0x12 => payload.message = String::from_utf8(field.to_vec()).ok()?,
            0x1a => {}
            _ => return None,
        }
        body = rest;
    }
    Some(payload)
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let length = bytes[..=end].iter().rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    Some((length, &bytes[end + 1..]))
}

/// The answer to a request that goes wrong, as far as the family gives one.
fn refused(probe: &Probe<'_>, peer: &mut Peer, call: &Call) -> Result<Received, Stop> {
    probe.ask(peer, 3, call);
    match probe.family() {
        Family::Cereus | Family::Pitaya => {
            let answer = peer.answer(3)?;
            match answer.message.error {
                true => Ok(answer),
                false => Err(fail("the answer has no error bit")),
            }
        }
        Family::Nano => Err(warn(match &peer.within(QUIET * 2)?[..] {
            [] => "nothing came, as nano does: its clients wait until they give up",
            [Event::End(_)] => "the server ended the connection, as nano does",
            _ => "something came, though nano answers no errors",
        })),
        Family::Pomelo => {
            let answer = peer.answer(3)?;
            let body: Value = serde_json::from_slice(&answer.message.body).unwrap_or_default();
            Err(match &body["code"] {
                Value::Number(code) if body["code"] != 200 => {
                    warn(format!("the body says the code {code}, as pomelo does: there is no error bit"))
                }
                _ => fail("the body of the answer has no `code` that says what went wrong"),
            })
        }
    }
}

fn is_code(probe: &Probe<'_>, answer: &Received, expected: &str) -> Found {
    let payload = payload(probe, &answer.message)?;
    match payload.code == expected {
        true => pass(format!("the code is {expected}")),
        false => Err(fail(format!("the code is {:?}, not {expected:?}", payload.code))),
    }
}

fn unknown_route(probe: &Probe<'_>) -> Found {
    let missing = probe.offer.missing()?;
    let answer = refused(probe, &mut probe.greet()?, missing)?;
    is_code(probe, &answer, missing.code.as_deref().unwrap_or(NOT_FOUND))
}

fn unknown_type(probe: &Probe<'_>) -> Found {
    if !probe.family().is_pitaya() {
        return Err(skip(format!("{} has no such routes", probe.family().name())));
    }
    let mut peer = probe.greet()?;
    peer.send(&request(3, "cereus-conform-nobody.room.join", b""));
    match peer.answer(3) {
        Ok(answer) if answer.message.error => {
            pass(format!("it was answered with the code {}", payload(probe, &answer.message)?.code))
        }
        Ok(_) => Err(fail("it was answered without the error bit")),
        Err(stop) => Err(probe.strays(Mark::Fix, stop.reason)),
    }
}

fn code(probe: &Probe<'_>) -> Found {
    let call = probe.offer.error()?;
    let Some(code) = &call.code else {
        return Err(skip("the entry [error] has no `code`, that of the error"));
    };
    let answer = refused(probe, &mut probe.greet()?, call)?;
    is_code(probe, &answer, code)
}

fn shape(probe: &Probe<'_>) -> Found {
    let call = probe.offer.error().or_else(|_| probe.offer.missing())?;
    let answer = refused(probe, &mut probe.greet()?, call)?;
    let payload = payload(probe, &answer.message)?;
    match payload.code.is_empty() {
        true => Err(fail("the body of the error has no code")),
        false => pass(format!("code {}, message {:?}", payload.code, payload.message)),
    }
}

fn connection_stays(probe: &Probe<'_>) -> Found {
    let call = probe.offer.error().or_else(|_| probe.offer.missing())?;
    if probe.family() == Family::Nano {
        return Err(skip("nano ends connections after errors"));
    }
    let mut peer = probe.greet()?;
    for id in 10..13 {
        probe.ask(&mut peer, id, call);
        peer.answer(id)?;
    }
    probe.echo(&mut peer, 1)?;
    pass("an echo came after three errors")
}
