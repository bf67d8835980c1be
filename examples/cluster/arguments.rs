pub(crate) const HELP: &str = "\
A connector, a room and a game server, and a client that plays.

    cluster [options] [SERVER ...]    serves connector, room and game; all of them if none is named
    cluster [options] play            plays as a client

    --nats [URL]       talk over NATS        (default URL: nats://127.0.0.1:4222; feature `nats`)
    --grpc [ADDRESS]   talk over gRPC        (default ADDRESS: 127.0.0.1:0; feature `grpc`)
    --etcd [URL]       meet in etcd          (default URL: http://127.0.0.1:2379; feature `etcd`)
    --tcp ADDRESS      where clients connect (default: 127.0.0.1:3250)
    --web ADDRESS      the same for browsers (default: 127.0.0.1:3251)
    --protobuf         bodies are protobuf messages instead of JSON
    --compression      long bodies are compressed, also for clients that did not say that they can take it
    --help";

pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) servers: Vec<String>,
    pub(crate) nats: Option<String>,
    pub(crate) grpc: Option<String>,
    pub(crate) etcd: Option<String>,
    pub(crate) tcp: String,
    pub(crate) web: String,
    pub(crate) protobuf: bool,
    pub(crate) compression: bool,
}

pub(crate) enum Command {
    Help,
    Play,
    Serve,
}

impl Arguments {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self {
            command: Command::Serve,
            servers: Vec::new(),
            nats: None,
            grpc: None,
            etcd: None,
            tcp: "127.0.0.1:3250".to_owned(),
            web: "127.0.0.1:3251".to_owned(),
            protobuf: false,
            compression: false,
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            // An address has a colon in it, the name of a server has none.
            let mut address = || arguments.next_if(|next| next.contains(':'));
            match argument.as_str() {
                "--nats" => read.nats = Some(address().unwrap_or_else(|| "nats://127.0.0.1:4222".to_owned())),
                "--grpc" => read.grpc = Some(address().unwrap_or_else(|| "127.0.0.1:0".to_owned())),
                "--etcd" => read.etcd = Some(address().unwrap_or_else(|| "http://127.0.0.1:2379".to_owned())),
                "--tcp" => read.tcp = address().ok_or("--tcp needs an address, such as 0.0.0.0:3250")?,
                "--web" => read.web = address().ok_or("--web needs an address, such as 0.0.0.0:3251")?,
                "--protobuf" => read.protobuf = true,
                "--compression" => read.compression = true,
                "--help" | "-h" => read.command = Command::Help,
                "play" => read.command = Command::Play,
                "connector" | "room" | "game" => read.servers.push(argument),
                other => return Err(format!("what is `{other}`?")),
            }
        }
        if (read.nats.is_some() || read.grpc.is_some()) != read.etcd.is_some() {
            return Err(
                "servers that talk over NATS or gRPC meet in etcd: give --etcd as well as --nats or --grpc".into()
            );
        }
        if read.servers.is_empty() {
            read.servers = ["connector", "room", "game"].map(str::to_owned).into();
        } else if read.etcd.is_none() && !matches!(read.command, Command::Help) {
            return Err("servers of several processes meet in etcd: give --etcd and --nats".into());
        }
        Ok(read)
    }
}
