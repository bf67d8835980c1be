use cereus::{App, Cluster, Nats, ServerInfo, Tcp};

use crate::{Done, announce, fixed::Fixed};

/// A frontend that has nothing of its own: what clients ask goes to room/r1.
pub(crate) async fn serve(nats: &str, address: &str) -> Done {
    let room = ServerInfo::new("room", "r1");
    let server = App::new(())
        .server_type("connector")
        .cluster(Cluster::new(Nats::new(nats), Fixed(vec![room])))
        .on_listening(|endpoints| endpoints.iter().for_each(announce))
        .build()?;
    cereus::tokio::serve(server, [Tcp::bind(address)]).await?;
    Ok(())
}
