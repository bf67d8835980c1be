//! Clients that ask all the time, and what they were answered.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::client::Client;

/// Clients that each ask one thing after the other, or several at once, until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answered>>>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) at: Instant,
    pub(crate) took: Duration,
    /// `None`: as it should be.
    pub(crate) error: Option<String>,
}

impl Load {
    /// Every request carries a number of its own and must be answered with it, or with an error, once.
    pub(crate) fn start(endpoint: &str, clients: usize, route: &'static str) -> Self {
        Self::start_with(endpoint, clients, 1, route)
    }

    /// As [`start`](Self::start), and each client keeps so many requests in flight.
    pub(crate) fn start_with(endpoint: &str, clients: usize, in_flight: usize, route: &'static str) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let clients = (0..clients)
            .map(|client| {
                let (endpoint, stop, answers) = (endpoint.to_owned(), Arc::clone(&stop), Arc::clone(&answers));
                // Any end of its connection fails the test: the client panics.
                thread::spawn(move || ask(Client::connect(&endpoint), client, in_flight, route, &stop, &answers))
            })
            .collect();
        Self { stop, answers, clients }
    }

    /// Waits until so many were answered as they should be since then.
    pub(crate) fn wait_for_success(&self, since: Instant, patience: Duration) -> Option<Duration> {
        while since.elapsed() < patience {
            let answers = self.answers.lock().unwrap();
            if let Some(first) = answers.iter().find(|answer| answer.at >= since && answer.error.is_none()) {
                return Some(first.at - since);
            }
            drop(answers);
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// All answers, once every client has got the answer to its last request.
    pub(crate) fn stop(self) -> Vec<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client lost its session");
        }
        std::mem::take(&mut *self.answers.lock().unwrap())
    }
}

fn ask(
    mut connection: Client,
    client: usize,
    in_flight: usize,
    route: &str,
    stop: &AtomicBool,
    answers: &Mutex<Vec<Answered>>,
) {
    let (mut numbers, mut open) = (0_u64.., HashMap::new());
    loop {
        while open.len() < in_flight && !stop.load(Ordering::Relaxed) {
            let body = format!("{client}/{}", numbers.next().unwrap());
            let began = Instant::now();
            open.insert(connection.send(route, body.clone()), (body, began));
        }
        if open.is_empty() {
            return;
        }
        let (id, answer) = connection.next_answer();
        let at = Instant::now();
        let (body, began) = open.remove(&id).expect("only what was asked is answered, and once");
        let error = match answer {
            Ok(answer) => {
                assert_eq!(answer, body, "the answer to another request");
                None
            }
            Err(error) => Some(error.code),
        };
        answers.lock().unwrap().push(Answered { at, took: at - began, error });
    }
}
