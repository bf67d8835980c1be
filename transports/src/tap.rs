use std::{fmt, net::SocketAddr};

use bytes::BytesMut;

use crate::{Transport, TransportError};

/// Sees the bytes of one connection as they come and go, and can end it: to count, to record, to limit.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// use cereus_transports::{Tap, Tapped, Tcp, TransportError};
///
/// #[derive(Clone, Debug, Default)]
/// struct Traffic(Arc<[AtomicU64; 2]>);
///
/// impl Tap for Traffic {
///     fn handle_input(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
///         self.0[0].fetch_add(bytes.len() as u64, Ordering::Relaxed);
///         Ok(())
///     }
///
///     fn handle_output(&mut self, bytes: &[u8]) {
///         self.0[1].fetch_add(bytes.len() as u64, Ordering::Relaxed);
///     }
/// }
///
/// let traffic = Traffic::default();
/// let of_all = traffic.clone();
/// let endpoint = Tcp::bind("0.0.0.0:3250").layer(move |_, inner| Ok(Box::new(Tapped::new(of_all.clone(), inner))));
/// ```
pub trait Tap: fmt::Debug + Send {
    /// Bytes have come in. The transport within gets them afterwards.
    ///
    /// # Errors
    ///
    /// The connection is to end. The transport within does not get these bytes.
    fn handle_input(&mut self, bytes: &[u8]) -> Result<(), TransportError>;

    /// Bytes are about to go out.
    fn handle_output(&mut self, bytes: &[u8]);
}

/// A [`Tap`] on a transport.
#[derive(Debug)]
pub struct Tapped<T> {
    tap: T,
    inner: Box<dyn Transport>,
}

impl<T: Tap> Tapped<T> {
    /// The transport, with this tap on it.
    pub const fn new(tap: T, inner: Box<dyn Transport>) -> Self {
        Self { tap, inner }
    }

    /// Shows what the transport within appends.
    fn write(&mut self, wire: &mut BytesMut, append: impl FnOnce(&mut dyn Transport, &mut BytesMut)) {
        let start = wire.len();
        append(&mut *self.inner, wire);
        if wire.len() > start {
            self.tap.handle_output(&wire[start..]);
        }
    }
}

impl<T: Tap> Transport for Tapped<T> {
    fn decode(&mut self, wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        self.tap.handle_input(wire)?;
        self.inner.decode(wire, sink)
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        self.write(wire, |inner, wire| inner.encode(next, wire, limit));
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        self.inner.handle_eof()
    }

    fn close(&mut self, wire: &mut BytesMut) {
        self.write(wire, |inner, wire| inner.close(wire));
    }

    fn release(&mut self) {
        self.inner.release();
    }

    fn buffered(&self) -> usize {
        self.inner.buffered()
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer()
    }
}
