#[cfg(feature = "websocket")]
use std::sync::Arc;
use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
};

#[cfg(feature = "websocket")]
use bytes::Bytes;
#[cfg(feature = "websocket")]
use cereus_core::packet::PacketHeader;

#[cfg(feature = "websocket")]
use crate::{Page, WebSocket, WebSocketConfig};
use crate::{ProxyHeader, Raw, Transport};
#[cfg(feature = "tls")]
use crate::{Tls, TlsConfig};

/// Where a server listens, and for which transport. Nothing is opened before it is served.
///
/// ```
/// use cereus_transports::{Tcp, WebSocket};
///
/// let endpoints = [
///     Tcp::bind("0.0.0.0:3250"),
///     WebSocket::bind("0.0.0.0:3251").page("/", "text/html", "<h1>hello</h1>"),
/// ];
/// assert_eq!(endpoints[1].to_string(), "ws://0.0.0.0:3251");
/// ```
#[derive(Clone, Debug)]
#[must_use = "an endpoint does nothing until it is served"]
pub struct Endpoint {
    address: String,
    scheme: Scheme,
    #[cfg(feature = "websocket")]
    pages: Vec<Page>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    proxy_protocol: bool,
}

/// Makes the transport of each connection. An error ends that connection only.
pub type Transports = Box<dyn Fn() -> io::Result<Box<dyn Transport>> + Send + Sync>;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Tcp,
    #[cfg(feature = "websocket")]
    WebSocket,
}

/// Raw TCP: the bytes of the socket are the bytes of the packets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tcp;

impl Tcp {
    /// Raw TCP on this address; port 0 lets the system choose one.
    pub fn bind(address: impl Into<String>) -> Endpoint {
        Endpoint::new(address.into(), Scheme::Tcp)
    }
}

#[cfg(feature = "websocket")]
impl WebSocket {
    /// WebSocket on any path of this address, and [pages](Endpoint::page) for plain HTTP; port 0 lets the system choose
    /// one.
    pub fn bind(address: impl Into<String>) -> Endpoint {
        Endpoint::new(address.into(), Scheme::WebSocket)
    }
}

impl Endpoint {
    const fn new(address: String, scheme: Scheme) -> Self {
        Self {
            address,
            scheme,
            #[cfg(feature = "websocket")]
            pages: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
            proxy_protocol: false,
        }
    }

    /// Expects a header of the PROXY protocol, version 1 or 2, at the start of every connection, before TLS: the peer is whom it
    /// names. Only for ports that nobody but a load balancer can reach, for everybody else could call himself anything.
    pub const fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// Lets only clients in that encrypt.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: &TlsConfig) -> Self {
        self.tls = Some(config.clone());
        self
    }

    /// Answers plain HTTP requests for `path` with a page. Only WebSocket endpoints can.
    #[cfg(feature = "websocket")]
    pub fn page(mut self, path: impl Into<String>, mime: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.pages.push(Page::new(path, mime, body));
        self
    }

    /// The addresses to try; the first that can be listened on is taken.
    ///
    /// # Errors
    ///
    /// The address is none, its name cannot be resolved, or there are pages on a raw TCP port.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        #[cfg(feature = "websocket")]
        if self.scheme == Scheme::Tcp && !self.pages.is_empty() {
            let text = "raw TCP has no pages: give them to a `WebSocket::bind`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(self.address.to_socket_addrs()?.collect())
    }

    /// The address, as it was given or as it was found.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same endpoint with the address where it really listens.
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address.to_string();
        self
    }

    /// What makes the transport of each connection, for packets with bodies of up to `max_packet_size` bytes.
    pub fn transports(self, max_packet_size: usize) -> Transports {
        if self.proxy_protocol {
            let inner = self.encrypted(max_packet_size);
            return Box::new(move || Ok(Box::new(ProxyHeader::new(inner()?))));
        }
        self.encrypted(max_packet_size)
    }

    fn encrypted(self, max_packet_size: usize) -> Transports {
        #[cfg(feature = "tls")]
        if let Some(config) = self.tls.clone() {
            let inner = self.unencrypted(max_packet_size);
            return Box::new(move || Ok(Box::new(Tls::new(&config, inner()?).map_err(io::Error::other)?)));
        }
        self.unencrypted(max_packet_size)
    }

    #[cfg_attr(not(feature = "websocket"), expect(unused_variables, reason = "raw TCP has no limit of its own"))]
    fn unencrypted(self, max_packet_size: usize) -> Transports {
        match self.scheme {
            Scheme::Tcp => Box::new(|| Ok(Box::new(Raw))),
            #[cfg(feature = "websocket")]
            Scheme::WebSocket => {
                let max = max_packet_size + PacketHeader::LEN;
                let config = WebSocketConfig {
                    max_message_size: max,
                    max_frame_size: max,
                    pages: self.pages,
                    ..WebSocketConfig::default()
                };
                let config = Arc::new(config);
                Box::new(move || Ok(Box::new(WebSocket::new(Arc::clone(&config)))))
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "tls")]
        let encrypted = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let encrypted = false;
        let scheme = match (self.scheme, encrypted) {
            (Scheme::Tcp, false) => "tcp",
            (Scheme::Tcp, true) => "tls",
            #[cfg(feature = "websocket")]
            (Scheme::WebSocket, false) => "ws",
            #[cfg(feature = "websocket")]
            (Scheme::WebSocket, true) => "wss",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}
