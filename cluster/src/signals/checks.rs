//! Every order in which something happens and is looked at: `bash .ci/loom`. Who sleeps for ever is found as a deadlock.

use std::{future::poll_fn, mem, sync::Arc, task::Poll};

use loom::{future::block_on, thread};

use super::Signals;
use crate::checks::check;

/// What a task sees that sleeps until there is something to look at, until so much was raised or it has ended.
fn see(signals: &Signals<String>, count: usize) -> String {
    let (mut seen, mut raised) = (String::new(), String::new());
    block_on(poll_fn(|cx| {
        let ended = signals.take(&mut raised, cx);
        seen += &mem::take(&mut raised);
        if ended || seen.len() >= count { Poll::Ready(()) } else { Poll::Pending }
    }));
    seen
}

#[test]
fn all_that_happens_is_seen_once() {
    check(|| {
        let signals = Arc::new(Signals::default());
        let raising = ["ab", "x"].map(|names| {
            let signals = Arc::clone(&signals);
            thread::spawn(move || names.chars().for_each(|name| signals.raise(|raised: &mut String| raised.push(name))))
        });
        let seen = see(&signals, 3);
        assert!(["abx", "axb", "xab"].contains(&&*seen), "{seen}");
        raising.into_iter().for_each(|raising| raising.join().unwrap());
    });
}

#[test]
fn the_end_is_seen() {
    check(|| {
        let signals = Arc::new(Signals::default());
        let ending = Arc::clone(&signals);
        let ending = thread::spawn(move || ending.end());
        assert_eq!(see(&signals, usize::MAX), "");
        assert!(signals.is_ended());
        ending.join().unwrap();
    });
}
