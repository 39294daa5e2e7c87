//! What cohab's tests share: a model of the store to compare with, storage that fails on demand, and child
//! processes that can be killed.
//!
//! ```
//! use cohab::{Kind, Mapping, Store};
//! use cohab_testkit::{Failure, Faults};
//!
//! let dir = tempfile::tempdir()?;
//! let faults = Faults::default();
//! let store = faults.install(Store::options().mapping(Mapping::Off)).open(dir.path().join("store"))?;
//! store.write(|tx| tx.create_namespace("n"))?;
//!
//! faults.fail_sync(0, Failure::Once);
//! let error = store.write(|tx| tx.put("n", "k", "v")).unwrap_err();
//! assert_eq!(error.kind(), Kind::CommitUnknown);
//! store.reopen()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod faults;
mod model;
mod process;

pub use faults::{Failure, Faults};
pub use model::{Change, Model, Step};
pub use process::{Child, child_store};
