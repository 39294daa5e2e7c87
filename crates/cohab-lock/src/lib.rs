//! Locks between processes that the kernel releases, records that say who holds them, and numbers that tell holders
//! apart in order.
//!
//! A lock is a file, created once and never renamed over nor removed, locked with `flock` (`LockFileEx` on
//! Windows). The kernel releases it when the process that holds it is gone, however it went; nothing a crash
//! leaves behind has to be cleaned up. Beside it lies a record of the [`Holder`], which is there for messages
//! alone: it can be stale or missing, and no decision is made from it.
//!
//! [`LockFile`] is one such lock. [`Locks`] are an application's own, told apart by name, each with a fencing token:
//! a [`Counter`] that survives crashes gives every acquisition a number larger than all before, so that what a
//! holder writes can be refused once a later holder has written.
//!
//! # Limitations
//!
//! A stopped process is alive and keeps its lock. Waiting polls, so a lock that comes free is taken up to 20 ms
//! later, and not by who came first. On network file systems `flock` may promise what it cannot keep. Whoever
//! removes a lock's file while it is held lets a second holder in.
//!
//! ```
//! use std::time::Duration;
//! use cohab_lock::{Holder, LockFile, Locks, Mode, Request};
//!
//! let dir = tempfile::tempdir()?;
//! let lock = LockFile::in_dir(dir.path(), "writer");
//! let me = Holder::this_process("writer");
//! let held = lock.acquire(&me, Duration::ZERO)?;
//!
//! let refused = lock.acquire(&me, Duration::ZERO).unwrap_err();
//! assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
//!
//! drop(held);
//! lock.acquire(&me, Duration::ZERO)?;
//!
//! let locks = Locks::in_dir(&dir.path().join("locks"));
//! let first = locks.acquire("nightly import", Mode::Exclusive, &Request::new(&me))?.token();
//! let second = locks.acquire("nightly import", Mode::Shared, &Request::new(&me))?;
//! assert!(second.token() > first);
//! assert_eq!(locks.list()?[0].name.as_deref(), Some("nightly import"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod counter;
mod error;
mod file;
mod holder;
mod kernel;
mod locks;
mod reentry;
#[doc(hidden)]
pub mod testing;
mod wait;

pub use counter::{Counter, OpenCounter};
pub use error::Error;
pub use file::{Held, LockFile, Mode};
pub use holder::Holder;
pub use locks::{Guard, LockState, Locks, Request};
pub use wait::{Cancel, Wait};
