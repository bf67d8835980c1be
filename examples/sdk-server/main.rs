//! The two servers that the test suites of Pitaya's client libraries talk to: their ports, their routes, their texts.
//!
//! ```sh
//! cargo run --example sdk-server
//! cargo run --example sdk-server -- --cert server.crt --key server.key      # PEM files; opens TLS and WSS as well
//! ```
//!
//! | bodies are | WebSocket | TCP | TLS | WSS |
//! | --- | --- | --- | --- | --- |
//! | JSON | 3250 | 3251 | 3252 | 3253 |
//! | protobuf | 3350 | 3351 | 3352 | 3353 |
//!
//! The suites of libpitaya connect to TCP and TLS by the name `libpitaya-tests.tfgco.com`: it has to be this machine for them, and
//! the certificate is the one in their `fixtures/server`. What they want to read in a `BigMessage` is theirs, too: `--big` takes
//! a file with it, encoded. Browsers connect to WebSocket and WSS, from pages of any origin.
//!
//! | route | with JSON | with protobuf |
//! | --- | --- | --- |
//! | `connector.gethandshakedata` | what the client told in its handshake | – |
//! | `connector.getsessiondata` | `{"Data":{…}}` | `SessionData` |
//! | `connector.setsessiondata` | `{"Data":{…}}` is kept: `{"Code":200,"Msg":"success"}` | `Response` |
//! | `connector.sendpush` | pushes `some.push.route` | – |
//! | `connector.notifysessiondata` | – | a notify; pushes `some.push.route` with `SessionData` |
//! | `connector.geterror` | an error with the code `PIT-000` | – |
//! | `connector.getbigmessage` | – | `BigMessage` |
//! | `connector.big` | 1.4 KB | – |
//! | `connector.pushdict` | pushes `onMessage`, which the dictionary has | – |
//! | `connector.echo` | the body, whatever it is | the same |
//! | `connector.notify` | a notify; pushes `onNotify` with the same body | the same |
//! | `connector.kickme` | `{"Code":200,"Msg":"Ok"}`, then a kick | `Response`, then a kick |
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

mod arguments;
mod connector;
mod json;
pub(crate) mod protobuf;

use std::{error::Error, fs, process::ExitCode};

use cereus::{App, Endpoint, Server, Tcp, TlsConfig, WebSocket};
use tokio::task::JoinSet;

pub(crate) use arguments::{Arguments, HELP};

type ToServe = (Server, Vec<Endpoint>);

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sdk-server: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs both servers side by side, until one fails or both have been told to end.
#[tokio::main]
async fn serve(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut serving = JoinSet::new();
    for (server, endpoints) in build(arguments)? {
        serving.spawn(cereus::tokio::serve(server, endpoints));
    }
    if arguments.certificate.is_none() {
        println!("TLS and WSS are not opened: they need --cert and --key");
    }
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}

/// The server that speaks JSON and the one that speaks protobuf, and where they listen.
pub(crate) fn build(arguments: &Arguments) -> Result<[ToServe; 2], Box<dyn Error>> {
    let files = arguments.certificate.as_ref();
    let tls = files.map(|(chain, key)| TlsConfig::from_files(chain, key)).transpose()?;
    let read = |file: &String| fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"));
    let big_message = arguments.big_message.as_ref().map(read).transpose()?;
    let server = |app: App<()>, name: &'static str| {
        let app = app.server_type("connector").on_listening(move |endpoints| {
            endpoints.iter().for_each(|endpoint| println!("{name} on {endpoint}"));
        });
        app.build()
    };
    Ok([
        (server(json::app(), "JSON")?, endpoints(&arguments.host, arguments.json, tls.as_ref())),
        (server(protobuf::app(big_message), "protobuf")?, endpoints(&arguments.host, arguments.protobuf, tls.as_ref())),
    ])
}

/// One port after the other, or any if the first is 0.
fn endpoints(host: &str, port: u16, tls: Option<&TlsConfig>) -> Vec<Endpoint> {
    let at = |offset| format!("{host}:{}", if port == 0 { 0 } else { port + offset });
    let mut endpoints = vec![WebSocket::bind(at(0)), Tcp::bind(at(1))];
    if let Some(tls) = tls {
        endpoints.extend([Tcp::bind(at(2)).tls(tls), WebSocket::bind(at(3)).tls(tls)]);
    }
    endpoints
}
