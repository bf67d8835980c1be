//! What a check is.

use super::{
    bytes::handshake,
    offer::Family,
    peer::Packet,
    probe::Probe,
    verdict::{Found, Mark, Verdict, fail, pass, warn},
};

/// One row of the table.
#[derive(Debug)]
pub(super) struct Check {
    /// Never changes: people choose checks by it, and compare reports.
    pub(super) id: &'static str,
    /// What a server does that passes.
    pub(super) title: &'static str,
    /// Where `pitaya-v3.md` says so.
    pub(super) section: &'static str,
    over: Over,
    pub(super) risk: Risk,
    /// Why servers of pomelo do not pass.
    pomelo: Option<&'static str>,
    run: Run,
}

/// Over which transports it makes sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Over {
    Any,
    Stream,
    WebSocket,
}

/// What it may do to a server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Risk {
    /// Nothing that clients do not do: it runs beside others.
    None,
    /// It runs alone, and the server is looked after when it is over.
    Hostile,
    /// As hostile, and known to end servers of this protocol: it runs last.
    Deadly,
}

#[derive(Debug)]
enum Run {
    With(fn(&Probe<'_>) -> Found),
    /// The server accepts each of these handshakes.
    Accepts(&'static [&'static [u8]]),
    /// The server refuses each of these handshakes.
    Refuses(&'static [&'static [u8]]),
    /// The server ends the connection after each of these, without a word.
    Closes(After, Mark, &'static [&'static [u8]]),
}

/// When something wrong is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    Connecting,
    /// And before the acknowledgement.
    Handshake,
    Acknowledgement,
}

impl Check {
    const fn new(id: &'static str, title: &'static str, section: &'static str, run: Run) -> Self {
        Self { id, title, section, over: Over::Any, risk: Risk::None, pomelo: None, run }
    }

    pub(super) const fn with(
        id: &'static str,
        section: &'static str,
        title: &'static str,
        run: fn(&Probe<'_>) -> Found,
    ) -> Self {
        Self::new(id, title, section, Run::With(run))
    }

    pub(super) const fn accepts(
        id: &'static str,
        section: &'static str,
        title: &'static str,
        bodies: &'static [&'static [u8]],
    ) -> Self {
        Self::new(id, title, section, Run::Accepts(bodies))
    }

    pub(super) const fn refuses(
        id: &'static str,
        section: &'static str,
        title: &'static str,
        bodies: &'static [&'static [u8]],
    ) -> Self {
        Self::new(id, title, section, Run::Refuses(bodies))
    }

    pub(super) const fn closes(
        id: &'static str,
        section: &'static str,
        title: &'static str,
        (after, mark): (After, Mark),
        packets: &'static [&'static [u8]],
    ) -> Self {
        Self { risk: Risk::Hostile, ..Self::new(id, title, section, Run::Closes(after, mark, packets)) }
    }

    pub(super) const fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    pub(super) const fn risk(self, risk: Risk) -> Self {
        Self { risk, ..self }
    }

    /// That pomelo fails is a warning, because pomelo itself is known to.
    pub(super) const fn known_of_pomelo(self, why: &'static str) -> Self {
        Self { pomelo: Some(why), ..self }
    }

    /// Whether it makes sense where a message of the transport is a packet, or is not.
    pub(super) fn is_over(&self, websocket: bool) -> bool {
        match self.over {
            Over::Any => true,
            Over::Stream => !websocket,
            Over::WebSocket => websocket,
        }
    }

    pub(super) fn run(&self, probe: &Probe<'_>) -> Found {
        let found = match self.run {
            Run::With(run) => run(probe),
            Run::Accepts(bodies) => accepts(probe, bodies),
            Run::Refuses(bodies) => refuses(probe, bodies),
            Run::Closes(after, mark, packets) => closes(probe, after, mark, packets),
        };
        found.map_err(|stop| match self.pomelo {
            Some(why) if stop.verdict == Verdict::Fail && probe.family() == Family::Pomelo => {
                warn(format!("{}; known of pomelo, which {why}", stop.reason))
            }
            _ => stop,
        })
    }
}

fn accepts(probe: &Probe<'_>, bodies: &[&[u8]]) -> Found {
    for body in bodies {
        let mut peer = probe.connect()?;
        let reply = probe.shake(&mut peer, body)?;
        if reply.code != 200 {
            let body = String::from_utf8_lossy(body);
            return Err(fail(format!("the server answered `{body}` with the code {}, not 200", reply.code)));
        }
        probe.acknowledge(&mut peer);
        probe.works_if_offered(&mut peer)?;
    }
    pass("the server answers with the code 200")
}

fn refuses(probe: &Probe<'_>, bodies: &[&[u8]]) -> Found {
    for body in bodies {
        let mut peer = probe.connect()?;
        peer.send(&handshake(body));
        let end = probe.end_of(&mut peer, After::Connecting)?;
        let what = match &end.packets[..] {
            [Packet(1, reply)] => match (probe.read_reply(reply)?.code, end.is_over) {
                (400..600, true) => continue,
                (code @ 400..600, false) => format!("was refused with the code {code}, and the connection stayed open"),
                (code, _) => format!("was answered with the code {code}"),
            },
            [] if end.is_over => "was not answered before the connection ended".to_owned(),
            [] => "was not answered".to_owned(),
            packets => format!("was answered with {}", probe.kinds(packets)),
        };
        let what = format!("the handshake `{}` {what}", String::from_utf8_lossy(body));
        // In Pitaya the end may overtake the refusal.
        let is_overtaken = end.packets.is_empty() && end.is_over && probe.family() == Family::Pitaya;
        return Err(if probe.family().is_pitaya() && !is_overtaken { fail(what) } else { warn(what) });
    }
    pass("the server answers with a code that refuses, and ends the connection")
}

fn closes(probe: &Probe<'_>, after: After, mark: Mark, packets: &[&[u8]]) -> Found {
    for packet in packets {
        let mut peer = match after {
            After::Connecting => probe.connect()?,
            After::Handshake => {
                let mut peer = probe.connect()?;
                probe.shake(&mut peer, probe.handshake().as_bytes())?;
                peer
            }
            After::Acknowledgement => probe.greet()?,
        };
        peer.send(packet);
        probe.is_ended(&mut peer, after, mark)?;
    }
    pass("the server ends the connection without a word")
}
