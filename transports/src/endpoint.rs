use std::{
    fmt, io, mem,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
};

#[cfg(feature = "websocket")]
use bytes::Bytes;
#[cfg(feature = "websocket")]
use cereus_core::packet::PacketHeader;

#[cfg(feature = "websocket")]
use crate::{Origins, Page, WebSocket, WebSocketConfig};
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
#[derive(Clone)]
#[must_use = "an endpoint does nothing until it is served"]
pub struct Endpoint {
    address: String,
    kind: Kind,
    /// Around each other, the first next to the packets.
    layers: Vec<Layer>,
    encrypted: bool,
    proxy_protocol: bool,
    #[cfg(feature = "websocket")]
    pages: Vec<Page>,
    #[cfg(feature = "websocket")]
    origins: Origins,
    /// What was given and cannot be.
    mistake: Option<String>,
}

/// Makes the transport of a connection from this address, which is that of a load balancer where a PROXY header is expected. An
/// error ends that connection only.
pub type Transports = Box<dyn Fn(SocketAddr) -> io::Result<Box<dyn Transport>> + Send + Sync>;

type Layer = Arc<dyn Fn(SocketAddr, Box<dyn Transport>) -> io::Result<Box<dyn Transport>> + Send + Sync>;

#[derive(Clone)]
enum Kind {
    Tcp,
    #[cfg(feature = "websocket")]
    WebSocket,
    Custom {
        scheme: &'static str,
        make: Arc<dyn Fn() -> Box<dyn Transport> + Send + Sync>,
    },
}

/// Raw TCP: the bytes of the socket are the bytes of the packets.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tcp;

impl Tcp {
    /// Raw TCP on this address; port 0 lets the system choose one.
    pub fn bind(address: impl Into<String>) -> Endpoint {
        Endpoint::new(address.into(), Kind::Tcp)
    }
}

#[cfg(feature = "websocket")]
impl WebSocket {
    /// WebSocket on any path of this address, and [pages](Endpoint::page) for plain HTTP; port 0 lets the system choose
    /// one.
    pub fn bind(address: impl Into<String>) -> Endpoint {
        Endpoint::new(address.into(), Kind::WebSocket)
    }
}

impl Endpoint {
    fn new(address: String, kind: Kind) -> Self {
        Self {
            address,
            kind,
            layers: Vec::new(),
            encrypted: false,
            proxy_protocol: false,
            #[cfg(feature = "websocket")]
            pages: Vec::new(),
            #[cfg(feature = "websocket")]
            origins: Origins::default(),
            mistake: None,
        }
    }

    /// A transport of your own on this address; port 0 lets the system choose one. Each connection gets a new one from `make`.
    /// The scheme is what the endpoint displays itself with.
    ///
    /// ```
    /// use cereus_transports::{Endpoint, Raw};
    ///
    /// let endpoint = Endpoint::custom("plain", "0.0.0.0:3250", || Box::new(Raw::default()));
    /// assert_eq!(endpoint.to_string(), "plain://0.0.0.0:3250");
    /// ```
    pub fn custom(
        scheme: &'static str,
        address: impl Into<String>,
        make: impl Fn() -> Box<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        Self::new(address.into(), Kind::Custom { scheme, make: Arc::new(make) })
    }

    /// Puts a layer of your own around the transport of each connection: a [`Tapped`](crate::Tapped), or any transport that
    /// has the other one within.
    ///
    /// It is asked for each connection, once its peer is known, and refuses him with an error. Layers are around each other
    /// in the order in which they are given, `tls` among them: one that comes before it sees what was encrypted, one that comes
    /// after it what goes over the network. A PROXY header is seen by none.
    pub fn layer(
        mut self,
        layer: impl Fn(SocketAddr, Box<dyn Transport>) -> io::Result<Box<dyn Transport>> + Send + Sync + 'static,
    ) -> Self {
        self.layers.push(Arc::new(layer));
        self
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
        self.encrypted = true;
        let config = config.clone();
        self.layer(move |_, inner| Ok(Box::new(Tls::new(&config, inner).map_err(io::Error::other)?)))
    }

    /// Answers plain HTTP requests for `path` with a page. Only WebSocket endpoints can.
    #[cfg(feature = "websocket")]
    pub fn page(mut self, path: impl Into<String>, mime: impl Into<String>, body: impl Into<Bytes>) -> Self {
        self.pages.push(Page::new(path, mime, body));
        self
    }

    /// Lets only pages of these origins connect, and those that are allowed otherwise; without a call of this or of
    /// [`same_origin`](Self::same_origin) those of all. [`Origins`] tells what an origin is, and whom this keeps out. Only WebSocket
    /// endpoints can.
    ///
    /// ```
    /// use cereus_transports::WebSocket;
    ///
    /// let endpoint = WebSocket::bind("0.0.0.0:3250").origins(["https://play.example.com", "https://*.example.org"]);
    /// ```
    #[cfg(feature = "websocket")]
    pub fn origins<O: AsRef<str>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.origins = self.origins.restrict();
        for origin in origins {
            match self.origins.clone().allow(origin.as_ref()) {
                Ok(origins) => self.origins = origins,
                Err(error) => self.mistake = Some(error.to_string()),
            }
        }
        self
    }

    /// Lets only pages connect that were loaded from the host and port of this endpoint, and those that are allowed otherwise.
    /// Only WebSocket endpoints can.
    #[cfg(feature = "websocket")]
    pub fn same_origin(mut self) -> Self {
        self.origins = self.origins.allow_same();
        self
    }

    /// The addresses to try; the first that can be listened on is taken.
    ///
    /// # Errors
    ///
    /// The address is none, its name cannot be resolved, an origin is none, or there are pages or origins where there is no
    /// WebSocket.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let wrong = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        if let Some(mistake) = &self.mistake {
            return wrong(mistake);
        }
        #[cfg(feature = "websocket")]
        let has_either = !self.pages.is_empty() || self.origins != Origins::default();
        #[cfg(feature = "websocket")]
        if has_either && !matches!(self.kind, Kind::WebSocket) {
            return wrong("only WebSocket has pages and origins: give them to a `WebSocket::bind`");
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
    pub fn transports(mut self, max_packet_size: usize) -> Transports {
        let (layers, proxy_protocol) = (mem::take(&mut self.layers), self.proxy_protocol);
        let make = self.innermost(max_packet_size);
        let stack = move |peer| layers.iter().try_fold(make(), |inner, layer| layer(peer, inner));
        if !proxy_protocol {
            return Box::new(stack);
        }
        let stack = Arc::new(stack);
        Box::new(move |_| {
            let stack = Arc::clone(&stack);
            Ok(Box::new(ProxyHeader::with(move |peer| stack(peer))))
        })
    }

    #[cfg_attr(not(feature = "websocket"), expect(unused_variables, reason = "raw TCP has no limit of its own"))]
    fn innermost(self, max_packet_size: usize) -> Arc<dyn Fn() -> Box<dyn Transport> + Send + Sync> {
        match self.kind {
            Kind::Tcp => Arc::new(|| Box::new(Raw)),
            #[cfg(feature = "websocket")]
            Kind::WebSocket => {
                let max = max_packet_size + PacketHeader::LEN;
                let config = WebSocketConfig {
                    max_message_size: max,
                    max_frame_size: max,
                    pages: self.pages,
                    origins: self.origins,
                    ..WebSocketConfig::default()
                };
                let config = Arc::new(config);
                Arc::new(move || Box::new(WebSocket::new(Arc::clone(&config))))
            }
            Kind::Custom { make, .. } => make,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.kind, self.encrypted) {
            (Kind::Tcp, false) => "tcp",
            (Kind::Tcp, true) => "tls",
            #[cfg(feature = "websocket")]
            (Kind::WebSocket, false) => "ws",
            #[cfg(feature = "websocket")]
            (Kind::WebSocket, true) => "wss",
            (Kind::Custom { scheme, .. }, false) => scheme,
            (Kind::Custom { scheme, .. }, true) => return write!(f, "{scheme}+tls://{}", self.address),
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}
