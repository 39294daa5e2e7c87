//! The command as its users meet it: a process with arguments, streams and an exit code.

#![expect(clippy::unwrap_used, reason = "what the tests stand on fails them where it fails")]

mod arguments;
mod busy;
mod caching;
mod commands;
mod damage;
mod demo;
mod differing;
mod dumps;
mod following;
mod held;
mod holding;
mod instances;
mod loading;
mod names;
mod namespaces;
mod past;
mod pipes;
mod places;
#[cfg(feature = "scripts")]
mod plugins;
mod replicas;
mod running;
mod security;
mod succeeding;
mod support;
mod transactions;
mod trimming;
mod undoing;
mod verifying;
mod watching;
