//! Answers what it is asked: `cargo run --release --example echo [address]`.
#![expect(clippy::print_stdout, reason = "to tell where it listens")]

use cereus::{App, Json, Raw, Service, Tcp};
use serde_json::Value;

async fn raw(body: Raw) -> Raw {
    body
}

async fn json(body: Json<Value>) -> Json<Value> {
    body
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3250".into());
    let server = App::new(())
        .service(Service::new("echo").request("raw", raw).request("json", json))
        .on_listening(|endpoints| println!("listening on {}", endpoints[0]))
        .build()?;
    cereus::tokio::serve(server, [Tcp::bind(address)]).await?;
    Ok(())
}
