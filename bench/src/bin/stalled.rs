//! What clients that read nothing cost the others.
//!
//! ```text
//! cargo run --release -p cereus-bench --bin stalled
//! ```

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cereus_bench::options::{self, Parsed, number, positive, read};
use cereus_bench::report::{Bar, median};
use cereus_bench::servers::{Server, build};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const HELP: &str = "\
Connects clients to a server that pushes its state to all of them twenty times a second, and has each ask five times a
second. In one half of each round all of them read; in the other some read nothing at all. Compares how long the answers to
the others took, from when they were to be asked. Fails (exit code 1) when their p99 grows by more than a fifth.

    cargo run --release -p cereus-bench --bin stalled -- --rounds 5

    --clients N          connections [1000]
    --stalled N          how many of them read nothing [25]
    --body N             bytes in a push [1024]
    --policy P           what happens to pushes: close, drop-oldest, keep-latest [keep-latest]
    --rounds N           rounds, each with both halves in changing order [5]
    --seconds N          measured seconds per half [5]
    --threads N          worker threads of the server [1]
";

/// How much the p99 of the others may grow.
const BAR: Bar = Bar::AtMost(1.2);
/// How often each client asks.
const INTERVAL: Duration = Duration::from_millis(200);
/// What comes before the measurement: those who read nothing are behind by then.
const WARM_UP: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
struct Args {
    clients: usize,
    stalled: usize,
    body: usize,
    policy: String,
    rounds: usize,
    window: Duration,
    threads: usize,
}

fn main() -> ExitCode {
    options::main("stalled", HELP, parse(std::env::args().skip(1)), run)
}

fn parse(words: impl Iterator<Item = String>) -> Result<Parsed<Args>, Box<dyn Error>> {
    let policy = "keep-latest".to_owned();
    let window = Duration::from_secs(5);
    let mut args = Args { clients: 1000, stalled: 25, body: 1024, policy, rounds: 5, window, threads: 1 };
    let help = read(words, |option, value| {
        match option {
            "--clients" => args.clients = positive(option, &value()?)?,
            "--stalled" => args.stalled = number(option, &value()?)?,
            "--body" => args.body = positive(option, &value()?)?,
            "--policy" => args.policy = value()?,
            "--rounds" => args.rounds = positive(option, &value()?)?,
            "--seconds" => args.window = Duration::from_secs(positive(option, &value()?)? as u64),
            "--threads" => args.threads = positive(option, &value()?)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if args.stalled >= args.clients {
        return Err("--stalled must be less than --clients".into());
    }
    Ok(if help { Parsed::Help } else { Parsed::Run(args) })
}

fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let program = build(&["--package", "cereus-bench-servers"])?;
    let command = [&program, "pushing", &args.policy, &args.body.to_string()].map(|word: &str| word.to_owned());
    let server = Server::new("pushing", command.to_vec())?;
    let mut out = io::stdout().lock();
    let Args { clients, stalled, body, policy, threads, .. } = args;
    writeln!(
        out,
        "{clients} clients, {stalled} of them stalled, pushes of {body} bytes, {policy}, {threads} thread(s)\n"
    )?;
    writeln!(out, "{:>8}  {:<12}{:>10}{:>10}{:>10}{:>12}", "round", "", "answers", "p50 us", "p99 us", "longest us")?;
    let mut ratios = Vec::new();
    for round in 0..args.rounds {
        let mut p99 = [0.0; 2];
        for turn in 0..2 {
            let which = (round + turn) % 2;
            eprint!("\rround {} of {}, half {} ", round + 1, args.rounds, turn + 1);
            let running = server.spawn(args.threads)?;
            let mut latencies = load(running.address, args, if which == 1 { args.stalled } else { 0 })?;
            running.reap()?;
            latencies.sort_unstable();
            let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e6;
            p99[which] = at(99);
            let name = ["all read", "some stalled"][which];
            let count = latencies.len();
            eprint!("\r{:40}\r", "");
            writeln!(out, "{:>8}  {name:<12}{count:>10}{:>10.0}{:>10.0}{:>12.0}", round + 1, at(50), at(99), at(100))?;
        }
        ratios.push(p99[1] / p99[0]);
    }
    let ratio = median(ratios.iter().copied());
    let (lowest, highest) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
    let verdict = BAR.verdict(ratio);
    writeln!(out, "\np99 of the others, ratio of a round: median {ratio:.3}, {lowest:.3} to {highest:.3}  {verdict}")?;
    Ok(BAR.holds(ratio))
}

/// One half of a round. Returns how long the answers took to those who read.
fn load(address: SocketAddr, args: &Args, stalled: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(args.clients);
    for index in 0..args.clients {
        let mut client = Client::connect(address).map_err(|error| format!("client {index}: {error}"))?;
        // The first ones are those that stall: they are in no way special.
        if index >= stalled {
            poll.registry().register(&mut client.stream, Token(index), Interest::READABLE)?;
        }
        clients.push(client);
    }
    let start = Instant::now();
    let (measure_from, end) = (start + WARM_UP, start + WARM_UP + args.window);
    let (mut latencies, mut events, mut scratch) = (Vec::new(), Events::with_capacity(1024), vec![0; 64 << 10]);
    let (mut next, mut due) = (0, start);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(latencies);
        }
        while due <= now {
            if next >= stalled {
                clients[next].ask(due)?;
            }
            next = (next + 1) % args.clients;
            due += INTERVAL / args.clients as u32;
        }
        poll.poll(&mut events, Some(due - now))?;
        for event in &events {
            clients[event.token().0].read(&mut scratch, |asked| {
                if asked >= measure_from {
                    latencies.push(asked.elapsed());
                }
            })?;
        }
    }
}

/// One client.
struct Client {
    stream: TcpStream,
    /// The start of a packet that is still to come.
    partial: Vec<u8>,
    /// When the request was to be sent that has not been answered.
    asked: Option<Instant>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut stream = StdTcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(b"\x01\0\0\x02{}")?;
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let mut body = vec![0; u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize];
        stream.read_exact(&mut body)?;
        if header[0] != 1 {
            return Err(io::Error::other("no handshake"));
        }
        stream.write_all(b"\x02\0\0\0")?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: TcpStream::from_std(stream), partial: Vec::new(), asked: None })
    }

    /// Asks, unless the request before has no answer: then that one goes on to be waited for.
    fn ask(&mut self, due: Instant) -> io::Result<()> {
        if self.asked.is_some() {
            return Ok(());
        }
        self.asked = Some(due);
        // So little always goes through.
        self.stream.write_all(b"\x04\0\0\x12\0\x01\x0abench.echohello")
    }

    /// Takes in what came, and tells when what was answered had been asked.
    fn read(&mut self, scratch: &mut [u8], mut answered: impl FnMut(Instant)) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(io::Error::other("the server closed the connection of a client that reads")),
                Ok(len) => self.partial.extend_from_slice(&scratch[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut rest = &self.partial[..];
            while let Some((&[kind, high, middle, low], after)) = rest.split_first_chunk()
                && let Some((body, after)) = after.split_at_checked(u32::from_be_bytes([0, high, middle, low]) as usize)
            {
                // A response to request 1.
                if kind == 4 && body.starts_with(b"\x04\x01") {
                    if body != b"\x04\x01hello" {
                        return Err(io::Error::other("another answer than was asked for"));
                    }
                    answered(self.asked.take().ok_or_else(|| io::Error::other("an answer to nothing"))?);
                }
                rest = after;
            }
            let done = self.partial.len() - rest.len();
            self.partial.drain(..done);
        }
    }
}
