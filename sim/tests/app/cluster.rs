//! A whole cluster in one process and in virtual time: the shipping drivers, the same envelopes as on NATS.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use cereus_app::{App, Cluster, Error, InProcess, Raw, Server, Service, Session};
use cereus_sim::{Client, Serving, SimRuntime};
use cereus_transports::{Tcp, rt::Runtime};

use super::support::app;

mod calls;
mod forwarding;
mod lifecycle;
mod sessions;
mod users;

/// Frontends, backends and their clients.
struct World {
    runtime: SimRuntime,
    cluster: InProcess,
}

impl World {
    fn new() -> Self {
        Self { runtime: SimRuntime::new(), cluster: InProcess::new() }
    }

    fn app(&self, server_type: &str) -> App<SimRuntime> {
        app(&self.runtime).server_type(server_type)
    }

    fn in_process(&self, id: &str) -> Cluster {
        Cluster::in_process(&self.cluster).server_id(id)
    }

    /// A server that clients connect to, at a port of its own.
    fn frontend(&self, id: &str, port: u16, app: App<SimRuntime>) -> (Server, Serving) {
        self.serve(app.cluster(self.in_process(id)), Some(port))
    }

    fn backend(&self, id: &str, app: App<SimRuntime>) -> (Server, Serving) {
        self.serve(app.cluster(self.in_process(id)), None)
    }

    fn serve(&self, app: App<SimRuntime>, port: Option<u16>) -> (Server, Serving) {
        let server = app.build().expect("the app is right");
        let serving = self.runtime.serve(server.clone(), port.map(|port| Tcp::bind(address(port).to_string())));
        self.runtime.run_until(|| server.is_ready() || serving.is_over());
        assert!(!serving.is_over(), "{:?}", serving.take_result());
        // The others hear of it.
        self.runtime.run_idle();
        (server, serving)
    }

    /// What becomes of something that a task does.
    fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        let done = Arc::new(Mutex::new(None));
        let result = Arc::clone(&done);
        self.runtime.spawn(async move {
            let value = task.await;
            *result.lock().unwrap() = Some(value);
        });
        self.runtime.run_until(|| done.lock().unwrap().is_some());
        self.runtime.run_idle();
        done.lock().unwrap().take().expect("it is there")
    }

    fn client(&self, port: u16) -> Client {
        Client::connect(&self.runtime, address(port))
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Tells which server it is, and gives back the body.
fn room() -> Service<SimRuntime> {
    Service::new("room").request("echo", echo).request("whoami", whoami)
}

async fn echo(Raw(body): Raw) -> Raw {
    Raw(body)
}

async fn whoami(server: Server) -> Raw {
    Raw(server.rpc().own().map(|own| Bytes::copy_from_slice(own.id.as_bytes())).unwrap_or_default())
}

/// Binds the session to the user whose name is the body.
async fn login(session: Session, Raw(uid): Raw) -> Result<Raw, Error> {
    session.bind(String::from_utf8_lossy(&uid).as_ref()).await?;
    Ok(Raw("in".into()))
}

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).expect("a text")
}

/// The code of an error answer.
fn code(answer: Result<Bytes, Bytes>) -> String {
    let error = answer.expect_err("an error");
    let text = text(&error);
    let from = text.find(r#""code":""#).expect("a code") + 8;
    text[from..].split('"').next().unwrap_or_default().to_owned()
}
