//! Many messages, slow ones, and the end by a kick (specification, sections 3.8, 3.11).

use std::{collections::BTreeMap, time::Instant};

use super::super::{
    bytes::{HEARTBEAT, KICK, request},
    check::Check,
    offer::Family,
    peer::{End, Packet, Peer},
    probe::Probe,
    verdict::{Found, Mark, Stop, fail, pass, skip},
};

pub(super) const CHECKS: &[Check] = &[
    Check::with("order.pipelined", "3.11", "Many requests of one write are answered once each", pipelined),
    Check::with("order.several-clients", "3.11", "Ten clients at once get their own answers", several_clients),
    Check::with("order.slow-beside", "3.11", "While a slow request is handled another client is answered", slow_beside),
    Check::with("order.slow-before", "3.11", "Requests behind a slow one are answered, sooner or later", slow_before),
    Check::with("order.slow-gone", "3.9", "A client that leaves while its request is handled harms nobody", slow_gone),
    Check::with("kick.then-close", "3.8", "A kick is a packet, then the end", kick),
    Check::with("kick.from-client", "3.5", "A kick of a client is ignored", kick_from_client),
];

/// Sends requests with the ids from 1 on, and looks whether each is answered once.
fn ask_many(probe: &Probe<'_>, peer: &mut Peer, count: u64) -> Result<bool, Stop> {
    let echo = probe.offer.echo()?;
    let packets: Vec<_> = (1..=count).map(|id| request(id, &echo.route, &echo.body(&format!("n{id}")))).collect();
    peer.send_all(&packets);
    let mut times = BTreeMap::new();
    let mut ids = Vec::new();
    for answer in probe.answers(peer, count as usize)? {
        let id = answer.message.id.get();
        probe.is_echo(&answer, &echo.body(&format!("n{id}")))?;
        *times.entry(id).or_insert(0_u32) += 1;
        ids.push(id);
    }
    if let Some((id, count)) = times.iter().find(|(_, count)| **count > 1) {
        return Err(fail(format!("request {id} was answered {count} times")));
    }
    if let Some(id) = times.keys().find(|id| !(1..=count).contains(id)) {
        return Err(fail(format!("an answer to {id} came that nothing asked for")));
    }
    probe.is_quiet(peer)?;
    Ok(ids.is_sorted())
}

fn pipelined(probe: &Probe<'_>) -> Found {
    let mut peer = probe.greet()?;
    // nano drops answers when more than 16 wait.
    let count = if probe.family() == Family::Nano { 10 } else { 100 };
    match ask_many(probe, &mut peer, count)? {
        true => pass(format!("{count} were answered once each, in their order")),
        false => pass(format!("{count} were answered once each, in another order")),
    }
}

fn several_clients(probe: &Probe<'_>) -> Found {
    let echo = probe.offer.echo()?;
    let mut peers = Vec::new();
    for _ in 0..10 {
        peers.push(probe.greet()?);
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.send(&request(1, &echo.route, &echo.body(&format!("client{index}"))));
    }
    for (index, peer) in peers.iter_mut().enumerate() {
        probe.is_echo(&peer.answer(1)?, &echo.body(&format!("client{index}")))?;
    }
    pass("each got its own")
}

fn slow_beside(probe: &Probe<'_>) -> Found {
    let slow = probe.offer.slow()?;
    probe.offer.echo()?;
    let (mut first, mut second) = (probe.greet()?, probe.greet()?);
    let start = Instant::now();
    probe.ask(&mut first, 1, slow);
    probe.echo(&mut second, 1)?;
    let fast = start.elapsed();
    first.answer(1)?;
    let slow = start.elapsed();
    match fast < slow {
        true if slow.as_millis() < 50 => Err(skip(format!("the slow request was answered after {slow:.0?} already"))),
        true if fast * 4 < slow * 3 => {
            pass(format!("the other client was answered after {fast:.0?}, this one after {slow:.0?}"))
        }
        _ if probe.family() == Family::Nano => {
            Err(probe.strays(Mark::Optional, "all handlers run one after another, as nano does"))
        }
        _ => Err(fail(format!("the other client waited for {fast:.0?}, the slow request took {slow:.0?}"))),
    }
}

fn slow_before(probe: &Probe<'_>) -> Found {
    let slow = probe.offer.slow()?;
    let echo = probe.offer.echo()?;
    let mut peer = probe.greet()?;
    probe.ask(&mut peer, 1, slow);
    peer.send_all(&[HEARTBEAT, &request(2, &echo.route, &echo.body("behind"))]);
    let ids: Vec<_> = probe.answers(&mut peer, 2)?.iter().map(|answer| answer.message.id.get()).collect();
    match ids[..] {
        [1, 2] => pass("both were answered, in their order"),
        [2, 1] => pass("both were answered, the slow one last"),
        _ => Err(fail(format!("requests 1 and 2 were sent, and {ids:?} were answered"))),
    }
}

fn slow_gone(probe: &Probe<'_>) -> Found {
    let slow = probe.offer.slow()?;
    for _ in 0..3 {
        let mut peer = probe.greet()?;
        probe.ask(&mut peer, 1, slow);
    }
    probe.is_alive()?;
    pass("others are served as before")
}

fn kick(probe: &Probe<'_>) -> Found {
    if probe.family() == Family::Nano {
        return Err(skip("nano kicks nobody"));
    }
    let call = probe.offer.kick()?;
    let mut peer = probe.greet()?;
    probe.ask(&mut peer, 1, call);
    let End { packets, is_over } = peer.end(probe.patience())?;
    if !is_over {
        return Err(fail(format!("{} came, and the connection stayed open", probe.kinds(&packets))));
    }
    let kicks = packets.iter().filter(|Packet(kind, _)| *kind == 5).count();
    match (&packets[..], kicks) {
        (_, 0) => Err(fail("the connection ended, and no kick packet came before")),
        ([.., Packet(5, body)], 1) if body.is_empty() => pass("a kick without a body came, then the end"),
        ([.., Packet(5, body)], 1) => {
            pass(format!("a kick with the body {} came, then the end", String::from_utf8_lossy(body)))
        }
        _ => Err(fail(format!("{} came: more than one kick, or something after it", probe.kinds(&packets)))),
    }
}

fn kick_from_client(probe: &Probe<'_>) -> Found {
    probe.offer.echo()?;
    let mut peer = probe.greet()?;
    peer.send(KICK);
    match probe.echo(&mut peer, 1) {
        Ok(()) => pass("the connection works on"),
        Err(stop) if probe.family().is_pitaya() => Err(stop),
        Err(stop) => Err(probe.strays(Mark::Optional, stop.reason)),
    }
}
