//! Order, concurrency, deadlines, panics, hooks (specification, section 12.6).

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cereus::{App, Context, Error, Extension, Json, Raw, Service, Session, State};
use smol::lock::Barrier;

use crate::{
    client::Client,
    common::{Gate, Log, On, assert_works, echo, give_way, tell},
    net,
    server::{ON_PURPOSE, eventually},
};

pub(crate) fn answers_come_in_order(on: On) {
    async fn slow(State(log): State<Log>, Json((number, rounds)): Json<(u32, u32)>) -> Json<u32> {
        log.add(format!("{number} begins"));
        give_way(rounds).await;
        log.add(format!("{number} ends"));
        Json(number)
    }
    let log = Log::default();
    let service = Service::new("work").request("slow", slow);
    let other = Service::new("other").request("slow", slow);
    let running = on.serve(App::new(log.clone()).service(service).service(other));
    let mut client = running.connect();
    // Handlers that end at once, handlers that have to wait, of two services.
    let numbers: Vec<_> = (0..100_u32).collect();
    let ids = client.send_all(numbers.iter().map(|number| {
        let route = if number % 3 == 0 { "other.slow" } else { "work.slow" };
        (route, format!("[{number}, {}]", number * 7 % 5 * 9))
    }));
    let answers: Vec<_> = numbers.iter().map(|_| client.next_answer()).collect();
    let expected: Vec<_> = ids.into_iter().zip(numbers.iter().map(|number| Ok(number.to_string().into()))).collect();
    assert_eq!(answers, expected);
    let one_after_the_other: Vec<_> =
        numbers.iter().flat_map(|number| [format!("{number} begins"), format!("{number} ends")]).collect();
    assert_eq!(log.entries(), one_after_the_other);
}

pub(crate) fn sessions_run_in_parallel(on: On) {
    async fn meet(State(barrier): State<Arc<Barrier>>) -> Raw {
        barrier.wait().await;
        Raw(Bytes::new())
    }
    let app = App::new(Arc::new(Barrier::new(2))).service(Service::new("both").request("meet", meet));
    let running = on.serve(app);
    let (mut one, mut other) = (running.connect(), running.connect());
    let (id, other_id) = (one.send("both.meet", ""), other.send("both.meet", ""));
    one.answer_to(id).unwrap();
    other.answer_to(other_id).unwrap();
}

pub(crate) fn concurrency_is_up_to_n(on: On) {
    const N: usize = 3;
    const REQUESTS: usize = 8;
    let (tell, told) = tell();
    let (gate, pass) = (Gate::new(), Gate::new());
    let (running_now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (handler_gate, handler_pass, handler_most) = (gate.clone(), pass.clone(), Arc::clone(&most));
    let work = move |Raw(body): Raw| {
        most.fetch_max(running_now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (tell, gate, pass, now) =
            (tell.clone(), handler_gate.clone(), handler_pass.clone(), Arc::clone(&running_now));
        async move {
            let _ = tell.send(());
            if body == "first" {
                gate.pass().await
            } else {
                pass.pass().await
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Raw(body)
        }
    };
    let app = App::new(()).service(Service::new("work").concurrency(N).request("do", work)).service(echo());
    let running = on.serve(app);
    let mut client = running.connect();
    // One that runs in a service of its own does not hold up the others, and may be overtaken.
    let first = client.send("work.do", "first");
    told.next();
    assert_works(&mut client);
    let others = client.send_all([("work.do", "others"); REQUESTS]);
    (1..N).for_each(|_| told.next());
    pass.open(REQUESTS);
    for _ in &others {
        assert_ne!(client.next_answer().0, first);
    }
    gate.open(1);
    assert_eq!(client.answer_to(first).unwrap(), "first");
    assert_eq!(handler_most.load(Ordering::SeqCst), N);
}

pub(crate) fn panic_is_an_error(on: On) {
    async fn at_once() -> Raw {
        panic!("{}", ON_PURPOSE)
    }
    async fn later() -> Raw {
        give_way(3).await;
        panic!("{}", ON_PURPOSE)
    }
    async fn nothing() {
        panic!("{}", ON_PURPOSE)
    }
    let outside = |_: Session| -> future::Ready<Raw> { panic!("{}", ON_PURPOSE) };
    let service = Service::new("panic")
        .request("at_once", at_once)
        .request("later", later)
        .request("outside", outside)
        .notify("nothing", nothing);
    let running = on.serve(App::new(()).service(service).service(echo()));
    let mut client = running.connect();
    client.notify("panic.nothing", "");
    for route in ["panic.at_once", "panic.later", "panic.outside"] {
        let error = client.refused(route, "");
        assert_eq!((&*error.code, &*error.message), (Error::UNKNOWN, ON_PURPOSE), "{route}");
        assert_works(&mut client);
    }
}

pub(crate) fn panic_at_the_end(on: On) {
    struct PanicAtTheEnd;

    impl Drop for PanicAtTheEnd {
        fn drop(&mut self) {
            // A second panic would end the process.
            assert!(std::thread::panicking(), "{}", ON_PURPOSE);
        }
    }

    async fn never() -> Raw {
        let _guard = PanicAtTheEnd;
        future::pending().await
    }
    let service = Service::new("work").deadline(Duration::from_millis(50)).request("never", never);
    let running = on.serve(App::new(()).service(service).service(echo()).drain_timeout(Duration::from_secs(1)));
    let mut client = running.connect();
    assert_eq!(client.refused("work.never", "").code, Error::TIMEOUT);
    assert_works(&mut client);
    // Also when the client has left.
    client.send("work.never", "");
    drop(client);
    eventually("the session ended", || running.server().sessions().count() == 0);
}

pub(crate) fn deadline_cuts(on: On) {
    const DEADLINE: Duration = Duration::from_millis(150);

    struct TellDrop(std::sync::mpsc::Sender<()>);

    impl Drop for TellDrop {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    let (tell, told) = tell();
    let never = move |_: Session| {
        let guard = TellDrop(tell.clone());
        async move {
            let () = future::pending().await;
            drop(guard);
            Raw(Bytes::new())
        }
    };
    let app = App::new(())
        .service(Service::new("one").deadline(DEADLINE).request("never", never.clone()))
        .service(Service::new("two").request("never", never))
        .service(echo())
        .handler_deadline(DEADLINE * 2);
    let running = on.serve(app);
    let mut client = running.connect();
    for (route, deadline) in [("one.never", DEADLINE), ("two.never", DEADLINE * 2)] {
        let start = net::now();
        let error = client.refused(route, "");
        assert_eq!(error.code, Error::TIMEOUT);
        assert!(error.message.contains(route), "{}", error.message);
        // A driver looks at the clock when it wakes up, which is a little before it starts a handler.
        assert!(net::since(start) >= deadline / 2, "{route} was cut after {:?}", net::since(start));
        told.next();
    }
    // What waits behind gets its turn, and a notify is cut as well.
    client.notify("one.never", "");
    assert_works(&mut client);
    told.next();
}

/// Gives every message an extension and a log entry, and makes something else of results.
fn hooked(log: &Log) -> App<Log> {
    struct Number(u32);

    async fn handler(
        State(log): State<Log>,
        Extension(number): Extension<Number>,
        Raw(body): Raw,
    ) -> Result<Raw, Error> {
        log.add(format!("handler {}", number.0));
        assert!(body != "panic", "{}", ON_PURPOSE);
        if body == "fail" { Err(Error::new("GAME-001", "failed")) } else { Ok(Raw(body)) }
    }
    async fn no_arguments() -> Raw {
        Raw("without arguments".into())
    }
    async fn typed(Json(number): Json<u32>) -> Json<u32> {
        Json(number)
    }
    let before = |name: &'static str, log: &Log| {
        let log = log.clone();
        move |mut context: Context| {
            log.add(name);
            async move {
                give_way(2).await;
                let number = context.extension::<Number>().map_or(0, |number| number.0);
                context.insert(Number(number * 10 + 1));
                if context.body() == "refuse" { Err(Error::new("GAME-002", "refused")) } else { Ok(context) }
            }
        }
    };
    let after = |name: &'static str, log: &Log| {
        let log = log.clone();
        move |context: Context, result: Result<Bytes, Error>| {
            let number = context.extension::<Number>().map_or(0, |number| number.0);
            log.add(format!("{name} {number}"));
            async move {
                give_way(2).await;
                match result {
                    Err(error) => Ok(Bytes::copy_from_slice(error.code().as_bytes())),
                    Ok(body) if body == "spoil" => Err(Error::new("GAME-003", "spoiled")),
                    Ok(body) if body == "wrap" => Ok("wrapped".into()),
                    Ok(body) => Ok(body),
                }
            }
        }
    };
    App::new(log.clone())
        .before(before("before 1", log))
        .before(before("before 2", log))
        .after(after("after 1", log))
        .after(after("after 2", log))
        .service(Service::new("work").request("do", handler).request("none", no_arguments).request("typed", typed))
}

pub(crate) fn hooks_change_context_and_result(on: On) {
    let log = Log::default();
    let running = on.serve(hooked(&log));
    let mut client = running.connect();
    assert_eq!(client.request("work.do", "same").unwrap(), "same");
    assert_eq!(log.entries(), ["before 1", "before 2", "handler 11", "after 1 11", "after 2 11"]);
    // An error becomes a reply, a reply another one, and an error by the last hook stays one.
    assert_eq!(client.request("work.do", "fail").unwrap(), "GAME-001");
    assert_eq!(client.request("work.do", "panic").unwrap(), Error::UNKNOWN);
    assert_eq!(client.request("work.do", "wrap").unwrap(), "wrapped");
    assert_eq!(client.request("work.do", "spoil").unwrap(), "GAME-003");
    assert_eq!(client.request("work.none", "").unwrap(), "without arguments");

    let app = App::new(()).service(echo()).after(|_, _| async { Err(Error::new("GAME-004", "never")) });
    let running = on.serve(app);
    assert_eq!(running.connect().refused("echo.raw", "").code, "GAME-004");
}

pub(crate) fn hooks_that_refuse(on: On) {
    let log = Log::default();
    let running = on.serve(hooked(&log));
    let mut client = running.connect();
    let error = client.refused("work.do", "refuse");
    assert_eq!((&*error.code, &*error.message), ("GAME-002", "refused"));
    // The first that refuses ends it: no other hook ran, before or after.
    assert_eq!(log.entries(), ["before 1"]);
    // No hook runs for what cannot be read or leads nowhere.
    assert_eq!(client.refused("work.typed", "{").code, Error::BAD_REQUEST);
    assert_eq!(client.refused("work.nothing", "").code, Error::NOT_FOUND);
    assert_eq!(log.entries(), ["before 1"]);
}

pub(crate) fn hooks_that_panic(on: On) {
    let before = |context: Context| {
        // Outside of the future, and inside of it.
        assert!(context.body() != "before outside", "{}", ON_PURPOSE);
        async move {
            assert!(context.body() != "before", "{}", ON_PURPOSE);
            Ok(context)
        }
    };
    let after = |_: Context, result: Result<Bytes, Error>| {
        assert!(result.as_ref().is_ok_and(|body| body != "after outside"), "{}", ON_PURPOSE);
        async move {
            assert!(result.as_ref().is_ok_and(|body| body != "after"), "{}", ON_PURPOSE);
            result
        }
    };
    let running = on.serve(App::new(()).service(echo()).before(before).after(after));
    let mut client = running.connect();
    for body in ["before", "after", "before outside", "after outside"] {
        let error = client.refused("echo.raw", body);
        assert_eq!((&*error.code, &*error.message), (Error::INTERNAL, ON_PURPOSE), "{body}");
        assert_works(&mut client);
    }
}

pub(crate) fn handlers_outlive_their_client(on: On) {
    let (tell, told) = tell();
    let gate = Gate::new();
    let pass = gate.clone();
    let work = move |session: Session| {
        let (tell, pass) = (tell.clone(), pass.clone());
        async move {
            let _ = tell.send(session.is_closed());
            pass.pass().await;
            let _ = tell.send(session.is_closed());
            Raw(Bytes::new())
        }
    };
    let running = on.serve(App::new(()).service(Service::new("work").request("do", work)).service(echo()));
    let leave = |client: Client| {
        assert!(!told.next());
        drop(client);
        eventually("the session ended", || running.server().sessions().count() == 0);
        assert!(told.is_silent());
        gate.open(1);
        assert!(told.next(), "the handler was not told that its client left");
    };
    let mut client = running.connect();
    client.send("work.do", "");
    leave(client);
    let mut client = running.connect();
    client.notify("work.do", "");
    leave(client);
    // What had not started yet never does.
    let mut client = running.connect();
    client.send_all([("work.do", ""); 2]);
    leave(client);
    assert_works(&mut running.connect());
    assert!(told.is_silent());
}
