//! The plugin host of cohab.
//!
//! A plugin is a directory with a `plugin.toml` and code: a WebAssembly module, or a script. This crate reads one as a whole
//! ([`Bundle`]), tells whether it has changed ([`Source`]), says what it may do ([`Manifest`]), compiles it ([`Code`]), and
//! calls it in a sandbox ([`Instance::call`]): no authority but what it was granted, and limits on memory, stack, work and
//! time. What a plugin reads and writes goes through a [`Host`], which the caller implements; this crate knows no store.
//!
//! Whatever a plugin does – loop, grow, trap, lie – ends as a [`CallError`] or a [`LoadError`] that says so.

mod bundle;
mod cache;
mod changes;
mod error;
mod host;
mod listing;
mod manifest;
mod runtime;
mod sandbox;
mod schedule;
mod source;

pub use bundle::{Bundle, BundleError, ContentHash, ContentHashError};
pub use cache::GuestCache;
pub use changes::{ChangeRef, Changes};
pub use error::{CallError, CallErrorKind, LoadError, Stage};
pub use host::{Host, HostError, Level, LogLine};
pub use manifest::{ErrorPolicy, Grants, Limits, Manifest, OnFailure, Start, Trigger, matches};
pub use runtime::{API, API_OLDEST, Call, Code, Instance, Outcome, Stop, Tier};
pub use schedule::{Schedule, ScheduleError};
pub use source::{Look, Signature, Source};
