//! What the tests of apps share.

use std::{net::SocketAddr, time::Duration};

use cereus_app::{App, Server};
use cereus_sim::{Client, Serving, SimRuntime};
use cereus_transports::Tcp;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const NANO: Duration = Duration::from_nanos(1);

/// The interval of heartbeats.
pub(crate) const H: Duration = Duration::from_secs(30);

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3250);

/// An app whose state is the runtime, so that its handlers can sleep.
pub(crate) fn app(runtime: &SimRuntime) -> App<SimRuntime> {
    App::new(runtime.clone())
}

/// The server of this app, listening.
pub(crate) fn serve(runtime: &SimRuntime, app: App<SimRuntime>) -> (Server, Serving) {
    let server = app.build().expect("the app is right");
    let serving = runtime.serve(server.clone(), [Tcp::bind(ADDRESS.to_string())]);
    runtime.run_idle();
    assert!(!serving.is_over(), "{:?}", serving.take_result());
    (server, serving)
}

/// A client of this server that has shaken hands.
pub(crate) fn connect(runtime: &SimRuntime) -> Client {
    Client::connect(runtime, ADDRESS)
}
