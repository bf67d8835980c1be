//! What both servers have: it does not matter what bodies are made of.

use cereus::{Error, Raw, Service, Session};

pub(crate) const PUSH: &str = "some.push.route";

pub(crate) fn service() -> Service<()> {
    Service::new("connector").request("echo", echo).notify("notify", notify)
}

async fn echo(body: Raw) -> Raw {
    body
}

async fn notify(session: Session, body: Raw) -> Result<(), Error> {
    Ok(session.push("onNotify", body)?)
}
