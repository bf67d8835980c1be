//! Clients and servers of Go, each with what Cereus has for the other side.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "../../../support/each_runtime.rs"]
mod each_runtime;

mod client;
mod go_client;
mod repl;
mod typed;
mod wire;

use cereus_service_tests::{GoServer, free_port};
use serde_json::{Value, json};

/// A server of Go without a cluster, and where it is.
struct Go {
    server: GoServer,
    tcp: String,
    ws: String,
}

impl Go {
    /// With arguments beside those that every server is given.
    fn start(more: &[&str]) -> Self {
        let [tcp, ws] = [free_port(), free_port()];
        let (tcp_port, ws_port) = (tcp.to_string(), ws.to_string());
        let arguments = ["-id", "go", "-alone", "-heartbeat", "1s", "-port", &tcp_port, "-ws-port", &ws_port];
        let server = GoServer::start(arguments.iter().chain(more));
        Self { server, tcp: format!("tcp://127.0.0.1:{tcp}"), ws: format!("ws://127.0.0.1:{ws}") }
    }

    /// Over TCP and over WebSocket.
    fn addresses(&self) -> [&str; 2] {
        [&self.tcp, &self.ws]
    }
}

/// A body of the servers' handlers.
fn text(text: &str) -> Value {
    json!({ "text": text })
}
