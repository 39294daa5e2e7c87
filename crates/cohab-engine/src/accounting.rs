//! What redb keeps for itself, verified as a file is opened: where the tables begin, on which everybody relies, and which
//! pages are free, and will be, on which a writer does.
//!
//! redb believes it. A bit flipped in it can have it write over pages in use; and what it takes out of a damaged page while
//! it commits can panic once more while the first panic unwinds, which ends the process. It verifies these pages only
//! together with all others, which takes as long as reading the file, and shows them to nobody: so they are read
//! [by the format](crate::format) here. A file that does not look like that is left to redb, which knows what else there is.
//!
//! Cost: reads the header and a few pages, and two bits for each page of the file.

use std::path::Path;

use crate::format::{Commit, Definition, FLAGS_AT, Fault, RECOVERY_REQUIRED, Widths, header, reading};
use crate::{Error, Result, Storage};

/// Verifies what a writer that opens the file relies on.
///
/// A file in which redb's own tables are damaged, and that was not closed, is marked as closed: nobody else will recover it, and
/// it can be read then.
///
/// # Errors
///
/// [`Error::Corrupt`] if a page does not match its checksum; [`Error::Io`].
pub(crate) fn verify_for_writer(storage: &dyn Storage, path: &Path) -> Result<()> {
    let Some(header) = header(storage, path)? else { return Ok(()) };
    let Some(commit) = Commit::last(&header) else { return Ok(()) };
    verify_tables(&commit, storage, path)?;
    let verified = verify_own(&commit, storage, path);
    let flags = header[FLAGS_AT];
    if matches!(verified, Err(Error::Corrupt { .. })) && flags & RECOVERY_REQUIRED != 0 {
        let marked = storage.write(FLAGS_AT as u64, &[flags & !RECOVERY_REQUIRED]);
        marked
            .and_then(|()| storage.sync_data())
            .map_err(|error| Error::io(format!("marking {} as closed", path.display()), error))?;
    }
    verified
}

/// Verifies where the tables begin, beside a writer that may commit meanwhile.
///
/// # Errors
///
/// As for [`verify_for_writer`].
pub(crate) fn verify_for_reader(storage: &dyn Storage, path: &Path) -> Result<()> {
    let Some(mut before) = header(storage, path)? else { return Ok(()) };
    loop {
        let commit = Commit::last(&before);
        let verified = commit.map_or(Ok(()), |commit| verify_tables(&commit, storage, path));
        // A page may have been given to the commit after the next by now.
        match header(storage, path)? {
            Some(after) if verified.is_err() && after != before => before = after,
            _ => return verified,
        }
    }
}

/// Verifies where the tables begin. What is in them is verified as it is read.
fn verify_tables(commit: &Commit, storage: &dyn Storage, path: &Path) -> Result<()> {
    let Some(root) = commit.tables else { return Ok(()) };
    let walked = commit.pages(storage).walk(root, Widths::default(), 0, &mut |_| ());
    walked.map_err(|fault| fault.in_tables(path))
}

/// Verifies redb's own tables.
fn verify_own(commit: &Commit, storage: &dyn Storage, path: &Path) -> Result<()> {
    let Some(root) = commit.own else { return Ok(()) };
    let pages = commit.pages(storage);
    let in_own = |fault: Fault| fault.in_own(path);
    let mut tables = Vec::new();
    let mut note = |table: &[u8]| tables.extend(Definition::parse(table));
    pages.walk(root, Widths::default(), 0, &mut note).map_err(in_own)?;
    tables
        .into_iter()
        .try_for_each(|Definition { root, widths }| pages.walk(root, widths, 0, &mut |_| ()).map_err(in_own))
}

impl Fault {
    fn in_tables(self, path: &Path) -> Error {
        self.at(path, "where tables begin", "restore the store from a backup")
    }

    fn in_own(self, path: &Path) -> Error {
        self.at(
            path,
            "which pages are free",
            "the store can be read and copied to a new one, but not written",
        )
    }

    fn at(self, path: &Path, what: &str, remedy: &str) -> Error {
        match self {
            Self::Page(page) => {
                let detail =
                    format!("page {page:#x}, which says {what}, does not match its checksum; {remedy}");
                Error::corrupt("file", None, detail)
            }
            Self::Io(error) => reading(path, error),
        }
    }
}
