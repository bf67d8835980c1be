//! The functions that JavaScript calls. A reference is a pointer there, and a `Box` one that is owned; hence nothing here has to
//! be `unsafe` but the attribute, which promises that no other function of the module has such a name. Outside of WebAssembly,
//! where there might be one, the names are mangled.
#![cfg_attr(target_arch = "wasm32", allow(unsafe_code, reason = "`no_mangle`"))]

use alloc::boxed::Box;

use crate::bridge::{Bridge, Limits};

macro_rules! exports {
    ($($(#[$docs:meta])* fn $name:ident($($argument:ident: $type:ty),*) $(-> $returns:ty)? $body:block)*) => {$(
        $(#[$docs])*
        #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
        pub extern "C" fn $name($($argument: $type),*) $(-> $returns)? $body
    )*};
}

exports! {
    /// The first call. The pointer is the first argument of all others.
    fn create() -> Box<Bridge> {
        Box::default()
    }

    /// Where to write so many bytes for the next call.
    fn argument(bridge: &mut Bridge, len: usize) -> *mut u8 {
        bridge.argument(len).as_mut_ptr()
    }

    /// Begins a connection. Argument: the handshake, as JSON. Returns whether the settings make sense.
    fn open(
        bridge: &mut Bridge,
        now: f64,
        compress: bool,
        timeout: f64,
        requests: usize,
        queued_bytes: usize,
        message_bytes: usize
    ) -> bool {
        bridge.open(now, compress, Limits { timeout, requests, queued_bytes, message_bytes })
    }

    /// The server sent the argument.
    fn input(bridge: &mut Bridge, now: f64) {
        bridge.input(now);
    }

    /// The server sends no more.
    fn eof(bridge: &mut Bridge, now: f64) {
        bridge.eof(now);
    }

    /// The deadline has come.
    fn timeout(bridge: &mut Bridge, now: f64) {
        bridge.timeout(now);
    }

    /// Ends the connection; what waits may still be sent.
    fn close(bridge: &mut Bridge, now: f64) {
        bridge.close(now);
    }

    /// Argument: the route, of so many bytes, and the body. Returns the id, or a refusal as a negative number.
    fn request(bridge: &mut Bridge, route_len: usize) -> f64 {
        bridge.request(route_len).map_or_else(|refusal| -f64::from(refusal as u8), f64::from)
    }

    /// Argument: the route, of so many bytes, and the body. Returns 0, or a refusal as a negative number.
    fn notify(bridge: &mut Bridge, route_len: usize) -> f64 {
        bridge.notify(route_len).map_or_else(|refusal| -f64::from(refusal as u8), |()| 0.0)
    }

    /// Nobody waits for this request any more.
    fn cancel(bridge: &mut Bridge, id: u32) {
        bridge.cancel(id);
    }

    /// The length of the next packet to send, which is part 0 then; 0 when none waits.
    fn transmit(bridge: &mut Bridge) -> usize {
        bridge.transmit()
    }

    /// The [kind](crate::EventKind) of the next event.
    fn event(bridge: &mut Bridge) -> u32 {
        bridge.next_event() as u32
    }

    /// When `timeout` is due; infinity for never.
    fn deadline(bridge: &Bridge) -> f64 {
        bridge.deadline()
    }

    /// The number of the last event.
    fn number(bridge: &Bridge) -> u32 {
        bridge.number()
    }

    /// Where a part begins: 0 is the packet, 1 the text of the last event, 2 its body.
    fn part(bridge: &Bridge, which: u32) -> *const u8 {
        bridge.part(which).as_ptr()
    }

    /// How long a part is.
    fn part_len(bridge: &Bridge, which: u32) -> usize {
        bridge.part(which).len()
    }
}
