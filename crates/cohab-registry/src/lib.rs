//! Which instances of an application run, where each keeps its files, and on which ports they listen.
//!
//! A [`Registry`] lives in a directory, a store's or an application's. Whoever uses the directory registers and gets
//! a [`Registration`]: a lock that the kernel holds for as long as the process lives, beside it a [`Record`] of what
//! the instance says about itself, a private temporary directory, and listeners bound to ports it keeps. The lock is
//! the only proof of life. Process ids are used again, clocks jump, host names change and heartbeats stop with a
//! closed lid; all of these are shown to people, and nothing is decided by them.
//!
//! A [`Home`] is where an application keeps its data, settings and caches, by the conventions of the platform. Each
//! channel (stable, nightly) has a home of its own unless it is told to share, so that two builds side by side can
//! neither overwrite each other's files nor fight for a port.
//!
//! # Files
//!
//! ```text
//! instances/<id>.lock   empty, and locked while the instance lives; a byte in it says that it is being removed
//! instances/<id>.json   the record
//! instances/<id>.new    a file that the instance is about to put in the place of another
//! tmp/<id>/             the instance's private directory
//! ports/<name>.json     the port that was bound last under the name; ports/<name>@<label>.json for labelled instances
//! ```
//!
//! # Who may remove what
//!
//! There is no lock for the whole registry, which a stopped process could hold for ever. Instead, what is named
//! after an id may be removed by nobody but the holder of that id's exclusive lock, and only after it has made sure
//! that the path still names the file it locked. A registrant, which creates its lock's file before it can lock it,
//! makes sure of the same, and starts over if it lost the file to a reaper in between. Onlookers lock shared, for
//! microseconds; whoever wants the exclusive lock tolerates that by trying again.
//!
//! # Limitations
//!
//! A stopped process is alive. A forked child lets go of the lock but not of the listeners, so its ports stay taken
//! while it runs. A program that listens on all addresses of a port keeps us from that port on Linux only; elsewhere
//! the loopback address counts as free. On network file systems locks may promise what they cannot keep.
//!
//! ```
//! use cohab_registry::{Description, PortPreference, Registry};
//!
//! let dir = tempfile::tempdir()?;
//! let registry = Registry::in_dir(dir.path());
//! let me = registry.register(Description::new("writer").app("shop").channel("nightly"))?;
//! let http = me.bind("http", &PortPreference::new().range(18_080..=18_099))?;
//!
//! let seen = registry.list()?;
//! assert_eq!(seen[0].id, me.id());
//! assert_eq!(seen[0].record.role, "writer");
//! assert_eq!(seen[0].record.ports[0].port, http.port());
//!
//! drop((http, me));
//! assert!(registry.list()?.is_empty());
//! assert_eq!(std::fs::read_dir(dir.path().join("instances"))?.count(), 0, "nothing is left");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod component;
mod description;
mod error;
mod home;
mod instance;
mod lease;
mod lock;
mod places;
mod preference;
mod reap;
mod record;
mod registration;
mod registry;
mod sockets;
mod sticky;
#[doc(hidden)]
pub mod testing;
mod watch;

pub use cache::{CacheRecord, NamespaceCacheRecord};
pub use description::Description;
pub use error::{Error, Result};
pub use home::{Home, HomeOptions, Isolation};
pub use instance::Instance;
pub use lease::Lease;
pub use preference::PortPreference;
pub use reap::Reaped;
pub use record::{Port, Record};
pub use registration::Registration;
pub use registry::Registry;
pub use watch::{Event, Watch};
