//! A page of shared memory through which the processes that have a store open tell each other what is new.
//!
//! The page is a small file, `coord.page` in the store's directory, that every one of them maps. The writer publishes
//! each commit once it is durable: first which namespaces changed, then the version, then a [`Mark`] that moves,
//! and it wakes whoever waits for that. So a reader learns with one atomic load that nothing is new, without a system
//! call, and otherwise sleeps until something is. Readers publish, too, what they found to be durable by other
//! means; of all that is published the maximum counts.
//!
//! The page is a **hint**. It can be deleted, cut off, zeroed, filled with garbage, or swapped for another
//! store's, while it is in use: whoever asks it gets no answer then, or "may have changed", and looks into the store
//! itself. That costs time and is never wrong, because every word that matters carries a check of its own and grows
//! by single atomic operations: there is no moment at which a killed process leaves half a publication behind, and
//! no lock that it could leave locked.
//!
//! # Layout
//!
//! 8,704 bytes, in the machine's byte order.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `cohabpg` and a zero byte |
//! | 8 | 8 | layout, 1 |
//! | 16 | 2 × 8 | the store's id, as the upper and the lower half of a 128-bit number |
//! | 32 | 8 | check of the four words before: from 0, for each word, `check = mix(check ^ word)` |
//! | 128 | 8 | mark: how often something was announced |
//! | 136 | 4 | wake word: the same, to sleep on |
//! | 256 | 4 × 8 | version, four copies, sealed |
//! | 288 | 4 × 8 | epoch, four copies, sealed |
//! | 384 | 8 | age at which snapshots end, in milliseconds, 0 for none, sealed |
//! | 512 | 1024 × 8 | for each namespace id modulo 1024, the last version that changed it, sealed |
//!
//! Everything else is zero. A *sealed* word is a number of 48 bits above a check of 16, which is never 0; so the word 0
//! means nothing, and that is what a new page has throughout. The number in several copies is the least of
//! theirs, or none if one of them is no sealed word. With `mix` as one step of SplitMix64, the seal of a store is
//! `mix(mix(upper) ^ lower)`, the seal of a place in something sealed is `mix(seal + place)` (wrapping), and the
//! check of a number is the upper 16 bits of `mix(seal ^ number)`, or 1 if they are 0. The place of the version's
//! copy *i* is 0x100 and in that *i*, of the epoch's 0x200 and *i*, of the age's 0x300 and 0, of slot *s* 0x1000 + *s*
//! and 0.
//!
//! # Limitations
//!
//! - The checks find accidents. A user who may write the file can also write the store.
//! - An older copy of *part* of the same store's page, put over it in place while it is in use, is not noticed.
//!   Of all of it, it is: the next commit then counts as a change of every namespace.
//! - A page from before the store was put back from a copy claims too much. The writer, who can tell, replaces it.
//! - Versions and epochs beyond 2⁴⁸ − 1 are not published.
//! - A file that is cut off under the map raises SIGBUS. The first page that a process opens installs a handler, which
//!   passes on what is not its own; a handler that is installed later and does not do the same takes the protection
//!   away. A process can have 256 pages open.
//! - Read-only maps need a 64-bit processor. Elsewhere than on Unix the path of a page is taken to name the file that is
//!   mapped, and elsewhere than on Linux waiting polls.
//!
//! ```
//! use std::time::Duration;
//! use cohab_coord::{Page, Publication};
//! use cohab_core::{Epoch, NamespaceId, StoreId, Version};
//!
//! let dir = tempfile::tempdir()?;
//! let (path, store) = (dir.path().join("coord.page"), StoreId::generate());
//! let at = |version| Publication { version: Version::new(version), epoch: Epoch::new(1) };
//! let [users, jobs] = [1, 2].map(NamespaceId::new);
//!
//! let writer = Page::create(&path, store)?;
//! writer.raise(at(7));
//!
//! let reader = Page::open(&path, store)?;
//! let mark = reader.mark();
//! assert_eq!(reader.published(), Some(at(7)));
//!
//! writer.publish(at(8), Version::new(7), [jobs]);
//! reader.wait(mark, Duration::from_secs(1));
//! assert_ne!(reader.mark(), mark);
//! assert_eq!(reader.published(), Some(at(8)));
//! assert_eq!(reader.changed(jobs), Version::new(8));
//! assert_eq!(reader.changed(users), Version::new(7), "what a reader knows of version 7 holds for 8");
//!
//! std::fs::remove_file(&path)?;
//! assert!(!reader.is_current());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
#[cfg(unix)]
mod fault;
mod header;
mod map;
mod page;
mod seal;
mod shared;
mod sync;
mod wake;

pub use error::{Error, Result};
pub use map::{PAGES_MAX, SLOTS};
pub use page::{Mark, PAGE_BYTES, Page, Publication, WAIT_MAX};
