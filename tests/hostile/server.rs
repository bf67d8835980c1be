//! The server, in a process of its own, and how the test talks to it.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    panic, process,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cereus::{App, FullPolicy, RateLimit, Raw, Service, Session, Tcp, WebSocket, core::Compression};
use cereus_transports::TlsConfig;

use crate::tls;

pub(crate) const ARGUMENT: &str = "serve";

pub(crate) struct Limits {
    /// What may wait in all connections.
    pub(crate) bytes: usize,
    /// What each may take beside that: its buffers, its state, and what the allocator makes of them.
    pub(crate) per_connection: usize,
    /// What a body may become, which each worker of the server may be at: twice as much while it grows.
    pub(crate) inflated: usize,
}

const WORKERS: usize = 2;

impl Limits {
    /// What so many connections may take in all.
    pub(crate) const fn of(&self, connections: usize) -> usize {
        self.bytes + self.per_connection * connections + 2 * WORKERS * self.inflated
    }
}

pub(crate) const LIMITS: Limits = Limits { bytes: 32 << 20, per_connection: 32 << 10, inflated: 4 << 20 };

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

/// More than was asked.
async fn large() -> Raw {
    Raw(vec![b'x'; 64 << 10].into())
}

async fn spam(session: Session) -> Raw {
    for _ in 0..100 {
        let _ = session.push("onSpam", vec![b'x'; 4 << 10]);
    }
    Raw("pushed".into())
}

/// Serves until the standard input ends. A panic ends the process at once.
pub(crate) fn run() {
    panic::set_hook(Box::new(|panic| {
        eprintln!("the server panicked: {panic}");
        process::abort();
    }));
    let mut input = BufReader::new(io::stdin());
    let [chain, key] = [(); 2].map(|()| read_pem(&mut input));
    let tls = TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let service = Service::new("room").request("echo", echo).request("large", large).request("spam", spam);
    let server = App::new(())
        .service(service)
        .max_buffered_bytes(LIMITS.bytes)
        .rate_limit(RateLimit::new(200, Duration::from_secs(1)).max_bytes(1 << 20))
        .push_policy("onSpam", FullPolicy::DropOldest)
        .write_timeout(Duration::from_secs(2))
        .protocol(|protocol| {
            protocol.heartbeat(Duration::from_secs(5)).max_inflated_size(LIMITS.inflated).compression(Compression::Off)
        })
        .on_listening(|endpoints| {
            for endpoint in endpoints {
                println!("{endpoint}");
            }
            println!();
        })
        .build()
        .unwrap();
    let stopping = server.clone();
    thread::spawn(move || {
        let _ = input.read_to_end(&mut Vec::new());
        stopping.shutdown();
    });
    let local = "127.0.0.1:0";
    let endpoints = [
        Tcp::bind(local),
        WebSocket::bind(local),
        Tcp::bind(local).tls(&tls),
        WebSocket::bind(local).tls(&tls),
        Tcp::bind(local).proxy_protocol(),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().unwrap();
    runtime.block_on(cereus::serve(cereus_tokio::Tokio::new(), server.clone(), endpoints)).unwrap();
    // Nobody reads it when the test has failed.
    let _ = write!(io::stdout(), "{:#?}", server.stats());
}

/// Lines up to an empty one.
fn read_pem(input: &mut impl BufRead) -> String {
    let mut pem = String::new();
    while !pem.ends_with("\n\n") {
        assert!(input.read_line(&mut pem).unwrap() > 0, "the certificate is missing");
    }
    pem
}

/// The process of the server.
pub(crate) struct Child {
    process: process::Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub(crate) endpoints: Endpoints,
}

/// Where it listens, as `host:port`.
#[derive(Clone)]
pub(crate) struct Endpoints {
    pub(crate) tcp: String,
    pub(crate) websocket: String,
    pub(crate) tls: String,
    pub(crate) wss: String,
    pub(crate) proxy: String,
}

impl Child {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let (chain, key) = tls::certificate();
        write!(input, "{chain}\n{key}\n").unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut endpoint = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim().split_once("://").unwrap().1.to_owned()
        };
        let [tcp, websocket, tls, wss, proxy] = [(); 5].map(|()| endpoint());
        output.read_line(&mut String::new()).unwrap();
        let endpoints = Endpoints { tcp, websocket, tls, wss, proxy };
        Self { process, input: Some(input), output, endpoints }
    }

    /// What it holds now, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most that it ever held.
    pub(crate) fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the server is gone");
        let line = status.lines().find(|line| line.starts_with(name)).expect("the server is gone");
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Waits until it has no more sockets than those who behave need.
    pub(crate) fn assert_recovers(&self, connections: usize) {
        let descriptors = || fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count();
        let start = Instant::now();
        // Five listeners, and what the runtime and the process themselves have.
        while descriptors() > connections + 32 {
            assert!(start.elapsed() < Duration::from_secs(30), "{} files are still open", descriptors());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it, and returns what it has counted.
    pub(crate) fn stop(&mut self) -> String {
        drop(self.input.take());
        let mut counted = String::new();
        self.output.read_to_string(&mut counted).unwrap();
        assert!(self.process.wait().unwrap().success(), "the server failed");
        counted
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}
