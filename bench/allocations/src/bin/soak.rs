//! People come, chat and go, in every way in which one can go, and nothing of them may stay behind:
//! `cargo run --release -p cereus-bench-allocations --bin soak -- --seconds 600`.
//!
//! After each round all are gone. Then the server has no session and no task more than at the start, and once it is warm it
//! holds no more memory after the last round than after the first.
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::{
    env,
    error::Error,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant as StdInstant},
};

use bytes::{Bytes, BytesMut};
use cereus::{
    App, Raw, Route, Server, Service, Session, Tcp,
    core::{ClientConfig, ClientConnection, ClientEvent, Instant},
};
use cereus_bench_allocations::Counting;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const ROUNDS: u32 = 10;
/// Until the tables and buffers have the size that they need.
const WARM_UP: u32 = 2;
/// So many are there at once.
const VISITORS: u64 = 32;
const ROOMS: i64 = 8;
/// What tables and buffers may differ by. Some ten thousand come and go: a leak of a few bytes for each is more.
const MAX_GROWTH: usize = 64 << 10;
/// The allocator keeps what it was given back, in pieces.
const MAX_RESIDENT_GROWTH: usize = 16 << 20;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

async fn join(session: Session) -> Result<Raw, cereus::Error> {
    let (uid, room) = (format!("visitor {}", session.id()), room_of(&session));
    session.bind(&*uid).await?;
    session.data(|data| data.set("room", &room))?;
    session.server().groups().add(&room, &*uid).await?;
    let leaving = session.clone();
    session
        .on_close(async move || {
            if let Err(error) = leaving.server().groups().remove(&room, &uid).await {
                eprintln!("{uid} cannot leave {room}: {error}");
            }
        })
        .await?;
    Ok(Raw(Bytes::new()))
}

async fn say(session: Session, text: Raw) -> Result<Raw, cereus::Error> {
    session.server().groups().broadcast(&room_of(&session), "onMessage", text.clone()).await?;
    Ok(text)
}

/// Whoever asks this does not stay for the answer.
async fn linger(session: Session) -> Raw {
    tokio::time::sleep(Duration::from_millis(20)).await;
    // Nobody is there any more.
    let _ = session.push("onMessage", Bytes::from_static(b"too late"));
    Raw(Bytes::new())
}

async fn kick(session: Session) -> Raw {
    session.kick(Some("as you wish"));
    Raw(Bytes::new())
}

fn room_of(session: &Session) -> String {
    format!("room {}", session.id().get() % ROOMS)
}

/// One who comes, chats and goes. His socket blocks.
struct Visitor {
    stream: TcpStream,
    connection: ClientConnection,
    start: StdInstant,
}

impl Visitor {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let connection = ClientConnection::new(ClientConfig::default(), Instant::EPOCH);
        let mut visitor = Self { stream, connection, start: StdInstant::now() };
        match visitor.next()? {
            ClientEvent::Connected(_) => Ok(visitor),
            event => Err(format!("instead of the handshake there came {event:?}").into()),
        }
    }

    fn next(&mut self) -> Result<ClientEvent> {
        let mut input = [0; 4 << 10];
        loop {
            self.flush()?;
            if let Some(event) = self.connection.poll_event() {
                return Ok(event);
            }
            let now = Instant::EPOCH + self.start.elapsed();
            match self.stream.read(&mut input) {
                Ok(0) => self.connection.handle_eof(now),
                Ok(len) => self.connection.handle_input(&input[..len], now),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.connection.handle_eof(now),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut out = BytesMut::new();
        while self.connection.poll_transmit(&mut out).is_some() {}
        self.stream.write_all(&out)
    }

    fn send(&mut self, route: &'static str, body: &'static str) -> Result<()> {
        self.connection.request(&Route::from_static(route), body)?;
        Ok(self.flush()?)
    }

    fn ask(&mut self, route: &'static str, body: &'static str) -> Result<()> {
        self.send(route, body)?;
        loop {
            match self.next()? {
                ClientEvent::Response { .. } => return Ok(()),
                ClientEvent::Push { .. } => {}
                event => return Err(format!("{route} was answered with {event:?}").into()),
            }
        }
    }

    fn until_closed(mut self) -> Result<()> {
        while !matches!(self.next()?, ClientEvent::Closed(_)) {}
        Ok(())
    }
}

/// Comes, chats, and goes in one way or another.
fn visit(address: SocketAddr, number: u64) -> Result<()> {
    if number.is_multiple_of(7) {
        // Half a handshake.
        return Ok(TcpStream::connect(address)?.write_all(b"\x01\0\0\x20{\"sys\":")?);
    }
    let mut visitor = Visitor::connect(address)?;
    visitor.ask("room.join", "")?;
    for _ in 0..number % 6 {
        visitor.ask("room.say", "Is anybody there? It is so quiet here.")?;
    }
    match number % 5 {
        0 => visitor.stream.shutdown(Shutdown::Write)?,
        1 => return visitor.send("room.say", "Nobody waits for this answer."),
        2 => return visitor.send("room.linger", ""),
        3 => visitor.stream.write_all(b"garbage")?,
        _ => visitor.send("room.kick", "")?,
    }
    visitor.until_closed()
}

/// What is held when nobody is there.
#[derive(Clone, Copy)]
struct Held {
    bytes: usize,
    resident: usize,
}

struct Soak {
    runtime: Runtime,
    server: Server,
    address: SocketAddr,
    /// When nobody had come yet.
    tasks: usize,
    visits: AtomicU64,
}

impl Soak {
    fn start() -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let room = Service::new("room").request("join", join).request("say", say).request("linger", linger);
        let server = App::new(()).service(room.request("kick", kick)).build()?;
        let serving = server.clone();
        runtime.spawn(async move { cereus::tokio::serve(serving, [Tcp::bind("127.0.0.1:0")]).await });
        let listening = runtime.block_on(async {
            for room in 0..ROOMS {
                server.groups().create(&format!("room {room}")).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(server.listening().await)
        })?;
        let address = listening.ok_or("the server does not listen")?[0].address().parse()?;
        let tasks = runtime.metrics().num_alive_tasks();
        Ok(Self { runtime, server, address, tasks, visits: AtomicU64::new(0) })
    }

    /// Visits from all sides, for so long; then waits until nothing of them is there.
    fn round(&self, time: Duration) -> Result<Held> {
        let end = StdInstant::now() + time;
        let visits = || {
            while StdInstant::now() < end {
                visit(self.address, self.visits.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..VISITORS).map(|_| scope.spawn(visits)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a visitor does not panic"))
        })
        .map_err(|error: Box<dyn Error + Send + Sync>| format!("a visitor met an error: {error}"))?;
        self.wait_until_all_left()?;
        Ok(Held { bytes: ALLOCATOR.live(), resident: resident()? })
    }

    fn wait_until_all_left(&self) -> Result<()> {
        let deadline = StdInstant::now() + PATIENCE;
        loop {
            let (sessions, tasks) = (self.server.sessions().count(), self.runtime.metrics().num_alive_tasks());
            if sessions == 0 && tasks <= self.tasks {
                return Ok(());
            }
            if StdInstant::now() > deadline {
                let (at_start, seconds) = (self.tasks, PATIENCE.as_secs());
                return Err(format!(
                    "{seconds} s after the last one left there are {sessions} sessions, and {tasks} tasks instead of {at_start}"
                )
                .into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The memory of this process that is not swapped out.
fn resident() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("there is no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? << 10)
}

fn compare(first: Held, last: Held) -> Result<()> {
    for (what, first, last, max) in [
        ("allocated", first.bytes, last.bytes, MAX_GROWTH),
        ("resident", first.resident, last.resident, MAX_RESIDENT_GROWTH),
    ] {
        if last > first + max {
            let grown = last - first;
            return Err(
                format!("something leaks: {grown} bytes more are {what} than after the warm-up, {max} may be").into()
            );
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let seconds: u32 = match env::args().skip_while(|arg| arg != "--seconds").nth(1) {
        Some(seconds) => seconds.parse()?,
        None => 30,
    };
    let time = Duration::from_secs(seconds.into()) / (WARM_UP + ROUNDS);
    let soak = Soak::start()?;
    for _ in 1..WARM_UP {
        soak.round(time)?;
    }
    let first = soak.round(time)?;
    println!("round     visits  allocated/KiB  resident/KiB  tasks");
    let row = |round, held: Held| {
        let visits = soak.visits.load(Ordering::Relaxed);
        let tasks = soak.runtime.metrics().num_alive_tasks();
        println!("{round:>5} {visits:>10} {:>14} {:>13} {tasks:>6}", held.bytes >> 10, held.resident >> 10);
    };
    row(0, first);
    let mut last = first;
    for round in 1..=ROUNDS {
        last = soak.round(time)?;
        row(round, last);
    }
    compare(first, last)?;
    println!("nothing stayed behind");
    Ok(())
}
