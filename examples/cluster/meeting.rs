//! Over what the servers talk, and where they meet: the one place that knows.

use cereus::{App, Cluster, InProcess};

use crate::arguments::Arguments;

/// Makes an app part of the cluster that the arguments name.
pub(crate) fn join(app: App<()>, arguments: &Arguments, world: &InProcess) -> Result<App<()>, String> {
    match (&arguments.nats, &arguments.grpc, &arguments.etcd) {
        (Some(nats), None, Some(etcd)) => over_nats(app, nats, etcd),
        (None, Some(grpc), Some(etcd)) => over_grpc(app, grpc, etcd),
        (Some(_), Some(_), _) => Err("--nats and --grpc: choose one".to_owned()),
        _ => Ok(app.cluster(Cluster::in_process(world))),
    }
}

#[cfg(all(feature = "nats", feature = "etcd"))]
fn over_nats(app: App<()>, nats: &str, etcd: &str) -> Result<App<()>, String> {
    let etcd = cereus::Etcd::new([etcd]);
    Ok(app.groups(etcd.groups()).cluster(Cluster::new(cereus::Nats::new(nats), etcd)))
}

#[cfg(not(all(feature = "nats", feature = "etcd")))]
fn over_nats(_app: App<()>, _nats: &str, _etcd: &str) -> Result<App<()>, String> {
    Err("this was built without NATS and etcd: cargo run --example cluster --features nats,etcd -- …".to_owned())
}

#[cfg(all(feature = "grpc", feature = "etcd"))]
fn over_grpc(app: App<()>, grpc: &str, etcd: &str) -> Result<App<()>, String> {
    let etcd = cereus::Etcd::new([etcd]);
    // Without subjects, the servers have to know on which connector a user is.
    let bindings = etcd.bindings();
    Ok(app.groups(etcd.groups()).cluster(Cluster::new(cereus::Grpc::bind(grpc), etcd).bindings(bindings)))
}

#[cfg(not(all(feature = "grpc", feature = "etcd")))]
fn over_grpc(_app: App<()>, _grpc: &str, _etcd: &str) -> Result<App<()>, String> {
    Err("this was built without gRPC and etcd: cargo run --example cluster --features grpc,etcd -- …".to_owned())
}
