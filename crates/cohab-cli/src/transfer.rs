//! Data on its way between files and a store.
//!
//! The formats themselves are `cohab-exchange`'s, and the transactions are the facade's; here the one is poured into
//! the other. The demonstration uses it, too.

mod dump_in;
mod dump_out;
mod entries;
mod source;

pub(crate) use dump_in::{Merged, load_dump};
pub(crate) use dump_out::dump;
pub(crate) use entries::{Loaded, load_entries};
pub(crate) use source::{Format, Source};
