//! The handshake (specification, sections 3.2 to 3.5).

use serde_json::Value;

use super::super::{
    bytes::{ACK, BROWSER, HANDSHAKE, HEARTBEAT, handshake},
    check::{After, Check, Risk},
    offer::Family,
    peer::Packet,
    probe::{Probe, inflated, is_deflated},
    verdict::{Found, Mark, Stop, fail, pass, skip, warn},
};

/// A request for `a.b`, before it is time.
const EARLY: &[u8] = b"\x04\0\0\x06\0\x01\x03a.b";

pub(super) const CHECKS: &[Check] = &[
    Check::with("handshake.reply", "3.3", "The answer has a code, a heartbeat, a dictionary and a serializer", reply),
    Check::accepts("handshake.minimal", "3.2", "An empty object is accepted", &[b"{}", b" {} \n"])
        .known_of_pomelo("needs `sys`"),
    Check::accepts(
        "handshake.sys-user",
        "3.2",
        "All known members are accepted",
        &[HANDSHAKE.as_bytes(), br#"{"sys":{"platform":"ios","libVersion":"0.3.5","clientBuildNumber":"20","clientVersion":"2.1"},"user":{"age":30,"tags":["a",null]}}"#],
    ),
    Check::accepts(
        "handshake.unknown-members",
        "3.2",
        "Members of JavaScript clients are accepted",
        &[BROWSER.as_bytes(), br#"{"sys":{},"user":{},"other":[1,{"a":null}]}"#],
    ),
    Check::accepts(
        "handshake.null-members",
        "3.2",
        "null is accepted for the document and for every member",
        &[b"null", br#"{"sys":null,"user":null}"#, br#"{"sys":{"platform":null,"libVersion":null}}"#],
    )
    .known_of_pomelo("needs `sys`"),
    Check::accepts(
        "handshake.letter-case",
        "3.2",
        "Names of members may be in any case",
        &[br#"{"SYS":{"Platform":"mac","LIBVERSION":"1"},"User":{}}"#],
    )
    .known_of_pomelo("needs `sys` in these letters"),
    Check::accepts(
        "handshake.repeated-members",
        "3.2, F2",
        "Repeated members are accepted",
        &[br#"{"sys":{"platform":"a","platform":"b"},"sys":{"libVersion":"1"},"user":{},"user":{"a":1}}"#],
    ),
    Check::accepts(
        "handshake.odd-text",
        "3.2, F4",
        "Lone surrogates and bytes that are not UTF-8 are accepted in texts",
        &[br#"{"sys":{"platform":"\ud800"}}"#, b"{\"sys\":{\"platform\":\"\xff\"}}"],
    ),
    Check::with("handshake.large", "3.5", "A handshake of 32 KiB is accepted", large),
    Check::refuses("handshake.bad-json", "3.2, 3.5", "What is no JSON is refused", &[b"{", b"{\"sys\":}", b"hello"]),
    Check::refuses("handshake.empty", "3.2", "A handshake without a body is refused", &[b""]),
    Check::refuses("handshake.not-an-object", "3.2", "JSON that is no object is refused", &[b"[]", b"\"sys\"", b"1", b"true"]),
    Check::refuses("handshake.trailing", "3.2", "Text after the object is refused", &[b"{} x", b"{}{}", b"{}\0"]),
    Check::refuses(
        "handshake.wrong-types",
        "3.2",
        "Known members of another type are refused",
        &[br#"{"sys":{"clientBuildNumber":7}}"#, br#"{"sys":1}"#, br#"{"user":[]}"#, br#"{"sys":{"platform":{}}}"#],
    ),
    Check::with("handshake.refused-code", "3.5, 3.7", "A client that is not wanted is told the code, then left", refused_code),
    Check::with("handshake.deflate-plain", "3.4", "A client that does not say it can inflate gets plain JSON", deflate_plain),
    Check::with("handshake.deflate-library", "3.4", "A client with a library version gets JSON, plain or as zlib", deflate_library),
    Check::with("handshake.twice", "3.5", "A second handshake is answered, and the connection works on", twice),
    Check::with("handshake.heartbeat-first", "3.5", "A heartbeat before the handshake is taken", heartbeat_first),
    Check::closes(
        "handshake.data-first",
        "3.5, 3.9",
        "A message before the handshake ends the connection",
        (After::Connecting, Mark::Required),
        &[EARLY],
    ),
    Check::closes(
        "handshake.data-before-ack",
        "3.5, 3.9",
        "A message before the acknowledgement ends the connection",
        (After::Handshake, Mark::Required),
        &[EARLY],
    ),
    Check::closes(
        "handshake.ack-first",
        "3.5, A6",
        "An acknowledgement without a handshake ends the connection",
        (After::Connecting, Mark::Fix),
        &[ACK],
    ),
    Check::with("handshake.deep", "3.2, F4", "A handshake of 100,000 arrays inside each other harms nobody", deep).risk(Risk::Hostile),
];

fn reply(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send(&handshake(probe.handshake()));
    let Packet(kind, body) = peer.packet("the answer to the handshake")?;
    if kind != 1 {
        return Err(fail(format!("the handshake was answered with a packet of type {kind:#04x}")));
    }
    let reply: Value = serde_json::from_slice(&inflated(&body)?)
        .map_err(|error| fail(format!("the answer to the handshake is no JSON: {error}")))?;
    if reply["code"] != 200 {
        return Err(fail(format!("`code` is {}, not 200", reply["code"])));
    }
    let sys = &reply["sys"];
    let seconds = sys["heartbeat"].as_f64().filter(|seconds| *seconds >= 0.0);
    let Some(seconds) = seconds else {
        return Err(fail(format!("`sys.heartbeat` is {}, not a number of seconds", sys["heartbeat"])));
    };
    if let Some(told) = probe.offer.heartbeat.filter(|told| *told != seconds) {
        return Err(fail(format!("`sys.heartbeat` is {seconds}; the file of routes says {told}")));
    }
    members(probe, sys)?;
    match seconds.fract() == 0.0 || probe.family() == Family::Nano {
        true => pass(format!("code 200, heartbeat {seconds} s, serializer {}", sys["serializer"])),
        false => Err(fail(format!("`sys.heartbeat` is {seconds}; existing clients read whole seconds only"))),
    }
}

/// The members that Pitaya has always, and others sometimes.
fn members(probe: &Probe<'_>, sys: &Value) -> Result<(), Stop> {
    let needs = probe.family().is_pitaya();
    match &sys["dict"] {
        Value::Object(dictionary) => {
            let is_code = |code: &Value| code.as_u64().is_some_and(|code| code <= u64::from(u16::MAX));
            if let Some((route, code)) = dictionary.iter().find(|(_, code)| !is_code(code)) {
                return Err(fail(format!("the dictionary has the code {code} for {route:?}: codes have 16 bits")));
            }
        }
        Value::Null if !needs => {}
        other => return Err(fail(format!("`sys.dict` is {other}, not an object"))),
    }
    match (&sys["serializer"], &probe.offer.serializer) {
        (Value::String(name), Some(told)) if name != told => {
            Err(fail(format!("`sys.serializer` is {name:?}; the file of routes says {told:?}")))
        }
        (Value::String(_), _) => Ok(()),
        _ if !needs => Ok(()),
        (other, _) => Err(fail(format!("`sys.serializer` is {other}, not a name"))),
    }
}

fn large(probe: &Probe<'_>) -> Found {
    let text = "x".repeat(32 << 10);
    let mut peer = probe.connect()?;
    let reply = probe.shake(&mut peer, format!(r#"{{"sys":{{}},"user":{{"text":"{text}"}}}}"#).as_bytes())?;
    match reply.code {
        200 => pass("it was accepted"),
        code => Err(fail(format!("it was answered with the code {code}"))),
    }
}

fn refused_code(probe: &Probe<'_>) -> Found {
    let Some(refused) = &probe.offer.refused else {
        return Err(skip("the file of routes has no [refused], a handshake that the server refuses"));
    };
    let mut peer = probe.connect()?;
    let reply = probe.shake(&mut peer, refused.handshake.as_bytes())?;
    if reply.code != refused.code {
        return Err(fail(format!("the code is {}, not {}", reply.code, refused.code)));
    }
    probe.is_ended(&mut peer, After::Connecting, Mark::Required)?;
    pass(format!("the code {} came, then the end", reply.code))
}

fn deflate_plain(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send(&handshake(BROWSER));
    let Packet(_, body) = peer.packet("the answer to the handshake")?;
    match is_deflated(&body) {
        false => pass("it is plain"),
        true => Err(probe.strays(Mark::Optional, "it is deflated, which JavaScript clients cannot read")),
    }
}

fn deflate_library(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send(&handshake(HANDSHAKE));
    let Packet(_, body) = peer.packet("the answer to the handshake")?;
    probe.read_reply(&body)?;
    pass(if is_deflated(&body) { "it is zlib, and can be read" } else { "it is plain" })
}

fn twice(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    let second = match probe.shake(&mut peer, probe.handshake().as_bytes()) {
        Ok(second) => second,
        Err(stop) => return Err(warn(format!("{}; no client shakes hands twice", stop.reason))),
    };
    if second.code != 200 {
        return Err(warn(format!(
            "the second is answered with the code {}; no client shakes hands twice",
            second.code
        )));
    }
    peer.send(ACK);
    probe.works_if_offered(&mut peer)?;
    pass("the second was answered, too")
}

fn heartbeat_first(probe: &Probe<'_>) -> Found {
    let mut peer = probe.connect()?;
    peer.send_all(&[HEARTBEAT]);
    match probe.shake(&mut peer, probe.handshake().as_bytes()) {
        Ok(_) => pass("the handshake after it was answered"),
        Err(stop) => Err(warn(format!("after a heartbeat {}; no client begins with one", stop.reason))),
    }
}

fn deep(probe: &Probe<'_>) -> Found {
    const LEVELS: usize = 100_000;
    let body = [br#"{"user":{"a":"#, &b"[".repeat(LEVELS)[..], &b"]".repeat(LEVELS), b"}}"].concat();
    let mut peer = probe.connect()?;
    peer.send(&handshake(body));
    let answer = peer.packet("an answer");
    probe.is_alive()?;
    match answer {
        Ok(Packet(1, reply)) => pass(format!("it was answered with the code {}", probe.read_reply(&reply)?.code)),
        Ok(Packet(kind, _)) => Err(fail(format!("it was answered with a packet of type {kind:#04x}"))),
        Err(_) => pass("it was not answered, and others are served"),
    }
}
