//! How a connection becomes somebody's session: at once, or when its transport knows who the peer is.

use std::{future::poll_fn, net::SocketAddr};

use cereus_transports::{
    Transport, TransportError,
    rt::{ByteStream, Runtime},
};
use futures_lite::future;

use crate::{Server, driver::Driver, serve::timeout};

/// Serves a connection that was accepted.
pub(crate) fn start<R: Runtime, S: ByteStream>(
    runtime: &R,
    server: &Server,
    stream: S,
    peer: SocketAddr,
    transport: Box<dyn Transport>,
) {
    if transport.is_open() {
        let session = server.sessions().create(peer, server.clone());
        runtime.spawn(Driver::new(runtime.clone(), stream, transport, session));
        return;
    }
    let (on, server) = (runtime.clone(), server.clone());
    runtime.spawn(async move {
        let mut opening = Opening { stream, transport, early: Vec::new(), ended: None };
        if opening.is_served(&on, &server).await {
            let Opening { stream, transport, early, ended } = opening;
            let session = server.sessions().create(transport.peer().unwrap_or(peer), server.clone());
            on.spawn(Driver::new(on.clone(), stream, transport, session).opened(&early, ended));
        }
    });
}

/// A connection whose peer is not known yet.
struct Opening<S> {
    stream: S,
    transport: Box<dyn Transport>,
    /// Packet bytes that came with what told the peer.
    early: Vec<u8>,
    /// How the transport ended, if it did meanwhile.
    ended: Option<TransportError>,
}

impl<S: ByteStream> Opening<S> {
    /// Whether the peer gets known in time, and the server still takes clients then.
    async fn is_served<R: Runtime>(&mut self, runtime: &R, server: &Server) -> bool {
        let read = timeout(runtime, server.config().handshake_timeout(), self.read());
        let drained = async {
            server.draining().await;
            None
        };
        future::or(drained, read).await.unwrap_or(false)
    }

    /// Reads until the peer is known. Whether it is.
    async fn read(&mut self) -> bool {
        let Self { stream, transport, early, ended } = self;
        let mut scratch = [0; 256];
        while !transport.is_open() && ended.is_none() {
            match poll_fn(|cx| stream.poll_read(cx, &mut scratch)).await {
                Ok(0) | Err(_) => return false,
                Ok(len) => {
                    let decoded = transport.decode(&scratch[..len], &mut |packets| early.extend_from_slice(packets));
                    *ended = decoded.err();
                }
            }
        }
        if let (false, Some(error)) = (transport.is_open(), ended) {
            tracing::debug!(%error, "a connection was refused");
        }
        transport.is_open()
    }
}
