//! A socket, perhaps in TLS: bytes as they are, with deadlines.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use cereus_client::{Address, TlsClientConfig};
use cereus_transports::{Raw, Tls, Transport};

use crate::{connect::Trust, failure::Failure};

/// Where the server is, and how it is reached.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) address: Address,
    /// What a WebSocket is asked for with.
    pub(super) headers: Vec<(String, String)>,
    /// How long anything that has to come may take.
    pub(super) patience: Duration,
    resolved: Vec<SocketAddr>,
    tls: Option<TlsClientConfig>,
}

impl Target {
    pub(super) fn new(
        address: &str,
        headers: Vec<(String, String)>,
        trust: &Trust,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let address: Address = address.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
        let tls = trust.tls(address.scheme().is_encrypted())?;
        let resolved = (address.host(), address.port()).to_socket_addrs();
        let resolved = resolved.map_err(|error| Failure::Failed(format!("{address} cannot be reached: {error}")))?;
        Ok(Self { resolved: resolved.collect(), address, headers, patience, tls })
    }

    /// Whether a message of the transport is a packet.
    pub(super) fn has_messages(&self) -> bool {
        self.address.scheme().is_websocket()
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Got {
    Bytes(Vec<u8>),
    /// The other side will send no more: why, as far as that is known.
    End(String),
    /// Nothing, for as long as was waited.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    tls: Option<Tls>,
    patience: Duration,
    /// Came while something was sent.
    early: Vec<u8>,
}

impl Wire {
    pub(super) fn connect(target: &Target) -> Result<Self, String> {
        let mut last = "its name has no address".to_owned();
        for address in &target.resolved {
            match TcpStream::connect_timeout(address, target.patience) {
                Ok(socket) => return Self::around(socket, target).map_err(|error| error.to_string()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    fn around(socket: TcpStream, target: &Target) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(target.patience))?;
        let tls = match &target.tls {
            None => None,
            Some(config) => {
                let tls = Tls::client(config, target.address.host(), Box::new(Raw::default()));
                Some(tls.map_err(io::Error::other)?)
            }
        };
        Ok(Self { socket, tls, patience: target.patience, early: Vec::new() })
    }

    /// Sends these bytes in one write.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.patience;
        while self.tls.is_some() {
            if self.encipher(bytes)? {
                return Ok(());
            }
            match self.receive_deciphered(until) {
                Got::Bytes(early) => self.early.extend(early),
                Got::End(why) => return Err(io::Error::other(why)),
                Got::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        self.socket.write_all(bytes)
    }

    /// Whether they went out: not before the handshake of TLS is done.
    fn encipher(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let mut sent = false;
        let mut next = |buf: &mut BytesMut| {
            if std::mem::replace(&mut sent, true) {
                return None;
            }
            buf.extend_from_slice(bytes);
            Some(bytes.len())
        };
        let mut records = BytesMut::new();
        tls.encode(&mut next, &mut records, usize::MAX);
        self.socket.write_all(&records)?;
        Ok(sent)
    }

    pub(super) fn receive(&mut self, until: Instant) -> Got {
        if !self.early.is_empty() {
            return Got::Bytes(std::mem::take(&mut self.early));
        }
        match self.tls {
            Some(_) => self.receive_deciphered(until),
            None => self.read(until),
        }
    }

    /// May be no bytes: a record of the handshake, which perhaps has to be answered.
    fn receive_deciphered(&mut self, until: Instant) -> Got {
        let bytes = match self.read(until) {
            Got::Bytes(bytes) => bytes,
            other => return other,
        };
        let Some(tls) = &mut self.tls else { return Got::Bytes(bytes) };
        let mut plain = Vec::new();
        match tls.decode(&bytes, &mut |bytes| plain.extend_from_slice(bytes)) {
            Err(error) if plain.is_empty() => Got::End(error.to_string()),
            _ => Got::Bytes(plain),
        }
    }

    fn read(&mut self, until: Instant) -> Got {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        if let Err(error) = self.socket.set_read_timeout(Some(left)) {
            return Got::End(error.to_string());
        }
        let mut buffer = vec![0; 64 << 10];
        match self.socket.read(&mut buffer) {
            Ok(0) => Got::End("the server ended the connection".into()),
            Ok(read) => {
                buffer.truncate(read);
                Got::Bytes(buffer)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Got::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Got::Bytes(Vec::new()),
            Err(error) => Got::End(error.to_string()),
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            let mut farewell = BytesMut::new();
            tls.close(&mut farewell);
            // A server that is gone needs none.
            let _ = self.socket.write_all(&farewell);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
