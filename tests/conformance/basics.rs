//! Handshake, bodies, errors, routes (specification, sections 3 to 6).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use cereus::{
    App, Context, Deadline, Error, Extension, HandshakeRequest, Json, Peer, Protobuf, ProtobufSerializer, Raw,
    RequestId, Route, Server, Service, Session, State, UserId, core::CloseReason,
};
use serde_json::{Value, json};

use crate::{
    client::{Client, ErrorBody, Wire},
    common::{Gate, On, assert_works, echo, tell},
    server::ON_PURPOSE,
};

pub(crate) fn handshake_is_told(on: On) {
    async fn platform(session: Session) -> Json<Option<String>> {
        Json(session.handshake().map(|handshake| handshake.platform))
    }
    let app = App::new(())
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(7)))
        .dictionary([("client.platform", 3)])
        .service(Service::new("client").request("platform", platform));
    let running = on.serve(app);
    let mut handshake = HandshakeRequest::default();
    handshake.platform = "mac".into();
    let mut client = Client::connect_as(running.endpoint(), handshake);
    assert_eq!(client.welcome.heartbeat, Duration::from_secs(7));
    assert_eq!(client.welcome.serializer, "json");
    assert_eq!(client.welcome.dictionary, [(Route::from_static("client.platform"), 3)]);
    assert_eq!(client.json::<Value>("client.platform", ()), "mac");
}

pub(crate) fn handshake_can_be_refused(on: On) {
    async fn never(_: Session, _: HandshakeRequest) -> Result<(), Error> {
        Err(Error::new("GAME-001", "replaced by another"))
    }
    async fn token(_: Session, request: HandshakeRequest) -> Result<(), Error> {
        match request.platform.as_str() {
            "good" => Ok(()),
            "panic" => panic!("{}", ON_PURPOSE),
            _ => Err(Error::new("GAME-002", "no token")),
        }
    }
    let app = App::new(()).service(echo()).handshake_validator("token", never).handshake_validator("token", token);
    let running = on.serve(app);
    let present = |platform: &str| {
        let mut handshake = HandshakeRequest::default();
        handshake.platform = platform.into();
        Client::try_connect(running.endpoint(), handshake)
    };
    assert_eq!(present("bad").err(), Some(CloseReason::HandshakeRefused(400)));
    assert_eq!(present("panic").err(), Some(CloseReason::HandshakeRefused(400)));
    assert_works(&mut present("good").unwrap());
}

pub(crate) fn validator_has_a_deadline(on: On) {
    let never = |_: Session, _: HandshakeRequest| std::future::pending();
    let app = App::new(()).handshake_validator("never", never).handler_deadline(Duration::from_millis(100));
    let running = on.serve(app);
    let refused = Client::try_connect(running.endpoint(), HandshakeRequest::default()).err();
    assert_eq!(refused, Some(CloseReason::HandshakeRefused(400)));
}

pub(crate) fn handshake_that_cannot_be_read(on: On) {
    let running = on.serve(App::new(()).service(echo()));
    for body in [&b""[..], b"[]", b"{\"sys\":1}", b"{\"sys\":{\"clientBuildNumber\":7}}", b"{} x", b"\xff\xfe"] {
        let mut wire = Wire::connect(running.endpoint());
        wire.send(&[&[1, 0, 0, body.len() as u8], body].concat());
        let (kind, answer) = wire.receive_packet();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((kind, &answer["code"], &answer["sys"]["serializer"]), (1, &json!(400), &json!("json")), "{body:?}");
        assert_eq!(wire.receive_to_end(), b"");
    }
    assert_works(&mut running.connect());
}

pub(crate) fn json_echo(on: On) {
    async fn same(body: Json<Value>) -> Json<Value> {
        body
    }
    let running = on.serve(App::new(()).service(Service::new("echo").request("json", same)));
    let mut client = running.connect();
    for value in [json!({"name": "ä<>&", "list": [1, 2.5, null]}), json!(u64::MAX), json!("")] {
        assert_eq!(client.json::<Value>("echo.json", &value), value);
    }
}

pub(crate) fn raw_echo(on: On) {
    let running = on.serve(App::new(()).service(echo()));
    for mut client in [running.connect(), Client::connect_native(running.endpoint())] {
        let long: Vec<u8> = (0..200_000_u32).map(|index| (index % 8191 * 77 / 5) as u8).collect();
        for body in [vec![], vec![0], vec![0xff, 0xfe, 0x00], vec![b'a'; 5000], long] {
            assert_eq!(client.request("echo.raw", body.clone()).unwrap(), body);
        }
    }
}

pub(crate) fn protobuf_app(on: On) {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Hello {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(uint32, tag = "2")]
        count: u32,
    }
    async fn hello(Protobuf(hello): Protobuf<Hello>) -> Result<Protobuf<Hello>, Error> {
        match hello.count {
            99 => Err(Error::new("GAME-001", "enough").with("count", 99)),
            count => Ok(Protobuf(Hello { count: count + 1, ..hello })),
        }
    }
    let service = Service::new("greeter").request("hello", hello);
    let running = on.serve(App::new(()).serializer(ProtobufSerializer).service(service));
    let mut client = running.connect();
    assert_eq!(client.welcome.serializer, "protobuf");
    let mut ask = |name: &str, count| {
        let body = prost::Message::encode_to_vec(&Hello { name: name.into(), count });
        client.request("greeter.hello", body)
    };
    let hello: Hello = prost::Message::decode(ask("ann", 1).unwrap()).unwrap();
    assert_eq!(hello, Hello { name: "ann".into(), count: 2 });
    // An empty body is an empty message.
    let hello: Hello = prost::Message::decode(ask("", 0).unwrap()).unwrap();
    assert_eq!(hello, Hello { name: String::new(), count: 1 });
    let metadata = BTreeMap::from([("count".to_owned(), "99".to_owned())]);
    let enough = ErrorBody { code: "GAME-001".into(), message: "enough".into(), metadata };
    assert_eq!(ask("", 99), Err(enough));
    assert_eq!(client.refused("greeter.hello", "\x0a\x7f").code, Error::BAD_REQUEST);
    assert_eq!(client.refused("greeter.bye", "").message, "pitaya/handler: connector.greeter.bye not found");
}

pub(crate) fn errors_have_code_message_metadata(on: On) {
    async fn fail(Json(how): Json<String>) -> Result<Json<u32>, Error> {
        match how.as_str() {
            "own" => Err(Error::new("SHOP-001", "not enough <coins>").with("missing", 3).with("missing", 4)),
            "plain" => Ok(Json("many".parse()?)),
            _ => Err(Error::new("", "no code")),
        }
    }
    let running = on.serve(App::new(()).service(Service::new("shop").request("buy", fail)));
    let mut client = running.connect();
    let own = client.refused("shop.buy", "\"own\"");
    let metadata = BTreeMap::from([("missing".to_owned(), "4".to_owned())]);
    assert_eq!(own, ErrorBody { code: "SHOP-001".into(), message: "not enough <coins>".into(), metadata });
    let plain = client.refused("shop.buy", "\"plain\"");
    assert_eq!((&*plain.code, &*plain.message), (Error::UNKNOWN, "invalid digit found in string"));
    assert_eq!(client.refused("shop.buy", "\"\"").code, Error::UNKNOWN);
}

pub(crate) fn routes_that_lead_nowhere(on: On) {
    let running = on.serve(App::new(()).server_type("room").service(echo()));
    let mut client = running.connect();
    for (route, text) in [
        ("echo.nothing", "pitaya/handler: room.echo.nothing not found"),
        ("nothing.raw", "pitaya/handler: room.nothing.raw not found"),
        ("room.echo.nothing", "pitaya/handler: room.echo.nothing not found"),
        ("Echo.raw", "pitaya/handler: room.Echo.raw not found"),
    ] {
        let error = client.refused(route, "");
        assert_eq!((&*error.code, &*error.message), (Error::NOT_FOUND, text), "{route}");
    }
    for route in ["", "echo", ".", "echo.", ".raw", "room..raw", "a.b.c.d", " .raw"] {
        assert_eq!(client.refused(route, "").code, Error::BAD_REQUEST, "{route}");
    }
    let other = client.refused("chat.echo.raw", "");
    assert_eq!(other.code, Error::NOT_FOUND);
    assert_eq!(other.metadata["route"], "chat.echo.raw");
    // Nobody is told of a notify that leads nowhere.
    client.notify("echo.nothing", "");
    client.notify("a.b.c.d", "");
    assert_works(&mut client);
}

pub(crate) fn own_type_is_local(on: On) {
    let running = on.serve(App::new(()).server_type("room").service(echo()));
    let mut client = running.connect();
    assert_eq!(client.request("room.echo.raw", "three").unwrap(), "three");
    assert_eq!(client.request("echo.raw", "two").unwrap(), "two");
}

pub(crate) fn bodies_that_cannot_be_read(on: On) {
    async fn number(Json(number): Json<u32>) -> Json<u32> {
        Json(number)
    }
    let running = on.serve(App::new(()).service(Service::new("math").request("id", number)));
    let mut client = running.connect();
    for body in ["", "{", "-1", "\"1\"", "1 2"] {
        assert_eq!(client.refused("math.id", body).code, Error::BAD_REQUEST, "{body}");
    }
    assert_eq!(client.json::<u32>("math.id", 7), 7);
}

pub(crate) fn request_and_notify(on: On) {
    let (tell, told) = tell();
    let said = tell.clone();
    let say = move |Json(text): Json<String>| {
        let _ = said.send(text);
        async {}
    };
    let ask = move |Json(text): Json<String>| {
        let _ = tell.send(text);
        async { Json("answer") }
    };
    let service = Service::new("room").notify("say", say).request("ask", ask);
    let running = on.serve(App::new(()).service(service).service(echo()));
    let mut client = running.connect();
    client.notify("room.say", "\"notified\"");
    assert_eq!(told.next(), "notified");
    // A notify on a request handler runs, and its answer goes nowhere.
    client.notify("room.ask", "\"notified, too\"");
    assert_eq!(told.next(), "notified, too");
    assert_eq!(client.json::<String>("room.ask", "asked"), "answer");
    assert_eq!(told.next(), "asked");
    let error = client.refused("room.say", "\"asked\"");
    assert_eq!(error.code, Error::BAD_REQUEST);
    assert!(told.is_silent(), "a notify handler ran for a request");
    // A notify that fails is nobody's end.
    client.notify("room.say", "{");
    assert_works(&mut client);
}

pub(crate) fn id_zero_runs_and_is_not_answered(on: On) {
    let (tell, told) = tell();
    let ask = move |_: Session| {
        let _ = tell.send(());
        async { Json("answer") }
    };
    let app = App::new(()).service(Service::new("room").request("ask", ask)).service(echo());
    let running = on.serve(app);
    let mut client = running.connect();
    client.send_raw(b"\x04\0\0\x0b\0\0\x08room.ask");
    client.send_raw(b"\x04\0\0\x0b\0\0\x08room.not");
    told.next();
    // An answer that nobody asked for would be dropped by the client: look at the packets themselves.
    let mut wire = Wire::connect(running.endpoint());
    wire.send(b"\x01\0\0\x02{}");
    assert_eq!(wire.receive_packet().0, 1);
    wire.send(b"\x02\0\0\0");
    wire.send(b"\x04\0\0\x0b\0\0\x08room.ask");
    wire.send(b"\x04\0\0\x0d\0\x05\x08echo.rawhi");
    told.next();
    assert_eq!(wire.receive_packet(), (4, b"\x04\x05hi".to_vec()));
    assert_works(&mut client);
}

pub(crate) fn id_twice_is_answered_twice(on: On) {
    let gate = Gate::new();
    let pass = gate.clone();
    let (tell, told) = tell();
    let work = move |body: Raw| {
        let (tell, pass) = (tell.clone(), pass.clone());
        async move {
            let _ = tell.send(());
            pass.pass().await;
            body
        }
    };
    let running = on.serve(App::new(()).service(Service::new("work").concurrency(2).request("do", work)));
    let mut wire = Wire::connect(running.endpoint());
    wire.send(b"\x01\0\0\x02{}");
    assert_eq!(wire.receive_packet().0, 1);
    wire.send(b"\x02\0\0\0");
    for _ in 0..2 {
        wire.send(b"\x04\0\0\x0c\0\x05\x07work.dohi");
        told.next();
    }
    for _ in 0..2 {
        gate.open(1);
        assert_eq!(wire.receive_packet(), (4, b"\x04\x05hi".to_vec()));
    }
}

pub(crate) fn missing_reply_is_an_error(on: On) {
    async fn find(Json(name): Json<String>) -> Option<Json<u32>> {
        (name == "ann").then_some(Json(1))
    }
    let running = on.serve(App::new(()).service(Service::new("user").request("find", find)));
    let mut client = running.connect();
    assert_eq!(client.json::<u32>("user.find", "ann"), 1);
    let error = client.refused("user.find", "\"bob\"");
    assert_eq!((&*error.code, &*error.message), (Error::UNKNOWN, "reply must not be null"));
}

pub(crate) fn reply_that_does_not_fit(on: On) {
    async fn long() -> Vec<u8> {
        vec![0; 1 << 24]
    }
    async fn no_json() -> Json<BTreeMap<(u8, u8), u8>> {
        Json(BTreeMap::from([((1, 2), 3)]))
    }
    let service = Service::new("reply").request("long", long).request("no_json", no_json);
    let running = on.serve(App::new(()).service(service).service(echo()));
    let mut client = running.connect();
    assert_eq!(client.refused("reply.long", "").code, Error::UNKNOWN);
    assert_eq!(client.refused("reply.no_json", "").code, Error::UNKNOWN);
    assert_works(&mut client);
}

pub(crate) fn arguments_come_from_the_context(on: On) {
    #[derive(Clone)]
    struct Name(&'static str);

    #[derive(serde::Serialize)]
    struct Seen(String, String, String, String, bool);

    #[expect(clippy::too_many_arguments, reason = "as many as a handler may have")]
    async fn all(
        State(name): State<Name>,
        session: Session,
        server: Server,
        route: Route,
        id: RequestId,
        deadline: Deadline,
        Peer(peer): Peer,
        Raw(body): Raw,
    ) -> Json<Seen> {
        let left = deadline.remaining(&server);
        let in_time = left > Duration::ZERO && left <= Duration::from_secs(30) && Some(peer) == session.peer();
        let body = String::from_utf8_lossy(&body).into_owned();
        Json(Seen(name.0.into(), route.as_str().unwrap_or_default().into(), id.to_string(), body, in_time))
    }
    async fn context(context: Context) -> Raw {
        Raw(context.body().clone())
    }
    async fn user(UserId(uid): UserId) -> Raw {
        Raw(Bytes::copy_from_slice(uid.as_bytes()))
    }
    async fn extension(Extension(_): Extension<String>) -> Raw {
        Raw(Bytes::new())
    }
    let service = Service::new("tell")
        .request("all", all)
        .request("context", context)
        .request("user", user)
        .request("extension", extension);
    let running = on.serve(App::new(Name("the state")).service(service));
    let mut client = running.connect();
    let seen: Value = serde_json::from_slice(&client.request("tell.all", "body").unwrap()).unwrap();
    assert_eq!(seen, json!(["the state", "tell.all", "1-1", "body", true]));
    assert_eq!(client.request("tell.context", "body").unwrap(), "body");
    assert_eq!(client.refused("tell.user", "").code, Error::BAD_REQUEST);
    assert_eq!(client.refused("tell.extension", "").code, Error::INTERNAL);
}
