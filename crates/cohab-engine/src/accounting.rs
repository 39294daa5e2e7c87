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
#[derive(Clone, Copy, Default)]
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
        node.values().for_each(&mut *see);
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
        let keys = value_ends + if is_leaf && widths.value.is_none() { 4 * entries } else { 0 };
        let values = match widths.key {
            Some(width) => keys + width * entries,
            None => offset_at(page, ends + 4 * (entries - 1))?,
        };
        let end = match widths.value {
            _ if !is_leaf => values,
            Some(width) => values + width * entries,
            None => offset_at(page, value_ends + 4 * (entries - 1))?,
        };
        Some(Self { bytes: page.get(..end)?, is_leaf, entries, values, widths })
    }

    /// The values of a leaf, where they are of various widths.
    fn values(&self) -> impl Iterator<Item = &'a [u8]> {
        let Self { bytes, is_leaf, entries, values, widths } = *self;
        let ends = 4 + if widths.key.is_none() { 4 * entries } else { 0 };
        let count = if is_leaf && widths.value.is_none() { entries } else { 0 };
        (0..count).filter_map(move |n| {
            let begin = if n == 0 { values } else { offset_at(bytes, ends + 4 * (n - 1))? };
            bytes.get(begin..offset_at(bytes, ends + 4 * n)?)
        })
    }

    /// The children of a branch.
    fn children(&self) -> impl Iterator<Item = Root> {
        let Self { bytes, is_leaf, entries, .. } = *self;
        let count = if is_leaf { 0 } else { entries + 1 };
        (0..count).filter_map(move |n| {
            let page = bytes.get(8 + CHECKSUM_BYTES * count + 8 * n..)?.first_chunk()?;
            let checksum = bytes.get(8 + CHECKSUM_BYTES * n..)?.first_chunk()?;
            Some(Root { page: u64::from_le_bytes(*page), checksum: *checksum })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::sync::Mutex;

    use super::*;
    use crate::{Engine, Options, Table};

    const TABLES: &[Table] = &[Table::new(0, "one"), Table::new(1, "two")];

    /// A file in memory that notes what is read of it.
    #[derive(Debug)]
    struct Noting {
        bytes: Vec<u8>,
        read: Mutex<BTreeSet<(u64, usize)>>,
        /// What is written is noted as well, and changes nothing.
        written: Mutex<Vec<(u64, Vec<u8>)>>,
    }

    impl Noting {
        fn new(bytes: Vec<u8>) -> Self {
            Self { bytes, read: Mutex::default(), written: Mutex::default() }
        }
    }

    impl Storage for Noting {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.read.lock().expect("nobody panics with it").insert((offset, out.len()));
            let begin = usize::try_from(offset).expect("fits");
            out.copy_from_slice(&self.bytes[begin..begin + out.len()]);
            Ok(())
        }

        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!("is only read")
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.written.lock().expect("nobody panics with it").push((offset, data.to_vec()));
            Ok(())
        }
    }

    fn for_writer(file: &Noting) -> Result<()> {
        verify_for_writer(file, Path::new("home/store.redb"))
    }

    fn for_reader(file: &Noting) -> Result<()> {
        verify_for_reader(file, Path::new("home/store.redb"))
    }

    /// A file whose free pages have a history, as its writer closes it, and as a crash leaves it.
    fn files() -> Result<[Vec<u8>; 2], Box<dyn std::error::Error>> {
        let scratch = tempfile::tempdir()?;
        let path = scratch.path().join("store.redb");
        let engine = Engine::open(&path, Options::new(TABLES))?;
        // Keeps pages from being free at once.
        let mut snapshots = Vec::new();
        for round in 0..20u32 {
            snapshots.push(engine.snapshot()?);
            engine.write(|tx| {
                (0..500u32).try_for_each(|i| {
                    let key = (i * 7 + round).to_be_bytes();
                    tx.insert(TABLES[0], &key, &[&[7; 100]]).map(drop)
                })
            })?;
        }
        let crashed = fs::read(&path)?;
        drop(snapshots);
        drop(engine);
        Ok([fs::read(&path)?, crashed])
    }

    #[test]
    fn a_flipped_bit_in_what_a_writer_relies_on_keeps_it_out() -> Result<(), Box<dyn std::error::Error>> {
        for bytes in files()? {
            let mut file = Noting::new(bytes);
            for_writer(&file)?;
            let read: Vec<_> = file.read.lock().expect("nobody panics with it").iter().copied().collect();
            let pages = read.iter().filter(|(_, len)| *len >= PAGE_BYTES as usize);
            assert!(
                pages.clone().count() >= 5,
                "the trees of tables, and a page of some of redb's: {read:?}"
            );
            for_reader(&file)?;
            let (mut unused, mut unreadable) = (0, 0);
            for &(offset, len) in pages.clone() {
                for at in (0..len).step_by(if len > 4096 { 61 } else { 3 }) {
                    let at_all = usize::try_from(offset)? + at;
                    file.bytes[at_all] ^= 1 << (at % 8);
                    let of_reader = for_reader(&file);
                    unreadable += usize::from(of_reader.is_err());
                    match for_writer(&file) {
                        Err(Error::Corrupt { .. }) => {
                            let flags = file.bytes[FLAGS_AT];
                            let to_mark = of_reader.is_ok() && flags & RECOVERY_REQUIRED != 0;
                            let mark = (FLAGS_AT as u64, vec![flags & !RECOVERY_REQUIRED]);
                            let written =
                                std::mem::take(file.written.get_mut().expect("nobody panics with it"));
                            assert_eq!(
                                written,
                                if to_mark { vec![mark] } else { Vec::new() },
                                "byte {at_all}"
                            );
                        }
                        Err(other) => panic!("byte {at_all}: {other}"),
                        // What is behind the last value is nobody's.
                        Ok(()) => {
                            assert!(at >= 8 && of_reader.is_ok(), "byte {at_all}");
                            unused += 1;
                        }
                    }
                    file.bytes[at_all] ^= 1 << (at % 8);
                }
            }
            for_writer(&file)?;
            let checked: usize = pages.map(|(_, len)| len.div_ceil(if *len > 4096 { 61 } else { 3 })).sum();
            // A reader relies on one of the pages, a small one.
            assert!(unreadable > 20 && unused + unreadable < checked, "{unused}, {unreadable} of {checked}");
        }
        Ok(())
    }

    #[test]
    fn a_file_of_another_kind_is_left_to_redb() -> Result<(), Box<dyn std::error::Error>> {
        let [closed, crashed] = files()?;
        let with = |bytes: &[u8], at: usize, byte: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            for_writer(&Noting::new(bytes))
        };
        for_writer(&Noting::new(Vec::new()))?;
        for_writer(&Noting::new(vec![0; 5000]))?;
        for_writer(&Noting::new(closed[..HEADER_BYTES - 1].to_vec()))?;
        // Another program's, other pages, another format, and a slot that is damaged.
        with(&closed, 0, b'R')?;
        with(&closed, PAGE_BYTES_AT, 1)?;
        for slot in [SLOTS_AT, SLOTS_AT + SLOT_BYTES] {
            with(&closed, slot, 4)?;
            with(&closed, slot + 20, !closed[slot + 20])?;
        }
        // After a crash, a commit is only known to be whole if it was made in two phases.
        let mut damaged = crashed.clone();
        damaged[4096..].fill(0);
        for_writer(&Noting::new(damaged.clone())).expect_err("all pages are gone");
        damaged[FLAGS_AT] &= !TWO_PHASE_COMMIT;
        for_writer(&Noting::new(damaged))?;
        Ok(())
    }

    #[test]
    fn a_forged_tree_that_has_pages_again_and_again_ends_with_the_length_of_the_file() {
        const KEYS: u8 = 99;
        const PAGES: u32 = 40;
        const BYTES: usize = PAGE_BYTES as usize;
        let children = usize::from(KEYS) + 1;
        let mut file = vec![0; BYTES * (1 + PAGES as usize)];
        let (before, leaf) = file.split_at_mut(BYTES * PAGES as usize);
        leaf[..12].copy_from_slice(&[LEAF, 0, 1, 0, 12, 0, 0, 0, 12, 0, 0, 0]);
        let mut root = Root { page: u64::from(PAGES) - 1, checksum: xxh3_128(&leaf[..12]).to_le_bytes() };
        // From the last branch to the first, because each has the checksum of the next page, a hundred times.
        for (page, number) in before.chunks_exact_mut(BYTES).skip(1).zip(0..PAGES).rev() {
            let key_ends = 8 + (CHECKSUM_BYTES + 8) * children;
            let keys = key_ends + 4 * usize::from(KEYS);
            page[0] = BRANCH;
            page[2] = KEYS;
            for n in 0..children {
                page[8 + CHECKSUM_BYTES * n..][..CHECKSUM_BYTES].copy_from_slice(&root.checksum);
                page[8 + CHECKSUM_BYTES * children + 8 * n..][..8].copy_from_slice(&root.page.to_le_bytes());
            }
            page[keys - 4..keys]
                .copy_from_slice(&u32::try_from(keys).expect("is less than a page").to_le_bytes());
            root = Root { page: number.into(), checksum: xxh3_128(&page[..keys]).to_le_bytes() };
        }
        let header = &mut file[..HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        for (at, value) in [(PAGE_BYTES_AT, PAGE_BYTES), (REGION_HEADER_AT, 0), (REGION_DATA_AT, 1 << 10)] {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let slot = &mut header[SLOTS_AT..SLOTS_AT + SLOT_BYTES];
        slot[0] = FORMAT;
        for (is_there, at) in [TABLES_AT, OWN_AT] {
            slot[is_there] = 1;
            slot[at..at + 8].copy_from_slice(&root.page.to_le_bytes());
            slot[at + 8..at + 8 + CHECKSUM_BYTES].copy_from_slice(&root.checksum);
        }
        let (covered, checksum) = slot.split_at_mut(SLOT_BYTES - CHECKSUM_BYTES);
        checksum.copy_from_slice(&xxh3_128(covered).to_le_bytes());

        let file = Noting::new(file);
        for verify in [for_reader, for_writer] {
            assert!(matches!(verify(&file), Err(Error::Corrupt { .. })));
        }
        let read = file.read.lock().expect("nobody panics with it").len();
        assert!(read > PAGES as usize, "down to the leaf, and not {read}");
    }

    #[test]
    fn a_read_that_the_system_refuses_says_of_which_file() {
        #[derive(Debug)]
        struct Refusing;
        impl Storage for Refusing {
            fn len(&self) -> io::Result<u64> {
                Ok(1 << 20)
            }
            fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
            fn set_len(&self, _: u64) -> io::Result<()> {
                unreachable!("is only read")
            }
            fn sync_data(&self) -> io::Result<()> {
                unreachable!("is only read")
            }
            fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
                unreachable!("is only read")
            }
        }
        for verify in [verify_for_reader, verify_for_writer] {
            let refused = verify(&Refusing, Path::new("home/store.redb")).expect_err("the system refuses it");
            assert!(refused.to_string().contains("home/store.redb"), "{refused}");
        }
    }
}
