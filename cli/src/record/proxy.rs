//! Between one client and the server.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cereus_transports::{Raw, Transport, WebSocket, WebSocketConfig};
use tokio::{net::TcpStream, sync::Notify};

use super::{decode::Reader, format::Side, recorder::Recorder};
use crate::link::{self, Link, Server};

/// How long somebody may take to read what was left for them.
const FAREWELL: Duration = Duration::from_secs(2);

/// What all sessions share.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) server: Arc<Server>,
    /// Of WebSockets; none for raw TCP.
    pub(super) websocket: Option<Arc<WebSocketConfig>>,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    /// Told when all may be recorded.
    pub(super) changed: Arc<Notify>,
}

impl Proxy {
    pub(super) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        // A line that is half written is better than none.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a client until it or the server leaves.
    pub(super) async fn serve(self, socket: TcpStream, peer: SocketAddr) {
        let transport: Box<dyn Transport> = match &self.websocket {
            None => Box::new(Raw::default()),
            Some(config) => Box::new(WebSocket::new(Arc::clone(config))),
        };
        let Ok(client) = Link::new(socket, transport) else { return };
        let server = match self.server.connect().await {
            Ok(server) => server,
            Err(why) => {
                eprintln!("cereus: {peer} is turned away: {why}");
                return;
            }
        };
        let reader = self.recorder().open(peer);
        let mut session = Session { client, server, proxy: &self, reader };
        let (from, why) = session.run().await;
        session.end(from, why).await;
    }
}

struct Session<'a> {
    client: Link,
    server: Link,
    proxy: &'a Proxy,
    /// Not there when the session is not recorded.
    reader: Option<Reader>,
}

impl Session<'_> {
    /// Hands packets on. Ends with who left, and why.
    async fn run(&mut self) -> (Side, String) {
        loop {
            let (read_client, read_server) = (self.server.has_room(), self.client.has_room());
            let (from, came) = tokio::select! {
                came = self.client.turn(read_client) => (Side::Client, came),
                came = self.server.turn(read_server) => (Side::Server, came),
            };
            for packet in &came.packets {
                if let Some(reader) = &mut self.reader {
                    self.proxy.recorder().packet(reader, from, packet);
                }
                let to = match from {
                    Side::Client => &mut self.server,
                    Side::Server => &mut self.client,
                };
                // As it came: a header has no other form.
                if let Ok(bytes) = link::packet(packet.kind, &packet.body) {
                    to.send(bytes);
                }
            }
            if let Some(why) = came.over {
                return (from, why);
            }
        }
    }

    async fn end(self, from: Side, why: String) {
        if let Some(reader) = &self.reader {
            self.proxy.recorder().close(reader.session(), from, why);
        }
        // Both, for who is at fault may be told so by the transport.
        tokio::join!(self.client.finish(FAREWELL), self.server.finish(FAREWELL));
        self.proxy.changed.notify_one();
    }
}
