//! What all commands that connect have in common.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use cereus_client::{Address, Client, ClientBuilder, HandshakeRequest, Reconnect, TlsClientConfig};
use cereus_tokio::Tokio;
use clap::Args;
use serde_json::{Map, Value};

use crate::{failure::Failure, output::print_line};

/// How to reach a server, and as whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connect {
    /// The `user` part of the handshake, a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) user: Option<Map<String, Value>>,
    /// The platform that the server is told of.
    #[arg(long, value_name = "NAME")]
    pub(crate) platform: Option<String>,
    /// The version of the client that the server is told of.
    #[arg(long, value_name = "VERSION")]
    pub(crate) client_version: Option<String>,
    /// The build of the client that the server is told of.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) build_number: Option<String>,
    /// Shake hands as a browser does: bodies come as they are, and pushes may have short routes.
    #[arg(long)]
    pub(crate) browser: bool,
    /// Send bodies deflated when that is shorter.
    #[arg(long)]
    pub(crate) compress: bool,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// A line for the head of the request that asks for a WebSocket, such as `Origin: https://example.com`.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// How long it may take to connect, and as long again to shake hands, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) connect_timeout: Duration,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// Which servers are trusted.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Trust {
    /// Trust servers that the certificate authorities in this PEM file vouch for, instead of those of this machine.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust only the public keys of the certificates in this PEM file. Without --ca nothing else is checked.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) pin: Option<PathBuf>,
    /// Trust any server: whoever is in between can read and change everything.
    #[arg(long)]
    pub(crate) insecure: bool,
}

impl Trust {
    /// What these options say, or that this machine's authorities are trusted; nothing for a connection that is not encrypted.
    pub(crate) fn tls(&self, is_encrypted: bool) -> Result<Option<TlsClientConfig>, Failure> {
        match self.chosen()? {
            _ if !is_encrypted => Ok(None),
            Some(tls) => Ok(Some(tls)),
            None => TlsClientConfig::system().map(Some).map_err(|error| Failure::Usage(error.to_string())),
        }
    }

    /// What these options say, if they say anything.
    fn chosen(&self) -> Result<Option<TlsClientConfig>, Failure> {
        let wrong = |error: cereus_client::TlsConfigError| Failure::Usage(error.to_string());
        let pin = self.pin.as_ref().map(|file| {
            fs::read(file).map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))
        });
        let tls = match (&self.ca, pin.transpose()?) {
            _ if self.insecure => TlsClientConfig::unverified(),
            (None, None) => return Ok(None),
            (None, Some(pin)) => TlsClientConfig::pinned_pem(&pin),
            (Some(ca), None) => TlsClientConfig::roots_file(ca),
            (Some(ca), Some(pin)) => TlsClientConfig::roots_file(ca).and_then(|tls| tls.pin_pem(&pin)),
        };
        tls.map(Some).map_err(wrong)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))
}

/// A name and a value.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// A number of seconds, perhaps with a fraction.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "this is no number of seconds".to_owned())?;
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "this must be more than nothing".to_owned())
}

impl Connect {
    /// A client of the server at this address, as these options say. It does not reconnect.
    pub(crate) fn client(&self, address: &str) -> Result<ClientBuilder, Failure> {
        self.client_as(address, self.handshake())
    }

    /// Who these options say that the client is.
    pub(crate) fn handshake(&self) -> HandshakeRequest {
        let mut handshake = HandshakeRequest::default();
        handshake.platform = self.platform.clone().unwrap_or_else(|| "cereus".to_owned());
        handshake.lib_version = if self.browser { String::new() } else { env!("CARGO_PKG_VERSION").to_owned() };
        handshake.client_version = self.client_version.clone().unwrap_or_default();
        handshake.client_build_number = self.build_number.clone().unwrap_or_default();
        handshake.user.clone_from(&self.user);
        handshake
    }

    /// The same, as somebody else.
    pub(crate) fn client_as(&self, address: &str, handshake: HandshakeRequest) -> Result<ClientBuilder, Failure> {
        let mut builder = Client::builder(address)
            .handshake(handshake)
            .compress(self.compress)
            .connect_timeout(self.connect_timeout)
            .request_timeout(self.timeout)
            .reconnect(Reconnect::never());
        let is_encrypted = address.parse().is_ok_and(|address: Address| address.scheme().is_encrypted());
        // Read once, for all connections that are made with this.
        if let Some(tls) = self.trust.tls(is_encrypted)? {
            builder = builder.tls(&tls);
        }
        Ok(self.header.iter().fold(builder, |builder, (name, value)| builder.header(name, value)))
    }
}

/// One request.
#[derive(Args, Debug)]
pub(crate) struct Request {
    /// tcp://host:port, tls://host:port, ws://host:port/path or wss://host:port/path.
    address: String,
    /// Whom to ask: service.method, or servertype.service.method.
    route: String,
    /// The body as it is sent, most often JSON.
    #[arg(default_value = "")]
    body: String,
    #[command(flatten)]
    connect: Connect,
}

impl Request {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let client = self.connect.client(&self.address)?.connect(Tokio::new()).await?;
        let answer = client.request(self.route, self.body).await?;
        client.close().await;
        print_line(&String::from_utf8_lossy(&answer))?;
        Ok(ExitCode::SUCCESS)
    }
}
