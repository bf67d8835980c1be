use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::Ipv4Addr,
};

use cereus_app::{App, Server};
use cereus_core::{ClientConfig, Instant};
use tracing::subscriber::DefaultGuard;

use crate::{Client, Journal, Profile, Rng, SimCluster, SimRuntime};

mod conversation;
mod host;
pub mod invariants;
mod run;

pub use host::Host;

use conversation::Conversations;
use host::{Place, Running};

type Invariant = Box<dyn Fn(&World) -> Result<(), String>>;

/// Servers, their cluster and their clients, in virtual time and in one thread.
///
/// What is true in every world is checked whenever time has passed: see [`invariants`]. Add [your own](Self::invariant).
/// When one does not hold, the world panics, and tells its seed, the name of the invariant and the last of its
/// [`Journal`]. The same seed gives the same world; what it leaves to chance is the seed's alone, as long as your
/// handlers do not ask the real clock or throw dice of their own.
///
/// See the [crate](crate) for an example.
pub struct World {
    seed: u64,
    rng: Rng,
    runtime: SimRuntime,
    cluster: SimCluster,
    journal: Journal,
    places: BTreeMap<String, Place>,
    clients: usize,
    conversations: Conversations,
    /// What is not checked.
    ignored: BTreeSet<String>,
    invariants: Vec<(String, Invariant)>,
    _log: DefaultGuard,
}

/// Making one.
impl World {
    /// A world without servers. What is left to chance, `seed` decides.
    pub fn new(seed: u64) -> Self {
        let runtime = SimRuntime::new();
        let (journal, conversations) = (Journal::new(&runtime), Conversations::default());
        let mut rng = Rng::new(seed);
        Self {
            seed,
            cluster: SimCluster::new(&runtime, rng.next_u64()),
            rng,
            places: BTreeMap::new(),
            clients: 0,
            ignored: BTreeSet::new(),
            invariants: Vec::new(),
            _log: conversation::listen_to_logs(&journal, &conversations),
            runtime,
            journal,
            conversations,
        }
    }

    /// Does not check an invariant: for apps that do not promise it, such as the order of services with
    /// [`concurrency`](cereus_app::Service::concurrency).
    pub fn ignore(&mut self, invariant: &str) {
        self.ignored.insert(invariant.to_owned());
    }

    /// Adds something that is to be true whenever time has passed.
    pub fn invariant(&mut self, name: impl Into<String>, holds: impl Fn(&Self) -> Result<(), String> + 'static) {
        self.invariants.push((name.into(), Box::new(holds)));
    }
}

/// Servers, by their ids. Methods that take one panic when there is none.
impl World {
    /// Adds a server that clients connect to, and waits until it is ready. `build` is called again when it is
    /// [restarted](Self::restart).
    ///
    /// # Panics
    ///
    /// When it cannot be built or started.
    pub fn frontend<S: Send + Sync + 'static>(
        &mut self,
        id: &str,
        build: impl Fn(&Host) -> App<S> + 'static,
    ) -> Server {
        let port = 3250 + self.places.len() as u16;
        self.add(id, Place::new(Some((Ipv4Addr::LOCALHOST, port).into()), build))
    }

    /// Adds a server that only other servers talk to, and waits until it is ready. The app has to have the
    /// [cluster](Host::cluster) of its host.
    ///
    /// # Panics
    ///
    /// As [`frontend`](Self::frontend).
    pub fn backend<S: Send + Sync + 'static>(&mut self, id: &str, build: impl Fn(&Host) -> App<S> + 'static) -> Server {
        self.add(id, Place::new(None, build))
    }

    fn add(&mut self, id: &str, place: Place) -> Server {
        assert!(!self.places.contains_key(id), "there is a server `{id}` already");
        self.places.insert(id.to_owned(), place);
        self.start(id);
        let Running { server, serving, .. } = self.running(id).expect("it was just started");
        self.runtime.run_until(|| server.is_ready() || serving.is_over());
        assert!(!serving.is_over(), "`{id}` cannot be served: {:?}", serving.take_result());
        self.running(id).expect("it was just started").server.clone()
    }

    fn start(&mut self, id: &str) {
        self.journal.note(format_args!("{id} starts"));
        let runtime = self.runtime.process();
        let host = Host { id: id.to_owned(), runtime, cluster: self.cluster.clone(), journal: self.journal.clone() };
        self.places.get_mut(id).unwrap_or_else(|| panic!("there is no server `{id}`")).start(host);
    }

    /// The server, if it runs.
    pub fn server(&self, id: &str) -> Option<&Server> {
        self.running(id).map(|running| &running.server)
    }

    /// Whose servers there are, running or not, in the order of their ids.
    pub fn ids(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    /// Ends a server where it is, as a power failure does. Its record stays in the registry until its lease ends.
    pub fn crash(&mut self, id: &str) {
        let gone = self.places.get_mut(id).unwrap_or_else(|| panic!("there is no server `{id}`")).running.take();
        if let Some(gone) = gone {
            self.journal.note(format_args!("{id} crashes"));
            self.forget(id, &gone);
        }
    }

    /// Starts a server again, if it does not run. It is not waited for: the registry may be away.
    pub fn restart(&mut self, id: &str) {
        let place = self.places.get_mut(id).unwrap_or_else(|| panic!("there is no server `{id}`"));
        if let Some(over) = place.running.take_if(|running| running.serving.is_over()) {
            self.forget(id, &over);
        }
        if self.running(id).is_none() {
            self.start(id);
        }
    }

    fn forget(&self, id: &str, gone: &Running) {
        gone.runtime.kill();
        self.conversations.of(id).for_each(|conversation| conversation.server_is_gone(self.now()));
    }

    fn running(&self, id: &str) -> Option<&Running> {
        self.places.get(id).unwrap_or_else(|| panic!("there is no server `{id}`")).running.as_ref()
    }
}

/// Clients.
impl World {
    /// Connects a client to a frontend, and waits until they have shaken hands.
    ///
    /// # Panics
    ///
    /// When that does not come to pass.
    pub fn client(&mut self, frontend: &str, profile: &Profile) -> Client {
        let client = self.connect(frontend, ClientConfig::default(), profile);
        let client = client.unwrap_or_else(|error| panic!("`{frontend}` does not listen: {error}"));
        self.run_until(|_| client.is_connected() || client.closed().is_some());
        assert!(client.is_connected(), "the connection ended: {:?}", client.closed());
        client
    }

    /// Connects a client to a frontend, if that listens. They shake hands when time is run.
    ///
    /// # Errors
    ///
    /// Nobody listens.
    ///
    /// # Panics
    ///
    /// When the server is a backend.
    pub fn connect(&mut self, frontend: &str, config: ClientConfig, profile: &Profile) -> io::Result<Client> {
        let server = self.server(frontend).ok_or(io::ErrorKind::ConnectionRefused)?.clone();
        let address = self.places[frontend].address.unwrap_or_else(|| panic!("`{frontend}` is a backend"));
        let client = Client::start(&self.runtime, address, config, profile, self.rng.next_u64())?;
        self.clients += 1;
        let name = format!("client {}", self.clients);
        self.journal.note(format_args!("{name} connects to {frontend} as {}", client.wire().client()));
        let ordered = !self.ignored.contains(invariants::ORDER);
        self.conversations.listen(name, frontend, client.wire(), server.config().clone(), &self.journal, ordered);
        Ok(client)
    }

    /// Whether a client's server has begun to throw it out: its running request is still answered, and nothing is pushed.
    pub fn is_kicking(&self, client: &Client) -> bool {
        self.conversations.find(client.wire().client()).is_some_and(|conversation| conversation.is_kicking())
    }

    /// When and how a client's connection ended for its server.
    pub fn server_closed(&self, client: &Client) -> Option<(Instant, String)> {
        self.conversations.find(client.wire().client())?.end()
    }
}

/// Facts.
impl World {
    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Where what the world leaves to chance comes from, for what a test does.
    pub const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What everything runs on.
    pub const fn runtime(&self) -> &SimRuntime {
        &self.runtime
    }

    /// The bus and the registry, and their faults.
    pub const fn cluster(&self) -> &SimCluster {
        &self.cluster
    }

    /// What happened.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.runtime.now()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now())
            .field("servers", &self.places)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}
