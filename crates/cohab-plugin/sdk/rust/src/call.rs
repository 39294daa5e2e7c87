//! What `export!` makes of a handler. Nothing here is for plugins to use.

use std::cell::UnsafeCell;
use std::sync::Once;

use crate::Result;
use crate::changes::Changes;
use crate::imports;

/// The input of a call that is over is kept for the next one if it is no larger than this, in bytes.
const KEPT_MAX: usize = 64 << 10;

/// Where the host puts the input. Of `u64` because it has to lie at a multiple of 8.
struct Input(UnsafeCell<Vec<u64>>);

// SAFETY: a module of WebAssembly without shared memory has one thread; and elsewhere there is no host that calls.
unsafe impl Sync for Input {}

static INPUT: Input = Input(UnsafeCell::new(Vec::new()));

/// Returns room for `size` bytes, in place of what it returned before.
pub fn room(size: usize) -> *mut u8 {
    tell_panics();
    let words = size / 8 + 1;
    // SAFETY: the host calls this before it calls a handler and not while one runs, so nobody holds what was here.
    let room = unsafe { &mut *INPUT.0.get() };
    if room.capacity() < words || room.capacity() * 8 > KEPT_MAX {
        // What was there is given back first, and not copied.
        *room = Vec::new();
        room.reserve_exact(words);
    }
    room.as_mut_ptr().cast()
}

/// Calls a handler with the changes that the host put at `input`.
pub fn with_changes(handler: fn(Changes<'_>) -> Result, input: *const u8, len: usize) -> i32 {
    finish(handler(Changes::decode(bytes(&input, len))))
}

/// Calls a handler with the bytes that the host put at `input`.
pub fn with_bytes(handler: fn(&[u8]) -> Result, input: *const u8, len: usize) -> i32 {
    finish(handler(bytes(&input, len)))
}

/// Calls a handler with a number.
pub fn with_value<T>(handler: fn(T) -> Result, value: T) -> i32 {
    tell_panics();
    finish(handler(value))
}

/// Calls a handler.
pub fn with_nothing(handler: fn() -> Result) -> i32 {
    tell_panics();
    finish(handler())
}

/// The input, for no longer than the pointer to it is borrowed, which is the time of the call.
fn bytes(input: &*const u8, len: usize) -> &[u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the host put `len` bytes into the room that it was given, and asks for it again only after the call.
    unsafe { std::slice::from_raw_parts(*input, len) }
}

fn finish(result: Result) -> i32 {
    match result {
        Ok(()) => 0,
        Err(message) => {
            fail(&message);
            1
        }
    }
}

fn fail(message: &str) {
    // SAFETY: the message is of this memory, and the host only reads it.
    unsafe { imports::fail(message.as_ptr(), message.len()) }
}

/// Has panics tell the host what they were about: of the trap that a panic ends in, the host sees the place and no more.
fn tell_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| fail(&panic.to_string()))));
}
