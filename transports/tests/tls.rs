//! The layer of TLS, with a client of rustls, in memory.
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

use std::{
    io::{Read, Write},
    sync::Arc,
};

use bytes::{BufMut, BytesMut};
use cereus_transports::{Raw, Tcp, Tls, TlsConfig, Transport, TransportError, WebSocket};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// Who signs all certificates of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A chain and a key, as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn config(&self, name: &str) -> TlsConfig {
        let (chain, key) = self.issue(name);
        TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }

    fn client(&self, name: &'static str) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap()
    }
}

/// Both ends, and what came out of them.
struct Pair {
    server: Box<dyn Transport>,
    client: ClientConnection,
    /// Packets that the server has to send.
    outgoing: Vec<Vec<u8>>,
    /// How many bytes come at once.
    chunk: usize,
    /// What the packets that the server received hold.
    received: Vec<u8>,
    /// What the client received.
    answered: Vec<u8>,
    ended: Option<Result<(), TransportError>>,
}

impl Pair {
    fn new(server: Box<dyn Transport>, client: ClientConnection) -> Self {
        let (outgoing, received, answered) = (Vec::new(), Vec::new(), Vec::new());
        Self { server, client, outgoing, chunk: usize::MAX, received, answered, ended: None }
    }

    fn of(config: &TlsConfig, client: ClientConnection) -> Self {
        Self::new(Box::new(Tls::new(config, Box::new(Raw::default())).unwrap()), client)
    }

    /// Lets everything through that is on its way.
    fn run(&mut self) -> Result<(), rustls::Error> {
        loop {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut wire).unwrap();
            }
            for chunk in wire.chunks(self.chunk.min(wire.len().max(1))) {
                if let Err(error) = self.server.decode(chunk, &mut |bytes| self.received.extend_from_slice(bytes)) {
                    self.ended = Some(Err(error));
                    break;
                }
            }
            let answer = self.encode();
            if wire.is_empty() && answer.is_empty() {
                return Ok(());
            }
            self.hear(&answer)?;
        }
    }

    fn encode(&mut self) -> BytesMut {
        let (mut wire, mut packets) = (BytesMut::new(), self.outgoing.drain(..));
        self.server.encode(
            &mut |buf| {
                packets.next().map(|packet| {
                    buf.put_slice(&packet);
                    packet.len()
                })
            },
            &mut wire,
            usize::MAX,
        );
        drop(packets);
        wire
    }

    fn hear(&mut self, mut wire: &[u8]) -> Result<(), rustls::Error> {
        while !wire.is_empty() {
            self.client.read_tls(&mut wire).unwrap();
            self.client.process_new_packets()?;
            // Nothing more at the moment is no error here.
            let _ = self.client.reader().read_to_end(&mut self.answered);
        }
        Ok(())
    }

    /// The certificate that the server showed.
    fn shown(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().unwrap()[0]
    }
}

#[test]
fn bytes_go_through_in_both_directions_however_they_are_cut() {
    let authority = Authority::new();
    for chunk in [1, 7, usize::MAX] {
        let mut pair = Pair::of(&authority.config("localhost"), authority.client("localhost"));
        pair.chunk = chunk;
        pair.client.writer().write_all(b"first").unwrap();
        pair.run().unwrap();
        pair.client.writer().write_all(&[b'x'; 100_000][..]).unwrap_or(());
        pair.outgoing = vec![b"one".to_vec(), vec![b'y'; 200_000], b"three".to_vec()];
        pair.run().unwrap();
        assert!(pair.received.starts_with(b"firstx") && pair.received.len() > 10_000, "{}", pair.received.len());
        let expected = [&b"one"[..], &vec![b'y'; 200_000], b"three"].concat();
        assert!(pair.answered == expected, "{} bytes", pair.answered.len());
        assert_eq!(pair.ended, None);
    }
}

#[test]
fn nothing_is_sent_before_the_handshake_is_done() {
    let authority = Authority::new();
    let mut server = Tls::new(&authority.config("localhost"), Box::new(Raw::default())).unwrap();
    let mut wire = BytesMut::new();
    server.encode(&mut |_| panic!("asked for a packet"), &mut wire, usize::MAX);
    assert_eq!(wire, b""[..]);
}

#[test]
fn both_sides_say_when_they_end() {
    let authority = Authority::new();
    let mut pair = Pair::of(&authority.config("localhost"), authority.client("localhost"));
    pair.run().unwrap();
    let mut wire = BytesMut::new();
    pair.server.close(&mut wire);
    pair.hear(&wire).unwrap();
    assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0, "the client was told");
    pair.client.writer().write_all(b"last").unwrap();
    pair.client.send_close_notify();
    pair.run().unwrap();
    assert_eq!((pair.received.as_slice(), pair.ended), (&b"last"[..], Some(Err(TransportError::Closed))));
}

#[test]
fn an_end_without_a_word_is_an_end() {
    let authority = Authority::new();
    let mut pair = Pair::of(&authority.config("localhost"), authority.client("localhost"));
    pair.run().unwrap();
    assert_eq!(pair.server.handle_eof(), Ok(()));
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let authority = Authority::new();
    let mut server = Tls::new(&authority.config("localhost"), Box::new(Raw::default())).unwrap();
    let refused = server.decode(b"\x01\0\0\x02{}GET / HTTP/1.1\r\n\r\n", &mut |_| panic!("nothing was sent"));
    assert!(matches!(&refused, Err(TransportError::Protocol(text)) if text.starts_with("TLS: ")), "{refused:?}");
    let mut wire = BytesMut::new();
    server.encode(&mut |_| None, &mut wire, usize::MAX);
    assert_eq!(wire.first(), Some(&21), "an alert");
    assert_eq!(server.decode(b"more", &mut |_| panic!("nothing was sent")), Ok(()));
}

#[test]
fn a_forged_record_gets_an_alert() {
    let authority = Authority::new();
    let mut pair = Pair::of(&authority.config("localhost"), authority.client("localhost"));
    pair.run().unwrap();
    let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    pair.server.decode(&forged, &mut |_| panic!("nothing was sent")).unwrap_err();
    let alert = pair.encode();
    assert_eq!(pair.hear(&alert), Err(rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac)));
}

#[test]
fn each_name_has_its_certificate() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("play.example.com");
    let config = authority.config("localhost").add_pem("Play.Example.com", chain.as_bytes(), key.as_bytes()).unwrap();
    for name in ["localhost", "play.example.com"] {
        Pair::of(&config, authority.client(name)).run().unwrap();
    }
    assert!(Pair::of(&config, authority.client("other.example.com")).run().is_err());
}

#[test]
fn connections_to_come_get_the_new_certificates() {
    let authority = Authority::new();
    let folder = std::env::temp_dir().join(format!("cereus-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain_file, key_file) = (folder.join("chain"), folder.join("key"));
    let write = || {
        let (chain, key) = authority.issue("localhost");
        std::fs::write(&chain_file, chain).unwrap();
        std::fs::write(&key_file, key).unwrap();
    };
    write();
    let config = TlsConfig::from_files(&chain_file, &key_file).unwrap();
    let mut old = Pair::of(&config, authority.client("localhost"));
    old.run().unwrap();
    write();
    config.reload().unwrap();
    let mut new = Pair::of(&config, authority.client("localhost"));
    new.run().unwrap();
    assert_ne!(old.shown(), new.shown());
    old.outgoing = vec![b"still here".to_vec()];
    old.run().unwrap();
    assert_eq!(old.answered, b"still here");

    std::fs::write(&key_file, "nothing").unwrap();
    let error = config.reload().unwrap_err().to_string();
    assert!(error.contains("key has no private key"), "{error}");
    let mut same = Pair::of(&config, authority.client("localhost"));
    same.run().unwrap();
    assert_eq!(same.shown(), new.shown());
    std::fs::remove_dir_all(&folder).unwrap();

    let (chain, key) = authority.issue("localhost");
    config.replace_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let mut replaced = Pair::of(&config, authority.client("localhost"));
    replaced.run().unwrap();
    assert_ne!(replaced.shown(), new.shown());
}

#[test]
fn errors_say_what_is_wrong() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("localhost");
    let (_, other) = authority.issue("localhost");
    let text = |chain: &str, key: &str| TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    assert!(text(&key, &key).contains("no certificate chain"), "{}", text(&key, &key));
    assert!(text(&chain, &chain).contains("no private key"), "{}", text(&chain, &chain));
    assert!(text(&chain, &other).contains("cannot be used"), "{}", text(&chain, &other));
    let missing = TlsConfig::from_files("nowhere.crt", "nowhere.key").unwrap_err().to_string();
    assert!(missing.starts_with("nowhere.crt cannot be read"), "{missing}");
}

#[test]
fn a_websocket_is_within() {
    let authority = Authority::new();
    let config = authority.config("localhost");
    let endpoint = WebSocket::bind("127.0.0.1:3251").page("/", "text/plain", "hello").tls(&config);
    assert_eq!(endpoint.to_string(), "wss://127.0.0.1:3251");
    assert_eq!(Tcp::bind("127.0.0.1:3250").tls(&config).to_string(), "tls://127.0.0.1:3250");
    let mut pair =
        Pair::new(endpoint.transports(1024)(([127, 0, 0, 1], 1).into()).unwrap(), authority.client("localhost"));
    pair.client.writer().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    pair.run().unwrap();
    let answer = String::from_utf8(pair.answered).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    assert_eq!(pair.ended, Some(Err(TransportError::Answered { status: 200 })));
}
