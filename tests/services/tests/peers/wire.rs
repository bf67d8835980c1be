//! What our client and a server of Go make of the dictionary and of compression: seen on the wire, since neither changes what
//! comes out at the ends.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use cereus_client::Client;
use cereus_tokio::Tokio;
use serde_json::{Value, json};

use crate::{Go, each_runtime::Run as _, text};

/// What went over the wire in one direction.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn has(&self, part: &[u8]) -> bool {
        self.0.lock().unwrap().windows(part.len()).any(|window| window == part)
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Hands bytes on until there are no more, and looks at them first.
    fn relay(&self, mut from: TcpStream, mut to: TcpStream) {
        let seen = self.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                seen.0.lock().unwrap().extend_from_slice(&buffer[..len]);
                if to.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

/// Takes one connection to a server. It returns its address, and what the client and the server sent.
fn relay(server: &str) -> (String, Seen, Seen) {
    let server = server.trim_start_matches("tcp://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let (sent, received) = (Seen::default(), Seen::default());
    let (from_client, from_server) = (sent.clone(), received.clone());
    thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(server).unwrap();
        from_client.relay(near.try_clone().unwrap(), far.try_clone().unwrap());
        from_server.relay(far, near);
    });
    (address, sent, received)
}

/// Plays a little, with a text that becomes much shorter.
async fn play(client: &Client, text: &Value) {
    let mut tells = client.pushes("onTell");
    let echo: Value = client.request_json("interop.echo", text).await.unwrap();
    assert_eq!(echo, *text);
    client.notify_json("interop.tell", text).unwrap();
    assert_eq!(tells.next().await.unwrap().json::<Value>().unwrap(), *text);
    client.request_json::<Value>("interop.whoami", &json!({})).await.unwrap();
}

#[test]
fn routes_with_a_code_are_sent_as_it() {
    let go = Go::start(&[]);
    let (address, sent, received) = relay(&go.tcp);
    Tokio::run(move |runtime| {
        Box::pin(async move {
            let client = Client::connect(runtime, &address).await.unwrap();
            let codes = [("interop.echo", 1), ("interop.tell", 2), ("onTell", 300)];
            assert_eq!(client.handshake().unwrap().dictionary, codes.map(|(route, code)| (route.into(), code)));
            play(&client, &text("short")).await;
            for route in ["interop.echo", "interop.tell"] {
                assert!(!sent.has(route.as_bytes()), "{route} is sent as text");
            }
            // A request without its code would be a text; a push is the flags, its code, and the body.
            assert!(sent.has(br#"interop.whoami{}"#));
            assert!(received.has(b"\x07\x01\x2c{\"text\":\"short\"}"), "the push has no code");
        })
    });
}

#[test]
fn compressed_bodies_are_read_and_sent() {
    let long = text(&"again and ".repeat(2000));
    for (flags, compress) in [(&[][..], false), (&["-compression"], true)] {
        let go = Go::start(flags);
        let (address, sent, received) = relay(&go.tcp);
        let long = long.clone();
        Tokio::run(move |runtime| {
            Box::pin(async move {
                let client = Client::builder(&address).compress(compress).connect(runtime).await.unwrap();
                // The handshake's answer, too, is deflated or is not.
                assert_eq!(received.has(b"heartbeat"), !compress);
                play(&client, &long).await;
                for (seen, whose) in [(&sent, "the client"), (&received, "the server")] {
                    assert_eq!(seen.len() > 20_000, !compress, "{whose} sent {} bytes", seen.len());
                }
            })
        });
    }
}
