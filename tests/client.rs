//! The client over real sockets: on every runtime, with every transport.
#![cfg(all(feature = "json", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/each_runtime.rs"]
mod each_runtime;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use cereus::{App, Endpoint, Error, Json, Server, Service, Session, Tcp, TlsConfig, WebSocket};
use cereus_client::{Client, ClientBuilder, ConnectError, Disconnect, Reconnect, RequestError, State, TlsClientConfig};
use each_runtime::{Run, on_each_runtime};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use smol::future::yield_now;
use tokio::sync::mpsc::unbounded_channel;

/// An authority, and what a server shows that it vouches for.
struct Trust {
    authority: String,
    chain: String,
    key: String,
}

impl Trust {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("who vouches for {name}"));
        let ca_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let params_of_server = CertificateParams::new([name.to_owned()]).unwrap();
        let chain = params_of_server.signed_by(&key, &Issuer::new(params, ca_key)).unwrap();
        Self { authority: authority.pem(), chain: chain.pem(), key: key.serialize_pem() }
    }

    fn server(&self) -> TlsConfig {
        TlsConfig::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn client(&self) -> TlsClientConfig {
        TlsClientConfig::roots_pem(self.authority.as_bytes()).unwrap()
    }
}

const SCHEMES: [&str; 4] = ["tcp", "ws", "tls", "wss"];

/// A server with one endpoint for each scheme, in their order.
async fn serve<R: Run>(runtime: &R, tls: &TlsConfig) -> (Server, Vec<SocketAddr>) {
    let tell = |session: Session, Json(count): Json<u32>| async move {
        for number in 0..count {
            session.push_wait("onNumber", Json(number)).await?;
        }
        Ok::<_, Error>(Json(count))
    };
    let service = Service::new("room").request("echo", |body: cereus::Raw| async { body }).request("tell", tell);
    let server = App::new(()).service(service).build().unwrap();
    let any = "127.0.0.1:0";
    let endpoints = [
        Tcp::bind(any),
        WebSocket::bind(any).page("/", "text/html", "<p>hello"),
        Tcp::bind(any).tls(tls),
        WebSocket::bind(any).tls(tls),
    ];
    let serving = cereus::serve(runtime.clone(), server.clone(), endpoints);
    runtime.spawn(async move { serving.await.unwrap() });
    let address = |endpoint: &Endpoint| endpoint.to_string().split_once("://").unwrap().1.parse().unwrap();
    let addresses = server.listening().await.unwrap().iter().map(address).collect();
    (server, addresses)
}

fn builder(scheme: &str, address: SocketAddr, trust: &Trust) -> ClientBuilder {
    // By name: of the addresses that this machine has for it, one is the server's.
    Client::builder(&format!("{scheme}://localhost:{}", address.port())).tls(&trust.client())
}

async fn plays<R: Run>(runtime: R) {
    let trust = Trust::new("localhost");
    let (server, addresses) = serve(&runtime, &trust.server()).await;
    for (scheme, address) in SCHEMES.into_iter().zip(&addresses) {
        let client = builder(scheme, *address, &trust).connect(runtime.clone()).await.unwrap();
        assert_eq!(client.state(), State::Open, "{scheme}");
        for len in [0, 1, 100, 125, 126, 200, 65_000, 70_000, 1 << 20] {
            let body: Vec<u8> = (0..len).map(|index| (index % 251) as u8).collect();
            assert_eq!(client.request("room.echo", body.clone()).await.unwrap(), body, "{scheme}, {len} bytes");
        }
        let mut numbers = client.pushes("onNumber");
        assert_eq!(client.request_json::<u32>("room.tell", &2000).await.unwrap(), 2000);
        for number in 0..2000 {
            assert_eq!(numbers.next().await.unwrap().json::<u32>().unwrap(), number, "{scheme}");
        }
        assert!(client.round_trip().is_some_and(|trip| trip.shortest > Duration::ZERO), "{scheme}");
        client.close().await;
        assert_eq!(client.state(), State::Closed(Disconnect::Local), "{scheme}");
    }
    server.shutdown();
}

async fn comes_back<R: Run>(runtime: R) {
    let trust = Trust::new("localhost");
    let (server, addresses) = serve(&runtime, &trust.server()).await;
    for (scheme, address) in SCHEMES.into_iter().zip(&addresses) {
        let client = builder(scheme, *address, &trust).connect(runtime.clone()).await.unwrap();
        let mut states = client.states();
        assert_eq!(states.next().await, Some(State::Open));
        let pending = client.request("room.echo", "1");
        assert_eq!(pending.await.unwrap(), "1");
        server.sessions().for_each(Session::close);
        loop {
            match states.next().await.unwrap() {
                State::Reconnecting { .. } => client.reconnect_now(),
                State::Open => break,
                state => panic!("{scheme}: {state:?}"),
            }
        }
        assert_eq!(client.request("room.echo", "2").await.unwrap(), "2");
    }
    server.shutdown();
}

/// Each request ends exactly once, however often the link breaks, and nothing stays behind.
async fn outlives_its_links<R: Run>(runtime: R) {
    const REQUESTS: usize = 2000;
    const AT_ONCE: usize = 20;
    let trust = Trust::new("localhost");
    let (server, addresses) = serve(&runtime, &trust.server()).await;
    for (scheme, address) in SCHEMES.into_iter().zip(&addresses) {
        let (relay, breaks) = breaking(*address);
        let reconnect = Reconnect::default().min_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(5));
        let client = builder(scheme, relay, &trust).reconnect(reconnect).start(runtime.clone()).unwrap();
        let (tell, mut ended) = unbounded_channel();
        let mut ends = [0; REQUESTS];
        let mut answered = 0;
        for batch in 0..REQUESTS / AT_ONCE {
            for number in batch * AT_ONCE..(batch + 1) * AT_ONCE {
                let tell = tell.clone();
                let body = number.to_string().repeat(30);
                let is_answer = move |answer: Result<Bytes, RequestError>| match answer {
                    Ok(answer) => answer == body,
                    Err(RequestError::Lost(_)) => false,
                    Err(error) => panic!("{scheme}: {error}"),
                };
                let body = number.to_string().repeat(30);
                client.request("room.echo", body).call(move |answer| tell.send((number, is_answer(answer))).unwrap());
            }
            for _ in 0..AT_ONCE {
                let (number, was_answered) = ended.recv().await.unwrap();
                ends[number] += 1;
                answered += usize::from(was_answered);
            }
        }
        client.close().await;
        drop(tell);
        assert_eq!(ended.recv().await, None, "{scheme}: something ended twice");
        assert!(ends.iter().all(|ends| *ends == 1), "{scheme}");
        let breaks = breaks.load(Ordering::Relaxed);
        assert!(breaks >= 10 && answered > REQUESTS / 2, "{scheme}: {answered} answers, {breaks} breaks");
    }
    while server.sessions().count() > 0 {
        yield_now().await;
    }
    server.shutdown();
}

/// Passes on to this address what comes, and breaks each connection in the middle of something.
fn breaking(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let breaks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&breaks);
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(to).unwrap());
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || {
                let _ = io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Both);
            });
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                // Enough for the handshakes, and never the same.
                let most = 6000 + number as u64 * 977 % 5000;
                let passed = io::copy(&mut (&mut server).take(most), &mut client);
                counted.fetch_add(usize::from(passed.is_ok_and(|passed| passed == most)), Ordering::Relaxed);
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            });
        }
    });
    (address, breaks)
}

async fn knows_its_server<R: Run>(runtime: R) {
    let (trust, other) = (Trust::new("localhost"), Trust::new("elsewhere"));
    let (_server, addresses) = serve(&runtime, &trust.server()).await;
    let address = format!("tls://localhost:{}", addresses[2].port());
    let connect = async |tls: TlsClientConfig| Client::builder(&address).tls(&tls).connect(runtime.clone()).await;
    let (own_pem, other_pem) = (trust.chain.as_bytes(), other.chain.as_bytes());

    let both = [own_pem, other_pem].concat();
    for trusting in [
        trust.client(),
        trust.client().pin_pem(own_pem).unwrap(),
        TlsClientConfig::pinned_pem(&both).unwrap(),
        TlsClientConfig::unverified().unwrap(),
    ] {
        let client = connect(trusting).await.unwrap();
        assert_eq!(client.request("room.echo", "x").await.unwrap(), "x");
    }
    for (distrusting, why) in [
        (other.client(), "UnknownIssuer"),
        (trust.client().pin_pem(other_pem).unwrap(), "the server's public key is not one of those that are pinned"),
        (TlsClientConfig::pinned_pem(other_pem).unwrap(), "not one of those that are pinned"),
    ] {
        let client = Client::builder(&address).tls(&distrusting).start(runtime.clone()).unwrap();
        let mut states = client.states();
        while !states.next().await.unwrap().is_closed() {}
        // It is not tried again: it would be the same server.
        let State::Closed(Disconnect::Untrusted(text)) = client.state() else { panic!("{:?}", client.state()) };
        assert!(text.contains(why), "{text}");
    }
    let by_number = format!("tls://{}", addresses[2]);
    let refused = Client::builder(&by_number).tls(&trust.client()).connect(runtime.clone()).await;
    let Err(ConnectError::Disconnect(Disconnect::Untrusted(text))) = refused else { panic!("{refused:?}") };
    assert!(text.contains("not valid for name"), "{text}");
}

async fn says_what_is_wrong<R: Run>(runtime: R) {
    let trust = Trust::new("localhost");
    let (_server, addresses) = serve(&runtime, &trust.server()).await;
    let [tcp, ws, tls, _] = addresses[..] else { panic!() };
    let connect = async |address: String| {
        let builder = Client::builder(&address).tls(&trust.client()).connect_timeout(Duration::from_secs(2));
        builder.connect(runtime.clone()).await.unwrap_err().to_string()
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, why) in [
        (format!("tcp://{free}"), "refused"),
        (format!("tls://localhost:{}", tcp.port()), "the server closed in the middle of the TLS handshake"),
        ("tcp://no-such-host.invalid:1".to_owned(), "the name cannot be resolved"),
        // The server of a WebSocket takes packets for HTTP that it cannot read.
        (format!("tcp://{ws}"), "bad packet"),
        (format!("tcp://{tls}"), "bad packet"),
        (format!("ws://{tls}"), "this is no server of WebSockets"),
    ] {
        let text = connect(address.clone()).await;
        assert!(text.contains(why), "{address}: {text}");
    }
    let not_found = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let text = connect(format!("ws://{}", answers(not_found))).await;
    assert!(text.ends_with("the server answered with HTTP status 404 Not Found"), "{text}");
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let text = connect(format!("ws://{}", answers(wrong))).await;
    assert!(text.ends_with("the server's upgrade is not for us"), "{text}");
    let text = connect(format!("tcp://{}", answers(""))).await;
    assert!(text.ends_with("the server closed the connection without an answer to the handshake"), "{text}");
}

/// A server that reads something, answers this, and closes.
fn answers(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(text.as_bytes());
    });
    address
}

on_each_runtime! { plays comes_back outlives_its_links knows_its_server says_what_is_wrong }
