use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::sync::Mutex;

use super::*;
use crate::accounting::{verify_for_reader, verify_for_writer};
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
        let read = self.bytes.get(begin..begin + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
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
        assert!(pages.clone().count() >= 5, "the trees of tables, and a page of some of redb's: {read:?}");
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
                        let written = std::mem::take(file.written.get_mut().expect("nobody panics with it"));
                        assert_eq!(written, if to_mark { vec![mark] } else { Vec::new() }, "byte {at_all}");
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
    let [mut unsound_closed, mut unsound_crashed] = [closed.clone(), crashed];
    for bytes in [&mut unsound_closed, &mut unsound_crashed] {
        bytes[4096..].fill(0);
        for_writer(&Noting::new(bytes.clone())).expect_err("all pages are gone");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = unsound_closed.clone();
        bytes[at] = byte;
        for_writer(&Noting::new(bytes))
    };
    for_writer(&Noting::new(Vec::new()))?;
    for_writer(&Noting::new(vec![0; 5000]))?;
    for_writer(&Noting::new(closed[..HEADER_BYTES - 1].to_vec()))?;
    // Another program's, other pages, another format, and a slot that is damaged.
    with(0, b'R')?;
    with(PAGE_BYTES_AT, 1)?;
    let last = SLOTS_AT + if closed[FLAGS_AT] & SECOND_IS_PRIMARY == 0 { 0 } else { SLOT_BYTES };
    with(last, 4)?;
    with(last + 20, !closed[last + 20])?;
    // After a crash, a commit is only known to be whole if it was made in two phases.
    unsound_crashed[FLAGS_AT] &= !TWO_PHASE_COMMIT;
    for_writer(&Noting::new(unsound_crashed))?;
    Ok(())
}

/// A file that is read as the test says.
struct Scripted<F> {
    len: u64,
    read: F,
}

impl<F> fmt::Debug for Scripted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<F: Fn(u64, &mut [u8]) -> io::Result<()> + Send + Sync + 'static> Storage for Scripted<F> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (self.read)(offset, out)
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

/// A file that is put together by hand.
struct Forged(Vec<u8>);

impl Forged {
    const BYTES: usize = PAGE_BYTES as usize;

    /// Begins one of so many pages, in regions of so many of which the first so many are their headers.
    fn new(pages: usize, header: u32, data: u32) -> Self {
        let mut file = vec![0; Self::BYTES * pages];
        file[..MAGIC.len()].copy_from_slice(MAGIC);
        for (at, value) in [(PAGE_BYTES_AT, PAGE_BYTES), (REGION_HEADER_AT, header), (REGION_DATA_AT, data)] {
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        Self(file)
    }

    /// Puts a node at a page of the file, which goes by this number.
    fn put(&mut self, page: usize, number: u64, node: &[u8]) -> Root {
        self.0[page * Self::BYTES..][..node.len()].copy_from_slice(node);
        Root { page: number, checksum: xxh3_128(node).to_le_bytes() }
    }

    /// Says in a slot of the header where the trees begin, and that it is the last one.
    fn commit(&mut self, slot: usize, tables: Root, own: Root) {
        self.0[FLAGS_AT] = if slot == 0 { 0 } else { SECOND_IS_PRIMARY };
        let slot = &mut self.0[SLOTS_AT + slot * SLOT_BYTES..][..SLOT_BYTES];
        slot[0] = FORMAT;
        for ((is_there, at), root) in [(TABLES_AT, tables), (OWN_AT, own)] {
            slot[is_there] = 1;
            slot[at..at + 8].copy_from_slice(&root.page.to_le_bytes());
            slot[at + 8..at + 8 + CHECKSUM_BYTES].copy_from_slice(&root.checksum);
        }
        let (covered, checksum) = slot.split_at_mut(SLOT_BYTES - CHECKSUM_BYTES);
        checksum.copy_from_slice(&xxh3_128(covered).to_le_bytes());
    }

    fn file(&self) -> Noting {
        Noting::new(self.0.clone())
    }
}

/// The number of a page by its region, its index among those of its size, and how often its size was doubled.
fn number(region: u64, index: u64, order: u64) -> u64 {
    order << 59 | region << 20 | index
}

/// Appends pieces, behind where each of them ends if they are of various widths: those before them begin at `ends`.
fn extend(node: &mut Vec<u8>, pieces: &[&[u8]], ends: Option<usize>) {
    let mut end = node.len();
    for (n, piece) in pieces.iter().enumerate() {
        node.extend(*piece);
        end += piece.len();
        if let Some(ends) = ends {
            let end = u32::try_from(end).expect("is less than a page").to_le_bytes();
            node[ends + 4 * n..][..4].copy_from_slice(&end);
        }
    }
}

fn node(kind: u8, keys: usize) -> Vec<u8> {
    let keys = u16::try_from(keys).expect("is less than a page").to_le_bytes();
    vec![kind, 0, keys[0], keys[1]]
}

fn leaf(widths: Widths, keys: &[&[u8]], values: &[&[u8]]) -> Vec<u8> {
    let mut leaf = node(LEAF, keys.len());
    let mut ends = |width: Option<usize>| {
        width.is_none().then(|| {
            let ends = leaf.len();
            leaf.resize(ends + 4 * keys.len(), 0);
            ends
        })
    };
    let (key_ends, value_ends) = (ends(widths.key), ends(widths.value));
    extend(&mut leaf, keys, key_ends);
    extend(&mut leaf, values, value_ends);
    leaf
}

fn branch(width: Option<usize>, keys: &[&[u8]], children: &[Root]) -> Vec<u8> {
    let mut branch = node(BRANCH, keys.len());
    branch.resize(8, 0);
    branch.extend(children.iter().flat_map(|child| child.checksum));
    branch.extend(children.iter().flat_map(|child| child.page.to_le_bytes()));
    let ends = branch.len();
    if width.is_none() {
        branch.resize(ends + 4 * keys.len(), 0);
    }
    extend(&mut branch, keys, width.is_none().then_some(ends));
    branch
}

/// What the tree of tables says of one.
fn definition(root: Option<Root>, widths: Widths) -> Vec<u8> {
    let mut definition = vec![0; 52];
    if let Some(root) = root {
        definition[9] = 1;
        definition[10..18].copy_from_slice(&root.page.to_le_bytes());
        definition[18..34].copy_from_slice(&root.checksum);
    }
    for (at, width) in [(42, widths.key), (47, widths.value)] {
        if let Some(width) = width {
            definition[at] = 1;
            definition[at + 1..at + 5]
                .copy_from_slice(&u32::try_from(width).expect("is less than a page").to_le_bytes());
        }
    }
    definition
}

/// Regions, pages of twice the size, and all four kinds of widths: a store has them only once it is large.
#[test]
fn every_page_of_every_kind_is_read_once_where_it_is() -> Result<()> {
    let various = Widths::default();
    // Regions of a header and six pages: they begin at the pages 1, 8 and 15 of the file.
    let mut forged = Forged::new(22, 1, 6);
    let both = Widths { key: Some(8), value: Some(16) };
    let (keys, values): (Vec<_>, Vec<_>) =
        (0..300u16).map(|n| (u64::from(n).to_be_bytes(), [n.to_be_bytes()[1]; 16])).unzip();
    let (keys, values): (Vec<_>, Vec<_>) =
        keys.iter().zip(&values).map(|(key, value)| (&key[..], &value[..])).unzip();
    let wide = forged.put(18, number(2, 1, 1), &leaf(both, &keys[..299], &values[..299]));
    let narrow = forged.put(2, number(0, 0, 0), &leaf(both, &keys[299..], &values[299..]));
    let of_both = forged.put(11, number(1, 2, 0), &branch(both.key, &keys[299..], &[wide, narrow]));
    let one = Widths { key: None, value: Some(4) };
    let of_one = forged.put(12, number(1, 3, 0), &leaf(one, &[b"k", b"long"], &[b"1234", b"5678"]));
    let other = Widths { key: Some(4), value: None };
    let of_other = forged.put(20, number(2, 4, 0), &leaf(other, &[b"1234", b"5678"], &[b"v", b"value"]));
    let of_neither = forged.put(7, number(0, 5, 0), &leaf(various, &[b"key", b"other"], &[b"", b"value"]));
    let first = [definition(Some(of_both), both), definition(None, both), definition(Some(of_one), one)];
    let first = leaf(various, &[b"a", b"empty", b"b"], &first.each_ref().map(Vec::as_slice));
    let second = [definition(Some(of_other), other), definition(Some(of_neither), various)];
    let second = leaf(various, &[b"c", b"the last one"], &second.each_ref().map(Vec::as_slice));
    let first = forged.put(3, number(0, 1, 0), &first);
    let second = forged.put(4, number(0, 2, 0), &second);
    let own = forged.put(5, number(0, 3, 0), &branch(None, &[b"b"], &[first, second]));
    let tables = forged.put(6, number(0, 4, 0), &leaf(various, &[b"table"], &[&definition(None, various)]));

    for slot in [0, 1] {
        forged.commit(slot, tables, own);
        let file = forged.file();
        for_reader(&file)?;
        let read = std::mem::take(&mut *file.read.lock().expect("nobody panics with it"));
        let of_reader = [(0, HEADER_BYTES), (6 * 4096, 4096)];
        assert_eq!(read, BTreeSet::from(of_reader), "slot {slot}");
        for_writer(&file)?;
        let read = file.read.lock().expect("nobody panics with it").clone();
        let pages = [2, 3, 4, 5, 7, 11, 12, 20].map(|page| (page * 4096, 4096));
        let expected = of_reader.into_iter().chain(pages).chain([(18 * 4096, 8192)]);
        assert_eq!(read, expected.collect(), "slot {slot}");
    }
    // The last byte that counts of each page, and where nothing counts.
    for page in [2, 3, 4, 5, 6, 7, 11, 12, 18, 20] {
        let end = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).expect("there is something");
        let len = if page == 18 { 8192 } else { 4096 };
        let end = page * 4096 + end(&forged.0[page * 4096..][..len]);
        for (at, is_noticed) in [(end, true), (end + 64, false)] {
            let mut damaged = forged.file();
            damaged.bytes[at] ^= 1;
            assert_eq!(for_writer(&damaged).is_err(), is_noticed, "byte {at} of page {page}");
        }
    }
    Ok(())
}

#[test]
fn a_forged_tree_that_has_pages_again_and_again_ends_with_the_length_of_the_file() {
    const PAGES: u32 = 40;
    let mut forged = Forged::new(1 + PAGES as usize, 0, 1 << 10);
    let mut root =
        forged.put(PAGES as usize, u64::from(PAGES) - 1, &leaf(Widths::default(), &[b"k"], &[b"v"]));
    // From the last branch to the first, because each has the checksum of the next page, a hundred times.
    for index in (0..PAGES - 1).rev() {
        let branch = branch(None, &[&b"k"[..]; 99], &[root; 100]);
        root = forged.put(index as usize + 1, index.into(), &branch);
    }
    forged.commit(0, root, root);
    let file = forged.file();
    for verify in [for_reader, for_writer] {
        assert!(matches!(verify(&file), Err(Error::Corrupt { .. })));
    }
    let read = file.read.lock().expect("nobody panics with it").len();
    assert!(read > PAGES as usize, "down to the leaf, and not {read}");
}

#[test]
fn a_tree_is_as_deep_as_one_can_be_and_no_deeper_and_no_page_is_empty() -> Result<()> {
    let various = Widths::default();
    let chained = |depth: u32| {
        let mut forged = Forged::new(1 + 2 * depth as usize, 0, 1 << 10);
        let mut put = |index: u32, node: &[u8]| forged.put(index as usize + 1, index.into(), node);
        let mut root = put(0, &leaf(various, &[b"k"], &[b"v"]));
        for index in (1..2 * depth - 1).step_by(2) {
            let beside = put(index, &leaf(various, &[b"k"], &[b"v"]));
            root = put(index + 1, &branch(None, &[b"k"], &[root, beside]));
        }
        forged.commit(0, root, root);
        forged.file()
    };
    for depth in [1, 2, 10] {
        for_reader(&chained(depth))?;
    }
    let deepest = u32::try_from(DEPTH_MAX).expect("is not large");
    for_reader(&chained(deepest))?;
    for_reader(&chained(deepest + 1)).expect_err("is too deep");
    let mut forged = Forged::new(2, 0, 1 << 10);
    let empty = forged.put(1, 0, &node(LEAF, 0));
    forged.commit(0, empty, empty);
    for_reader(&forged.file()).expect_err("an empty tree has no page");
    Ok(())
}

#[test]
fn a_reader_looks_again_where_a_writer_has_committed_meanwhile() {
    let mut forged = Forged::new(4, 0, 1 << 10);
    let first = leaf(Widths::default(), &[b"first"], &[b"v"]);
    let root = forged.put(1, 0, &first);
    forged.commit(0, root, root);
    let before = forged.0.clone();
    let root = forged.put(2, 1, &leaf(Widths::default(), &[b"second"], &[b"v"]));
    forged.0[Forged::BYTES..][..first.len()].fill(0);
    forged.commit(1, root, root);
    let after = forged.0;
    let gone: Vec<u8> = before.iter().take(Forged::BYTES).chain(&after[Forged::BYTES..]).copied().collect();
    let path = Path::new("home/store.redb");
    // The writer commits as soon as the header was read, and has given away the page at which the commit before began.
    let reading = |before: &[u8], after: &[u8]| {
        let states = Mutex::new([before.to_vec(), after.to_vec()]);
        let read = move |offset: u64, out: &mut [u8]| {
            let mut states = states.lock().expect("nobody panics with it");
            let begin = usize::try_from(offset).expect("fits");
            out.copy_from_slice(&states[0][begin..begin + out.len()]);
            states[0] = states[1].clone();
            Ok(())
        };
        verify_for_reader(&Scripted { len: before.len() as u64, read }, path)
    };
    reading(&before, &after).expect("the second commit is whole");
    reading(&gone, &gone).expect_err("nobody has committed, and the page is gone");
}

/// Reads a table's keys in a file of `files`, and where its tree begins.
fn table_of(file: &Noting, name: &str) -> Result<(Commit, Option<Root>)> {
    let header = header(file, Path::new("home/store.redb"))?.expect("is long enough");
    let commit = Commit::last(&header).expect("is whole");
    let tables = commit.tables.expect("there are tables");
    let Ok(definition) = commit.pages(file).find(tables, name.as_bytes()) else { panic!("is sound") };
    Ok((commit, definition.and_then(|bytes| Definition::parse(&bytes)).map(|definition| definition.root)))
}

/// Returns how leaves begin that were read since, by where they are.
fn heads(file: &Noting) -> Vec<u64> {
    let read = std::mem::take(&mut *file.read.lock().expect("nobody panics with it"));
    let heads = read.into_iter().filter(|(_, len)| *len == NODE_HEAD_BYTES).map(|(offset, _)| offset);
    heads.filter(|at| file.bytes[usize::try_from(*at).expect("fits")] == LEAF).collect()
}

#[test]
fn a_key_is_searched_for_as_the_b_tree_does() -> Result<(), Box<dyn std::error::Error>> {
    let [closed, _] = files()?;
    let file = Noting::new(closed);
    assert!(table_of(&file, "two")?.1.is_none() && table_of(&file, "three")?.1.is_none());
    let (commit, root) = table_of(&file, "one")?;
    let root = root.expect("is not empty");
    let find = |key: &[u8]| commit.pages(&file).find(root, key).unwrap_or_else(|_| panic!("is sound"));
    // What the rounds have put: each seventh key from its number on.
    let has = |key: u32| {
        (0..20).any(|round| key >= round && (key - round).is_multiple_of(7) && (key - round) / 7 < 500)
    };
    // Which branches lead to leaves alone is told by how the first of those begins: read once.
    let known = Verified::default();
    let verified = |from: &[u8], to: Option<&[u8]>, leaves: usize| {
        let Ok(rest) = commit.pages(&file).knowing(&known).verify_branches(root, from, to, leaves) else {
            panic!("is sound")
        };
        rest
    };
    heads(&file);
    assert_eq!(verified(b"", None, usize::MAX), None);
    let all = heads(&file);
    assert!(all.len() > 30, "{} leaves", all.len());
    for key in (0..3600).chain([u32::MAX]) {
        let key_bytes = key.to_be_bytes();
        let found = find(&key_bytes);
        // Behind its seal.
        assert_eq!(found.is_some_and(|value| value.ends_with(&[7; 100])), has(key), "key {key}");
        heads(&file);
        assert_eq!(verified(&key_bytes, Some(&key_bytes), usize::MAX), None);
        let [leaf] = heads(&file)[..] else { panic!("key {key} leads to one leaf") };
        if has(key) {
            let leaf = usize::try_from(leaf)?;
            let holds = file.bytes[leaf..leaf + 4096].windows(4).any(|bytes| bytes == key_bytes);
            assert!(holds, "key {key} is in the leaf at {leaf}");
        }
    }
    assert!(find(b"").is_none());

    // Step by step, each leaf comes once, and in the end all have come.
    let (mut from, mut steps, mut seen) = (Some(Vec::new()), 0, Vec::new());
    while let Some(key) = from {
        from = verified(&key, None, 3);
        (steps, seen) = (steps + 1, [seen, heads(&file)].concat());
    }
    assert_eq!(steps, all.len().div_ceil(3));
    seen.sort_unstable();
    assert_eq!(seen, all);

    // A part of it.
    let (from, to) = (700u32.to_be_bytes(), 1400u32.to_be_bytes());
    assert_eq!(verified(&from, Some(&to), usize::MAX), None);
    let part = heads(&file);
    assert!(part.len() > 5 && part.len() < all.len() / 3, "{} of {}", part.len(), all.len());

    // Counting looks at none of them.
    let count = |from: Option<&[u8]>, to: Option<&[u8]>| {
        let counted = commit.pages(&file).knowing(&known).count_leaves(root, from, to);
        counted.unwrap_or_else(|_| panic!("is sound"))
    };
    assert_eq!(count(None, None), all.len());
    assert_eq!(count(Some(&from), Some(&to)), part.len());
    let halves = count(None, Some(&from)) + count(Some(&from), None);
    assert_eq!(halves, all.len() + 1, "the leaf of the key between them counts twice");
    assert_eq!(heads(&file), []);
    Ok(())
}

#[test]
fn the_leaves_of_a_deep_tree_are_counted_as_they_are_walked() -> Result<(), Box<dyn std::error::Error>> {
    const KEYS: usize = 1500;
    let key = |n: usize| format!("{n:0300}").into_bytes();
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("store.redb");
    let engine = Engine::open(&path, Options::new(TABLES))?;
    engine.write(|tx| (0..KEYS).try_for_each(|n| tx.insert(TABLES[0], &key(n), &[b"v"]).map(drop)))?;
    drop(engine);
    let file = Noting::new(fs::read(&path)?);
    let (commit, root) = table_of(&file, "one")?;
    let (root, known) = (root.expect("is not empty"), Verified::default());
    let pages = || commit.pages(&file).knowing(&known);
    let count = |from: Option<&[u8]>, to: Option<&[u8]>| {
        pages().count_leaves(root, from, to).unwrap_or_else(|_| panic!("is sound"))
    };
    let walk = |from: &[u8], to: Option<&[u8]>| {
        heads(&file);
        assert!(pages().verify_branches(root, from, to, usize::MAX).is_ok_and(|rest| rest.is_none()));
        heads(&file).len()
    };
    walk(b"", None);
    let all = walk(b"", None);
    assert!(all > KEYS / 15, "{all} leaves");
    assert_eq!(count(None, None), all);
    for n in (0..KEYS - 200).step_by(37) {
        for further in [0, 1, 7, 199] {
            let (from, to) = (key(n), key(n + further));
            let walked = walk(&from, Some(&to));
            assert_eq!(count(Some(&from), Some(&to)), walked, "{n}, {further}");
            assert!(walked > further / 15 && walked <= 1 + further, "{n}, {further}: {walked} leaves");
        }
    }
    let (mut depth, mut at) = (1, root);
    while let Ok(Known::Branch(branch)) = pages().known(at, 0) {
        at = branch.node(at).ok().and_then(|node| node.child(1)).expect("is a branch");
        depth += 1;
    }
    assert!(depth > 3, "{depth} levels");
    Ok(())
}

#[test]
fn damage_on_the_way_to_a_key_is_seen_and_other_is_not() -> Result<(), Box<dyn std::error::Error>> {
    let [closed, _] = files()?;
    let (commit, root) = table_of(&Noting::new(closed.clone()), "one")?;
    let root = root.expect("is not empty");
    let is_sound = |file: &Noting, from: &[u8], to: Option<&[u8]>| {
        commit.pages(file).verify_branches(root, from, to, usize::MAX).is_ok()
    };
    let mut file = Noting::new(closed);
    assert!(is_sound(&file, b"", None));
    let read: Vec<_> = file.read.lock().expect("nobody panics with it").iter().copied().collect();
    let key = 7u32.to_be_bytes();
    let (mut on_the_way, mut elsewhere) = (0, 0);
    for (offset, len) in read {
        let at = usize::try_from(offset)?;
        // Said to be empty, if it is a leaf; or a damaged checksum of a child.
        let kept: Vec<u8> = file.bytes[at..at + 24].to_vec();
        if len == NODE_HEAD_BYTES {
            file.bytes[at + ENTRIES_AT..][..2].fill(0);
        } else {
            file.bytes[at + 20] ^= 1;
        }
        assert!(!is_sound(&file, b"", None), "byte {at}");
        if is_sound(&file, &key, Some(&key)) {
            elsewhere += 1;
        } else {
            on_the_way += 1;
        }
        file.bytes[at..at + 24].copy_from_slice(&kept);
    }
    assert!(is_sound(&file, b"", None));
    assert_eq!(on_the_way, 2, "a branch and a leaf");
    assert!(elsewhere > 30, "the others lead elsewhere: {elsewhere}");
    Ok(())
}

#[test]
fn a_read_that_the_system_refuses_says_of_which_file() {
    let refusing =
        Scripted { len: 1 << 20, read: |_, _: &mut [u8]| Err(io::ErrorKind::PermissionDenied.into()) };
    for verify in [verify_for_reader, verify_for_writer] {
        let refused = verify(&refusing, Path::new("home/store.redb")).expect_err("the system refuses it");
        assert!(refused.to_string().contains("home/store.redb"), "{refused}");
    }
}
