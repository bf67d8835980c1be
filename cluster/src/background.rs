use std::{
    future::Future,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};

/// Where a driver's library runs: the tokio runtime that the driver is used in, or else one thread of its own. Under another
/// runtime the user sees no difference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Background(Arc<Mutex<Chosen>>);

#[derive(Debug, Default)]
struct Chosen {
    handle: Option<Handle>,
    own: Option<Runtime>,
}

impl Background {
    /// The runtime; the first call chooses.
    pub(crate) fn handle(&self) -> io::Result<Handle> {
        let mut chosen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &chosen.handle {
            return Ok(handle.clone());
        }
        let handle = match Handle::try_current() {
            Ok(handle) => handle,
            Err(_) => {
                let runtime =
                    Builder::new_multi_thread().worker_threads(1).thread_name("cereus-cluster").enable_all().build()?;
                chosen.own.insert(runtime).handle().clone()
            }
        };
        chosen.handle = Some(handle.clone());
        Ok(handle)
    }

    /// Runs a future there, whoever waits for it. It is cancelled with the future that is returned.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let mut task = AbortOnDrop(self.handle()?.spawn(future));
        (&mut task.0).await.map_err(io::Error::other)
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        // Its last user may be an async task, which must not block.
        if let Some(runtime) = self.own.take() {
            runtime.shutdown_background();
        }
    }
}
