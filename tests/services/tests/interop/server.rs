//! The server of Rust: the same handlers and remotes as the program of Go has.

use std::time::Duration;

use bytes::Bytes;
use cereus::{App, Context, Error, Json, Propagated, Protobuf, Raw, Remote, Rpc, Server, Service, Session};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TestRequest {
    #[prost(string, tag = "1")]
    pub(crate) msg: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TestResponse {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) msg: String,
}

/// What the handlers are told; each looks at what it needs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    uid: String,
    key: String,
    value: Value,
    route: String,
    text: String,
    code: String,
    msg: String,
    ms: u64,
    server: String,
    group: String,
    uids: Vec<String>,
}

type Answer = Result<Json<Value>, Error>;

fn ok() -> Answer {
    Ok(Json(json!({ "ok": true })))
}

fn own_id(server: &Server) -> String {
    server.rpc().own().map(|own| own.id.clone()).unwrap_or_default()
}

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

async fn join(session: Session, Json(told): Json<Told>) -> Answer {
    session.bind(told.uid.as_str()).await?;
    Ok(Json(json!({ "uid": told.uid, "server": own_id(session.server()) })))
}

async fn set(session: Session, Json(told): Json<Told>) -> Answer {
    session.data(|data| data.set(&told.key, &told.value))?;
    session.push_to_front().await?;
    ok()
}

async fn get(session: Session, Json(told): Json<Told>) -> Answer {
    Ok(Json(json!({ "value": session.data(|data| data.get::<Value>(&told.key)) })))
}

async fn whoami(session: Session) -> Answer {
    let server = session.server();
    let uid = session.uid().unwrap_or_default();
    Ok(Json(json!({ "uid": *uid, "server": own_id(server), "type": server.server_type() })))
}

async fn push(session: Session, Json(told): Json<Told>) -> Answer {
    session.push(told.route, Json(json!({ "text": told.text })))?;
    ok()
}

async fn kick(session: Session) -> Answer {
    session.kick(None).await?;
    ok()
}

async fn fail(Json(told): Json<Told>) -> Answer {
    Err(Error::new(told.code, told.msg).with("some", "meta"))
}

async fn panics() -> Answer {
    panic!("boom")
}

async fn slow(Json(told): Json<Told>) -> Answer {
    tokio::time::sleep(Duration::from_millis(told.ms)).await;
    ok()
}

async fn tell(session: Session, Json(told): Json<Told>) -> Result<(), Error> {
    Ok(session.push("onTell", Json(json!({ "text": told.text })))?)
}

async fn rpc(rpc: Rpc, Json(told): Json<Told>) -> Answer {
    let argument = TestRequest { msg: told.text };
    let answer: TestResponse = match told.server.as_str() {
        "" => rpc.call(&told.route, &argument).await?,
        server => rpc.call_to(server, &told.route, &argument).await?,
    };
    Ok(Json(json!({ "code": answer.code, "msg": answer.msg })))
}

async fn rpc_without_argument(rpc: Rpc, Json(told): Json<Told>) -> Answer {
    let answer: TestResponse = rpc.call(&told.route, &()).await?;
    Ok(Json(json!({ "code": answer.code, "msg": answer.msg })))
}

async fn group_add(session: Session, Json(told): Json<Told>) -> Answer {
    let groups = session.server().groups();
    let _ = groups.create(&told.group).await;
    groups.add(&told.group, session.uid().unwrap_or_default()).await?;
    ok()
}

async fn group_send(server: Server, Json(told): Json<Told>) -> Result<(), Error> {
    let body = Json(json!({ "text": told.text }));
    server.users("connector").push_to_group(&told.group, told.route, body).await.map(drop)
}

async fn push_users(server: Server, Json(told): Json<Told>) -> Answer {
    let failed = server.users("connector").push(&told.uids, told.route, Json(json!({ "text": told.text }))).await?;
    Ok(Json(json!({ "failed": failed.iter().map(|uid| uid.to_string()).collect::<Vec<_>>() })))
}

async fn kick_users(server: Server, Json(told): Json<Told>) -> Answer {
    let failed = server.users("connector").kick(&told.uids).await;
    Ok(Json(json!({ "failed": failed.iter().map(|uid| uid.to_string()).collect::<Vec<_>>() })))
}

async fn meta(context: Context, Json(told): Json<Told>) -> Answer {
    let Propagated { peer_id, peer_service, request_id, .. } = &context.propagated();
    let value = match told.key.as_str() {
        "peer.id" => json!(peer_id),
        "peer.service" => json!(peer_service),
        "request.id" => json!(request_id.as_deref()),
        key => json!(context.propagated().get::<Value>(key)),
    };
    Ok(Json(json!({ "value": value })))
}

async fn remote_echo(Protobuf(asked): Protobuf<TestRequest>) -> Protobuf<TestResponse> {
    Protobuf(TestResponse { code: 200, msg: format!("got {}", asked.msg) })
}

async fn remote_fail(Protobuf(_): Protobuf<TestRequest>) -> Result<Protobuf<TestResponse>, Error> {
    Err(Error::new("PIT-433", "test error").with("some", "meta"))
}

async fn remote_without_argument() -> Protobuf<TestResponse> {
    Protobuf(TestResponse { code: 200, msg: "got nothing".into() })
}

async fn remote_panics() -> Protobuf<TestResponse> {
    panic!("boom")
}

async fn remote_slow(Protobuf(asked): Protobuf<TestRequest>) -> Result<Raw, Error> {
    tokio::time::sleep(Duration::from_millis(asked.msg.parse()?)).await;
    Ok(Raw(Bytes::from(prost::Message::encode_to_vec(&TestResponse { code: 200, msg: "slept".into() }))))
}

pub(crate) fn app(server_type: &str) -> App<()> {
    let service = Service::new("interop")
        .request("echo", echo)
        .request("join", join)
        .request("set", set)
        .request("get", get)
        .request("whoami", whoami)
        .request("push", push)
        .request("kick", kick)
        .request("fail", fail)
        .request("panics", panics)
        .request("slow", slow)
        .notify("tell", tell)
        .request("rpc", rpc)
        .request("rpcnoarg", rpc_without_argument)
        .request("groupadd", group_add)
        .notify("groupsend", group_send)
        .request("pushusers", push_users)
        .request("kickusers", kick_users)
        .request("meta", meta);
    let remote = Remote::new("interop")
        .call("echo", remote_echo)
        .call("fail", remote_fail)
        .call("noarg", remote_without_argument)
        .call("panics", remote_panics)
        .call("slow", remote_slow);
    App::new(()).server_type(server_type).service(service).remote(remote)
}
