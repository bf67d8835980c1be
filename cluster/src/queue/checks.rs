//! Every order in which senders and the receiver can meet: `bash .ci/loom`. Who sleeps for ever is found as a deadlock.

use std::future::poll_fn;

use loom::{future::block_on, thread};

use super::{Receiver, bounded};
use crate::checks::check;

fn receive(receiver: &Receiver<char>) -> Option<char> {
    block_on(poll_fn(|cx| receiver.poll_recv(cx)))
}

fn receive_all(receiver: &Receiver<char>) -> String {
    std::iter::from_fn(|| receive(receiver)).collect()
}

#[test]
fn items_arrive_once_in_their_order_and_then_the_end() {
    check(|| {
        let (sender, receiver) = bounded(1);
        let sending = thread::spawn(move || {
            for item in ['a', 'b', 'c'] {
                block_on(sender.send(item));
            }
        });
        assert_eq!(receive_all(&receiver), "abc");
        sending.join().unwrap();
    });
}

#[test]
fn all_who_wait_for_room_get_it() {
    check(|| {
        let (sender, receiver) = bounded(1);
        let senders = ['a', 'b'].map(|item| {
            let sender = sender.clone();
            thread::spawn(move || block_on(sender.send(item)))
        });
        drop(sender);
        let received = receive_all(&receiver);
        assert!(["ab", "ba"].contains(&&*received), "{received}");
        for sending in senders {
            sending.join().unwrap();
        }
    });
}

#[test]
fn who_waits_for_room_is_woken_when_nobody_receives_any_more() {
    check(|| {
        let (sender, receiver) = bounded(1);
        let sending = thread::spawn(move || {
            for item in ['a', 'b', 'c'] {
                block_on(sender.send(item));
            }
            assert_eq!(sender.try_send('d'), Err('d'));
        });
        assert_eq!(receive(&receiver), Some('a'));
        drop(receiver);
        sending.join().unwrap();
    });
}
