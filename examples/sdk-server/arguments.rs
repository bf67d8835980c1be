pub(crate) const HELP: &str = "\
The two servers that the test suites of Pitaya's client libraries talk to.

    sdk-server [options]

    --host HOST        where to listen            (default: 0.0.0.0)
    --json PORT        WebSocket with JSON; TCP, TLS and WSS are at the next ports     (default: 3250)
    --protobuf PORT    WebSocket with protobuf; TCP, TLS and WSS are at the next ports (default: 3350)
    --big FILE         what connector.getbigmessage answers: a BigMessage that some suite expects, encoded
    --cert FILE        the chain of certificates, PEM: opens TLS and WSS, which are closed without it
    --key FILE         its private key, PEM
    --help

With port 0 the system chooses all ports.";

/// How many ports each server has.
const PORTS: u16 = 4;

pub(crate) struct Arguments {
    pub(crate) host: String,
    pub(crate) json: u16,
    pub(crate) protobuf: u16,
    pub(crate) big_message: Option<String>,
    /// The files of a chain and its key.
    pub(crate) certificate: Option<(String, String)>,
}

impl Arguments {
    /// `None`: help is asked for.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let host = "0.0.0.0".to_owned();
        let mut read = Self { host, json: 3250, protobuf: 3350, big_message: None, certificate: None };
        let (mut chain, mut key) = (None, None);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next().filter(|value| !value.starts_with("--"));
                value.ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--host" => read.host = value()?,
                "--json" => read.json = port(&value()?)?,
                "--protobuf" => read.protobuf = port(&value()?)?,
                "--big" => read.big_message = Some(value()?),
                "--cert" => chain = Some(value()?),
                "--key" => key = Some(value()?),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("what is `{other}`?")),
            }
        }
        read.certificate = match (chain, key) {
            (Some(chain), Some(key)) => Some((chain, key)),
            (None, None) => None,
            (Some(_), None) => return Err("--cert needs the --key that belongs to it".to_owned()),
            (None, Some(_)) => return Err("--key needs the --cert that belongs to it".to_owned()),
        };
        Ok(Some(read))
    }
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port <= u16::MAX - PORTS + 1);
    port.ok_or_else(|| format!("`{text}` is no port that has {} after it", PORTS - 1))
}
