//! Clients that ask all the time, and what they were answered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::client::Client;

/// Clients that each ask one thing after the other until they are told to stop.
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
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let clients = (0..clients)
            .map(|client| {
                let (endpoint, stop, answers) = (endpoint.to_owned(), Arc::clone(&stop), Arc::clone(&answers));
                thread::spawn(move || {
                    // Any end of its connection fails the test: the client panics.
                    let mut connection = Client::connect(&endpoint);
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let body = format!("{client}/{number}");
                        let began = Instant::now();
                        let error = match connection.request(route, body.clone()) {
                            Ok(answer) => {
                                assert_eq!(answer, body, "the answer to another request");
                                None
                            }
                            Err(error) => Some(error.code),
                        };
                        let at = Instant::now();
                        answers.lock().unwrap().push(Answered { at, took: at - began, error });
                    }
                })
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
