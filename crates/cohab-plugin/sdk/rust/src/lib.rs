//! What plugins of cohab are written with in Rust.
//!
//! A plugin is a directory with a manifest, `plugin.toml`, and a WebAssembly module. Its handlers are plain functions, which
//! [`export!`] hands to the host:
//!
//! ```
//! use cohab_plugin_sdk::{export, namespace, reply, state, Changes, Result};
//!
//! // Keeps a copy of every order under its customer's name.
//! fn copy(changes: Changes<'_>) -> Result {
//!     let copies = namespace("orders/by-customer");
//!     for change in changes {
//!         match change.after {
//!             Some(order) => copies.put(change.key, order),
//!             None => drop(copies.delete(change.key)),
//!         }
//!     }
//!     Ok(())
//! }
//!
//! // Counts how often it is asked.
//! fn answer(_request: &[u8]) -> Result {
//!     let asked = state().get("asked").and_then(|n| String::from_utf8(n).ok()?.parse().ok()).unwrap_or(0_u64) + 1;
//!     state().put("asked", asked.to_string());
//!     reply(format!("asked {asked} times"));
//!     Ok(())
//! }
//!
//! export! { on_commit: copy, on_request: answer }
//! # fn main() {}
//! ```
//!
//! # Building
//!
//! ```text
//! rustup target add wasm32-unknown-unknown
//! cargo build --release --target wasm32-unknown-unknown
//! cp target/wasm32-unknown-unknown/release/NAME.wasm plugin.wasm
//! ```
//!
//! with `crate-type = ["cdylib"]` under `[lib]` in the package's `Cargo.toml`. The oldest compiler that does is 1.63.
//!
//! # Errors
//!
//! A handler that returns an error has failed: nothing counts that it wrote, and what follows is up to the manifest's
//! `[on-error]`; from `before_commit`, an error refuses the transaction, and the message is what whoever commits is told. The
//! functions of this crate return no errors: what the manifest does not grant, what is over a limit and what the host can't do
//! ends the call where it is, and the host says which it was.
//!
//! A panic ends the call as well, and its message is given to the host.
//!
//! # Between calls
//!
//! Memory may stay as it is from one call to the next and may as well be gone, and several instances of a plugin may be called
//! at once. What has to last belongs into [`state`]; what may be forgotten, into statics or [`cache_put`].
//!
//! # Tests
//!
//! On other targets than WebAssembly the crate compiles, so that a plugin's own functions can be tested with [`Changes::decode`];
//! there is no host there, and the functions that need one panic.

#![warn(missing_docs)]

mod changes;
mod host;
mod imports;
mod scan;

#[doc(hidden)]
pub mod call;

pub use crate::changes::{Change, Changes};
pub use crate::host::{
    Level, Namespace, cache_get, cache_put, debug, delete, error, get, info, log, namespace, now, put, reply,
    scan, state, warn,
};
pub use crate::scan::Scan;

/// The version of the interface between plugins and host that this crate speaks, `api` in the manifest.
pub const API: i32 = 1;

/// What a handler returns: nothing, or why it failed, in words for whoever operates the store.
///
/// `?` makes one of a `&str` as well, as in `key.get(..4).ok_or("the key is too short")?`.
pub type Result<T = (), E = String> = core::result::Result<T, E>;

/// Hands functions to the host as the handlers of the plugin. To be used once, at the top of a module.
///
/// | handler | function | |
/// |---|---|---|
/// | `on_commit` | `fn(Changes<'_>) -> Result` | after commits |
/// | `before_commit` | `fn(Changes<'_>) -> Result` | before one, which an error refuses; reads only |
/// | `on_request` | `fn(&[u8]) -> Result` | a request, which [`reply`] answers |
/// | `on_schedule` | `fn(u64) -> Result` | the time it was due at, in microseconds since 1970 |
/// | `migrate` | `fn(u32) -> Result` | the schema that the state has; it is to be brought to that of the manifest |
/// | `check` | `fn() -> Result` | before a new generation gets into service, which an error prevents; reads only |
///
/// Those that the manifest's triggers name have to be there. `migrate` is needed once the manifest's `schema` is above 1.
#[macro_export]
macro_rules! export {
    ($($handler:ident: $function:expr),+ $(,)?) => {
        const _: () = {
            #[export_name = "cohab_api"]
            extern "C" fn api() -> i32 {
                $crate::API
            }

            #[export_name = "cohab_alloc"]
            extern "C" fn alloc(size: usize) -> *mut u8 {
                $crate::call::room(size)
            }
        };
        $($crate::export_handler!($handler, $function);)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_handler {
    (on_commit, $function:expr) => {
        $crate::export_handler!("on_commit", with_changes, $function, input: *const u8, len: usize);
    };
    (before_commit, $function:expr) => {
        $crate::export_handler!("before_commit", with_changes, $function, input: *const u8, len: usize);
    };
    (on_request, $function:expr) => {
        $crate::export_handler!("on_request", with_bytes, $function, input: *const u8, len: usize);
    };
    (on_schedule, $function:expr) => {
        $crate::export_handler!("on_schedule", with_value, $function, due: u64);
    };
    (migrate, $function:expr) => {
        $crate::export_handler!("migrate", with_value, $function, from: u32);
    };
    (check, $function:expr) => {
        $crate::export_handler!("check", with_nothing, $function,);
    };
    ($name:literal, $how:ident, $function:expr, $($argument:ident: $type:ty),*) => {
        const _: () = {
            // The host passes what `call::room` gave it, and only while the handler runs.
            #[export_name = $name]
            extern "C" fn handler($($argument: $type),*) -> i32 {
                $crate::call::$how($function, $($argument),*)
            }
        };
    };
    ($other:ident, $function:expr) => {
        compile_error!(concat!("plugins have no handler `", stringify!($other), "`"));
    };
}
