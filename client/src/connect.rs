//! From a name to a socket.

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use cereus_transports::rt::{Connector, Runtime, Timer};

use crate::Address;

/// How long an address may take before the next one is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects to the address of a server that answers first.
pub(crate) async fn connect<R: Runtime + Connector>(runtime: &R, address: &Address) -> io::Result<R::Stream> {
    let addresses = resolve(address).await?;
    let mut race = Race { runtime, timer: runtime.timer(), addresses, next: 0, attempts: Vec::new(), error: None };
    let mut next_at = runtime.now();
    poll_fn(move |cx| race.poll(cx, &mut next_at)).await
}

/// The addresses of a host, those of the two families in turn.
async fn resolve(address: &Address) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = address.host().parse::<IpAddr>() {
        return Ok(vec![(ip, address.port()).into()]);
    }
    let (host, port) = (address.host().to_owned(), address.port());
    let found = blocking::unblock(move || (host, port).to_socket_addrs()).await;
    let unknown = |error| io::Error::new(io::ErrorKind::NotFound, format!("the name cannot be resolved: {error}"));
    let (six, four): (Vec<_>, Vec<_>) = found.map_err(unknown)?.partition(SocketAddr::is_ipv6);
    let mut addresses = Vec::new();
    for index in 0..six.len().max(four.len()) {
        addresses.extend(six.get(index));
        addresses.extend(four.get(index));
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

type Attempt<'a, S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send + 'a>>;

struct Race<'a, R: Runtime + Connector> {
    runtime: &'a R,
    timer: R::Timer,
    addresses: Vec<SocketAddr>,
    next: usize,
    attempts: Vec<Attempt<'a, R::Stream>>,
    error: Option<io::Error>,
}

impl<R: Runtime + Connector> Race<'_, R> {
    fn poll(&mut self, cx: &mut Context<'_>, next_at: &mut cereus_core::Instant) -> Poll<io::Result<R::Stream>> {
        loop {
            let mut index = 0;
            while let Some(attempt) = self.attempts.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        self.error = Some(error);
                        drop(self.attempts.swap_remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            let Some(address) = self.addresses.get(self.next) else {
                let nobody = || io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
                return match self.attempts.is_empty() {
                    true => Poll::Ready(Err(self.error.take().unwrap_or_else(nobody))),
                    false => Poll::Pending,
                };
            };
            if !self.attempts.is_empty() && self.timer.poll_until(*next_at, cx).is_pending() {
                return Poll::Pending;
            }
            self.attempts.push(Box::pin(self.runtime.connect(*address)));
            self.next += 1;
            *next_at = self.runtime.now() + HEAD_START;
        }
    }
}
