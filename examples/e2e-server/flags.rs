//! Flags as programs in Go have them: one dash or two, `-name value` or `-name=value`, and `-name` alone for a truth.

use std::str::FromStr;

pub(crate) const USAGE: &str = "\
Usage of e2e-server:
  -type string
    \tthe type of the server (default \"connector\")
  -port int
    \tthe TCP port for clients, on a frontend (default 32222)
  -frontend
    \twhether clients connect to it (default true)
  -sdprefix string
    \tthe prefix under which servers find each other in etcd (default \"pitaya/\")
  -grpc
    \ttalk to other servers over gRPC instead of NATS
  -grpcport int
    \tthe port on 127.0.0.1 for other servers, with -grpc (default 3434)
  -nats string
    \tthe URL of NATS (default \"nats://localhost:4222\")
  -etcd string
    \tthe URL of etcd (default \"http://localhost:2379\")
  -debug
    \tlog more
";

pub(crate) struct Flags {
    pub(crate) server_type: String,
    pub(crate) port: u16,
    pub(crate) frontend: bool,
    pub(crate) sd_prefix: String,
    pub(crate) grpc: bool,
    pub(crate) grpc_port: u16,
    pub(crate) nats: String,
    pub(crate) etcd: String,
    pub(crate) debug: bool,
}

impl Flags {
    /// `None`: the usage is asked for.
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut flags = Self {
            server_type: "connector".to_owned(),
            port: 32222,
            frontend: true,
            sd_prefix: "pitaya/".to_owned(),
            grpc: false,
            grpc_port: 3434,
            nats: "nats://localhost:4222".to_owned(),
            etcd: "http://localhost:2379".to_owned(),
            debug: false,
        };
        while let Some(argument) = arguments.next() {
            let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
            // Go takes no flags after what is none, and says nothing: `-frontend false` would be a frontend.
            let flag = flag.filter(|flag| !flag.is_empty()).ok_or_else(|| format!("not a flag: {argument}"))?;
            let (name, given) =
                flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = |given: Option<String>| {
                given.or_else(|| arguments.next()).ok_or_else(|| format!("flag needs an argument: -{name}"))
            };
            match name {
                "h" | "help" => return Ok(None),
                "type" => flags.server_type = value(given)?,
                "port" => flags.port = number(name, &value(given)?)?,
                "frontend" => flags.frontend = switch(name, given)?,
                "sdprefix" => flags.sd_prefix = value(given)?,
                "grpc" => flags.grpc = switch(name, given)?,
                "grpcport" => flags.grpc_port = number(name, &value(given)?)?,
                "nats" => flags.nats = value(given)?,
                "etcd" => flags.etcd = value(given)?,
                "debug" => flags.debug = switch(name, given)?,
                _ => return Err(format!("flag provided but not defined: -{name}")),
            }
        }
        Ok(Some(flags))
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("invalid value {value:?} for flag -{name}"))
}

fn switch(name: &str, value: Option<String>) -> Result<bool, String> {
    value.map_or(Ok(true), |value| truth(&value).ok_or_else(|| format!("invalid boolean value {value:?} for -{name}")))
}

/// What Go takes for true and for false.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
