//! The vocabulary of cohab: the types and limits every other crate speaks in.
//!
//! A store counts its transactions with a [`Version`], names its data with a [`Name`], keeps it apart by
//! [`NamespaceId`], and proves two copies equal with a [`Digest`]. Nothing here does I/O or keeps state, so
//! every crate can depend on it and it depends on none of them.
//!
//! ```
//! use cohab_core::{Digest, Name, Version};
//!
//! let name: Name = "feature/flags".parse()?;
//! assert_eq!(name.as_str(), "feature/flags");
//! assert!("feature/../secrets".parse::<Name>().is_err());
//!
//! let mut one = Digest::EMPTY;
//! one.add(b"k1", b"v1");
//! one.add(b"k2", b"v2");
//! let mut other = Digest::EMPTY;
//! other.add(b"k2", b"v2");
//! other.add(b"k1", b"v1");
//! assert_eq!(one, other, "a digest does not depend on the order of writes");
//!
//! assert_eq!(Version::ZERO.next(), Version::new(1));
//! # Ok::<(), cohab_core::NameError>(())
//! ```

mod clock;
mod contents;
mod digest;
mod id;
pub mod limits;
mod name;
#[cfg(feature = "planted")]
#[doc(hidden)]
pub mod planted;
mod version;

pub use clock::{Clock, SystemClock, Timestamp};
pub use contents::Contents;
pub use digest::{Digest, DigestParseError};
pub use id::{InstanceId, NamespaceId, StoreId};
pub use name::{Name, NameError};
pub use version::{Epoch, Token, TokenParseError, Version};

/// Whether a defect is planted, which only the test of the rigs asks for.
#[cfg(feature = "planted")]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($defect:ident) => {
        $crate::planted::is_chosen($crate::planted::Defect::$defect)
    };
}

/// No defect is planted.
#[cfg(not(feature = "planted"))]
#[doc(hidden)]
#[macro_export]
macro_rules! planted {
    ($defect:ident) => {
        false
    };
}
