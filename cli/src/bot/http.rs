//! As much of HTTP as Prometheus needs.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

/// The longest head of a request that is read.
const LONGEST: usize = 8 << 10;
/// How long one request may take. They are answered one after the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted, for there may be too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers requests for `/metrics` with this page until it is dropped. Tells when the page was written that was read last.
pub(super) async fn serve(
    listener: TcpListener,
    page: Arc<dyn Fn() -> String + Send + Sync>,
    scrapes: watch::Sender<Option<Instant>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Whoever is too slow, or goes, is nobody's concern.
        if let Ok(Ok(Some(written))) = timeout(PATIENCE, answer(stream, &*page)).await {
            scrapes.send_replace(Some(written));
        }
    }
}

/// If it was the page that was asked for: when it was written.
async fn answer(mut stream: TcpStream, page: &(dyn Fn() -> String + Send + Sync)) -> io::Result<Option<Instant>> {
    let Some(line) = read_head(&mut stream).await? else { return Ok(None) };
    let written = Instant::now();
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let (status, body) = match (method, path) {
        ("GET", "/metrics") => ("200 OK", page()),
        ("GET", _) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", String::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(status.starts_with("200").then_some(written))
}

/// The first line of a request, once all of its head is there; `None`: it is none, or too long.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST || stream.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&head);
    Ok(text.lines().next().map(str::to_owned))
}
