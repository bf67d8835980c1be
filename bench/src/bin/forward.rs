//! Loads a Cereus frontend that forwards over NATS and a bare proxy to NATS (`bench/baseline`) in turn and compares what a
//! request costs.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin forward
//! ```

use std::error::Error;
use std::process::ExitCode;

use cereus_bench::comparison::{Contestant, compare};
use cereus_bench::load::Answer;
use cereus_bench::nats;
use cereus_bench::options::{self, Options};
use cereus_bench::report::{self, Bar, Bars};
use cereus_bench::servers::{Server, build};
use cereus_cluster::names::server_subject;

const HEAD: &str = "\
Loads a Cereus frontend that forwards room.room.echo over NATS, and a bare tokio proxy (packet, request of async-nats,
packet), in turn, each in its own process, and compares throughput and the CPU per request of these processes. Both use
the same nats-server and the same process behind it, which answers every call at once with the same bytes. Fails (exit
code 1) when a bar is missed.

    cargo run --release -p cereus-bench --bin forward -- --depth 1,16 --rounds 5

The nats-server is the one that CEREUS_NATS_SERVER or NATS_SERVER names, or is found on PATH, or was unpacked by
`cargo xtask services`. It and what it needs are started here, on free ports, and killed at the end.

Both handle the messages of one connection one after the other, so with a larger --depth they wait for each other.

";
const TAIL: &str = "    --peer-proxy         loads the proxy twice, which shows the noise
";

const BASELINE: &str = "proxy";
const CEREUS: &str = "cereus";

fn main() -> ExitCode {
    let defaults = Options::new(&[1]);
    let help = [HEAD, &defaults.help(), TAIL].concat();
    let mut twice = false;
    let parsed = defaults.parse(std::env::args().skip(1), |option, _| {
        twice |= option == "--peer-proxy";
        Ok(option == "--peer-proxy")
    });
    options::main("forward", &help, parsed, |options| run(options, twice))
}

fn run(options: &Options, twice: bool) -> Result<bool, Box<dyn Error>> {
    let proxy = build(&["--package", "cereus-bench-baseline", "--features", "nats", "--bin", "cereus-bench-proxy"])?;
    let servers = build(&["--package", "cereus-bench-servers"])?;

    let nats = nats::start()?;
    let (url, subject) = (format!("nats://{}", nats.address), server_subject("room", "r1"));
    let command = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let bytes = options.body.to_string();
    let responder = Server::new("responder", command(&[&servers, "responder", &subject, &bytes]))?.at(nats.address);
    // One thread is all that it can use.
    let _responder = responder.spawn(1)?;

    let body = vec![b'.'; options.body];
    let route = "room.room.echo".to_owned();
    let proxy = Server::new(BASELINE, command(&[&proxy, &url, &subject]))?;
    let frontend = Server::new(CEREUS, command(&[&servers, "frontend", &url]))?;
    // The proxy does not look into the envelope.
    let through = Answer::Fixed(envelope(&body));
    let contestant = |name: &str, server: &Server, answer: &Answer| Contestant {
        name: name.to_owned(),
        server: server.clone(),
        route: route.clone(),
        answer: answer.clone(),
    };
    let mut contestants =
        vec![contestant(BASELINE, &proxy, &through), contestant(CEREUS, &frontend, &Answer::Fixed(body))];
    if twice {
        contestants.push(contestant("proxy again", &proxy, &through));
    }
    report::head(&format!("{route} over NATS"), options)?;
    compare(&contestants, options, |name, depth| bars(options, name, depth))
}

/// The envelope of an answer: field 1, a length, the body.
fn envelope(body: &[u8]) -> Vec<u8> {
    if body.is_empty() {
        return Vec::new();
    }
    let mut envelope = vec![0x0a];
    let mut len = body.len();
    while len >= 0x80 {
        envelope.push(len as u8 | 0x80);
        len >>= 7;
    }
    envelope.push(len as u8);
    envelope.extend_from_slice(body);
    envelope
}

/// They are set for one load only.
fn bars(options: &Options, name: &str, depth: usize) -> Bars {
    if name == CEREUS && (options.clients, options.body, depth) == (50, 64, 1) {
        [Some(Bar::AtLeast(0.8)), Some(Bar::AtMost(1.3)), None]
    } else {
        [None; 3]
    }
}
