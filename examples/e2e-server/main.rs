//! The server that the end-to-end suites of Pitaya start and talk to: its flags, its routes, its texts.
//!
//! ```sh
//! cargo build --release --example e2e-server --features nats,etcd,grpc
//! ```
//!
//! The suites look for their server under a name of their own: copy `target/release/examples/e2e-server` there. NATS is
//! expected on port 4222 and etcd on port 2379 (`cargo xtask services --run` starts both). It is ready when a line of
//! standard error has `all modules started!` in it.
//!
//! By hand:
//!
//! ```sh
//! cargo run --example e2e-server --features nats,etcd,grpc -- -type connector -port 32222
//! cargo run --example e2e-server --features nats,etcd,grpc -- -type game -frontend=false
//! ```

mod flags;
mod handlers;
mod log;
mod messages;
mod remotes;

use std::process::ExitCode;

use cereus::{App, Cluster, Etcd, Grpc, Nats, Tcp};

use crate::flags::Flags;

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match Flags::read(std::env::args().skip(1)) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            eprint!("{}", flags::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprint!("{mistake}\n{}", flags::USAGE);
            return ExitCode::from(2);
        }
    };
    log::start(flags.debug);
    match serve(&flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let app = App::new(()).server_type(&flags.server_type).service(handlers::service()).remote(remotes::remote());
    let server = app.cluster(cluster(flags)).build()?;
    let endpoint = flags.frontend.then(|| Tcp::bind(format!("0.0.0.0:{}", flags.port)));
    Ok(cereus::tokio::serve(server, endpoint).await?)
}

/// Over what the servers talk. Suites also set `PITAYA_METRICS_PROMETHEUS_PORT`: nothing listens there as long as Cereus
/// has no metrics.
fn cluster(flags: &Flags) -> Cluster {
    let etcd = Etcd::new([&flags.etcd]);
    // The flag is about discovery only: where a user is bound, servers of Go note under their default prefix.
    let (registry, bindings) = (etcd.clone().prefix(&flags.sd_prefix), etcd.bindings());
    if !flags.grpc {
        return Cluster::new(Nats::new(&flags.nats), registry);
    }
    let mut grpc = Grpc::bind(format!("127.0.0.1:{}", flags.grpc_port));
    let lazy = std::env::var("PITAYA_CLUSTER_RPC_CLIENT_GRPC_LAZYCONNECTION");
    if let Some(lazy) = lazy.ok().and_then(|lazy| flags::truth(&lazy)) {
        grpc = grpc.lazy_connection(lazy);
    }
    Cluster::new(grpc, registry).bindings(bindings)
}
