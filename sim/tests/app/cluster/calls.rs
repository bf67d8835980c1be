//! Calls of the application to other servers.

use std::sync::{Arc, Mutex};

use cereus_app::{Caller, Context, Deadline, Error, Protobuf, Raw, Remote, RemoteContext, Rpc, Server, Service, State};
use cereus_core::Instant;
use cereus_sim::SimRuntime;
use cereus_transports::rt::Runtime;

use super::{World, code, text};
use crate::app::support::SECOND;

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(string, tag = "1")]
    msg: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    msg: String,
}

fn ask(msg: &str) -> Ask {
    Ask { msg: msg.to_owned() }
}

fn stats() -> Remote<SimRuntime> {
    async fn echo(caller: Caller, Protobuf(ask): Protobuf<Ask>) -> Protobuf<Answer> {
        Protobuf(Answer { code: 200, msg: format!("{}/{} said {}", caller.server_type, caller.id, ask.msg) })
    }
    async fn fail(Protobuf(_): Protobuf<Ask>) -> Result<Protobuf<Answer>, Error> {
        Err(Error::new("PIT-433", "test error").with("some", "meta"))
    }
    async fn nap(State(runtime): State<SimRuntime>, Protobuf(ask): Protobuf<Ask>) -> Protobuf<Answer> {
        runtime.sleep(SECOND * ask.msg.parse().expect("a number")).await;
        Protobuf(Answer { code: 200, msg: "slept".into() })
    }
    async fn tell(context: RemoteContext, server: Server, deadline: Deadline) -> Protobuf<Answer> {
        let propagated = context.propagated();
        let msg = format!("{:?} {:?}", propagated.get::<String>("tenant"), propagated.timeout);
        Protobuf(Answer { code: deadline.remaining(&server).as_secs() as i32, msg })
    }
    async fn panics() -> Protobuf<Answer> {
        panic!("boom, on purpose")
    }
    Remote::new("stats")
        .call("echo", echo)
        .call("fail", fail)
        .call("nap", nap)
        .call("tell", tell)
        .call("panics", panics)
}

fn call(world: &World, rpc: &Rpc, route: &'static str, msg: &'static str) -> Result<Answer, Error> {
    let rpc = rpc.clone();
    world.run(async move { rpc.call::<Answer>(route, &ask(msg)).await })
}

fn call_to(world: &World, rpc: &Rpc, id: &'static str, route: &'static str) -> Result<Answer, Error> {
    let rpc = rpc.clone();
    world.run(async move { rpc.call_to::<Answer>(id, route, &ask("t")).await })
}

fn world() -> (World, Server, Server) {
    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate").remote(stats()));
    let (room, _) = world.backend("r1", world.app("room").remote(stats()));
    world.backend("r2", world.app("room").remote(stats()));
    (world, gate, room)
}

#[test]
fn any_server_calls_any_other_by_type_and_by_id() {
    let (world, gate, room) = world();
    assert_eq!(call(&world, &gate.rpc(), "room.stats.echo", "hi").unwrap().msg, "gate/g1 said hi");
    assert_eq!(call(&world, &room.rpc(), "gate.stats.echo", "ho").unwrap().msg, "room/r1 said ho");
    assert_eq!(call_to(&world, &room.rpc(), "r2", "room.stats.echo").unwrap().msg, "room/r1 said t");
    assert_eq!(call_to(&world, &gate.rpc(), "r1", "anything.stats.echo").unwrap().code, 200);
}

#[test]
fn what_cannot_be_called_is_told_as_others_tell_it() {
    let (world, gate, room) = world();
    let nonsense = "you are making a rpc that may be processed locally, either specify a different server type or specify a server id";
    let refused = |error: Error| (error.code().to_owned(), error.message().to_owned());
    let own = call(&world, &room.rpc(), "room.stats.echo", "t").unwrap_err();
    assert_eq!(refused(own), ("PIT-000".into(), nonsense.into()));
    assert_eq!(
        refused(call_to(&world, &room.rpc(), "r1", "room.stats.echo").unwrap_err()),
        ("PIT-000".into(), nonsense.into())
    );
    assert_eq!(refused(call_to(&world, &room.rpc(), "r9", "room.stats.echo").unwrap_err()).1, "server not found");
    assert_eq!(call(&world, &gate.rpc(), "shop.stats.echo", "t").unwrap_err().code(), "PIT-500");
    assert_eq!(call(&world, &gate.rpc(), "stats.echo", "t").unwrap_err().code(), "PIT-400");
    let missing = call(&world, &gate.rpc(), "room.stats.nothing", "t").unwrap_err();
    assert_eq!(
        (missing.code(), missing.message(), &*missing.metadata()["route"]),
        ("PIT-404", "route not found", "stats.nothing")
    );
    let alone = super::app(&world.runtime).build().unwrap();
    assert_eq!(
        call(&world, &alone.rpc(), "room.stats.echo", "t").unwrap_err().message(),
        "this server is in no cluster"
    );
}

#[test]
fn errors_come_back_with_code_text_and_metadata() {
    let (world, gate, _) = world();
    let error = call(&world, &gate.rpc(), "room.stats.fail", "t").unwrap_err();
    assert_eq!((error.code(), error.message(), &*error.metadata()["some"]), ("PIT-433", "test error", "meta"));
    let error = call(&world, &gate.rpc(), "room.stats.panics", "t").unwrap_err();
    assert_eq!((error.code(), error.message()), ("PIT-000", "boom, on purpose"));
    let rpc = gate.rpc();
    let garbled =
        world.run(async move { rpc.call::<Answer>("room.stats.echo", &Answer { code: 7, msg: String::new() }).await });
    assert_eq!(garbled.unwrap_err().code(), "PIT-400");
}

#[test]
fn a_call_has_its_own_time_and_never_more_than_what_it_is_part_of() {
    let (world, gate, _) = world();
    let error = call(&world, &gate.rpc(), "room.stats.nap", "6").unwrap_err();
    assert_eq!((error.code(), &*error.metadata()["timeout"]), ("PIT-408", "5s"));
    assert_eq!(world.runtime.now(), Instant::EPOCH + 5 * SECOND);
    assert_eq!(call(&world, &gate.rpc().timeout(7 * SECOND), "room.stats.nap", "6").unwrap().msg, "slept");
    assert_eq!(world.runtime.now(), Instant::EPOCH + 11 * SECOND);
    assert_eq!(call(&world, &gate.rpc().timeout(SECOND), "room.stats.tell", "").unwrap().msg, "None Some(1s)");
    assert_eq!(gate.rpc().calls_in_flight(), 0);
}

#[test]
fn nested_calls_carry_what_was_propagated_and_the_time_that_is_left() {
    async fn outer(State(runtime): State<SimRuntime>, rpc: Rpc, Raw(seconds): Raw) -> Result<Raw, Error> {
        runtime.sleep(2 * SECOND).await;
        let rpc = rpc.timeout(SECOND * text(&seconds).parse()?);
        let answer: Answer = rpc.call("shop.stats.tell", &()).await?;
        Ok(Raw(answer.msg.into()))
    }
    let world = World::new();
    let tenant = async |mut context: Context| {
        context.propagate("tenant", "acme")?;
        Ok(context)
    };
    world.frontend("g1", 3250, world.app("gate"));
    world.backend("r1", world.app("room").before(tenant).service(Service::new("room").request("outer", outer)));
    world.backend("s1", world.app("shop").remote(stats()));
    let client = world.client(3250);
    assert_eq!(client.ask("room.room.outer", "60").unwrap(), r#"Some("acme") Some(3s)"#);
    assert_eq!(client.ask("room.room.outer", "1").unwrap(), r#"Some("acme") Some(1s)"#);
}

#[test]
fn a_handler_whose_caller_waits_no_more_cannot_call_on() {
    let told = Arc::new(Mutex::new(None));
    let result = Arc::clone(&told);
    let late = move |State(runtime): State<SimRuntime>, rpc: Rpc| {
        let told = Arc::clone(&told);
        async move {
            runtime.sleep(6 * SECOND).await;
            let answer = rpc.call::<Answer>("gate.stats.echo", &ask("t")).await;
            *told.lock().unwrap() = Some((runtime.now(), answer.unwrap_err().code().to_owned()));
        }
    };
    let world = World::new();
    world.frontend("g1", 3250, world.app("gate").remote(stats()));
    world.backend("r1", world.app("room").service(Service::new("room").notify("late", late)));
    let client = world.client(3250);
    client.notify("room.room.late", "");
    world.runtime.advance(10 * SECOND);
    assert_eq!(*result.lock().unwrap(), Some((Instant::EPOCH + 6 * SECOND, "PIT-408".to_owned())));
}

#[test]
fn hooks_of_remotes_run_around_them_and_can_refuse_or_change_what_comes_of_them() {
    let world = World::new();
    let login = async |context: RemoteContext| match context.caller().server_type.as_str() {
        "gate" => Ok(context),
        _ => Err(Error::new("GAME-1", "only gates")),
    };
    let hide = async |_: RemoteContext, result: Result<_, Error>| result.map_err(|_| Error::new("GAME-2", "hidden"));
    let (gate, _) = world.frontend("g1", 3250, world.app("gate"));
    let (shop, _) = world.backend("s1", world.app("shop"));
    world.backend("r1", world.app("room").remote(stats()).before_remote(login).after_remote(hide));
    assert_eq!(call(&world, &gate.rpc(), "room.stats.echo", "t").unwrap().code, 200);
    assert_eq!(call(&world, &gate.rpc(), "room.stats.fail", "t").unwrap_err().code(), "GAME-2");
    assert_eq!(call(&world, &shop.rpc(), "room.stats.echo", "t").unwrap_err().code(), "GAME-1");
}

#[test]
fn ten_thousand_calls_are_in_flight_at_once() {
    let (world, gate, _) = world();
    let answered = Arc::new(Mutex::new(0));
    for _ in 0..10_000 {
        let (rpc, answered) = (gate.rpc(), Arc::clone(&answered));
        world.runtime.spawn(async move {
            rpc.call::<Answer>("room.stats.nap", &ask("2")).await.expect("it has time");
            *answered.lock().unwrap() += 1;
        });
    }
    world.runtime.run_idle();
    assert_eq!(gate.rpc().calls_in_flight(), 10_000);
    world.runtime.advance(3 * SECOND);
    assert_eq!((*answered.lock().unwrap(), gate.rpc().calls_in_flight()), (10_000, 0));
    let stats = gate.rpc().call_stats();
    assert_eq!((stats.answered, stats.late + stats.duplicate + stats.unknown), (10_000, 0));
}

#[test]
fn an_answer_reaches_its_own_call_while_others_begin_at_the_same_moment() {
    let (world, gate, _) = world();
    let wrong = Arc::new(Mutex::new(Vec::new()));
    for task in 0..50 {
        let (rpc, runtime, wrong) = (gate.rpc(), world.runtime.clone(), Arc::clone(&wrong));
        world.runtime.spawn(async move {
            for number in 0..20 {
                if (task + number) % 3 == 0 {
                    runtime.sleep(SECOND).await;
                } else {
                    rpc.call::<Answer>("room.stats.nap", &ask("1")).await.expect("it has time");
                }
                let said = format!("{task}/{number}");
                let answer: Answer = rpc.call("room.stats.echo", &ask(&said)).await.expect("it has time");
                if answer.msg != format!("gate/g1 said {said}") {
                    wrong.lock().unwrap().push((said, answer.msg));
                }
            }
        });
    }
    world.runtime.advance(30 * SECOND);
    assert_eq!(*wrong.lock().unwrap(), []);
    assert_eq!((gate.rpc().call_stats().cancelled, gate.rpc().calls_in_flight()), (0, 0));
}

#[test]
fn a_server_that_takes_no_more_requests_says_so() {
    let world = World::new();
    let (gate, _) = world.frontend("g1", 3250, world.app("gate"));
    let room = world.app("room").remote(stats()).cluster(world.in_process("r1").max_requests(2));
    world.serve(room, None);
    let naps: Vec<_> = (0..2).map(|_| gate.rpc()).collect();
    for rpc in naps {
        world.runtime.spawn(async move { drop(rpc.call::<Answer>("room.stats.nap", &ask("2")).await) });
    }
    world.runtime.run_idle();
    assert_eq!(call(&world, &gate.rpc(), "room.stats.echo", "t").unwrap_err().code(), "PIT-500");
    world.runtime.advance(2 * SECOND);
    assert_eq!(call(&world, &gate.rpc(), "room.stats.echo", "t").unwrap().code, 200);
}

#[test]
fn a_client_cannot_reach_remotes() {
    let (world, ..) = world();
    let client = world.client(3250);
    assert_eq!(code(client.ask("room.stats.echo", "")), "PIT-404");
    assert_eq!(code(client.ask("room.sys.kick", "")), "PIT-404");
    assert_eq!(code(client.ask("sys.kick", "")), "PIT-404");
}
