use std::io;
use std::path::PathBuf;

/// Why there is no page. None of it is worse than being without one; a writer can make one anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file, or it cannot be used.
    #[error(transparent)]
    File(#[from] cohab_fs::Error),
    /// The file does not have the length of a page.
    #[error("{} has {len} bytes, where a coordination page has {}", path.display(), crate::PAGE_BYTES)]
    Length {
        /// The page's file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// The file does not begin like a page.
    #[error("{} is not a coordination page", .0.display())]
    Nonsense(PathBuf),
    /// The page has a layout that this build does not know.
    #[error("{} is a coordination page of layout {layout}, which this build does not know", path.display())]
    Layout {
        /// The page's file.
        path: PathBuf,
        /// Its layout.
        layout: u64,
    },
    /// The page belongs to another store.
    #[error("{} is the coordination page of another store", .0.display())]
    OtherStore(PathBuf),
    /// The process has as many pages open as it can guard.
    #[error("{} is one coordination page more than the {} that a process can have open", .0.display(), crate::PAGES_MAX)]
    TooMany(PathBuf),
    /// The system refused, or has no shared memory of the kind that is needed.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was attempted, such as `mapping`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
