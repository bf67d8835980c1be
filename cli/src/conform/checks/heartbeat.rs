//! Heartbeats (specification, section 3.6).

use std::time::{Duration, Instant};

use super::super::{
    bytes::{HEARTBEAT, request},
    check::Check,
    offer::Family,
    peer::{Event, Packet, Peer},
    probe::{Probe, QUIET, SHORT},
    verdict::{Found, Mark, Stop, fail, pass, skip, warn},
};

/// Machines are not always in time.
const SLACK: Duration = Duration::from_millis(1500);

pub(super) const CHECKS: &[Check] = &[
    Check::with("heartbeat.unprompted", "3.6, B.3", "The server sends heartbeats as often as it said", unprompted),
    Check::with("heartbeat.silence", "3.6", "A silent client is left after two to three heartbeats", silence),
    Check::with("heartbeat.kept-open", "3.6", "A client that sends heartbeats stays connected", kept_open),
    Check::with("heartbeat.any-packet", "3.6", "Requests keep a connection open as heartbeats do", any_packet)
        .known_of_pomelo("counts heartbeats only"),
    Check::with(
        "heartbeat.never-spoke",
        "3.5, 3.6",
        "A client that never speaks is left, after two heartbeats at the earliest",
        never_spoke,
    )
    .known_of_pomelo("waits for the handshake"),
    Check::with("heartbeat.unanswered", "3.6", "The heartbeats of a client are not answered", unanswered),
];

/// The interval, if it is short enough to be waited for.
fn interval(probe: &Probe<'_>) -> Result<Duration, Stop> {
    let heartbeat = probe.heartbeat();
    if heartbeat.is_zero() {
        return Err(skip("the server told no heartbeat"));
    }
    if heartbeat > SHORT && !probe.slow {
        return Err(skip(format!(
            "the heartbeat is {heartbeat:?}: --slow waits for it, {SHORT:?} are waited for without"
        )));
    }
    Ok(heartbeat)
}

/// A connection that does not keep itself alive.
fn quiet(probe: &Probe<'_>) -> Result<Peer, Stop> {
    let mut peer = probe.greet()?;
    peer.keep_alive(Duration::ZERO);
    Ok(peer)
}

/// Sends something each interval, and tells when heartbeats came.
fn beats(peer: &mut Peer, every: Duration, times: u32, packet: &[u8]) -> Result<Vec<Duration>, Stop> {
    let start = Instant::now();
    let mut beats = Vec::new();
    for turn in 1..=times {
        let until = start + every * turn;
        loop {
            match peer.next(until)? {
                Event::Packet(Packet(3, _)) => beats.push(start.elapsed()),
                Event::Packet(..) | Event::Pong(_) => {}
                Event::End(why) => return Err(fail(format!("after {:.1?} {why}", start.elapsed()))),
                Event::Nothing => break,
            }
        }
        if !packet.is_empty() {
            peer.send(packet);
        }
    }
    Ok(beats)
}

fn unprompted(probe: &Probe<'_>) -> Found {
    let every = interval(probe)?;
    let mut peer = quiet(probe)?;
    // pomelo waits for the client's.
    let packet = if probe.family() == Family::Pomelo { HEARTBEAT } else { &[] };
    if !packet.is_empty() {
        peer.send(packet);
    }
    // A client that says nothing is left after two intervals at the earliest: that is long enough for the first heartbeat.
    let beats = match packet.is_empty() {
        true => {
            let mut first = beats(&mut peer, every * 3 / 2, 1, HEARTBEAT)?;
            first.extend(beats(&mut peer, every, 2, HEARTBEAT)?.iter().map(|at| *at + every * 3 / 2));
            first
        }
        false => beats(&mut peer, every, 3, packet)?,
    };
    let gap = beats.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
    match beats.len() {
        0 => Err(fail(format!("no heartbeat came in {:.1?}, though the server told {every:?}", every * 7 / 2))),
        1 => Err(fail(format!("one heartbeat came in {:.1?}, though the server told {every:?}", every * 7 / 2))),
        _ if gap > every + SLACK => Err(fail(format!("{gap:.1?} passed between two heartbeats, not {every:?}"))),
        count => pass(format!("{count} came in {:.1?}, {gap:.1?} apart at most", every * 7 / 2)),
    }
}

/// How long it takes the server to leave.
fn left(peer: &mut Peer, start: Instant, limit: Duration) -> Result<Option<(Duration, usize)>, Stop> {
    let mut packets = 0;
    loop {
        match peer.next(start + limit)? {
            Event::Packet(Packet(3, _)) => packets += 1,
            Event::Packet(Packet(kind, _)) => {
                return Err(fail(format!("a packet of type {kind:#04x} came before the end")));
            }
            Event::Pong(_) => {}
            Event::End(_) => return Ok(Some((start.elapsed(), packets))),
            Event::Nothing => return Ok(None),
        }
    }
}

fn silence(probe: &Probe<'_>) -> Found {
    let every = interval(probe)?;
    let mut peer = quiet(probe)?;
    let start = Instant::now();
    match left(&mut peer, start, every * 3 + SLACK)? {
        // Measured from after the last packet, which the server had a little earlier.
        Some((time, _)) if time + Duration::from_millis(50) < every * 2 => {
            Err(fail(format!("the server left after {time:.1?}, before two heartbeats of {every:?} were over")))
        }
        Some((time, _)) => pass(format!("the server left after {time:.1?}")),
        None => Err(fail(format!("the connection was still open after {:.1?}", every * 3 + SLACK))),
    }
}

fn kept_open(probe: &Probe<'_>) -> Found {
    let every = interval(probe)?;
    let mut peer = quiet(probe)?;
    beats(&mut peer, every, 4, HEARTBEAT)?;
    probe.works_if_offered(&mut peer)?;
    pass(format!("the connection is still open after {:?}", every * 4))
}

fn any_packet(probe: &Probe<'_>) -> Found {
    let every = interval(probe)?;
    let echo = probe.offer.echo()?;
    let mut peer = quiet(probe)?;
    beats(&mut peer, every, 4, &request(1, &echo.route, &echo.body("alive")))?;
    pass(format!("the connection is still open after {:?}", every * 4))
}

fn never_spoke(probe: &Probe<'_>) -> Found {
    let every = interval(probe)?;
    let mut peer = probe.connect()?;
    let start = Instant::now();
    match left(&mut peer, start, every * 4 + SLACK)? {
        Some((time, _)) if time + Duration::from_millis(50) < every * 2 => {
            Err(probe.strays(Mark::Optional, format!("the server left after {time:.1?} already")))
        }
        Some((time, 0)) => pass(format!("the server left after {time:.1?}")),
        Some((time, _)) => {
            let what = format!("the server left after {time:.1?}, and sent heartbeats before the handshake");
            Err(probe.strays(Mark::Optional, what))
        }
        None => Err(fail(format!("the connection was still open after {:.1?}", every * 4 + SLACK))),
    }
}

fn unanswered(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    peer.send_all(&[HEARTBEAT; 20]);
    let until = Instant::now() + QUIET;
    let mut came = 0;
    while let Event::Packet(Packet(3, _)) = peer.next(until)? {
        came += 1;
    }
    match came {
        0 | 1 => pass("20 heartbeats were not answered"),
        _ if probe.family() == Family::Pomelo => pass(format!("{came} came back, as pomelo does")),
        _ => Err(warn(format!("{came} heartbeats came in {QUIET:?} after 20 of the client"))),
    }
}
