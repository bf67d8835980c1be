//! The certificate of the tests' servers, and clients that trust it.
#![allow(dead_code)] // Every test that includes this file uses a part of it.

use std::{
    io::{self, Read, Write},
    sync::{Arc, OnceLock},
};

use cereus_transports::TlsConfig;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::net::Stream;

/// A certificate that signs itself, and its key, as PEM.
pub(crate) fn certificate() -> &'static (String, String) {
    static CERTIFICATE: OnceLock<(String, String)> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    })
}

/// What a server shows.
pub(crate) fn server() -> TlsConfig {
    let (chain, key) = certificate();
    TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

/// A client that trusts such a server, and shakes hands with it when it first reads or writes.
fn client() -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate().0.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}

/// A socket, encrypted or not.
pub(crate) enum Socket {
    Plain(Stream),
    Encrypted(Box<StreamOwned<ClientConnection, Stream>>),
}

impl Socket {
    /// Encrypts if the endpoint, as it displays itself, is one that does.
    pub(crate) fn new(endpoint: &str, stream: Stream) -> Self {
        match endpoint.split_once("://") {
            Some(("tls" | "wss", _)) => Self::Encrypted(Box::new(StreamOwned::new(client(), stream))),
            _ => Self::Plain(stream),
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Encrypted(stream) => &stream.sock,
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Encrypted(stream) => match stream.read(buf) {
                // An end without a word.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Encrypted(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}
