//! Every order in which clients are the first to need a push: `bash .ci/loom`.

use std::{ptr, sync::OnceLock};

use loom::{
    model,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::EncodedPush;
use crate::{Compression, Route, ServerConfig};

/// Does as `once_cell`'s does, in the same steps, which `loom` does not see in that one: whoever comes first makes the value,
/// which others may be doing as well, and only one value stays.
#[derive(Debug)]
pub(super) struct OnceBox<T> {
    is_made: AtomicBool,
    value: OnceLock<Box<T>>,
}

impl<T> OnceBox<T> {
    pub(super) fn new() -> Self {
        Self { is_made: AtomicBool::new(false), value: OnceLock::new() }
    }

    pub(super) fn get_or_init(&self, make: impl FnOnce() -> Box<T>) -> &T {
        if !self.is_made.load(Ordering::Acquire) {
            let value = make();
            if self.is_made.compare_exchange(false, true, Ordering::Release, Ordering::Acquire).is_ok() {
                assert!(self.value.set(value).is_ok(), "made twice");
            }
        }
        self.value.get().expect("made")
    }
}

/// In words. What loom gives a thread by itself is not enough to deflate.
const STACK: usize = 32 << 10;

/// Where a form is, where its body is, and what a client reads.
fn form(push: &EncodedPush, native: bool) -> (usize, usize, Vec<u8>) {
    let form = push.form(native).unwrap();
    let mut packet = Vec::new();
    form.encode(&mut packet);
    (ptr::from_ref(form).addr(), form.body.as_ptr().addr(), packet)
}

#[test]
fn clients_of_all_kinds_share_what_was_made_once() {
    let config = ServerConfig::builder().compression(Compression::On).build().unwrap();
    model(move || {
        let push = EncodedPush::new(&config, &Route::from_static("r"), vec![b'a'; 100]).unwrap();
        let clients = [[false, true], [true, false]].map(|kinds| {
            let push = push.clone();
            let forms = move || kinds.map(|native| form(&push, native));
            thread::Builder::new().stack_size(STACK).spawn(forms).unwrap()
        });
        let [forms, mut others] = clients.map(|client| client.join().unwrap());
        others.reverse();
        assert_eq!(forms, others);
        let [(_, body, packet), (_, native_body, native_packet)] = forms;
        assert_eq!(body, native_body);
        assert_eq!(packet, native_packet);
    });
}
