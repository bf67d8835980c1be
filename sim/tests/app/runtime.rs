//! The runtime itself.

use std::{
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    task::Poll,
};

use cereus_core::Instant;
use cereus_sim::{SimRuntime, SimStream};
use cereus_transports::rt::{ByteStream, Connector, Listener, Runtime, Timer};

use super::support::{HOUR, MINUTE, NANO, SECOND};

/// What was told, in this order.
type Told = Arc<Mutex<Vec<&'static str>>>;

fn tell(told: &Told, what: &'static str) {
    told.lock().expect("one thread").push(what);
}

fn told(told: &Told) -> Vec<&'static str> {
    told.lock().expect("one thread").clone()
}

/// Runs a task to its end, without letting time pass.
fn run<T: Send + 'static>(runtime: &SimRuntime, task: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move { sender.send(task.await).expect("it is received") });
    runtime.run_idle();
    receiver.try_recv().expect("the task has ended")
}

/// Both ends of a connection.
fn connect(runtime: &SimRuntime) -> (SimStream, SimStream) {
    let both = runtime.clone();
    run(runtime, async move {
        let mut listener = both.bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("any port");
        let address = listener.local_addr().expect("it listens");
        let client = both.connect(address).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("there is one");
        (client, server)
    })
}

#[test]
fn tasks_run_in_the_order_of_their_times_and_then_of_their_timers() {
    let runtime = SimRuntime::new();
    let order = Told::default();
    for (name, after) in [("late", MINUTE), ("first", SECOND), ("second", SECOND), ("last", HOUR)] {
        let (clock, order) = (runtime.clone(), Arc::clone(&order));
        runtime.spawn(async move {
            clock.sleep(after).await;
            tell(&order, name);
        });
    }
    runtime.advance(MINUTE - NANO);
    assert_eq!(told(&order), ["first", "second"]);
    runtime.advance(NANO);
    assert_eq!(told(&order), ["first", "second", "late"]);
    assert_eq!(runtime.run_until(|| told(&order).len() == 4), Instant::EPOCH + HOUR);
}

#[test]
fn a_new_time_takes_the_place_of_the_one_before() {
    let runtime = SimRuntime::new();
    let order = Told::default();
    let (mut timer, polled) = (Runtime::timer(&runtime), Arc::clone(&order));
    let mut at = Instant::EPOCH + SECOND;
    runtime.spawn(poll_fn(move |cx| {
        tell(&polled, "polled");
        let _ = timer.poll_until(at, cx);
        at = Instant::EPOCH + MINUTE;
        timer.poll_until(at, cx)
    }));
    runtime.advance(MINUTE - NANO);
    assert_eq!(told(&order), ["polled"]);
    runtime.advance(NANO);
    assert_eq!(told(&order), ["polled", "polled"]);
}

#[test]
fn a_stream_holds_its_buffer_and_no_more_until_the_peer_reads() {
    let runtime = SimRuntime::new().buffer(8);
    let (mut client, mut server) = connect(&runtime);
    let order = Told::default();
    let writing = Arc::clone(&order);
    runtime.spawn(async move {
        for expected in [8, 4] {
            assert_eq!(poll_fn(|cx| client.poll_write(cx, &[7; 12][12 - expected..])).await.ok(), Some(expected));
            tell(&writing, "written");
        }
    });
    runtime.run_idle();
    assert_eq!(told(&order), ["written"]);

    let read = run(&runtime, async move {
        let mut read = Vec::new();
        loop {
            let mut buf = [0; 5];
            match poll_fn(|cx| server.poll_read(cx, &mut buf)).await.expect("no error") {
                0 => return read,
                len => read.push(len),
            }
        }
    });
    assert_eq!(read.iter().sum::<usize>(), 12);
    assert_eq!(told(&order), ["written", "written"]);
}

#[test]
fn nobody_writes_to_an_end_that_is_gone() {
    let runtime = SimRuntime::new();
    let (mut client, server) = connect(&runtime);
    drop(server);
    let error = run(&runtime, async move { poll_fn(|cx| client.poll_write(cx, b"hello")).await });
    assert_eq!(error.map_err(|error| error.kind()), Err(io::ErrorKind::BrokenPipe));
}

#[test]
fn an_address_is_listened_on_once_and_free_again_afterwards() {
    let runtime = SimRuntime::new();
    let binding = runtime.clone();
    run(&runtime, async move {
        let address = SocketAddr::from(([127, 0, 0, 1], 3250));
        let listener = binding.bind(address).await.expect("it is free");
        assert_eq!(binding.bind(address).await.map_err(|error| error.kind()).err(), Some(io::ErrorKind::AddrInUse));
        drop(listener);
        let refused = binding.connect(address).await.map_err(|error| error.kind()).err();
        assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
        assert!(binding.bind(address).await.is_ok());
    });
}

#[test]
fn the_end_drops_what_still_waits() {
    struct TellDrop(Told);
    impl Drop for TellDrop {
        fn drop(&mut self) {
            tell(&self.0, "dropped");
        }
    }
    let runtime = SimRuntime::new();
    let order = Told::default();
    let (held, clock) = (TellDrop(Arc::clone(&order)), runtime.clone());
    runtime.spawn(async move {
        clock.sleep(HOUR).await;
        drop(held);
    });
    runtime.run_idle();
    runtime.end();
    assert_eq!(told(&order), ["dropped"]);
    runtime.advance(2 * HOUR);
    assert_eq!(told(&order), ["dropped"]);
}

#[test]
#[should_panic(expected = "all wait forever")]
fn waiting_for_what_cannot_happen_is_told() {
    let runtime = SimRuntime::new();
    runtime.spawn(pending());
    runtime.run_until(|| false);
}

#[test]
#[should_panic(expected = "time stands still")]
fn a_task_that_goes_round_in_circles_is_told() {
    let runtime = SimRuntime::new();
    runtime.spawn(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    runtime.run_idle();
}
