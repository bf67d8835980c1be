//! What an idle client of `cereus-client` holds.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cereus::{Tcp, tokio::Tokio};
use cereus_bench_allocations::{Counting, echo_server};
use cereus_client::Client;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const CLIENTS: u64 = 10_000;
/// What a process needs beside its connections.
const OTHER_FILES: u64 = 100;
const HEARTBEAT: Duration = Duration::from_secs(5);
const MAX_BYTES: usize = 4 << 10;
/// By then each has seen heartbeats, and has given back what it does not need.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells this program to be the server: one process may not open both ends.
const SERVER: &str = "CEREUS_CLIENTS_SERVER";

/// As many clients as this machine allows a process, up to those that are wanted.
fn clients() -> usize {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let files = most.min(CLIENTS + OTHER_FILES);
    setrlimit(Resource::RLIMIT_NOFILE, files, most).unwrap();
    usize::try_from(files - OTHER_FILES).unwrap()
}

/// Some heartbeats after its last request a client holds at most 4 KiB, the task of the runtime and the handle included.
#[test]
fn an_idle_client_holds_little() {
    let count = clients();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    if env::var(SERVER).is_ok() {
        return be_server(&runtime);
    }
    let server = Server::start();
    let before = ALLOCATOR.live();
    let clients: Vec<_> = (0..count).map(|_| runtime.block_on(connect(&server.address))).collect();
    let begin = Instant::now();
    let each = loop {
        let each = (ALLOCATOR.live() - before) / count;
        if each <= MAX_BYTES || begin.elapsed() > PATIENCE {
            break each;
        }
        thread::sleep(Duration::from_millis(100));
    };
    println!("bytes per idle client, of {count}: {each}");
    assert!(each <= MAX_BYTES, "{each} bytes per idle client");
    assert!(clients.iter().all(|client| client.state().is_open()));
}

async fn connect(address: &str) -> Client {
    let client = Client::connect(Tokio::new(), address).await.unwrap();
    assert_eq!(client.request("echo.raw", "hello").await.unwrap(), "hello");
    client
}

/// The process at the other end.
struct Server {
    child: Child,
    /// It would fail to write if this were gone.
    _stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "an_idle_client_holds_little", "--nocapture"]);
        let mut child = command.env(SERVER, "").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the server ended");
        }
        let (_, address) = line.trim().split_once("listening on ").unwrap();
        Self { child, _stdout: stdout, address: address.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its standard input ends, and it with it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn be_server(runtime: &Runtime) {
    let server = echo_server(HEARTBEAT);
    runtime.spawn(cereus::tokio::serve(server.clone(), [Tcp::bind("127.0.0.1:0")]));
    println!("listening on {}", runtime.block_on(server.listening()).unwrap()[0]);
    io::stdout().flush().unwrap();
    let _ = io::stdin().read(&mut [0]);
}
