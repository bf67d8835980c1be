//! A global allocator that counts, and the clients and servers that its tests measure.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
};

/// The system's allocator, with a count of calls and of live bytes.
#[derive(Debug)]
pub struct Counting {
    allocations: AtomicUsize,
    live: AtomicUsize,
}

impl Counting {
    /// An allocator that has given out nothing.
    #[expect(clippy::new_without_default, reason = "it has to be a constant")]
    pub const fn new() -> Self {
        Self { allocations: AtomicUsize::new(0), live: AtomicUsize::new(0) }
    }

    /// How often memory was asked for, growing included.
    pub fn allocations(&self) -> usize {
        self.allocations.load(Ordering::SeqCst)
    }

    /// How many bytes are given out.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }
}

// SAFETY: every call goes to the system's allocator with the same arguments; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.live.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.live.fetch_add(size, Ordering::Relaxed);
        self.live.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A client that allocates nothing while it asks.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    answer: [u8; 128],
}

/// What [`Client::ask`] sends: request 1 of `echo.raw` with a body of 64 bytes.
const REQUEST: [u8; 79] = {
    let mut request =
        *b"\x04\0\0\x4b\0\x01\x08echo.raw................................................................";
    request[3] = (request.len() - 4) as u8;
    request
};

impl Client {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(b"\x01\0\0\x02{}")?;
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
        stream.read_exact(&mut body)?;
        stream.write_all(b"\x02\0\0\0")?;
        Ok(Self { stream, answer: [0; 128] })
    }

    /// Sends a request and reads its answer; heartbeats in between are skipped.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(&REQUEST)?;
        loop {
            self.stream.read_exact(&mut self.answer[..4])?;
            let len = usize::from(self.answer[3]);
            self.stream.read_exact(&mut self.answer[..len])?;
            if len > 0 {
                assert_eq!(
                    self.answer[..len],
                    *b"\x04\x01................................................................"
                );
                return Ok(());
            }
        }
    }

    /// Waits until the server has sent its next heartbeat.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn await_heartbeat(&mut self) -> io::Result<()> {
        self.stream.read_exact(&mut self.answer[..4])?;
        assert_eq!(self.answer[..4], *b"\x03\0\0\0");
        Ok(())
    }
}

/// The echo server whose allocations are counted.
///
/// # Panics
///
/// It cannot be built.
pub fn echo_server(heartbeat: std::time::Duration) -> cereus::Server {
    let service = cereus::Service::new("echo").request("raw", async |body: cereus::Raw| body);
    let app = cereus::App::new(()).service(service).protocol(|protocol| protocol.heartbeat(heartbeat));
    app.build().expect("the app is right")
}
