//! Pages of the file, read as [redb describes its format](https://github.com/cberner/redb/blob/master/docs/design.md): for
//! what the B-tree does not verify, and shows to nobody.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_128;

use crate::unfinished::HEADER_BYTES;
use crate::{Error, Result, Storage};

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
pub(crate) const FLAGS_AT: usize = 9;
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
pub(crate) const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE_COMMIT: u8 = 4;

const PAGE_BYTES: u32 = 4096;
const REGION_PAGES_MAX: u32 = 1 << 20;
/// How often the size of a page was doubled, and can have been: behind so many bits of its number.
const ORDER_AT: u32 = 59;
const ORDER_MAX: u64 = 20;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// What a page is, and behind a byte that means nothing, how many entries or dividing keys it has.
const NODE_HEAD_BYTES: usize = 4;
const ENTRIES_AT: usize = 2;
/// How many bytes of pages are seen before it is asked how many there are.
const SEEN_MIN: u64 = 1 << 20;
/// How many branches are kept that were verified, each of them a page of the usual size.
const VERIFIED_MAX: usize = 512;
/// No tree is deeper that has an end.
const DEPTH_MAX: usize = 64;

pub(crate) type Header = [u8; HEADER_BYTES];

/// Reads the header of a file that is long enough for one.
pub(crate) fn header(storage: &dyn Storage, path: &Path) -> Result<Option<Header>> {
    let mut header = [0; HEADER_BYTES];
    match storage.read(0, &mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(reading(path, error)),
    }
}

pub(crate) fn reading(path: &Path, error: io::Error) -> Error {
    Error::io(format!("reading what the engine keeps for itself in {}", path.display()), error)
}

/// Why a tree could not be verified.
pub(crate) enum Fault {
    /// This page does not match its checksum.
    Page(u64),
    Io(io::Error),
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
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
pub(crate) struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

/// What the tree of tables says of one.
pub(crate) struct Definition {
    pub(crate) root: Root,
    pub(crate) widths: Widths,
}

impl Definition {
    /// Parses the kind of table, its length, its root, and the widths of its keys and values, or returns `None` for one
    /// that is empty.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let is_there = |at: usize| bytes.get(at).is_some_and(|byte| *byte != 0);
        let width = |at: usize| if is_there(at) { offset_at(bytes, at + 1) } else { None };
        let root = if is_there(9) { Root::at(bytes, 10) } else { None };
        Some(Self { root: root?, widths: Widths { key: width(42), value: width(47) } })
    }
}

/// Where the trees of a commit begin.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    /// How many pages a region has for its header, and for data.
    region: (u64, u64),
    pub(crate) tables: Option<Root>,
    pub(crate) own: Option<Root>,
}

impl Commit {
    /// Parses the last commit out of the header, or returns `None` where redb has to look itself: it is of another format, or
    /// damaged, or which of the two commits is whole is not known after a crash.
    pub(crate) fn last(header: &Header) -> Option<Self> {
        let slot = SLOTS_AT + if header[FLAGS_AT] & SECOND_IS_PRIMARY == 0 { 0 } else { SLOT_BYTES };
        let slot = &header[slot..slot + SLOT_BYTES];
        let (slot, checksum) = slot.split_at(SLOT_BYTES - CHECKSUM_BYTES);
        let is_whole = header[FLAGS_AT] & (RECOVERY_REQUIRED | TWO_PHASE_COMMIT) != RECOVERY_REQUIRED;
        if !header.starts_with(MAGIC) || slot[0] != FORMAT || !is_whole {
            return None;
        }
        if checksum != xxh3_128(slot).to_le_bytes() || u32_at(header, PAGE_BYTES_AT)? != PAGE_BYTES {
            return None;
        }
        let pages_at = |at| u32_at(header, at).filter(|pages| *pages <= REGION_PAGES_MAX).map(u64::from);
        let root =
            |(is_there, at): (usize, usize)| if slot[is_there] == 0 { None } else { Root::at(slot, at) };
        Some(Self {
            region: (pages_at(REGION_HEADER_AT)?, pages_at(REGION_DATA_AT)?),
            tables: root(TABLES_AT),
            own: root(OWN_AT),
        })
    }

    pub(crate) fn pages<'a>(&self, storage: &'a dyn Storage) -> Pages<'a> {
        Pages { storage, region: self.region, seen: Cell::new(0), verified: None }
    }
}

/// The pages of a file.
pub(crate) struct Pages<'a> {
    storage: &'a dyn Storage,
    /// How many pages a region has for its header, and for data.
    region: (u64, u64),
    /// How many bytes of pages were seen. No tree has a page twice, so a forged one that does ends with the file's length.
    seen: Cell<u64>,
    verified: Option<&'a Verified>,
}

impl<'a> Pages<'a> {
    /// Uses branches that were verified before, and adds to them.
    pub(crate) fn knowing(self, verified: &'a Verified) -> Self {
        Self { verified: Some(verified), ..self }
    }

    /// Reads a page, or as much of it as there is room for: twenty bits of its number are its index among those of its size,
    /// twenty the region, and five how often its size was doubled.
    fn read(&self, number: u64, room: usize) -> Result<Vec<u8>, Fault> {
        let order = number >> ORDER_AT;
        if order > ORDER_MAX {
            return Err(Fault::Page(number));
        }
        let (region, index) = (number >> 20 & 0xF_FFFF, number & (0xF_FFFF >> order));
        let len = u64::from(PAGE_BYTES) << order;
        let (header, data) = self.region;
        let offset = u64::from(PAGE_BYTES) * (1 + region * (header + data) + header) + index * len;
        let is_within = offset.saturating_add(len) <= self.len()?;
        let len = usize::try_from(len).ok().filter(|_| is_within).ok_or(Fault::Page(number))?;
        let mut bytes = vec![0; len.min(room)];
        self.storage.read(offset, &mut bytes).map_err(Fault::Io)?;
        Ok(bytes)
    }

    fn len(&self) -> Result<u64, Fault> {
        self.storage.len().map_err(Fault::Io)
    }

    /// Counts a page as seen, and refuses it where more were seen than there are. A file is not asked for its length before much
    /// of it was read.
    fn count(&self, root: Root, bytes: usize) -> Result<(), Fault> {
        let seen = self.seen.get().saturating_add(bytes as u64);
        self.seen.set(seen);
        if seen > SEEN_MIN && seen > self.len()? { Err(Fault::Page(root.page)) } else { Ok(()) }
    }

    fn page(&self, root: Root) -> Result<Vec<u8>, Fault> {
        let bytes = self.read(root.page, usize::MAX)?;
        self.count(root, bytes.len())?;
        Ok(bytes)
    }

    /// Verifies a tree, and shows its values.
    pub(crate) fn walk(
        &self,
        root: Root,
        widths: Widths,
        depth: usize,
        see: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        if depth >= DEPTH_MAX {
            return Err(Fault::Page(root.page));
        }
        let page = self.page(root)?;
        let node = Node::verified(&page, root, widths)?;
        if node.is_leaf {
            node.values().for_each(see);
            return Ok(());
        }
        node.children().try_for_each(|child| self.walk(child, widths, depth + 1, see))
    }

    /// Verifies a tree as far down as a key would be, and returns the value that it has.
    pub(crate) fn find(&self, root: Root, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let mut at = root;
        for _ in 0..DEPTH_MAX {
            let page = self.page(at)?;
            let node = Node::verified(&page, at, Widths::default())?;
            if node.is_leaf {
                let found = node.keys().zip(node.values()).find(|(found, _)| *found == key);
                return Ok(found.map(|(_, value)| value.to_vec()));
            }
            at = node.child(node.child_of(key)).ok_or(Fault::Page(at.page))?;
        }
        Err(Fault::Page(root.page))
    }

    /// Counts the leaves of a tree that lead from one key, or the first, to another, or the last, where all branches that lead there
    /// are as they should be. Looks at no leaf.
    pub(crate) fn count_leaves(
        &self,
        root: Root,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<usize, Fault> {
        self.count_down(root, from, to, 0)
    }

    fn count_down(
        &self,
        root: Root,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        depth: usize,
    ) -> Result<usize, Fault> {
        let Known::Branch(branch) = self.known(root, depth)? else { return Ok(1) };
        let node = branch.node(root)?;
        let children = node.children_of(from, to);
        if branch.is_lowest {
            return Ok(children.len());
        }
        let child = |n| node.child(n).ok_or(Fault::Page(root.page));
        children.map(|n| self.count_down(child(n)?, from, to, depth + 1)).sum()
    }

    /// Finds the leaf where a key would be, verifying what leads there, or returns `None` where the tree is one leaf.
    pub(crate) fn leaf_of(&self, root: Root, key: &[u8]) -> Result<Option<Leaf>, Fault> {
        let mut at = root;
        for depth in 0..=DEPTH_MAX {
            let Known::Branch(branch) = self.known(at, depth)? else { return Ok(None) };
            let node = branch.node(at)?;
            let child = node.child_of(key);
            if branch.is_lowest {
                return Ok(Some(Leaf { branch, child }));
            }
            at = node.child(child).ok_or(Fault::Page(at.page))?;
        }
        Err(Fault::Page(root.page))
    }

    /// Verifies the branches of a tree that lead to a range of keys, and that there is something in each leaf there. Of leaves no
    /// more is read than how they begin.
    ///
    /// Where there are more than `leaves` of them, the key is returned from which to go on.
    pub(crate) fn verify_branches(
        &self,
        root: Root,
        from: &[u8],
        to: Option<&[u8]>,
        leaves: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        self.verify_down(root, (from, to), &mut { leaves }, 0)
    }

    fn verify_down(
        &self,
        root: Root,
        (from, to): (&[u8], Option<&[u8]>),
        leaves: &mut usize,
        depth: usize,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let Known::Branch(branch) = self.known(root, depth)? else { return Ok(None) };
        let node = branch.node(root)?;
        let children = node.children_of(Some(from), to);
        for n in children.clone() {
            // A child holds what is behind the dividing key ahead of it.
            if n > children.start && *leaves == 0 {
                return Ok(node.key(n - 1).map(|begin| [begin, &[0]].concat()));
            }
            let child = node.child(n).ok_or(Fault::Page(root.page))?;
            if branch.is_lowest {
                *leaves = leaves.saturating_sub(1);
                self.verify_leaf(child)?;
            } else if let Some(key) = self.verify_down(child, (from, to), leaves, depth + 1)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Reads what a page is, and how many entries or dividing keys it has.
    fn head(&self, root: Root) -> Result<(u8, usize), Fault> {
        let head = self.read(root.page, NODE_HEAD_BYTES)?;
        u16_at(&head, ENTRIES_AT).map(|entries| (head[0], entries)).ok_or(Fault::Page(root.page))
    }

    /// Verifies that a page is a leaf, and that there is something in it.
    fn verify_leaf(&self, root: Root) -> Result<(), Fault> {
        self.count(root, PAGE_BYTES as usize)?;
        match self.head(root)? {
            (LEAF, 1..) => Ok(()),
            _ => Err(Fault::Page(root.page)),
        }
    }

    /// Reads how a tree, or a part of it, begins: a branch is verified, and a leaf has something in it.
    fn known(&self, root: Root, depth: usize) -> Result<Known, Fault> {
        if depth >= DEPTH_MAX {
            return Err(Fault::Page(root.page));
        }
        if let Some(known) = self.verified.and_then(|verified| verified.get(root)) {
            return self.count(root, PAGE_BYTES as usize).map(|()| known);
        }
        let begin = self.read(root.page, PAGE_BYTES as usize)?;
        let known = if begin[0] == LEAF {
            self.verify_leaf(root)?;
            Known::Leaf
        } else {
            let is_whole = root.page >> ORDER_AT == 0;
            let bytes = if is_whole { begin } else { self.read(root.page, usize::MAX)? };
            self.count(root, bytes.len())?;
            let first = Node::verified(&bytes, root, Widths::default())?.child(0);
            let is_lowest = self.head(first.ok_or(Fault::Page(root.page))?)?.0 == LEAF;
            Known::Branch(Arc::new(Branch { bytes, is_lowest }))
        };
        if let Some(verified) = self.verified {
            verified.put(root, known.clone());
        }
        Ok(known)
    }
}

/// How a tree begins, or a part of it.
#[derive(Clone)]
enum Known {
    Leaf,
    Branch(Arc<Branch>),
}

/// A branch that was verified.
struct Branch {
    bytes: Vec<u8>,
    /// Whether its children are leaves.
    is_lowest: bool,
}

impl Branch {
    fn node(&self, root: Root) -> Result<Node<'_>, Fault> {
        Node::parse(&self.bytes, Widths::default()).ok_or(Fault::Page(root.page))
    }
}

/// Where a leaf is: which child of a branch that was verified.
pub(crate) struct Leaf {
    branch: Arc<Branch>,
    child: usize,
}

impl Leaf {
    /// Moves to the leaf beside it, behind it or ahead of it, and returns whether that is the one where a key would be. If there is
    /// none of this branch, it is not.
    pub(crate) fn moves_to(&mut self, is_behind: bool, key: &[u8]) -> bool {
        let Some(node) = Node::parse(&self.branch.bytes, Widths::default()) else { return false };
        let child = if is_behind { self.child.checked_add(1) } else { self.child.checked_sub(1) };
        let Some(child) = child.filter(|child| *child <= node.entries) else { return false };
        let begins_ahead = child == 0 || node.key(child - 1).is_some_and(|begin| begin < key);
        let ends_behind = child == node.entries || node.key(child).is_some_and(|end| key <= end);
        self.child = child;
        begins_ahead && ends_behind
    }
}

/// Branches that were verified, each at a place of its own, and roots that are leaves. What a page of a number and a checksum holds
/// never changes, so that they are good for every commit that has them.
pub(crate) struct Verified(Box<[Place]>);

type Place = Mutex<Option<(Root, Known)>>;

impl Default for Verified {
    fn default() -> Self {
        Self((0..VERIFIED_MAX).map(|_| Mutex::default()).collect())
    }
}

impl Verified {
    /// Never waits: who finds another at work reads the page again.
    fn get(&self, root: Root) -> Option<Known> {
        let place = self.place(root).try_lock().ok()?;
        place.as_ref().filter(|(at, _)| *at == root).map(|(_, known)| known.clone())
    }

    fn put(&self, root: Root, known: Known) {
        if matches!(&known, Known::Branch(branch) if branch.bytes.len() > PAGE_BYTES as usize) {
            return;
        }
        if let Ok(mut place) = self.place(root).try_lock() {
            *place = Some((root, known));
        }
    }

    fn place(&self, root: Root) -> &Place {
        let number = usize::try_from(root.page % VERIFIED_MAX as u64);
        &self.0[number.expect("is less than there are places")]
    }
}

/// Where a branch says where each of its keys ends: behind a checksum and a number for each child.
fn branch_ends(keys: usize) -> usize {
    8 + (CHECKSUM_BYTES + 8) * (keys + 1)
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
        let entries = u16_at(page, ENTRIES_AT).filter(|entries| *entries > 0)?;
        let is_leaf = match *page.first()? {
            LEAF => true,
            BRANCH => false,
            _ => return None,
        };
        let ends = if is_leaf { NODE_HEAD_BYTES } else { branch_ends(entries) };
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

    /// Parses a page and verifies it.
    fn verified(page: &'a [u8], root: Root, widths: Widths) -> Result<Self, Fault> {
        let node = Self::parse(page, widths);
        let node = node.filter(|node| xxh3_128(node.bytes).to_le_bytes() == root.checksum);
        node.ok_or(Fault::Page(root.page))
    }

    /// A key, where they are of various widths, and in a leaf the values are as well.
    fn key(&self, n: usize) -> Option<&'a [u8]> {
        let (ends, begin) = if self.is_leaf {
            (NODE_HEAD_BYTES, NODE_HEAD_BYTES + 8 * self.entries)
        } else {
            (branch_ends(self.entries), branch_ends(self.entries) + 4 * self.entries)
        };
        let end = |n: usize| offset_at(self.bytes, ends + 4 * n);
        self.bytes.get(if n == 0 { begin } else { end(n - 1)? }..end(n)?)
    }

    fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.entries).map_while(|n| self.key(n))
    }

    /// Which child of a branch leads to a key: each dividing key is at least as great as all that is ahead of it.
    fn child_of(&self, key: &[u8]) -> usize {
        let (mut least, mut most) = (0, self.entries);
        while least < most {
            let middle = usize::midpoint(least, most);
            match self.key(middle) {
                Some(dividing) if dividing < key => least = middle + 1,
                _ => most = middle,
            }
        }
        least
    }

    /// Which children of a branch lead from one key, or the first, to another, or the last.
    fn children_of(&self, from: Option<&[u8]>, to: Option<&[u8]>) -> Range<usize> {
        let first = from.map_or(0, |from| self.child_of(from));
        first..to.map_or(self.entries, |to| self.child_of(to)) + 1
    }

    /// The values of a leaf, where these and the keys are of various widths: behind where each key ends stands where each
    /// value does, and a value begins where the one before ends.
    fn values(&self) -> impl Iterator<Item = &'a [u8]> {
        let Self { bytes, entries, values, widths, .. } = *self;
        let count = if widths == Widths::default() { entries } else { 0 };
        let ends = (0..count).map_while(move |n| offset_at(bytes, NODE_HEAD_BYTES + 4 * (count + n)));
        ends.scan(values, move |begin, end| bytes.get(std::mem::replace(begin, end)..end))
    }

    fn child(&self, n: usize) -> Option<Root> {
        let count = self.entries + 1;
        let page = self.bytes.get(8 + CHECKSUM_BYTES * count + 8 * n..)?.first_chunk()?;
        let checksum = self.bytes.get(8 + CHECKSUM_BYTES * n..)?.first_chunk()?;
        Some(Root { page: u64::from_le_bytes(*page), checksum: *checksum })
    }

    /// The children of a branch.
    fn children(&self) -> impl Iterator<Item = Root> {
        (0..=self.entries).filter_map(|n| self.child(n))
    }
}

#[cfg(test)]
mod tests;
