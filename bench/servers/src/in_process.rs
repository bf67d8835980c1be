use cereus::{App, Cluster, InProcess, Raw, Service, Tcp};

use crate::{Done, announce};

/// A frontend that answers `local.echo` itself and has `room.room.echo` answered by a backend beside it, by the same handler.
pub(crate) async fn serve(address: &str) -> Done {
    let world = InProcess::new();
    let service = |name| Service::new(name).request("echo", async |body: Raw| body);
    let room =
        App::new(()).server_type("room").service(service("room")).cluster(Cluster::in_process(&world)).build()?;
    let front = App::new(())
        .server_type("connector")
        .service(service("local"))
        .cluster(Cluster::in_process(&world))
        .on_listening(|endpoints| endpoints.iter().for_each(announce))
        .build()?;
    let serving = tokio::spawn(cereus::tokio::serve(room.clone(), []));
    if room.listening().await.is_none() {
        return Ok(serving.await??);
    }
    cereus::tokio::serve(front, [Tcp::bind(address)]).await?;
    Ok(())
}
