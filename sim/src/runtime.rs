use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use cereus_app::{ServeError, Server};
use cereus_core::Instant;
use cereus_transports::{
    Endpoint,
    rt::{Connector, Listener, Runtime, Timer},
};

use crate::{Clock, Profile, Rng};

mod stream;

pub(crate) use stream::Tap;
pub use stream::{Direction, SimStream, Wire};

/// More polls than any test needs: something goes round in circles.
const MAX_POLLS: usize = 5_000_000;

/// The first port that is given to whoever left it open.
const FIRST_PORT: u16 = 49152;

/// A runtime in virtual time: the shipping driver, handlers and modules run on it without a socket, a clock or a thread.
///
/// Nothing runs by itself. [`run_until`](Self::run_until), [`advance`](Self::advance) and [`run_idle`](Self::run_idle)
/// run the tasks that are ready, in the order in which they were woken; time passes only when none is, and goes straight to
/// the next timer. The same test does the same every time. See the [crate](crate) for an example.
///
/// Connections are pairs of [links](crate::Link) with a bounded buffer for each direction: who does not read stalls the
/// peer's writes. On those of [`connect`](Connector::connect) bytes arrive at the moment they are written;
/// [`connect_over`](Self::connect_over) makes others. Tasks that have not ended live until [`end`](Self::end).
#[derive(Clone, Default)]
pub struct SimRuntime {
    state: Arc<Mutex<State>>,
    ready: Arc<Ready>,
    /// Whose tasks are spawned by this handle.
    process: u64,
}

/// The tasks that were woken, in this order. Apart from the rest, because wakers are called from everywhere.
type Ready = Mutex<VecDeque<Arc<TaskWaker>>>;

struct Task {
    process: u64,
    /// The type of its future, to be told.
    name: &'static str,
    /// Nothing while it is being polled.
    future: Option<TaskFuture>,
}

type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
struct State {
    clock: Clock,
    tasks: BTreeMap<u64, Task>,
    /// By time, then in the order in which they were set.
    timers: BTreeMap<TimerKey, Waker>,
    listeners: BTreeMap<SocketAddr, Arc<Mutex<Backlog>>>,
    /// The connections that are made without saying more.
    profile: Profile,
    last_id: u64,
    /// How many ports were given away.
    ports: u16,
}

type TimerKey = (Instant, u64);

impl State {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn take_port(&mut self) -> u16 {
        let port = FIRST_PORT + self.ports;
        self.ports = (self.ports + 1) % (u16::MAX - FIRST_PORT);
        port
    }
}

/// Making one, and what a test does beside running it.
impl SimRuntime {
    /// A runtime at the epoch, without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes each direction of the connections made from now on holds. Default: 64 KiB.
    ///
    /// # Panics
    ///
    /// When it is zero: nothing could ever be written.
    #[must_use]
    pub fn buffer(self, bytes: usize) -> Self {
        assert!(bytes > 0, "a connection without a buffer carries nothing");
        let profile = Profile::perfect().both(|link| link.capacity(bytes));
        self.state().profile = profile;
        self
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.state().clock.now()
    }

    /// Ends when so much time has passed since it was first polled.
    pub fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + use<> {
        let runtime = self.clone();
        async move {
            let (mut timer, at) = (Runtime::timer(&runtime), runtime.now() + duration);
            poll_fn(|cx| timer.poll_until(at, cx)).await;
        }
    }

    /// Serves a server in a task. It listens once the runtime has [run](Self::run_idle).
    pub fn serve(&self, server: Server, endpoints: impl IntoIterator<Item = Endpoint>) -> Serving {
        let serving = Serving::default();
        let (result, endpoints): (_, Vec<_>) = (Arc::clone(&serving.0), endpoints.into_iter().collect());
        let runtime = self.clone();
        self.spawn(async move {
            let ended = cereus_app::serve(runtime, server, endpoints).await;
            *lock(&result) = Some(ended);
        });
        serving
    }

    /// Drops all tasks where they wait.
    pub fn end(&self) {
        self.end_tasks(|_| true);
    }

    /// A handle to the same runtime whose tasks, and those that they spawn in turn, are a process of their own.
    #[must_use]
    pub fn process(&self) -> Self {
        let process = self.state().next_id();
        Self { process, ..self.clone() }
    }

    /// Drops the tasks of this handle's [process](Self::process) where they wait, as a crash does: nothing is told to
    /// anybody, but for what the system tells, which closes its connections.
    pub fn kill(&self) {
        self.end_tasks(|task| task.process == self.process);
    }

    /// How many tasks of this handle's [process](Self::process) have not ended.
    pub fn tasks(&self) -> usize {
        self.state().tasks.values().filter(|task| task.process == self.process).count()
    }

    fn end_tasks(&self, which: impl Fn(&Task) -> bool) {
        // Not dropped with the lock held: what is dropped comes back here.
        let ended: Vec<_> = self.state().tasks.extract_if(.., |_, task| which(task)).collect();
        drop(ended);
    }

    /// Connects over links that behave as the profile says, and where that leaves a choice, as `seed` says.
    ///
    /// # Errors
    ///
    /// Nobody listens on the address.
    pub fn connect_over(&self, address: SocketAddr, profile: &Profile, seed: u64) -> io::Result<SimStream> {
        let (backlog, peer) = {
            let mut state = self.state();
            let backlog = state.listeners.get(&address).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            (backlog, SocketAddr::new(address.ip(), state.take_port()))
        };
        let (ours, theirs) = SimStream::pair(self, profile, Rng::new(seed), peer);
        let accepting = {
            let mut backlog = lock(&backlog);
            backlog.streams.push_back((theirs, peer));
            backlog.accepting.take()
        };
        wake(accepting);
        Ok(ours)
    }
}

/// Running.
impl SimRuntime {
    /// Runs until `done`, which is asked after every step of a task. Returns when that was.
    ///
    /// # Panics
    ///
    /// When it never comes: no task is ready and no timer is set, or there is no end of what goes on.
    pub fn run_until(&self, mut done: impl FnMut() -> bool) -> Instant {
        for _ in 0..MAX_POLLS {
            if done() {
                return self.now();
            }
            if self.poll_one() {
                continue;
            }
            let next = self.next_timer();
            let next =
                next.unwrap_or_else(|| panic!("what the test waits for never comes: all wait forever: {self:?}"));
            self.pass_until(next);
        }
        panic!("what the test waits for does not come: {self:?}");
    }

    /// Polls the task that was woken first. If there is none, lets time pass to when something happens, but not beyond
    /// `end`.
    pub fn step(&self, end: Instant) {
        if !self.poll_one() {
            let next = self.next_timer().unwrap_or(end);
            self.pass_until(next.min(end));
        }
    }

    /// Lets exactly this much time pass, and runs everything that is due in it.
    ///
    /// # Panics
    ///
    /// When tasks wake each other without end.
    pub fn advance(&self, duration: Duration) {
        let end = self.now() + duration;
        self.run_idle();
        while let Some(next) = self.next_timer().filter(|next| *next <= end) {
            self.pass_until(next);
            self.run_idle();
        }
        self.pass_until(end);
    }

    /// Runs until no task is ready. No time passes.
    ///
    /// # Panics
    ///
    /// When tasks wake each other without end.
    pub fn run_idle(&self) {
        for _ in 0..MAX_POLLS {
            if !self.poll_one() {
                return;
            }
        }
        panic!("time stands still: {self:?}");
    }

    /// Polls the task that was woken first. Returns whether there was one.
    fn poll_one(&self) -> bool {
        let Some(waker) = lock(&self.ready).pop_front() else {
            return false;
        };
        waker.queued.store(false, Ordering::Relaxed);
        let id = waker.id;
        let Some(mut future) = self.state().tasks.get_mut(&id).and_then(|task| task.future.take()) else {
            // It has ended.
            return true;
        };
        match future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker))) {
            Poll::Ready(()) => drop(self.state().tasks.remove(&id)),
            Poll::Pending => self.put_back(id, future),
        }
        true
    }

    fn put_back(&self, id: u64, future: TaskFuture) {
        let mut state = self.state();
        match state.tasks.get_mut(&id) {
            Some(task) => task.future = Some(future),
            // It was dropped meanwhile.
            None => {
                drop(state);
                drop(future);
            }
        }
    }

    /// When something happens next, if nothing is ready.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.state().timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets time pass and wakes those whose timers are due.
    pub(crate) fn pass_until(&self, at: Instant) {
        let due = {
            let mut state = self.state();
            state.clock.advance_to(at);
            let later = state.timers.split_off(&(at, u64::MAX));
            std::mem::replace(&mut state.timers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl fmt::Debug for SimRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let ready: Vec<_> = lock(&self.ready).iter().filter_map(|waker| state.tasks.get(&waker.id)).collect();
        f.debug_struct("SimRuntime")
            .field("now", &(state.clock.now() - Instant::EPOCH))
            .field("tasks", &state.tasks.len())
            .field("ready", &ready.iter().map(|task| task.name).collect::<Vec<_>>())
            .field("next_timer", &state.timers.keys().next().map(|(at, _)| *at - Instant::EPOCH))
            .field("listeners", &state.listeners.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Runtime for SimRuntime {
    type Timer = SimTimer;
    type Listener = SimListener;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let name = std::any::type_name_of_val(&task);
        let mut state = self.state();
        let id = state.next_id();
        state.tasks.insert(id, Task { process: self.process, name, future: Some(Box::pin(task)) });
        Arc::new(TaskWaker { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) }).wake();
    }

    fn timer(&self) -> SimTimer {
        SimTimer { runtime: self.clone(), set: None }
    }

    fn now(&self) -> Instant {
        Self::now(self)
    }

    /// 1970 began when this clock did.
    fn unix_time(&self) -> Duration {
        self.now() - Instant::EPOCH
    }

    async fn bind(&self, mut address: SocketAddr) -> io::Result<SimListener> {
        let mut state = self.state();
        if address.port() == 0 {
            address.set_port(state.take_port());
        }
        if state.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let backlog = Arc::<Mutex<Backlog>>::default();
        state.listeners.insert(address, Arc::clone(&backlog));
        Ok(SimListener { runtime: self.clone(), address, backlog })
    }
}

impl Connector for SimRuntime {
    type Stream = SimStream;

    /// Connects to an address as it was bound. The connection is there at once, accepted or not.
    async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        let profile = self.state().profile.clone();
        self.connect_over(address, &profile, 0)
    }
}

/// Wakes a task: puts it into the queue, unless it is there already.
struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            let ready = Arc::clone(&self.ready);
            lock(&ready).push_back(self);
        }
    }
}

/// What became of a server that is [served](SimRuntime::serve).
#[derive(Debug, Default)]
pub struct Serving(Arc<Mutex<Option<Result<(), ServeError>>>>);

impl Serving {
    /// Whether `serve` has returned, and its result was not taken.
    pub fn is_over(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// Takes what `serve` returned; `None` while it has not.
    pub fn take_result(&self) -> Option<Result<(), ServeError>> {
        lock(&self.0).take()
    }
}

/// A timer of a [`SimRuntime`].
#[derive(Debug)]
pub struct SimTimer {
    runtime: SimRuntime,
    set: Option<TimerKey>,
}

impl Timer for SimTimer {
    fn poll_until(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.runtime.state();
        let before = self.set.take().and_then(|key| state.timers.remove(&key));
        let polled = if state.clock.now() >= at {
            Poll::Ready(())
        } else {
            let key = (at, state.next_id());
            state.timers.insert(key, cx.waker().clone());
            self.set = Some(key);
            Poll::Pending
        };
        drop(state);
        drop(before);
        polled
    }
}

impl Drop for SimTimer {
    fn drop(&mut self) {
        let waker = self.set.take().and_then(|key| self.runtime.state().timers.remove(&key));
        drop(waker);
    }
}

/// Who listens on an address of a [`SimRuntime`].
#[derive(Debug)]
pub struct SimListener {
    runtime: SimRuntime,
    address: SocketAddr,
    backlog: Arc<Mutex<Backlog>>,
}

#[derive(Debug, Default)]
struct Backlog {
    streams: VecDeque<(SimStream, SocketAddr)>,
    accepting: Option<Waker>,
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&mut self) -> io::Result<(SimStream, SocketAddr)> {
        poll_fn(|cx| {
            let mut backlog = lock(&self.backlog);
            match backlog.streams.pop_front() {
                Some(accepted) => Poll::Ready(Ok(accepted)),
                None => {
                    backlog.accepting = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.runtime.state().listeners.remove(&self.address);
    }
}

/// Called without a lock: a waker may do anything.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A task that panics ends the test; what is locked is whole all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
