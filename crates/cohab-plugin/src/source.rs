//! Where a plugin's files are, and whether they have changed.

/// A plugin's files on disk.
#[derive(Debug)]
pub struct Source;

/// What a look at the files found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// As they were.
    Same,
}
