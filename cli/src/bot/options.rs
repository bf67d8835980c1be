//! What `cereus bot run` is asked, by its options, by a file and by the environment.

use std::{env, fs, path::PathBuf, time::Duration};

use cereus_client::HandshakeRequest;
use clap::Args;

use super::{
    config::Config,
    duration,
    familiar::Familiar,
    runner::PUSH_BUFFER,
    spec::{Hooks, RedisPlace, Spec, read_all},
};
use crate::{
    connect::{Connect, Trust, header},
    failure::Failure,
    protobuf::{self, RouteTypes, Schema},
};

/// Where specs are when nothing else is said.
const SPECS: &str = "./specs/";
/// Where Pitaya's own documentation is, when a file says that bodies are protobuf and no more.
const DOCS: &str = "connector.docsHandler.docs";
const REDIS: &str = "redis://localhost:9010";
/// How long a connection may take, and its handshake as long again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Let bots do what specs say, and report how it went.
///
/// Each spec has so many bots as its `numberOfInstances` says. Each bot connects, does what the spec says, disconnects, and begins
/// again until the time is over; all specs at once. An answer that is an error is an answer like others: expect something else,
/// or say --strict.
///
/// Options count more than variables of the environment (PITAYABOT_SERVER_HOST and so on), and these more than the file.
// `-d` is the folder, as for pitaya-bot; elsewhere it is short for `--docs`.
#[derive(Args, Debug)]
#[command(mut_arg("docs", |arg| arg.short(None::<char>)))]
pub(crate) struct Run {
    /// Specs, and folders with specs.
    #[arg(value_name = "SPEC")]
    specs: Vec<PathBuf>,
    /// A folder: all files *.json in it and below are specs [default: ./specs/, if no SPEC is given]
    #[arg(short, long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// pitaya-bot's configuration, YAML [default: ./config/config.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Until when bots begin again, such as 1m30s; 0: each runs once.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration::parse)]
    pub(super) duration: Duration,
    /// How many bots each spec has, whatever it says itself.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    instances: Option<u32>,
    /// Each run begins after a random time of at most this [default: 500ms]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    max_sleep: Option<Duration>,
    /// A spec of which a run has failed begins no more.
    #[arg(long)]
    stop_on_error: bool,
    /// An answer that is an error fails the run.
    #[arg(long)]
    strict: bool,
    /// Print the report as JSON.
    #[arg(short, long, alias = "logJSON")]
    pub(super) json: bool,
    /// Show nothing while it runs.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// How many bytes of pushes each bot keeps that nobody listened to yet. Of too many the oldest are dropped.
    #[arg(long, value_name = "BYTES", default_value_t = PUSH_BUFFER)]
    push_buffer: usize,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    pub(super) metrics: Metrics,
    #[command(flatten)]
    protobuf: protobuf::Options,
    #[command(flatten)]
    types: Types,
    #[command(flatten)]
    pub(super) familiar: Familiar,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
struct Server {
    /// The server: tcp://, tls://, ws:// or wss://; for host:port alone ws and tcp are tried, or wss and tls with --tls.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Encrypt. Unlike pitaya-bot, only servers are trusted that this machine trusts: see --ca, --pin, --insecure.
    #[arg(long)]
    tls: bool,
    /// Who the bots say they are, as JSON: {"sys": {"platform": …}, "user": {…}}.
    #[arg(long, value_name = "JSON", value_parser = handshake)]
    handshake: Option<HandshakeRequest>,
    /// How long an answer or a push may take, unless a step says [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_some)]
    timeout: Option<Duration>,
    /// Send bodies deflated when that is shorter.
    #[arg(long)]
    compress: bool,
    /// A line for the head of the request that asks for a WebSocket, such as `Origin: https://example.com`.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Metrics")]
pub(super) struct Metrics {
    /// Serve metrics for Prometheus at /metrics, and wait at the end until they were read once more.
    #[arg(long)]
    pub(super) report_metrics: bool,
    /// The port for that; 0: any [default: 9191]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// How long to wait at the end.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration::parse)]
    pub(super) metrics_wait: Duration,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Protobuf")]
struct Types {
    /// The types of a route's bodies, where nobody else tells.
    #[arg(long, value_name = "ROUTE=INPUT,OUTPUT", value_parser = route_types)]
    route_type: Vec<(String, RouteTypes)>,
    /// The type of a push.
    #[arg(long, value_name = "ROUTE=TYPE", value_parser = push_type)]
    push_type: Vec<(String, String)>,
}

fn handshake(text: &str) -> Result<HandshakeRequest, String> {
    HandshakeRequest::parse(text.as_bytes()).map_err(|error| format!("this is no handshake: {error}"))
}

fn push_type(text: &str) -> Result<(String, String), String> {
    let (route, name) = text.split_once('=').ok_or("write it as ROUTE=TYPE")?;
    Ok((route.to_owned(), name.to_owned()))
}

fn route_types(text: &str) -> Result<(String, RouteTypes), String> {
    let wrong = "write it as ROUTE=INPUT,OUTPUT, each of which may be nothing";
    let (route, types) = text.split_once('=').ok_or(wrong)?;
    let (input, output) = types.split_once(',').ok_or(wrong)?;
    let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Ok((route.to_owned(), RouteTypes { input: some(input), output: some(output) }))
}

/// All of it, once it is clear.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) specs: Vec<(Spec, u32)>,
    /// What is to be told before it begins.
    pub(super) notes: Vec<String>,
    pub(super) host: String,
    pub(super) is_encrypted: bool,
    pub(super) connect: Connect,
    pub(super) handshake: HandshakeRequest,
    pub(super) schema: Option<Schema>,
    /// Where to learn types: the documentation, and perhaps the descriptors.
    pub(super) docs: Option<(String, Option<String>)>,
    pub(super) max_sleep: Duration,
    pub(super) stops_on_error: bool,
    pub(super) push_buffer: usize,
    pub(super) is_strict: bool,
    pub(super) hooks: (RedisPlace, RedisPlace),
    pub(super) game: String,
    pub(super) metrics_port: Option<u16>,
}

impl Run {
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let mut notes = Vec::new();
        let config = Config::read(self.config.as_deref(), |name| env::var(name).ok(), &mut notes)?;
        if let Some(storage) = config.text("storage.type").filter(|storage| *storage != "memory") {
            return Err(Failure::Usage(format!("storage.type: `{storage}` is not known: there is only memory")));
        }
        if self.familiar.delete {
            notes.push(
                "--delete does nothing: bots run in this process, and nothing of them is in a cluster".to_owned(),
            );
        }
        let specs = read_all(&self.places()?, &mut notes)?;
        for spec in &specs {
            notes.extend(Hooks::check(spec)?);
        }
        let specs = self.with_instances(specs, &config, &mut notes)?;
        let connect = self.connect(&config)?;
        let told = config.read_as("server.handshake", handshake)?;
        let (schema, docs) = self.protobuf(&config)?;
        let port = config.number("prometheus.port")?.map(u16::try_from).transpose();
        let port = port.map_err(|_| Failure::usage("prometheus.port: there is no such port"))?;
        Ok(Settings {
            specs,
            notes,
            host: self.host(&config)?,
            is_encrypted: self.server.tls || config.flag("server.tls")?,
            handshake: filled(self.server.handshake.clone().or(told), &connect),
            connect,
            schema,
            docs,
            max_sleep: match self.max_sleep {
                Some(time) => time,
                None => config.duration("bot.operation.maxSleep")?.unwrap_or(Duration::from_millis(500)),
            },
            stops_on_error: self.stop_on_error || config.flag("bot.operation.stopOnError")?,
            push_buffer: self.push_buffer,
            is_strict: self.strict,
            hooks: (redis(&config, "pre")?, redis(&config, "post")?),
            game: config.text("game").unwrap_or_default().to_owned(),
            metrics_port: self.metrics.report_metrics.then(|| self.metrics.metrics_port.or(port).unwrap_or(9191)),
        })
    }

    fn host(&self, config: &Config) -> Result<String, Failure> {
        let host = self.server.host.as_deref().or_else(|| config.text("server.host"));
        let missing = "which server? Say --host ADDRESS, or server.host in the configuration";
        host.map(str::to_owned).ok_or_else(|| Failure::usage(missing))
    }

    fn places(&self) -> Result<Vec<PathBuf>, Failure> {
        let places: Vec<PathBuf> = self.dir.iter().chain(&self.specs).cloned().collect();
        if !places.is_empty() {
            return Ok(places);
        }
        let usual = PathBuf::from(SPECS);
        let missing = format!("there are no specs in {SPECS}: name files or folders. --help shows a spec");
        if usual.is_dir() { Ok(vec![usual]) } else { Err(Failure::Usage(missing)) }
    }

    /// pitaya-bot's parallelism is that of the jobs it makes of each spec.
    fn with_instances(
        &self,
        specs: Vec<Spec>,
        config: &Config,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(Spec, u32)>, Failure> {
        let parallelism = config.number("bot.spec.parallelism")?.unwrap_or(1);
        let mut total = 0_u32;
        let mut counted = Vec::new();
        for spec in specs {
            let instances = self.instances.unwrap_or(spec.instances).checked_mul(parallelism);
            let sum = instances.and_then(|instances| total.checked_add(instances));
            total = sum.ok_or_else(|| Failure::Usage(format!("{}: so many instances are too much", spec.file)))?;
            if instances == Some(0) {
                notes.push(format!("{}: it has no instances, so nobody runs it", spec.file));
            }
            counted.push((spec, instances.unwrap_or_default()));
        }
        Ok(counted)
    }

    fn connect(&self, config: &Config) -> Result<Connect, Failure> {
        let Server { timeout, compress, header, trust, .. } = &self.server;
        let mut trust = trust.clone();
        trust.insecure |= trust.ca.is_none() && trust.pin.is_none() && config.flag("server.insecure")?;
        let timeout = match timeout {
            Some(timeout) => *timeout,
            None => config.read_as("server.requestTimeout", duration::parse_some)?.unwrap_or(Duration::from_secs(5)),
        };
        Ok(Connect {
            user: None,
            platform: None,
            client_version: None,
            build_number: None,
            browser: false,
            compress: *compress,
            trust,
            header: header.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            timeout,
        })
    }

    /// The types that are known already, and where to ask for more.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn protobuf(&self, config: &Config) -> Result<(Option<Schema>, Option<(String, Option<String>)>), Failure> {
        let is_said = match config.text("server.serializer").unwrap_or("json") {
            "json" => false,
            "protobuf" | "protobuffer" => true,
            other => {
                let text = format!("server.serializer: `{other}` is not known: use json or protobuffer");
                return Err(Failure::Usage(text));
            }
        };
        if !is_said && !self.protobuf.are_given() {
            return Ok((None, None));
        }
        let mut schema = self.protobuf.schema()?;
        let (routes, types) =
            (config.list("server.protobuffer.pushinfo.routes"), config.list("server.protobuffer.pushinfo.protos"));
        if routes.len() != types.len() {
            let text = "server.protobuffer.pushinfo: there must be as many routes as protos, in the same order";
            return Err(Failure::usage(text));
        }
        routes.into_iter().zip(types).chain(self.types.push_type.iter().cloned()).for_each(|(route, name)| {
            schema.set_push(route, name);
        });
        self.types.route_type.iter().cloned().for_each(|(route, types)| schema.set_route(route, types));
        let asks = self.protobuf.docs.is_some() || schema.is_empty();
        let docs = self.protobuf.docs.as_deref().or_else(|| config.text("server.protobuffer.docs")).unwrap_or(DOCS);
        let docs = asks.then(|| (docs.to_owned(), self.protobuf.descriptors_route.clone()));
        Ok((Some(schema), docs))
    }
}

/// What is not said is what other commands say.
fn filled(told: Option<HandshakeRequest>, connect: &Connect) -> HandshakeRequest {
    let usual = connect.handshake();
    let Some(mut told) = told else { return usual };
    if told.platform.is_empty() {
        told.platform = usual.platform;
    }
    if told.lib_version.is_empty() {
        told.lib_version = usual.lib_version;
    }
    told
}

fn redis(config: &Config, when: &str) -> Result<RedisPlace, Failure> {
    let key = |name: &str| format!("custom.redis.{when}.{name}");
    let file = config.text(&key("script")).filter(|file| !file.is_empty());
    let script = file.map(|file| {
        fs::read_to_string(file)
            .map_err(|error| Failure::Usage(format!("{}: {file} cannot be read: {error}", key("script"))))
    });
    Ok(RedisPlace {
        url: config.text(&key("url")).unwrap_or(REDIS).to_owned(),
        connection_timeout: Duration::from_secs(config.number(&key("connectionTimeout"))?.unwrap_or(10).max(1).into()),
        script: script.transpose()?,
    })
}
