//! What redb keeps for itself, verified as a file is opened: where the tables begin, on which everybody relies, and which
//! pages are free, and will be, on which a writer does.
//!
//! redb believes it. A bit flipped in it can have it write over pages in use; and what it takes out of a damaged page while
//! it commits can panic once more while the first panic unwinds, which ends the process. It verifies these pages only
//! together with all others, which takes as long as reading the file, and shows them to nobody: so they are read here, by
//! [redb's description of its format](https://github.com/cberner/redb/blob/master/docs/design.md). A file that does not look
//! like that description is left to redb, which knows what else there is.
//!
//! Cost: reads the header and a few pages, and two bits for each page of the file.

use std::cell::Cell;
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::unfinished::HEADER_BYTES;
use crate::{Error, Result, Storage};

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
const FLAGS_AT: usize = 9;
const PAGE_BYTES_AT: usize = 12;
const REGION_HEADER_AT: usize = 16;
const REGION_DATA_AT: usize = 20;
const SLOTS_AT: usize = 64;
const SLOT_BYTES: usize = 128;
const FORMAT: u8 = 3;
/// Where a slot says whether there is a tree of tables, and where its root is; and the same of redb's own.
const TABLES_AT: (usize, usize) = (1, 8);
const OWN_AT: (usize, usize) = (2, 40);
const CHECKSUM_BYTES: usize = 16;

/// Flags of the header.
const SECOND_IS_PRIMARY: u8 = 1;
const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE_COMMIT: u8 = 4;

const PAGE_BYTES: u32 = 4096;
const REGION_PAGES_MAX: u32 = 1 << 20;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// No tree is deeper that has an end.
const DEPTH_MAX: usize = 64;

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
    let Some(commit) = Commit::last(storage, path, &header) else { return Ok(()) };
    commit.verify_tables()?;
    let verified = commit.verify_own();
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
        let commit = Commit::last(storage, path, &before);
        let verified = commit.map_or(Ok(()), |commit| commit.verify_tables());
        // A page may have been given to the commit after the next by now.
        match header(storage, path)? {
            Some(after) if verified.is_err() && after != before => before = after,
            _ => return verified,
        }
    }
}

type Header = [u8; HEADER_BYTES];

/// Reads the header of a file that is long enough for one.
fn header(storage: &dyn Storage, path: &Path) -> Result<Option<Header>> {
    let reading = |error| reading(path, error);
    let mut header = [0; HEADER_BYTES];
    if storage.len().map_err(reading)? < HEADER_BYTES as u64 {
        return Ok(None);
    }
    storage.read(0, &mut header).map_err(reading)?;
    Ok(Some(header))
}

fn reading(path: &Path, error: io::Error) -> Error {
    Error::io(format!("reading what the engine keeps for itself in {}", path.display()), error)
}

/// Why a tree could not be verified.
enum Fault {
    /// This page does not match its checksum.
    Page(u64),
    Io(io::Error),
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

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|n| usize::from(u16::from_le_bytes(*n)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|n| u32::from_le_bytes(*n))
}

fn offset_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

/// Where a tree, or a part of it, begins, and what that page's checksum has to be.
#[derive(Clone, Copy)]
struct Root {
    page: u64,
    checksum: [u8; CHECKSUM_BYTES],
}

impl Root {
    /// Parses the number of a page and its checksum.
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let (page, rest) = bytes.get(at..)?.split_first_chunk()?;
        Some(Self { page: u64::from_le_bytes(*page), checksum: *rest.first_chunk()? })
    }
}

/// How many bytes all keys and all values of a tree have, where they all have the same.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

/// What the tree of tables says of one.
struct Definition {
    root: Root,
    widths: Widths,
}

impl Definition {
    /// Parses the kind of table, its length, its root, and the widths of its keys and values, or returns `None` for one
    /// that is empty.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let is_there = |at: usize| bytes.get(at).is_some_and(|byte| *byte != 0);
        let width = |at: usize| if is_there(at) { offset_at(bytes, at + 1) } else { None };
        let root = if is_there(9) { Root::at(bytes, 10) } else { None };
        Some(Self { root: root?, widths: Widths { key: width(42), value: width(47) } })
    }
}

/// What the header says is the last commit.
struct Commit<'a> {
    pages: Pages<'a>,
    tables: Option<Root>,
    own: Option<Root>,
}

impl<'a> Commit<'a> {
    /// Parses the header, or returns `None` where redb has to look itself: it is of another format, or damaged, or which of
    /// the two commits is whole is not known after a crash.
    fn last(storage: &'a dyn Storage, path: &'a Path, header: &Header) -> Option<Self> {
        let flags = header[FLAGS_AT];
        let slot = SLOTS_AT + if flags & SECOND_IS_PRIMARY == 0 { 0 } else { SLOT_BYTES };
        let (slot, checksum) = header[slot..slot + SLOT_BYTES].split_at(SLOT_BYTES - CHECKSUM_BYTES);
        let is_whole = flags & (RECOVERY_REQUIRED | TWO_PHASE_COMMIT) != RECOVERY_REQUIRED;
        if !header.starts_with(MAGIC) || slot[0] != FORMAT || !is_whole {
            return None;
        }
        if checksum != xxh3_128(slot).to_le_bytes() || u32_at(header, PAGE_BYTES_AT)? != PAGE_BYTES {
            return None;
        }
        let pages_at = |at| u32_at(header, at).filter(|pages| *pages <= REGION_PAGES_MAX).map(u64::from);
        let region = (pages_at(REGION_HEADER_AT)?, pages_at(REGION_DATA_AT)?);
        let root =
            |(is_there, at): (usize, usize)| if slot[is_there] == 0 { None } else { Root::at(slot, at) };
        let pages = Pages { storage, path, region, read: Cell::new(0) };
        Some(Self { pages, tables: root(TABLES_AT), own: root(OWN_AT) })
    }

    /// Verifies where the tables begin. What is in them is verified as it is read.
    fn verify_tables(&self) -> Result<()> {
        let Some(root) = self.tables else { return Ok(()) };
        let walked = self.pages.walk(root, Widths::default(), 0, &mut |_| ());
        walked.map_err(|fault| fault.in_tables(self.pages.path))
    }

    /// Verifies redb's own tables.
    fn verify_own(&self) -> Result<()> {
        let Some(root) = self.own else { return Ok(()) };
        let in_own = |fault: Fault| fault.in_own(self.pages.path);
        let mut tables = Vec::new();
        let mut note = |table: &[u8]| tables.extend(Definition::parse(table));
        self.pages.walk(root, Widths::default(), 0, &mut note).map_err(in_own)?;
        tables.into_iter().try_for_each(|Definition { root, widths }| {
            self.pages.walk(root, widths, 0, &mut |_| ()).map_err(in_own)
        })
    }
}

/// The pages of a file.
struct Pages<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
    /// How many pages a region has for its header, and for data.
    region: (u64, u64),
    /// How many bytes of pages were read. No tree has a page twice, so a forged one that does ends with the file's length.
    read: Cell<u64>,
}

impl Pages<'_> {
    /// Reads a page: twenty bits of its number are its index among those of its size, twenty the region, and five how often
    /// its size was doubled.
    fn page(&self, number: u64) -> Result<Vec<u8>, Fault> {
        let order = number >> 59;
        let (region, index) = (number >> 20 & 0xF_FFFF, number & (0xF_FFFF >> order));
        let len = u64::from(PAGE_BYTES) << order;
        let (header, data) = self.region;
        let offset = u64::from(PAGE_BYTES) * (1 + region * (header + data) + header) + index * len;
        let read = self.read.get().saturating_add(len);
        let is_within = offset.saturating_add(len).max(read) <= self.storage.len().map_err(Fault::Io)?;
        self.read.set(read);
        let len = usize::try_from(len).ok().filter(|_| is_within).ok_or(Fault::Page(number))?;
        let mut bytes = vec![0; len];
        self.storage.read(offset, &mut bytes).map_err(Fault::Io)?;
        Ok(bytes)
    }

    /// Verifies a tree, and shows its values.
    fn walk(
        &self,
        root: Root,
        widths: Widths,
        depth: usize,
        see: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let page = self.page(root.page)?;
        let node = Node::parse(&page, widths).filter(|_| depth < DEPTH_MAX);
        let node = node.filter(|node| xxh3_128(node.bytes).to_le_bytes() == root.checksum);
        let node = node.ok_or(Fault::Page(root.page))?;
        if node.is_leaf {
            node.values().for_each(see);
            return Ok(());
        }
        node.children().try_for_each(|child| self.walk(child, widths, depth + 1, see))
    }
}

/// A page of a tree.
struct Node<'a> {
    /// What the checksum covers.
    bytes: &'a [u8],
    is_leaf: bool,
    entries: usize,
    /// Where a leaf's values begin.
    values: usize,
    widths: Widths,
}

impl<'a> Node<'a> {
    /// Parses a page: what it is, how many keys, and for a branch a checksum and a number for each child; where each key ends,
    /// and in a leaf each value, unless they all have the same width; the keys; the values.
    fn parse(page: &'a [u8], widths: Widths) -> Option<Self> {
        let entries = u16_at(page, 2).filter(|entries| *entries > 0)?;
        let is_leaf = match *page.first()? {
            LEAF => true,
            BRANCH => false,
            _ => return None,
        };
        let ends = if is_leaf { 4 } else { 8 + (CHECKSUM_BYTES + 8) * (entries + 1) };
        let value_ends = ends + if widths.key.is_none() { 4 * entries } else { 0 };
        let values = match widths.key {
            // Which is so where the values have one width as well, and nobody asks for them where they have not.
            Some(width) => value_ends + width * entries,
            None => offset_at(page, ends + 4 * (entries - 1))?,
        };
        let end = match widths.value {
            _ if !is_leaf => values,
            Some(width) => values + width * entries,
            None => offset_at(page, value_ends + 4 * (entries - 1))?,
        };
        Some(Self { bytes: page.get(..end)?, is_leaf, entries, values, widths })
    }

    /// The values of a leaf, where these and the keys are of various widths: behind where each key ends stands where each
    /// value does, and a value begins where the one before ends.
    fn values(&self) -> impl Iterator<Item = &'a [u8]> {
        let Self { bytes, entries, values, widths, .. } = *self;
        let count = if widths == Widths::default() { entries } else { 0 };
        let ends = (0..count).map_while(move |n| offset_at(bytes, 4 + 4 * (count + n)));
        ends.scan(values, move |begin, end| bytes.get(std::mem::replace(begin, end)..end))
    }

    /// The children of a branch.
    fn children(&self) -> impl Iterator<Item = Root> {
        let (bytes, count) = (self.bytes, self.entries + 1);
        (0..count).filter_map(move |n| {
            let page = bytes.get(8 + CHECKSUM_BYTES * count + 8 * n..)?.first_chunk()?;
            let checksum = bytes.get(8 + CHECKSUM_BYTES * n..)?.first_chunk()?;
            Some(Root { page: u64::from_le_bytes(*page), checksum: *checksum })
        })
    }
}

#[cfg(test)]
mod tests;
