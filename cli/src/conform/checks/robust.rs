//! What must harm nobody (specification, sections 1.2, 3.9, 3.10).

use std::time::Duration;

use super::super::{
    bytes::{by_hand, request},
    check::{After, Check, Over, Risk},
    offer::Family,
    peer::{Event, Peer},
    probe::Probe,
    verdict::{Found, Mark, Stop, fail, pass},
};

pub(super) const CHECKS: &[Check] = &[
    Check::with("robust.big-body", "1.2", "A large body comes back", big_body),
    Check::with("robust.half-close", "1.6", "A client that ends its direction is left", half_close)
        .over(Over::Stream)
        .risk(Risk::Hostile),
    hostile("robust.abrupt-end", "3.9", "A client that goes away with answers under way harms nobody", abrupt_end),
    hostile("robust.stalled-reader", "3.10", "A client that does not read harms nobody", stalled_reader),
    hostile("robust.many-connections", "3.1", "200 connections that come and go harm nobody", many_connections),
    hostile("robust.random-bytes", "1.4, 2.8", "Random bytes harm nobody", random_bytes),
    hostile("robust.random-messages", "2.8", "Random messages harm nobody", random_messages),
    Check::closes(
        "robust.no-route",
        "2.8, A1",
        "A request that ends after its id ends the connection, and nothing else",
        (After::Acknowledgement, Mark::Fix),
        &[b"\x04\0\0\x02\0\x01"],
    )
    .risk(Risk::Deadly),
];

const fn hostile(id: &'static str, section: &'static str, title: &'static str, run: fn(&Probe<'_>) -> Found) -> Check {
    Check::with(id, section, title, run).risk(Risk::Hostile)
}

fn big_body(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    // nano takes packets of 64 KiB at most.
    let length = if probe.family() == Family::Nano { 60_000 } else { 1 << 20 };
    let mut random = Random(3);
    let text: String = (0..length).map(|_| char::from(b'a' + random.byte() % 26)).collect();
    let body = echo.body_with(&text)?;
    let mut peer = probe.greet()?;
    peer.send(&request(1, &echo.route, &body));
    probe.is_echo(&peer.answer(1)?, &body)?;
    pass(format!("{} bytes came back", body.len()))
}

fn half_close(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    peer.finish();
    probe.is_ended(&mut peer, After::Acknowledgement, Mark::Required)
}

/// Requests whose answers are not read.
fn flood(probe: &Probe<'_>, count: u64) -> Result<Peer, Stop> {
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    let body = echo.body(&"flood".repeat(200));
    let packets: Vec<_> = (1..=count).map(|id| request(id, &echo.route, &body)).collect();
    peer.send_all(&packets);
    Ok(peer)
}

fn abrupt_end(probe: &Probe<'_>) -> Found {
    for _ in 0..20 {
        // What was not read makes the system reset the connection.
        drop(flood(probe, 20)?);
        let mut peer = probe.greet()?;
        peer.send_bytes(b"\x04\0\0");
    }
    probe.is_alive()?;
    pass("others are served as before")
}

fn stalled_reader(probe: &Probe<'_>) -> Found {
    let mut stalled = Vec::new();
    for _ in 0..3 {
        stalled.push(flood(probe, 500)?);
    }
    probe.is_alive()?;
    pass("while three clients leave 500 answers unread, another is served")
}

fn many_connections(probe: &Probe<'_>) -> Found {
    let mut peers = Vec::new();
    for index in 0..200 {
        let peer = if index % 4 == 0 { probe.greet()? } else { probe.connect()? };
        peers.push(peer);
        if index % 50 == 49 {
            probe.is_alive()?;
            peers.clear();
        }
    }
    pass("others are served as before")
}

/// Always the same, so that a report can be compared with another.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }
}

fn random_bytes(probe: &Probe<'_>) -> Found {
    let mut random = Random(1);
    for round in 0..40_usize {
        let mut peer = if round % 2 == 0 { probe.connect()? } else { probe.greet()? };
        peer.send_bytes(&random.bytes(1 + round * 7));
        // Half of them wait for what comes.
        if round % 4 < 2 {
            let _ = peer.within(Duration::from_millis(20));
        }
    }
    probe.is_alive()?;
    pass("after 40 connections with random bytes others are served as before")
}

fn random_messages(probe: &Probe<'_>) -> Found {
    let mut random = Random(2);
    let mut survived = 0;
    for round in 0..60_usize {
        let mut peer = probe.greet()?;
        let route = random.bytes(round % 9);
        let id = [random.byte() & 0x7f];
        // No deadly one: flags, id and the length of the route are always there.
        let flags = [0x00, 0x02, 0x04, 0x06, 0x10, 0x20, 0xc0][round % 7];
        let body = random.bytes(round);
        peer.send(&by_hand(flags, &id, &route, &body));
        let events = peer.within(Duration::from_millis(10)).map_err(|stop| fail(stop.reason))?;
        survived += usize::from(!events.iter().any(|event| matches!(event, Event::End(_))));
    }
    probe.is_alive()?;
    pass(format!(
        "after 60 random messages, {survived} of which did not end their connection at once, others are served"
    ))
}
