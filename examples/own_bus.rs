//! A bus and a registry of one's own: envelopes over plain TCP, records as files in a directory. Two servers in one process,
//! and one calls the other:
//!
//! ```sh
//! cargo run --example own_bus
//! ```
//!
//! Or as two processes of one machine: `cargo run --example own_bus -- room`, and in another terminal `… -- connector`.
//!
//! Left out, and needed outside of a network that is your own: encryption, who may connect, and noticing a machine that died
//! without closing its connections.
#![expect(clippy::print_stdout, reason = "to tell what was answered")]

use std::{
    collections::BTreeMap,
    fs, io, net,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use cereus::{
    App, Bytes, Caller, Cluster, Protobuf, Remote,
    cluster::{
        Address, Addressing, Bus, BusError, BusEvent, BusEvents, BusSender, CallId, Changes, KeptAlive, Kind, LeaseId,
        Registry, RegistryError, ReplyTo, ServerInfo, Transmit, Undelivered, bus_queue,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

/// Where a record tells the address of its server.
const ADDRESS: &str = "ownBusAddress";
const MAX_PAYLOAD: usize = 64 << 10;
/// How many frames may wait for one connection, and how many events for the server: 64 MiB if all are as long as can be.
const QUEUE: usize = 1024;
/// As many as `Cluster::max_calls` lets a server make. If there are more, the oldest are calls that nobody waits for.
const MAX_CALLS: usize = 100_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of a kind on the wire is its place here.
const KINDS: [Kind; 5] = [Kind::Call, Kind::Push, Kind::Kick, Kind::Bind, Kind::Reply];

/// A kind, what joins an answer to its call (0: nobody waits), a payload. On the wire the length of the payload (4 bytes), the
/// kind (1), the id (8), the payload.
type Frame = (Kind, u64, Bytes);

/// A server calls another over the connection that it made; answers come back on the same one.
#[derive(Debug)]
struct TcpBus {
    address: net::SocketAddr,
    listener: Mutex<Option<net::TcpListener>>,
    running: OnceLock<Arc<Running>>,
}

#[derive(Debug)]
struct Running {
    events: BusSender,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that were made by the address, those that were accepted by `#` and a number that no other gets.
    links: BTreeMap<String, Link>,
    accepted: u64,
    /// `None`: it has been stopped.
    accepting: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

/// One connection. When this is dropped, what waits is sent, and it is closed.
#[derive(Debug)]
struct Link {
    frames: mpsc::Sender<Frame>,
    calls: BTreeMap<u64, CallId>,
    last_id: u64,
}

impl TcpBus {
    /// Listens on an address that other servers can reach. It is known before the start, because the record has it.
    fn bind(address: &str) -> io::Result<Self> {
        let listener = net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener: Mutex::new(Some(listener)), running: OnceLock::new() })
    }
}

impl Bus for TcpBus {
    async fn start(&self, own: Arc<ServerInfo>) -> Result<Box<dyn BusEvents>, BusError> {
        let listener = lock(&self.listener).take().ok_or_else(|| BusError::new("a bus is started once"))?;
        let failed = |error| BusError::new(format!("`{}` cannot listen on {}: {error}", own.id, self.address));
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let (events, inbox) = bus_queue(QUEUE);
        events.send(BusEvent::Up { max_payload: MAX_PAYLOAD }).await;
        let running = Arc::new(Running { events, runtime: Handle::current(), state: Mutex::default() });
        let mut state = lock(&running.state);
        let accepting = state.tasks.spawn(Arc::clone(&running).accept(listener));
        state.accepting = Some(accepting);
        drop(state);
        // The listener can be taken only once, and so this is set only once.
        let _ = self.running.set(running);
        Ok(Box::new(inbox))
    }

    fn send(&self, message: Transmit) -> Result<(), Transmit> {
        let Some(running) = self.running.get() else { return Err(message) };
        let sent = match &message.to {
            Address::Server(info) => running.call(info, &message),
            Address::Reply(to) => {
                running.answer(to, &message);
                Ok(())
            }
            _ => Err(Undelivered::Failed("this bus reaches servers only".to_owned())),
        };
        match (sent, message.call) {
            // To give it back would hold up what is for all other servers: one that is slow is no reason for that.
            (Err(error), Some(call)) => {
                running.events.try_send(BusEvent::Reply { call, result: Err(error) }).map_err(|_| message)
            }
            _ => Ok(()),
        }
    }

    /// Nothing is to be done: what is for a user is sent to the server that has him.
    fn addressing(&self) -> Addressing {
        Addressing::Servers
    }

    fn advertise(&self, own: &mut ServerInfo) {
        own.metadata.insert(ADDRESS.to_owned(), self.address.to_string());
    }

    async fn stop(&self) {
        let Some(running) = self.running.get() else { return };
        let mut tasks = {
            let mut state = lock(&running.state);
            state.accepting.take().inspect(AbortHandle::abort);
            state.links.clear();
            std::mem::take(&mut state.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for TcpBus {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            lock(&running.state).tasks.abort_all();
        }
    }
}

impl Running {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // There are too many open files, perhaps for a moment.
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let mut state = lock(&self.state);
            state.accepted += 1;
            let name = format!("#{}", state.accepted);
            self.open(&mut state, &name, Some(stream));
        }
    }

    fn open(self: &Arc<Self>, state: &mut State, name: &str, accepted: Option<TcpStream>) {
        if state.accepting.is_none() {
            return;
        }
        let (frames, queue) = mpsc::channel(QUEUE);
        state.links.insert(name.to_owned(), Link { frames, calls: BTreeMap::new(), last_id: 0 });
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn_on(Arc::clone(self).run(name.to_owned(), accepted, queue), &self.runtime);
    }

    fn call(self: &Arc<Self>, to: &ServerInfo, message: &Transmit) -> Result<(), Undelivered> {
        let failed = |text: &str| Undelivered::Failed(format!("{text} `{}`", to.id));
        let address = to.metadata.get(ADDRESS).ok_or_else(|| failed("there is no address in the record of"))?;
        let mut state = lock(&self.state);
        if !state.links.contains_key(address) {
            self.open(&mut state, address, None);
        }
        let link = state.links.get_mut(address).ok_or_else(|| failed("the bus has been stopped: no connection to"))?;
        let id = message.call.map_or(0, |_| link.last_id + 1);
        let frame = (message.kind, id, message.payload.clone());
        link.frames.try_send(frame).map_err(|_| failed("too much waits for"))?;
        if let Some(call) = message.call {
            link.last_id = id;
            link.calls.insert(id, call);
            if link.calls.len() > MAX_CALLS {
                link.calls.pop_first();
            }
        }
        Ok(())
    }

    /// A caller that is gone, or does not take its answers, learns it from its connection or its deadline.
    fn answer(&self, to: &ReplyTo, message: &Transmit) {
        let state = lock(&self.state);
        let link = to.as_str().split_once('/').and_then(|(name, id)| Some((state.links.get(name)?, id.parse().ok()?)));
        if let Some((link, id)) = link {
            let _ = link.frames.try_send((Kind::Reply, id, message.payload.clone()));
        }
    }

    /// One connection from its beginning to its end.
    async fn run(self: Arc<Self>, name: String, accepted: Option<TcpStream>, queue: mpsc::Receiver<Frame>) {
        let stream = match accepted {
            Some(stream) => Some(stream),
            None => timeout(CONNECT_TIMEOUT, TcpStream::connect(&name)).await.ok().and_then(Result::ok),
        };
        let error = match stream {
            None => Undelivered::NoResponders,
            Some(stream) => {
                let _ = stream.set_nodelay(true);
                let (input, output) = stream.into_split();
                let ended = tokio::select! {
                    ended = self.read(&name, input) => ended,
                    ended = write(output, queue) => ended,
                };
                let why = ended.err().map_or_else(String::new, |error| format!(": {error}"));
                Undelivered::Failed(format!("the connection to {name} was lost{why}"))
            }
        };
        // From now on there can be another connection under this name.
        let link = lock(&self.state).links.remove(&name);
        for call in link.into_iter().flat_map(|link| link.calls.into_values()) {
            self.events.send(BusEvent::Reply { call, result: Err(error.clone()) }).await;
        }
    }

    /// When the server does not keep up, nothing is read: then the queue of the other side fills, and there it is known.
    async fn read(&self, name: &str, input: OwnedReadHalf) -> io::Result<()> {
        let mut input = BufReader::new(input);
        loop {
            let (len, kind) = (input.read_u32().await? as usize, input.read_u8().await?);
            let id = input.read_u64().await?;
            let kind = KINDS.get(usize::from(kind)).filter(|_| len <= MAX_PAYLOAD);
            let kind = *kind.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a frame of this bus"))?;
            let mut payload = vec![0; len];
            input.read_exact(&mut payload).await?;
            let payload = Bytes::from(payload);
            let event = if kind == Kind::Reply {
                let call = lock(&self.state).links.get_mut(name).and_then(|link| link.calls.remove(&id));
                let Some(call) = call else { continue };
                BusEvent::Reply { call, result: Ok(payload) }
            } else {
                BusEvent::Message { kind, reply: (id > 0).then(|| ReplyTo::new(format!("{name}/{id}"))), payload }
            };
            self.events.send(event).await;
        }
    }
}

async fn write(output: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    while let Some((kind, id, payload)) = queue.recv().await {
        let Some(kind) = KINDS.iter().position(|known| *known == kind) else { continue };
        output.write_u32(payload.len() as u32).await?;
        output.write_u8(kind as u8).await?;
        output.write_u64(id).await?;
        output.write_all(&payload).await?;
        if queue.is_empty() {
            output.flush().await?;
        }
    }
    output.shutdown().await
}

/// A directory with a file for each server. When a file was last modified, by its own account, is when its record ends.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    own: Mutex<(PathBuf, Duration)>,
}

impl Directory {
    /// How often others are looked for: more often than a server that leaves waits for being noticed.
    const INTERVAL: Duration = Duration::from_millis(50);

    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), own: Mutex::default() }
    }

    /// In the order of their ids. A file that is gone meanwhile, or is no record, is none.
    fn records(&self) -> io::Result<Vec<ServerInfo>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            let end = fs::metadata(&path).and_then(|metadata| metadata.modified());
            if is_record && end.is_ok_and(|end| end > SystemTime::now()) {
                records.extend(fs::read(&path).ok().and_then(|text| ServerInfo::from_json(&text).ok()));
            }
        }
        records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }
}

/// Small files on a local disk: nothing here takes long enough to be worth a thread.
impl Registry for Directory {
    /// There is one lease, as there is one server for each value.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, RegistryError> {
        lock(&self.own).1 = ttl;
        Ok(LeaseId::new(1))
    }

    async fn put(&self, info: Arc<ServerInfo>, _lease: LeaseId) -> Result<(), RegistryError> {
        let mut own = lock(&self.own);
        own.0 = self.path.join(&info.id).with_extension("json");
        // Nobody is to read half a record.
        let new = own.0.with_extension("new");
        let put =
            fs::write(&new, info.to_json()).and_then(|()| extend(&new, own.1)).and_then(|()| fs::rename(&new, &own.0));
        put.map_err(failed)
    }

    async fn keep_alive(&self, _lease: LeaseId) -> Result<KeptAlive, RegistryError> {
        let own = lock(&self.own);
        match extend(&own.0, own.1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KeptAlive::Lost),
            result => result.map(|()| KeptAlive::Yes).map_err(failed),
        }
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<(), RegistryError> {
        fs::remove_file(&lock(&self.own).0).map_err(failed)
    }

    async fn watch(&self, changes: Changes) -> RegistryError {
        let mut told = None;
        loop {
            match self.records() {
                Ok(records) if told.as_ref() == Some(&records) => {}
                Ok(records) => changes.resync(told.insert(records).clone()).await,
                Err(error) => return failed(error),
            }
            sleep(Self::INTERVAL).await;
        }
    }
}

fn extend(file: &Path, ttl: Duration) -> io::Result<()> {
    fs::File::options().write(true).open(file)?.set_modified(SystemTime::now() + ttl)
}

fn failed(error: io::Error) -> RegistryError {
    RegistryError::new(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics with the lock held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn greet(caller: Caller, Protobuf(name): Protobuf<String>) -> Protobuf<String> {
    Protobuf(format!("hello, {name}, says the room to the {}", caller.server_type))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<_> = std::env::args().skip(1).collect();
    let mut records = std::env::temp_dir().join("cereus-own-bus");
    if names.is_empty() {
        names = ["room", "connector"].map(str::to_owned).into();
        // Servers of other processes are not to be seen.
        records.set_extension(std::process::id().to_string());
    }
    fs::create_dir_all(&records)?;

    let (mut servers, mut serving) = (Vec::new(), JoinSet::new());
    for name in names {
        let cluster = Cluster::new(TcpBus::bind("127.0.0.1:0")?, Directory::new(&records));
        let remote = Remote::new("room").call("greet", greet);
        let server = App::new(()).server_type(&name).remote(remote).cluster(cluster).build()?;
        serving.spawn(cereus::tokio::serve(server.clone(), []));
        servers.push(server.clone());
        if server.listening().await.is_some() && name == "connector" {
            let answer = server.rpc().call::<String>("room.room.greet", &"Ann".to_owned()).await;
            println!("{}", answer.unwrap_or_else(|error| format!("no answer: {}", error.message())));
            servers.iter().for_each(cereus::Server::shutdown);
        }
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    // Fails if others are still in it.
    let _ = fs::remove_dir(&records);
    Ok(())
}
