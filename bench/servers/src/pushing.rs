use std::time::Duration;

use bytes::Bytes;
use cereus::{App, FullPolicy, Raw, Service, Tcp};

use crate::{Done, announce};

/// Answers `bench.echo`, and pushes so many bytes to everybody twenty times a second.
pub(crate) async fn serve(policy: &str, bytes: &str, address: &str) -> Done {
    let policy = match policy {
        "close" => FullPolicy::Close,
        "drop-oldest" => FullPolicy::DropOldest,
        "keep-latest" => FullPolicy::KeepLatest,
        other => return Err(format!("there is no policy `{other}`: close, drop-oldest, keep-latest").into()),
    };
    let state = Bytes::from(vec![b'x'; bytes.parse()?]);
    let server = App::new(())
        .service(Service::new("bench").request("echo", async |Raw(body): Raw| Raw(body)))
        .full_policy(policy)
        // Longer than the measurement: those who read nothing stay.
        .write_timeout(Duration::from_secs(600))
        .on_listening(|endpoints| endpoints.iter().for_each(announce))
        .build()?;
    let pushing = server.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let _ = pushing.broadcast("onState", Raw(state.clone()));
        }
    });
    cereus::tokio::serve(server, [Tcp::bind(address)]).await?;
    Ok(())
}
