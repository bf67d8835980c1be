//! What an idle connection holds.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cereus::Tcp;
use cereus_bench_allocations::{Client, Counting, echo_server};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{net::TcpListener, runtime::Runtime};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const CONNECTIONS: u64 = 10_000;
/// What a process needs beside its connections.
const OTHER_FILES: u64 = 100;
const HEARTBEAT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 2 << 10;

/// Tells a client that it was accepted: one that does not wait for it overruns the backlog.
const GREETING: &[u8] = b"!";

/// As many connections as this machine allows a process, up to those that are wanted.
fn connections() -> usize {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let files = most.min(CONNECTIONS + OTHER_FILES);
    setrlimit(Resource::RLIMIT_NOFILE, files, most).unwrap();
    usize::try_from(files - OTHER_FILES).unwrap()
}

/// Names the address to connect to: this program is its own clients, because one process may not open both ends.
const CLIENTS: &str = "CEREUS_IDLE_CLIENTS";
/// Whether they talk to Cereus.
const TALK: &str = "CEREUS_IDLE_TALK";

/// One heartbeat after its last request a connection holds at most 2 KiB more than a task that awaits `readable()`.
#[test]
fn an_idle_connection_holds_little() {
    if let Ok(address) = env::var(CLIENTS) {
        return be_clients(address.parse().unwrap(), env::var(TALK).is_ok());
    }
    let bare = bytes_per_connection(false, |runtime| {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.try_write(GREETING).unwrap();
                tokio::spawn(async move {
                    while stream.readable().await.is_ok() && stream.try_read(&mut [0; 64]).is_err() {}
                });
            }
        });
        address
    });
    let ours = bytes_per_connection(true, |runtime| {
        let server = echo_server(HEARTBEAT);
        runtime.spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
        let endpoints = runtime.block_on(server.listening()).unwrap();
        endpoints[0].to_string().trim_start_matches("tcp://").parse().unwrap()
    });
    println!(
        "bytes per idle connection, of {}: {ours}, a task that awaits readable(): {bare}, more: {}",
        connections(),
        ours - bare
    );
    assert!(ours - bare <= MAX_BYTES, "{} bytes per idle connection", ours - bare);
}

fn bytes_per_connection(talk: bool, serve: impl FnOnce(&Runtime) -> SocketAddr) -> usize {
    connections();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = serve(&runtime);
    let before = ALLOCATOR.live();
    let mut clients = Clients::start(address, talk);
    clients.wait_until_idle();
    (ALLOCATOR.live() - before) / connections()
}

/// The process that holds the other ends.
struct Clients(Child);

impl Clients {
    fn start(address: SocketAddr, talk: bool) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "an_idle_connection_holds_little", "--nocapture"]);
        command.env(CLIENTS, address.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        if talk {
            command.env(TALK, "");
        }
        Self(command.spawn().unwrap())
    }

    fn wait_until_idle(&mut self) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !line.ends_with("idle\n") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the clients ended");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Its standard input ends, and it with it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn be_clients(address: SocketAddr, talk: bool) {
    if talk {
        let mut clients: Vec<_> = (0..connections()).map(|_| Client::connect(address).unwrap()).collect();
        clients.iter_mut().for_each(|client| client.ask().unwrap());
        clients.iter_mut().for_each(|client| client.await_heartbeat().unwrap());
        stay_idle();
    } else {
        let connect = || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.read_exact(&mut [0; GREETING.len()]).unwrap();
            stream
        };
        let streams: Vec<_> = (0..connections()).map(|_| connect()).collect();
        stay_idle();
        drop(streams);
    }
}

fn stay_idle() {
    println!("idle");
    io::stdout().flush().unwrap();
    let _ = io::stdin().read(&mut [0]);
}
