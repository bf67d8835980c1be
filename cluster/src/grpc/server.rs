use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{Service, http},
    server::{self, UnaryService},
    transport::{Server, ServerTlsConfig, server::TcpIncoming},
};

use crate::{
    Kind,
    grpc::{
        WINDOW,
        codec::Raw,
        intake::{Arrived, Intake},
        line::{Line, Place},
    },
    protos::{self, KickAnswer},
};

/// What serves. Dropped, it stops as it does when it is asked to.
#[derive(Debug)]
pub(crate) struct Serving {
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Serves calls. To be called on the runtime.
pub(crate) fn serve(
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    intake: Arc<Intake>,
    max_message_size: usize,
) -> Result<Serving, String> {
    let mut server = Server::builder()
        .initial_connection_window_size(WINDOW)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(|error| super::tls::unusable(&error))?;
    }
    let listen = || {
        listener.set_nonblocking(true)?;
        Ok(TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?).with_nodelay(Some(true)))
    };
    let incoming = listen().map_err(|error: io::Error| error.to_string())?.then(async |connection| {
        if connection.is_err() {
            // As a rule there are too many open files, and that does not change at once.
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        connection
    });
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let service = Pitaya::Server { intake, max_message_size };
    let task = tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(service, incoming, stopped).await {
            tracing::error!(%error, "calls are not served any more");
        }
    });
    Ok(Serving { _stop: stop, task })
}

/// As long as nothing comes, it is asked so often whether a client is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

impl Serving {
    /// Accepts nothing any more, and waits until all calls have been answered, which `patience` limits.
    pub(crate) async fn stop(self, intake: &Intake, patience: Duration) {
        let Self { _stop: stop, mut task } = self;
        drop(stop);
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            intake.close();
            let _ = tokio::time::timeout(LAST_WORDS, &mut task).await;
            task.abort();
        }
    }
}

/// How long the last answers may be on their way.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The service `protos.Pitaya` (specification, section 8).
///
/// A connection has a clone of the server's. hyper clones that once for each call, in the order in which the calls came, before
/// it lets a task of its own run the call: so it is as a clone that a call takes its place in the line.
#[derive(Debug)]
enum Pitaya {
    Server { intake: Arc<Intake>, max_message_size: usize },
    Connection { line: Arc<Line>, max_message_size: usize },
    Call { line: Arc<Line>, place: Option<Place>, max_message_size: usize },
}

impl Clone for Pitaya {
    fn clone(&self) -> Self {
        match self {
            Self::Server { intake, max_message_size } => {
                Self::Connection { line: Line::new(Arc::clone(intake)), max_message_size: *max_message_size }
            }
            Self::Connection { line, max_message_size } | Self::Call { line, max_message_size, .. } => {
                let (line, place) = (Arc::clone(line), Some(line.join()));
                Self::Call { line, place, max_message_size: *max_message_size }
            }
        }
    }
}

impl Service<http::Request<Body>> for Pitaya {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (line, place, max_message_size) = match self {
            Self::Server { intake, max_message_size } => (Line::new(Arc::clone(intake)), None, *max_message_size),
            Self::Connection { line, max_message_size } => (Arc::clone(line), None, *max_message_size),
            Self::Call { line, place, max_message_size } => (Arc::clone(line), place.take(), *max_message_size),
        };
        let Some(kind) = kind(request.uri().path()) else {
            let status = Status::unimplemented("there is no such method");
            return Box::pin(async { Ok(status.into_http()) });
        };
        let place = place.or_else(|| Some(line.join()));
        let method = Method { intake: Arc::clone(line.intake()), kind, place };
        let mut grpc = server::Grpc::new(Raw).max_decoding_message_size(max_message_size);
        Box::pin(async move { Ok(grpc.unary(method, request).await) })
    }
}

/// The paths of the service.
pub(crate) const METHODS: [(Kind, &str); 4] = [
    (Kind::Call, "/protos.Pitaya/Call"),
    (Kind::Push, "/protos.Pitaya/PushToUser"),
    (Kind::Bind, "/protos.Pitaya/SessionBindRemote"),
    (Kind::Kick, "/protos.Pitaya/KickUser"),
];

fn kind(path: &str) -> Option<Kind> {
    METHODS.iter().find(|(_, method)| *method == path).map(|(kind, _)| *kind)
}

/// One call.
#[derive(Debug)]
struct Method {
    intake: Arc<Intake>,
    kind: Kind,
    place: Option<Place>,
}

impl UnaryService<Bytes> for Method {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (kind, place) = (self.kind, self.place.take());
        let from = request.remote_addr().map(|address: SocketAddr| address.to_string()).unwrap_or_default();
        let waiting = self.intake.begin();
        Box::pin(async move {
            let waiting = waiting?;
            if let Some(place) = place {
                place.pass(Arrived { call: waiting.number(), kind, from, payload: request.into_inner() });
            }
            result(kind, waiting.await?).map(Response::new)
        })
    }
}

/// What Pitaya tells as a status is one here (specification, section 10.1).
fn result(kind: Kind, payload: Bytes) -> Result<Bytes, Status> {
    let refused = || protos::Response::decode(payload.clone()).ok().and_then(|response| response.error);
    let is_done = match kind {
        Kind::Call => true,
        Kind::Kick => KickAnswer::decode(payload.clone()).is_ok_and(|answer| answer.kicked),
        _ => refused().is_none(),
    };
    if is_done {
        return Ok(payload);
    }
    Err(Status::unknown(refused().map_or_else(|| "the user was not kicked".to_owned(), |error| error.msg)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::failure;

    #[test]
    fn failures_of_all_but_calls_are_statuses() {
        let failed = Bytes::from(failure("PIT-404", "nobody".to_owned()).encode_to_vec());
        let unknown =
            |kind| result(kind, failed.clone()).map_err(|status| (status.code(), status.message().to_owned()));
        assert_eq!(unknown(Kind::Call), Ok(failed.clone()));
        for kind in [Kind::Push, Kind::Bind, Kind::Kick] {
            assert_eq!(unknown(kind), Err((tonic::Code::Unknown, "nobody".to_owned())));
        }
        let ack = Bytes::from_static(b"\x0a\x03ack");
        for kind in [Kind::Call, Kind::Push, Kind::Bind] {
            assert_eq!(result(kind, ack.clone()).unwrap(), ack);
        }
        assert_eq!(result(Kind::Kick, Bytes::from_static(b"\x08\x01")).unwrap(), b"\x08\x01".as_slice());
        assert_eq!(result(Kind::Kick, Bytes::new()).unwrap_err().message(), "the user was not kicked");
    }
}
