//! From what somebody types to a connection.

use std::time::Duration;

use cereus_client::{Address, AddressError, Client, ClientBuilder, ConnectError, Disconnect};
use cereus_tokio::Tokio;

use crate::failure::Failure;

/// How long each kind of connection may take when it is not known which one it is.
const TRY_FOR: Duration = Duration::from_secs(2);

/// Connects. An address with a scheme is taken at its word; for one without, these schemes are tried in their order. Gives back
/// the address that worked, too.
///
/// A server whose certificate is not trusted ends the search: going on without encryption would be what whoever is in between
/// wants.
pub(crate) async fn reach(
    text: &str,
    schemes: &[&str],
    builder: impl Fn(&str) -> Result<ClientBuilder, Failure>,
) -> Result<(Client, String), Failure> {
    let candidates = candidates(text, schemes)?;
    if let [address] = &*candidates {
        return Ok((builder(address)?.connect(Tokio::new()).await?, address.clone()));
    }
    let mut failures = Vec::new();
    for address in &candidates {
        match builder(address)?.connect_timeout(TRY_FOR).connect(Tokio::new()).await {
            Ok(client) => return Ok((client, address.clone())),
            Err(ConnectError::Disconnect(error)) => match error {
                Disconnect::Untrusted(_) => {
                    return Err(Failure::Failed(format!(
                        "{address}: {error}. Say whom to trust with --ca FILE or --pin FILE, or trust anybody with --insecure"
                    )));
                }
                Disconnect::Refused(_) | Disconnect::Kicked { .. } => {
                    return Err(Failure::Failed(format!("{address}: {error}")));
                }
                error => {
                    let text = error.to_string();
                    let reason = text.strip_prefix(&format!("{address}: ")).map(str::to_owned);
                    failures.push((address, reason.unwrap_or(text)));
                }
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::Failed(nothing_worked(text, &failures)))
}

fn candidates(text: &str, schemes: &[&str]) -> Result<Vec<String>, Failure> {
    if text.contains("://") {
        return Ok(vec![text.to_owned()]);
    }
    let has_path = match text.parse::<Address>() {
        Ok(_) => false,
        Err(AddressError::Path(_)) => true,
        Err(error) => return Err(ConnectError::from(error).into()),
    };
    // Only WebSockets have paths.
    let schemes = schemes.iter().filter(|scheme| !has_path || scheme.starts_with("ws"));
    Ok(schemes.map(|scheme| format!("{scheme}://{text}")).collect())
}

fn nothing_worked(text: &str, failures: &[(&String, String)]) -> String {
    match failures {
        // Most often nobody listens at all.
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => {
            format!("{text} cannot be reached: {first}")
        }
        _ => {
            let each = failures.iter().map(|(address, error)| format!("\n  {address}: {error}"));
            format!("no server of the family answers at {text}:{}", each.collect::<String>())
        }
    }
}
