//! What the model refuses.

use cohab_core::Version;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a change of a namespace is refused. Nothing has changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The namespace is protected.
    #[error("namespace `{name}` is protected; remove the protection first")]
    Protected {
        /// The namespace.
        name: String,
    },
    /// The namespace still holds keys.
    #[error("namespace `{name}` holds {keys} keys and is only dropped when told to drop it nevertheless")]
    NotEmpty {
        /// The namespace.
        name: String,
        /// How many keys it holds.
        keys: u64,
    },
    /// The metadata was changed by somebody else since it was read.
    #[error("namespace `{name}` is at meta_version {found}, not {expected}: read it again and decide anew")]
    Conflict {
        /// The namespace.
        name: String,
        /// The version that the update was made for.
        expected: Version,
        /// The version it is at.
        found: Version,
    },
    /// A text is longer than it may be.
    #[error("{what} of namespace `{name}` is {bytes} bytes long, the most is {max}")]
    TooLong {
        /// The namespace.
        name: String,
        /// Which text.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// There are more labels than there may be.
    #[error("namespace `{name}` would carry {labels} labels, the most is {max}")]
    TooManyLabels {
        /// The namespace.
        name: String,
        /// How many there would be.
        labels: usize,
        /// The bound.
        max: usize,
    },
    /// A label's key is empty or holds control characters or `=`.
    #[error("label key {key:?} is empty or holds `=` or a control character")]
    LabelKey {
        /// The key.
        key: String,
    },
}
