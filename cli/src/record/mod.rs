//! `cereus record`: what clients and a server say to each other, in a file.

mod decode;
pub(crate) mod format;
mod proxy;
mod recorder;
mod redact;

use std::{
    future::pending,
    io,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use cereus_transports::WebSocketConfig;
use clap::Args;
use tokio::{net::TcpListener, sync::Notify, time};

pub(crate) use self::decode::{MAX_INFLATED, dictionary, inflated};
use self::{
    proxy::Proxy,
    recorder::{Bounds, Recorder},
    redact::Redactor,
};
use crate::{
    connect::{Trust, header, seconds},
    failure::Failure,
    link::Server,
    path::Pattern,
};

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  cereus record tcp://127.0.0.1:4250 tcp://localhost:3250 --out session.jsonl
  cereus record ws://0.0.0.0:4251 wss://play.example.com/game --out session.jsonl --redact token --redact '**.password'
  cereus record 127.0.0.1:4250 localhost:3250 --out one.jsonl --max-sessions 1 --exit-at-limit

Clients connect to LISTEN, and everything goes on to SERVER and back, unchanged. Ctrl-C ends it. `cereus replay` plays the \
file against another server; README.md describes its lines.

A path is 'token', 'user.password', 'members[*].id', '**.token' at any depth, '[\"a.b\"]' for odd names, or '.' for all. It is \
about bodies, and about the 'user' part of handshakes; 'route:login.auth#password' only about that route and its answers.";

/// Record what clients and a server say to each other, as a proxy between them.
#[derive(Args, Debug)]
pub(crate) struct Record {
    /// Where clients connect to: tcp://host:port or ws://host:port. Port 0 is any that is free.
    #[arg(value_parser = listen)]
    listen: Listen,
    /// The server: tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path.
    server: String,
    /// The file to write. What was in it is gone.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace what is there in bodies by placeholders. A body that is no JSON is left out then. May be given several times.
    #[arg(long, value_name = "PATH")]
    redact: Vec<Pattern>,
    /// How long the file may become.
    #[arg(long, value_name = "BYTES", default_value = "67108864", value_parser = clap::value_parser!(u64).range(1000..))]
    max_bytes: u64,
    /// How many sessions are recorded.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: Option<u32>,
    /// How long it is recorded, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_duration: Option<Duration>,
    /// End when a bound is reached, and when as many sessions are over as are to be recorded. Otherwise it goes on as a proxy.
    #[arg(long)]
    exit_at_limit: bool,
    #[command(flatten)]
    trust: Trust,
    /// A line for the head of the request that asks for a WebSocket, such as 'Origin: https://example.com'.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header, help_heading = "Connection")]
    header: Vec<(String, String)>,
    /// How long it may take to connect to the server, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Connection")]
    connect_timeout: Duration,
}

#[derive(Clone, Debug)]
struct Listen {
    is_websocket: bool,
    place: String,
}

impl Listen {
    const fn scheme(&self) -> &'static str {
        if self.is_websocket { "ws" } else { "tcp" }
    }
}

fn listen(text: &str) -> Result<Listen, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    let place = rest.strip_suffix('/').unwrap_or(rest).to_owned();
    let is_websocket = match scheme {
        "tcp" => false,
        "ws" => true,
        "tls" | "wss" => return Err("clients are listened to without encryption: use tcp or ws".to_owned()),
        _ => return Err(format!("`{scheme}://` is not known: use tcp or ws")),
    };
    match place.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>())) {
        Some((false, Ok(_))) => Ok(Listen { is_websocket, place }),
        _ => Err("write it as 'tcp://host:port' or 'ws://host:port'".to_owned()),
    }
}

impl Record {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let server = Server::new(&self.server, &self.trust, self.header.clone(), self.connect_timeout)?;
        let listener = TcpListener::bind(&self.listen.place).await.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "; choose another port, or 0 for any that is free",
                _ => "",
            };
            Failure::failed(format!("{} cannot be listened at: {error}{advice}", self.listen.place))
        })?;
        let bounds = Bounds { bytes: self.max_bytes, sessions: self.max_sessions };
        let recorder = Recorder::create(&self.out, server.place(), Redactor::new(self.redact.clone()), bounds)?;
        if let Ok(place) = listener.local_addr() {
            let (scheme, to) = (self.listen.scheme(), server.place());
            eprintln!("cereus: listening at {scheme}://{place}, on to {to}, recording to {}", self.out.display());
        }
        let proxy = Proxy {
            server: Arc::new(server),
            websocket: self.listen.is_websocket.then(|| Arc::new(WebSocketConfig::default())),
            recorder: Arc::new(Mutex::new(recorder)),
            changed: Arc::new(Notify::new()),
        };
        self.serve(&proxy, listener).await;
        let summary = proxy.recorder().finish("stopped")?;
        eprintln!("cereus: {summary}");
        Ok(ExitCode::SUCCESS)
    }

    /// Serves clients until it is told to stop.
    async fn serve(&self, proxy: &Proxy, listener: TcpListener) {
        let mut flush = time::interval(Duration::from_secs(1));
        let stop = stopped();
        tokio::pin!(stop);
        let end = async {
            match self.max_duration {
                Some(duration) => time::sleep(duration).await,
                None => pending().await,
            }
        };
        tokio::pin!(end);
        let mut is_timed = self.max_duration.is_some();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => drop(tokio::spawn(proxy.clone().serve(socket, peer))),
                    Err(error) => {
                        eprintln!("cereus: a client cannot be served: {error}");
                        // Too many files are open, most likely: that takes its time to change.
                        time::sleep(Duration::from_millis(100)).await;
                    }
                },
                () = &mut end, if is_timed => {
                    is_timed = false;
                    eprintln!("cereus: the time of --max-duration is over: what comes now is not recorded");
                    proxy.recorder().end("max-duration");
                }
                () = proxy.changed.notified() => {}
                _ = flush.tick() => proxy.recorder().flush(),
                () = &mut stop => return,
            }
            if self.exit_at_limit && proxy.recorder().is_done() {
                return;
            }
        }
    }
}

/// Ends when somebody wants this to end.
async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
