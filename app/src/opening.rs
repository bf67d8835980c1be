//! How a connection becomes somebody's session: at once, or when its transport knows who the peer is.

use std::{future::poll_fn, net::SocketAddr};

use cereus_transports::{
    Transport, TransportError,
    rt::{ByteStream, Runtime},
};
use futures_lite::future;

use crate::{
    Server,
    driver::Driver,
    limits::{Admitted, Refusal},
    serve::timeout,
};

/// Serves a connection that was accepted.
pub(crate) fn start<R: Runtime, S: ByteStream>(
    runtime: &R,
    server: &Server,
    stream: S,
    peer: SocketAddr,
    transport: Box<dyn Transport>,
) {
    let admitted = match Admitted::new(server) {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(server, peer, refusal),
    };
    let mut opening = Opening { stream, transport, admitted, early: Vec::new(), ended: None };
    if opening.transport.is_open() {
        return opening.serve(runtime, server, peer);
    }
    let (on, server) = (runtime.clone(), server.clone());
    runtime.spawn(async move {
        if opening.is_served(&on, &server).await {
            let peer = opening.transport.peer().unwrap_or(peer);
            opening.serve(&on, &server, peer);
        }
    });
}

fn refuse(server: &Server, peer: SocketAddr, refusal: Refusal) {
    server.counters().refused(refusal);
    tracing::debug!(%peer, %refusal, "a connection was refused");
}

/// A connection whose peer is not known yet.
struct Opening<S> {
    stream: S,
    transport: Box<dyn Transport>,
    admitted: Admitted,
    /// Packet bytes that came with what told the peer.
    early: Vec<u8>,
    /// How the transport ended, if it did meanwhile.
    ended: Option<TransportError>,
}

impl<S: ByteStream> Opening<S> {
    /// Hands it over to a driver, if there is room for this peer.
    fn serve<R: Runtime>(mut self, runtime: &R, server: &Server, peer: SocketAddr) {
        if let Err(refusal) = self.admitted.comes_from(peer) {
            return refuse(server, peer, refusal);
        }
        let Self { stream, transport, admitted, early, ended } = self;
        let session = server.sessions().create(peer, server.clone());
        let driver = Driver::new(runtime.clone(), stream, transport, session, admitted);
        runtime.spawn(driver.opened(&early, ended));
    }

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
        let Self { stream, transport, early, ended, .. } = self;
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
