use std::{error::Error, future, io, sync::Arc, time::Duration};

use async_nats::{Client, ConnectError, ConnectErrorKind, Subscriber, rustls};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{
    events::Events,
    running::{Needed, Running},
    settings::Plan,
    signals::{Log, Signals},
};
use crate::{BusError, names};

/// Connects, as soon as it is possible.
pub(crate) async fn connect(plan: Plan) -> Result<Events, BusError> {
    let mut last = None;
    let connected = timeout(plan.start_timeout, try_until_connected(&plan, &mut last)).await;
    connected.unwrap_or_else(|_| {
        let why = last.unwrap_or_else(|| "no answer".to_owned());
        Err(BusError::new(format!(
            "no NATS server was reached at {} within {:?}: {why}. Start one there, or correct the addresses given to \
             `Nats::new`; `Nats::start_timeout` is how long to wait for one",
            plan.shown, plan.start_timeout
        )))
    })
}

async fn try_until_connected(plan: &Plan, last: &mut Option<String>) -> Result<Events, BusError> {
    loop {
        match attempt(plan).await {
            Ok(events) => return Ok(events),
            Err(Failure::Final(text)) => return Err(BusError::new(text)),
            Err(Failure::Passing(text)) => {
                tracing::debug!(servers = plan.shown, reason = text, "NATS is not reached yet");
                *last = Some(text);
            }
        }
        sleep(plan.delays.before(usize::MAX)).await;
    }
}

enum Failure {
    /// It may go by itself.
    Passing(String),
    Final(String),
}

async fn attempt(plan: &Plan) -> Result<Events, Failure> {
    let signals = Arc::new(Signals::default());
    let needed = Needed(Arc::clone(&signals));
    // Not with the library's own retries at the start: nothing could end them.
    let client = client(plan, &signals).await.map_err(|error| failure(plan, &error))?;
    let inbox = format!("{}.", client.new_inbox());
    let subscribers = timeout(plan.connection_timeout, subscribe(plan, &client, &inbox)).await;
    let subscribers = subscribers.map_err(|_| Failure::Passing(REFUSED.to_owned()))?;
    let subscribers = subscribers.ok_or_else(|| Failure::Passing("the connection was lost at once".to_owned()))?;
    let running = Running::new(client, inbox, needed, Arc::clone(&plan.own), plan.subscription_capacity);
    Ok(Events::new(Arc::new(running), subscribers))
}

const REFUSED: &str = "it was reached, but delivers nothing: look at its log, and at what it permits to this user";

async fn client(plan: &Plan, signals: &Arc<Signals>) -> Result<Client, ConnectError> {
    let (events, delays, waiting) = (Arc::clone(signals), plan.delays, Arc::clone(signals));
    let (options, log) = (plan.options.clone(), Log::default());
    let options = options.event_callback(move |event| {
        log.write(&event);
        events.raise(|raised| raised.note(&event));
        future::ready(())
    });
    let options = options.reconnect_delay_callback(move |attempt| {
        // The library would go on for ever, and cannot be told to end.
        if waiting.is_ended() { Duration::MAX } else { delays.before(attempt) }
    });
    options.connect(&plan.servers[..]).await
}

/// Replies, requests and bindings, which the server delivers from then on.
async fn subscribe(plan: &Plan, client: &Client, inbox: &str) -> Option<[Subscriber; 3]> {
    let mut replies = client.subscribe(format!("{inbox}*")).await.ok()?;
    let requests = client.subscribe(names::server_subject(&plan.own.server_type, &plan.own.id)).await.ok()?;
    let bindings = client.subscribe(names::bindings_subject(&plan.own.server_type)).await.ok()?;
    client.publish(format!("{inbox}ready"), Bytes::new()).await.ok()?;
    replies.next().await?;
    Some([replies, requests, bindings])
}

fn failure(plan: &Plan, error: &ConnectError) -> Failure {
    let servers = &plan.shown;
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Failure::Final(format!(
            "the NATS server at {servers} does not let this server in ({error}): correct the user, the password or the \
             token, in the addresses given to `Nats::new` or with `Nats::user` and `Nats::token`, or the file given to \
             `Nats::credentials_file`"
        )),
        ConnectErrorKind::Tls => {
            Failure::Final(format!("the certificates for the NATS server at {servers} cannot be used: {error}"))
        }
        ConnectErrorKind::ServerParse => Failure::Final(format!("{servers} cannot be connected to: {error}")),
        _ => Failure::Passing(match tls_error(error) {
            Some(error) => format!(
                "TLS failed: {error}; look at `Nats::root_certificates` and `Nats::client_certificate`, and at what the \
                 server is set to"
            ),
            None => error.to_string(),
        }),
    }
}

fn tls_error(error: &ConnectError) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}
