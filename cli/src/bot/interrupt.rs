//! How a run is ended before its time.

use std::future::pending;

use tokio::signal;

/// Waits for Ctrl-C, or for the word of the system to end, and gives back the exit code that tells of it.
///
/// What comes before the first poll ends the process at once; what comes between two polls is not lost.
pub(super) async fn interrupted() -> u8 {
    tokio::select! {
        () = ctrl_c() => 130,
        () = terminate() => 143,
    }
}

async fn ctrl_c() {
    if signal::ctrl_c().await.is_err() {
        pending().await
    }
}

#[cfg(unix)]
async fn terminate() {
    match signal::unix::signal(signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    pending().await
}
