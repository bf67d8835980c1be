//! Pitaya's own client of Go with a server of ours: `tests/interop/go/client.go` says what it does.

use std::time::Duration;

use cereus::{App, Endpoint, Error, Json, Raw, Server, Service, Session, Tcp, TlsConfig, WebSocket};
use cereus_tokio::Tokio;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::{each_runtime::Run as _, typed};

async fn echo(body: Raw) -> Raw {
    body
}

async fn handshake(session: Session) -> Result<Raw, Error> {
    let handshake = session.handshake().ok_or_else(|| Error::new("GAME-002", "no handshake"))?;
    Ok(Raw(handshake.encode().into()))
}

async fn fail() -> Result<Raw, Error> {
    Err(Error::new("GAME-001", "not enough coins").with("missing", 3))
}

/// Pushes what it was told, on a route that has a code and on one that has none.
async fn tell(session: Session, Json(body): Json<Value>) -> Result<(), Error> {
    session.push("onTell", Json(&body))?;
    Ok(session.push("onPlain", Json(&body))?)
}

async fn kick(session: Session) -> Json<Value> {
    session.kick(Some("closing time"));
    Json(json!("bye"))
}

#[test]
fn plays_over_every_transport() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let tls = TlsConfig::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let game = Service::new("game")
        .request("echo", echo)
        .request("repeat", echo)
        .request("handshake", handshake)
        .request("fail", fail)
        .request("kick", kick)
        .notify("tell", tell);
    let server = App::new(())
        .server_type("connector")
        .service(game)
        .dictionary([("game.echo", 1), ("game.tell", 2), ("onTell", 300)])
        .protocol(|protocol| protocol.heartbeat(Duration::from_secs(1)))
        .build()
        .unwrap();
    let any = "127.0.0.1:0";
    let endpoints = [Tcp::bind(any), Tcp::bind(any).tls(&tls), WebSocket::bind(any), WebSocket::bind(any).tls(&tls)];
    play(server, endpoints, |addresses| {
        let mut arguments = vec!["-ca".to_owned(), certificate];
        for (name, address) in ["-tcp", "-tls", "-ws", "-wss"].into_iter().zip(addresses) {
            arguments.extend([name.to_owned(), address]);
        }
        arguments
    });
}

#[test]
fn learns_the_types_from_the_server() {
    let server = typed::app().build().unwrap();
    play(server, [Tcp::bind("127.0.0.1:0")], |addresses| vec!["-protobuf".to_owned(), addresses[0].clone()]);
}

/// Serves while the client plays, whose arguments depend on where the server is.
fn play(
    server: Server,
    endpoints: impl IntoIterator<Item = Endpoint> + Send + 'static,
    arguments: impl FnOnce(Vec<String>) -> Vec<String> + Send + 'static,
) {
    Tokio::run(|runtime| {
        Box::pin(async move {
            let serving = tokio::spawn(cereus::serve(runtime, server.clone(), endpoints));
            let listening = server.listening().await.unwrap();
            let address = |endpoint: &Endpoint| endpoint.to_string().split_once("://").unwrap().1.to_owned();
            let mut all = vec!["client".to_owned()];
            all.extend(arguments(listening.iter().map(address).collect()));
            let playing = || cereus_service_tests::run("CEREUS_GO_INTEROP", all);
            tokio::task::spawn_blocking(playing).await.unwrap();
            server.shutdown();
            serving.await.unwrap().unwrap();
        })
    });
}
