//! As much of Redis as the bots' two scripts need.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Only one set: what is available.
pub(crate) struct Redis {
    port: u16,
    available: Arc<Mutex<Vec<String>>>,
}

impl Redis {
    pub(crate) fn start(available: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let available = Arc::new(Mutex::new(available.iter().map(|&state| state.to_owned()).collect()));
        let set = Arc::clone(&available);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let set = Arc::clone(&set);
                // Whoever goes is nobody's concern.
                thread::spawn(move || serve(&stream, &set));
            }
        });
        Self { port, available }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn available(&self) -> Vec<String> {
        self.available.lock().unwrap().clone()
    }
}

fn serve(stream: &TcpStream, set: &Mutex<Vec<String>>) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let count = read_number(&mut reader)?;
        let words: Vec<String> = (0..count).map(|_| read_text(&mut reader)).collect::<io::Result<_>>()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = match &*words {
            ["EVAL", script, "1", "test"] if script.contains("SPOP") => match set.lock().unwrap().pop() {
                Some(state) => format!("${}\r\n{state}\r\n", state.len()),
                None => "$-1\r\n".to_owned(),
            },
            ["EVAL", script, "1", "test", state] if script.contains("SADD") => {
                set.lock().unwrap().push((*state).to_owned());
                "$1\r\n1\r\n".to_owned()
            }
            ["EVAL", ..] => "-ERR not this script\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        writer.write_all(answer.as_bytes())?;
    }
}

/// What follows `*` or `$` on a line.
fn read_number(reader: &mut impl BufRead) -> io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let number = line.trim().get(1..).and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn read_text(reader: &mut impl BufRead) -> io::Result<String> {
    let mut text = vec![0; read_number(reader)? + 2];
    reader.read_exact(&mut text)?;
    text.truncate(text.len() - 2);
    Ok(String::from_utf8_lossy(&text).into_owned())
}
