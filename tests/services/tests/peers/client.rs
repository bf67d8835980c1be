//! Our client with servers of Go: over TCP and WebSocket, on every runtime.

use std::{future::IntoFuture, time::Duration};

use cereus::core::CloseReason;
use cereus_client::{Client, ClientBuilder, Disconnect, Reconnect, RequestError, ServerError, State};
use serde_json::{Value, json};
use smol::{Timer, future::poll_once};
use tokio::sync::mpsc::unbounded_channel;

use crate::{
    Go,
    each_runtime::{Run, on_each_runtime},
    text,
};

#[derive(Clone, PartialEq, prost::Message)]
struct TestRequest {
    #[prost(string, tag = "1")]
    msg: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TestResponse {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    msg: String,
}

fn builder(address: &str) -> ClientBuilder {
    Client::builder(address).reconnect(Reconnect::default().min_delay(Duration::from_millis(10)))
}

fn server_error<T: std::fmt::Debug>(answer: Result<T, RequestError>) -> ServerError {
    match answer {
        Err(RequestError::Server(error)) => *error,
        answer => panic!("instead of an error of the server: {answer:?}"),
    }
}

async fn plays<R: Run>(runtime: R) {
    let go = Go::start(&[]);
    for address in go.addresses() {
        let (tell, mut called) = unbounded_channel();
        let tell_answer = tell.clone();
        let client = builder(address)
            .platform("rust")
            .client_version("1.2")
            .client_build_number("7")
            .user("token", "6f1a")
            .on_push("onTell", move |push| tell.send(push.json().unwrap()).unwrap())
            .connect(runtime.clone())
            .await
            .unwrap();
        let (mut tells, mut all) = (client.pushes("onTell"), client.all_pushes());

        let welcome = client.handshake().unwrap();
        assert_eq!((welcome.code, welcome.heartbeat), (200, Duration::from_secs(1)), "{address}");
        assert_eq!(welcome.serializer, "json");
        let heard: Value = client.request_json("interop.handshake", &json!({})).await.unwrap();
        assert_eq!(heard["user"], json!({ "token": "6f1a" }), "{address}");
        let sys = ["platform", "clientVersion", "clientBuildNumber"].map(|name| heard["sys"][name].as_str().unwrap());
        assert_eq!(sys, ["rust", "1.2", "7"]);

        for len in [0, 1, 125, 126, 1020, 1024, 65_535, 70_000] {
            let body: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
            assert_eq!(client.request("interop.echo", body.clone()).await.unwrap(), body, "{address}, {len} bytes");
        }
        let whoami = || client.request_json::<Value>("connector.interop.whoami", &json!({}));
        let who = json!({ "uid": "", "server": "go", "type": "connector" });
        assert_eq!(whoami().await.unwrap(), who);
        whoami().call(move |answer| tell_answer.send(answer.unwrap()).unwrap());
        assert_eq!(called.recv().await.unwrap(), who);

        for number in 0..20 {
            let body = text(&format!("number {number}"));
            client.notify_json("interop.tell", &body).unwrap();
            assert_eq!(tells.next().await.unwrap().json::<Value>().unwrap(), body, "{address}");
            assert_eq!(all.next().await.unwrap().route, "onTell");
            assert_eq!(called.recv().await.unwrap(), body);
        }
        let ask = json!({ "route": "onPlain", "text": "hi" });
        client.request_json::<Value>("interop.push", &ask).await.unwrap();
        let push = all.next().await.unwrap();
        assert_eq!(push.route, "onPlain", "{address}");
        assert_eq!(push.json::<Value>().unwrap(), text("hi"));
        assert!(tells.try_next().is_none());
        client.close().await;
        assert_eq!(client.state(), State::Closed(Disconnect::Local));
    }
}

async fn is_told_of_errors<R: Run>(runtime: R) {
    let go = Go::start(&[]);
    for address in go.addresses() {
        let client = builder(address).connect(runtime.clone()).await.unwrap();
        let ask = json!({ "code": "GAME-001", "msg": "not <enough>" });
        let error = server_error(client.request_json::<Value>("interop.fail", &ask).await);
        let told = (&*error.code, &*error.message, &*error.metadata["some"]);
        assert_eq!(told, ("GAME-001", "not <enough>", "meta"), "{address}");
        let error = server_error(client.request("interop.nothing", "{}").await);
        assert_eq!((&*error.code, &*error.message), ("PIT-404", "pitaya/handler: connector.interop.nothing not found"));
        assert_eq!(server_error(client.request("interop.fail", "no json").await).code, "PIT-400");
        let error = server_error(client.request("interop.panics", "{}").await);
        assert_eq!((&*error.code, &*error.message), ("PIT-000", "boom"), "{address}");
    }
}

async fn speaks_protobuf<R: Run>(runtime: R) {
    let go = Go::start(&["-protobuf"]);
    for address in go.addresses() {
        let client = builder(address).connect(runtime.clone()).await.unwrap();
        assert_eq!(client.handshake().unwrap().serializer, "protobuf", "{address}");
        let mut tells = client.pushes("onTell");
        let ask = TestRequest { msg: "grüße".into() };
        let answer: TestResponse = client.request_protobuf("interop.echo", &ask).await.unwrap();
        assert_eq!(answer, TestResponse { code: 200, msg: "got grüße".into() });
        client.notify_protobuf("interop.tell", &ask).unwrap();
        assert_eq!(tells.next().await.unwrap().protobuf::<TestResponse>().unwrap().msg, "grüße", "{address}");
        let refused = client.request_protobuf::<TestResponse>("interop.echo", &TestRequest::default()).await;
        let error = server_error(refused);
        let told = (&*error.code, &*error.message, &*error.metadata["some"]);
        assert_eq!(told, ("ECHO-001", "say something", "meta"), "{address}");
    }
}

async fn waits_no_longer_than_it_should<R: Run>(runtime: R) {
    let go = Go::start(&[]);
    let (short, late, later) = (Duration::from_millis(100), json!({ "ms": 1000 }), json!({ "ms": 1100 }));
    for address in go.addresses() {
        let client = builder(address).connect(runtime.clone()).await.unwrap();
        let mut states = client.states();
        assert_eq!(states.next().await, Some(State::Open));
        client.request("interop.echo", "").await.unwrap();
        let slow = |ask| client.request_json::<Value>("interop.slow", ask);

        let mut given_up = slow(&late).into_future();
        assert_eq!(poll_once(&mut given_up).await, None);
        drop(given_up);
        assert_eq!(slow(&late).timeout(short).await.unwrap_err(), RequestError::Timeout(short), "{address}");
        // The answers that nobody waits for any more come meanwhile.
        assert_eq!(slow(&later).await.unwrap(), json!({ "ok": true }));
        assert_eq!(client.request("interop.echo", "after").await.unwrap(), "after");
        assert_eq!(poll_once(states.next()).await, None, "{address}: the connection is another one");

        let round_trip = client.round_trip().unwrap();
        let asleep = Duration::from_millis(1100);
        assert!(round_trip.shortest > Duration::ZERO && round_trip.shortest < asleep, "{address}: {round_trip:?}");
        assert!(round_trip.smoothed > round_trip.shortest, "{address}: {round_trip:?}");
        slow(&later).await.unwrap();
        assert!(client.round_trip().unwrap().last >= asleep, "{address}: {round_trip:?}");
    }
}

async fn heartbeats<R: Run>(runtime: R) {
    let go = Go::start(&[]);
    let mut clients = Vec::new();
    for address in go.addresses() {
        let client = builder(address).connect(runtime.clone()).await.unwrap();
        let mut states = client.states();
        assert_eq!(states.next().await, Some(State::Open));
        clients.push((client, states));
    }
    // Go waits for a silent client for less than four of its intervals, which are a second.
    Timer::after(Duration::from_secs(5)).await;
    for (client, states) in &mut clients {
        assert_eq!(poll_once(states.next()).await, None, "an idle client has lost the connection");
        assert_eq!(client.request("interop.echo", "still here").await.unwrap(), "still here");
    }
    // And a server that is silent is left, until it answers again.
    go.server.pause();
    for (_, states) in &mut clients {
        let state = states.next().await;
        let Some(State::Reconnecting { reason, .. }) = state else { panic!("{state:?}") };
        assert_eq!(reason, Disconnect::Ended(CloseReason::HeartbeatTimeout));
    }
    go.server.resume();
    for (client, states) in &mut clients {
        while states.next().await.unwrap() != State::Open {}
        assert_eq!(client.request("interop.echo", "back").await.unwrap(), "back");
    }
}

async fn stays_away_when_kicked<R: Run>(runtime: R) {
    let go = Go::start(&[]);
    for address in go.addresses() {
        let client = builder(address).connect(runtime.clone()).await.unwrap();
        let (mut states, mut pushes) = (client.states(), client.all_pushes());
        assert_eq!(states.next().await, Some(State::Open));
        // Go's kick overtakes the answer, which then does not come.
        let kicked = Disconnect::Kicked { reason: None };
        let lost = client.request("interop.kick", "{}").await;
        assert_eq!(lost.unwrap_err(), RequestError::Lost(kicked.clone()), "{address}");
        assert_eq!(states.next().await, Some(State::Closed(kicked.clone())), "{address}");
        assert_eq!(states.next().await, None);
        assert_eq!(pushes.next().await, None);
        let after = client.request("interop.echo", "x").await;
        assert_eq!(after.unwrap_err(), RequestError::NotConnected(kicked), "{address}");
    }
}

async fn comes_back<R: Run>(runtime: R) {
    let mut go = Go::start(&[]);
    for address in go.addresses().map(str::to_owned) {
        let patient = builder(&address).request_timeout(Duration::from_secs(30));
        let client = patient.connect(runtime.clone()).await.unwrap();
        let (mut states, mut tells) = (client.states(), client.pushes("onTell"));
        assert_eq!(states.next().await, Some(State::Open));
        let lost = client.request("interop.close", "{}").await;
        assert!(matches!(lost, Err(RequestError::Lost(Disconnect::Ended(_)))), "{address}: {lost:?}");
        while states.next().await.unwrap() != State::Open {}

        let (tell, mut answers) = unbounded_channel();
        let tell_kept = tell.clone();
        client.request("interop.slow", r#"{"ms": 30000}"#).call(move |answer| tell.send(answer).unwrap());
        assert_eq!(client.request("interop.echo", "the slow one was sent, too").await.unwrap().len(), 26);
        go.server.kill();
        let lost = answers.recv().await.unwrap();
        assert!(matches!(lost, Err(RequestError::Lost(Disconnect::Ended(_)))), "{address}: {lost:?}");
        let state = states.next().await;
        assert!(matches!(state, Some(State::Reconnecting { .. })), "{address}: {state:?}");
        client.request("interop.echo", "kept").call(move |answer| tell_kept.send(answer).unwrap());
        go.server.restart();
        assert_eq!(answers.recv().await.unwrap().unwrap(), "kept", "{address}");
        assert_eq!(client.state(), State::Open);
        client.notify_json("interop.tell", &text("as before")).unwrap();
        assert_eq!(tells.next().await.unwrap().json::<Value>().unwrap(), text("as before"), "{address}");
    }
}

on_each_runtime! {
    plays is_told_of_errors speaks_protobuf waits_no_longer_than_it_should heartbeats stays_away_when_kicked comes_back
}
