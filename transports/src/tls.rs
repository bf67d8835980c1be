//! TLS: a layer around another transport.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    sync::Arc,
};

use bytes::{Buf, BytesMut};
use rustls::{CertificateError, ClientConnection, Connection, ServerConnection, pki_types::ServerName};

use crate::{Transport, TransportError};

mod certificates;
mod client;

pub use certificates::{TlsConfig, TlsConfigError};
pub use client::TlsClientConfig;

/// TLS around another transport. It does no IO: records come in, records go out.
///
/// Versions 1.2 and 1.3; no client certificates. A peer that ends its stream without saying so first is taken at its word, for
/// packets have lengths: one that was cut short is noticed anyway.
///
/// Nothing of the transport within is sent before the handshake is done. How long that may take is the handshake deadline of the
/// connection.
#[derive(Debug)]
pub struct Tls {
    inner: Box<dyn Transport>,
    connection: Box<Connection>,
    /// What the transport within wants to send.
    plain: BytesMut,
    /// Nothing more can be read.
    failed: bool,
}

impl Tls {
    /// A layer that waits for the handshake of its client.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used for a connection.
    pub fn new(config: &TlsConfig, inner: Box<dyn Transport>) -> Result<Self, TlsConfigError> {
        let connection = ServerConnection::new(Arc::clone(config.rustls())).map_err(TlsConfigError::Unusable)?;
        Ok(Self::around(inner, connection.into()))
    }

    /// A layer that begins the handshake with the server of this name, or at this address.
    ///
    /// # Errors
    ///
    /// The name cannot be one of a server.
    pub fn client(config: &TlsClientConfig, server: &str, inner: Box<dyn Transport>) -> Result<Self, TlsConfigError> {
        let name = ServerName::try_from(server.to_owned()).map_err(|_| TlsConfigError::Name(server.to_owned()))?;
        let connection = ClientConnection::new(Arc::clone(config.rustls()), name).map_err(TlsConfigError::Unusable)?;
        Ok(Self::around(inner, connection.into()))
    }

    fn around(inner: Box<dyn Transport>, connection: Connection) -> Self {
        Self { inner, connection: Box::new(connection), plain: BytesMut::new(), failed: false }
    }

    /// Hands on what was deciphered.
    fn deliver(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        let mut reader = self.connection.reader();
        loop {
            // An error says that there is nothing yet, or that the peer ended its stream.
            let Ok(plain) = reader.fill_buf() else { return Ok(()) };
            let len = plain.len();
            if len == 0 {
                return Ok(());
            }
            let decoded = self.inner.decode(plain, sink);
            reader.consume(len);
            decoded?;
        }
    }

    /// Turns what the transport within wants to send into records.
    fn encipher(&mut self, wire: &mut BytesMut) -> io::Result<()> {
        self.write_records(wire)?;
        while !self.plain.is_empty() {
            let taken = self.connection.writer().write(&self.plain)?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.plain.advance(taken);
            self.write_records(wire)?;
        }
        Ok(())
    }

    fn write_records(&mut self, wire: &mut BytesMut) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Appended(wire))?;
        }
        Ok(())
    }
}

impl Transport for Tls {
    fn decode(&mut self, mut wire: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), TransportError> {
        while !wire.is_empty() && !self.failed {
            // It reads no more than it has room for.
            if self.connection.read_tls(&mut wire).map_err(|error| violated(&error))? == 0 {
                break;
            }
            let state = self.connection.process_new_packets();
            self.failed = state.is_err();
            let delivered = self.deliver(sink);
            let state = state.map_err(|error| match error {
                rustls::Error::InvalidCertificate(CertificateError::Other(why)) => {
                    TransportError::Untrusted(why.0.to_string())
                }
                error @ rustls::Error::InvalidCertificate(_) => TransportError::Untrusted(error.to_string()),
                error => violated(&error),
            })?;
            delivered?;
            if state.peer_has_closed() {
                self.failed = true;
                self.inner.handle_eof()?;
                return Err(TransportError::Closed);
            }
        }
        Ok(())
    }

    fn encode(&mut self, next: &mut dyn FnMut(&mut BytesMut) -> Option<usize>, wire: &mut BytesMut, limit: usize) {
        if !self.connection.is_handshaking() {
            self.inner.encode(next, &mut self.plain, limit.saturating_sub(wire.len()));
        }
        // After an error there is only the alert to be sent.
        let _ = self.encipher(wire);
    }

    fn handle_eof(&mut self) -> Result<(), TransportError> {
        if self.connection.is_handshaking() && matches!(*self.connection, Connection::Client(_)) {
            return Err(TransportError::Refused("the server closed in the middle of the TLS handshake".into()));
        }
        self.inner.handle_eof()
    }

    fn close(&mut self, wire: &mut BytesMut) {
        if !self.connection.is_handshaking() {
            self.inner.close(&mut self.plain);
        }
        let _ = self.encipher(wire);
        self.connection.send_close_notify();
        let _ = self.write_records(wire);
    }

    fn release(&mut self) {
        self.inner.release();
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
    }

    fn buffered(&self) -> usize {
        self.inner.buffered() + self.plain.len()
    }

    fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.inner.peer()
    }
}

fn violated(error: &dyn std::error::Error) -> TransportError {
    TransportError::Protocol(format!("TLS: {error}"))
}

/// Writes to the end of a buffer.
struct Appended<'a>(&'a mut BytesMut);

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
