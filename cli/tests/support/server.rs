//! A server in the test's own process.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{sync::Arc, thread};

use cereus::{App, Endpoint, Error, Json, Raw, Server, Service, Session, Tcp, TlsConfig, WebSocket};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::Notify};

/// Dropped, it is shut down.
pub(crate) struct Running {
    server: Server,
    /// tcp, ws, tls, wss.
    pub(crate) addresses: Vec<String>,
    /// Lets pushes go that wait for it.
    pub(crate) go: Arc<Notify>,
    _runtime: Runtime,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.shutdown();
    }
}

impl Running {
    /// Where it listens, with the scheme.
    pub(crate) fn address(&self, scheme: &str) -> &str {
        let address = self.addresses.iter().find(|address| address.starts_with(&format!("{scheme}://")));
        address.expect("it listens there")
    }

    /// The same without it.
    pub(crate) fn place(&self, scheme: &str) -> &str {
        self.address(scheme).split_once("://").expect("it has a scheme").1
    }

    pub(crate) fn serve(app: App<()>, go: Arc<Notify>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = app.build().unwrap();
        let tls = certificate();
        let any = "127.0.0.1:0";
        let endpoints =
            [Tcp::bind(any), WebSocket::bind(any), Tcp::bind(any).tls(&tls), WebSocket::bind(any).tls(&tls)];
        let serving = cereus::serve(cereus_tokio::Tokio::new(), server.clone(), endpoints);
        runtime.spawn(async move { serving.await.unwrap() });
        let listening = runtime.block_on(server.listening()).unwrap();
        let address = |(scheme, endpoint): (&str, &Endpoint)| {
            format!("{scheme}://{}", endpoint.to_string().split_once("://").unwrap().1)
        };
        let addresses = ["tcp", "ws", "tls", "wss"].into_iter().zip(&listening).map(address).collect();
        Self { server, addresses, go, _runtime: runtime }
    }
}

fn certificate() -> TlsConfig {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    TlsConfig::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

/// A room that speaks JSON.
pub(crate) fn room() -> Running {
    let go = Arc::new(Notify::new());
    let waits = Arc::clone(&go);
    let later = move |session: Session, text: Raw| {
        let waits = Arc::clone(&waits);
        async move {
            tokio::spawn(async move {
                waits.notified().await;
                let _ = session.push("onLater", text);
            });
        }
    };
    let service = Service::new("room")
        .request("echo", |body: Raw| async { body })
        .request("join", join)
        .request("fail", fail)
        .request("who", who)
        .request("silent", silent)
        .request("bytes", || async { Raw(vec![0, 255, 16].into()) })
        .notify("later", later)
        .notify("say", say)
        .notify("leave", |session: Session| async move { session.close() })
        .notify("kick", kick);
    Running::serve(App::new(()).server_type("game").service(service), go)
}

/// Tells the newcomer of himself three times, around the answer.
async fn join(session: Session, Json(join): Json<Value>) -> Result<Json<Value>, Error> {
    let name = join["name"].as_str().ok_or_else(|| Error::new("ROOM-001", "who are you?").with("hint", "name"))?;
    for number in 0..3 {
        session.push("onJoin", Json(json!({ "name": name, "number": number })))?;
    }
    Ok(Json(json!({ "code": 200, "members": [name], "big": 12_345_678_901_234_567_u64 })))
}

async fn fail() -> Result<Json<()>, Error> {
    Err(Error::new("ROOM-002", "no"))
}

async fn who(session: Session) -> Json<Value> {
    let told = session.handshake().unwrap_or_default();
    let (platform, version, build) = (told.platform, told.client_version, told.client_build_number);
    Json(json!({ "platform": platform, "version": version, "build": build, "user": told.user }))
}

async fn silent() -> Raw {
    std::future::pending().await
}

async fn say(session: Session, text: Raw) -> Result<(), Error> {
    Ok(session.push("onMessage", text)?)
}

async fn kick(session: Session) {
    session.kick(Some("too loud"));
}

/// A port that nobody listens at.
pub(crate) fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A folder of this test's own.
pub(crate) fn folder() -> std::path::PathBuf {
    let name = thread::current().name().unwrap_or("test").replace("::", "-");
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
