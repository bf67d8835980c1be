//! What clients ask of a server.

use std::hash::{BuildHasher, RandomState};

use cereus::{Bytes, Error, Json, Lifecycle, Raw, Rpc, Server, Service, Session};

use crate::messages::{TestRequest, TestResponse, TestRpc, TestSendToUsers};

const GROUP: &str = "g1";
/// Where users are bound, whatever the type of this server.
const FRONTENDS: &str = "connector";

type Reply = Result<Json<TestResponse>, Error>;

pub(crate) fn service() -> Service<()> {
    Service::new("testsvc")
        .lifecycle(WithGroup)
        .request("testrequestonlysessionreturnsptr", hello)
        .request("testrequestonlysessionreturnsptrnil", no_message)
        .request("testrequestonlysessionreturnsrawnil", no_bytes)
        .request("testrequestreturnsptr", echo)
        .request("testrequestreturnsraw", echo_text)
        .request("testrequestreceivereturnsraw", echo_bytes)
        .request("testrequestreturnserror", fail)
        .request("testbind", bind_anybody)
        .request("testbindid", bind)
        .notify("testsendgroupmsg", send_to_group)
        .notify("testsendgroupmsgptr", send_message_to_group)
        .notify("testsendtousers", send_to_users)
        .request("testrequestkickuser", kick_user)
        .request("testrequestkickme", kick_me)
        .request("testsendrpc", call)
        .request("testsendrpcnoargs", call_without_argument)
}

/// The group is there before anybody can ask for it. It lives in the memory of this server.
struct WithGroup;

impl Lifecycle for WithGroup {
    async fn init(&self, server: &Server) -> Result<(), Error> {
        Ok(server.groups().create(GROUP).await?)
    }
}

async fn hello() -> Json<TestResponse> {
    Json(TestResponse::ok("hello"))
}

async fn no_message() -> Option<Json<TestResponse>> {
    None
}

async fn no_bytes() -> Option<Raw> {
    None
}

async fn echo(Json(request): Json<TestRequest>) -> Json<TestResponse> {
    Json(TestResponse::ok(request.msg))
}

async fn echo_text(Json(request): Json<TestRequest>) -> Raw {
    Raw(request.msg.into())
}

async fn echo_bytes(body: Raw) -> Raw {
    body
}

async fn fail(_: Raw) -> Result<Raw, Error> {
    Err(Error::new("PIT-555", "somerror"))
}

async fn bind_anybody(session: Session) -> Result<Raw, Error> {
    bind_as(&session, &random_uid()).await
}

async fn bind(session: Session, Raw(uid): Raw) -> Result<Raw, Error> {
    bind_as(&session, text(&uid).unwrap_or_default()).await
}

async fn bind_as(session: &Session, uid: &str) -> Result<Raw, Error> {
    session.bind(uid).await.map_err(|error| Error::new("PIT-444", error.message().to_owned()))?;
    let added = session.server().groups().add(GROUP, uid).await;
    added.map_err(|error| Error::new("PIT-441", error.to_string()))?;
    Ok(Raw(Bytes::from_static(b"ack")))
}

async fn send_to_group(server: Server, body: Raw) -> Result<(), Error> {
    server.users(FRONTENDS).push_to_group(GROUP, "route.test", body).await?;
    Ok(())
}

async fn send_message_to_group(server: Server, message: Json<TestRequest>) -> Result<(), Error> {
    server.users(FRONTENDS).push_to_group(GROUP, "route.testptr", message).await?;
    Ok(())
}

async fn send_to_users(server: Server, Json(message): Json<TestSendToUsers>) -> Result<(), Error> {
    server.users(FRONTENDS).push(&message.uids, "route.sendtousers", Raw(message.msg.into())).await?;
    Ok(())
}

async fn kick_user(server: Server, Raw(uid): Raw) -> Reply {
    let session = text(&uid).and_then(|uid| server.sessions().by_uid(uid));
    kick(session.ok_or_else(|| Error::new(Error::NOT_FOUND, "session not found"))?).await
}

async fn kick_me(session: Session) -> Reply {
    kick(session).await
}

async fn kick(session: Session) -> Reply {
    session.kick(None).await?;
    Ok(Json(TestResponse::ok("ok")))
}

async fn call(rpc: Rpc, Json(asked): Json<TestRpc>) -> Reply {
    Ok(Json(rpc.call(&asked.route, &TestRequest { msg: asked.data }).await?))
}

async fn call_without_argument(rpc: Rpc, Json(asked): Json<TestRpc>) -> Reply {
    Ok(Json(rpc.call(&asked.route, &()).await?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A UUID of the random kind. The keys of the standard library's hash maps are random enough for the name of a guest.
fn random_uid() -> String {
    let random = || RandomState::new().hash_one(());
    let (high, low) = (random() & !0xf000 | 0x4000, random() >> 2 | 1 << 63);
    let [a, b, c] = [high >> 32, high >> 16 & 0xffff, high & 0xffff];
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}
