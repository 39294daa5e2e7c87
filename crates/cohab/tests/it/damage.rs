use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::iter;
use std::ops::ControlFlow;
use std::path::Path;

use cohab::{Kind, Result, Role, Snapshot, Store, VerifyOptions};

use crate::{Scratch, key};

const KEYS: u32 = 3000;

fn value(i: u32) -> Vec<u8> {
    format!("value {i} of the store").into_bytes()
}

/// What somebody who reads everything sees, or the first error.
fn read_all(store: &Store) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let snapshot = store.snapshot()?;
    let n = snapshot.namespace("n")?;
    let mut all = BTreeMap::new();
    for entry in n.all()? {
        let entry = entry?;
        all.insert(entry.key().to_vec(), entry.value().to_vec());
    }
    Ok(all)
}

/// Flips one bit of the file, looks at the store in every way a reader has, and flips it back. Returns whether
/// the damage was noticed, and panics if something wrong was returned instead.
fn flip(data: &Path, store: &Path, bytes: &mut [u8], bit: usize) -> bool {
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(data, &*bytes).expect("can be written");
    let reader = Store::options().role(Role::Reader).on_recovery(|_| ControlFlow::Break(())).open(store);
    let noticed = reader.and_then(|reader| {
        let all = read_all(&reader)?;
        assert_eq!(all.len(), KEYS as usize, "bit {bit}: a scan is complete or fails");
        assert!(
            (0..KEYS).all(|i| all.get(&key(i)[..]) == Some(&value(i))),
            "bit {bit}: a scan is right or fails"
        );
        let snapshot = reader.snapshot()?;
        let n = snapshot.namespace("n")?;
        for i in (0..KEYS).step_by(37).chain([u32::try_from(bit).unwrap_or(0) % KEYS]) {
            let found = n.get(key(i))?;
            assert_eq!(found.as_deref(), Some(&value(i)[..]), "bit {bit}: a look-up is right or fails");
            let absent = n.get([&key(i)[..], b"x"].concat())?;
            assert!(absent.is_none(), "bit {bit}");
        }
        Ok(snapshot.verify(|_| ())?.is_sound())
    });
    bytes[bit / 8] ^= 1 << (bit % 8);
    match noticed {
        Ok(sound) => !sound,
        Err(error) => {
            let expected = matches!(
                error.kind(),
                Kind::Corrupt
                    | Kind::Format
                    | Kind::NeedsRecovery
                    | Kind::NotFound
                    | Kind::InvalidInput
                    | Kind::Aborted
            );
            assert!(expected, "bit {bit}: {error:?}");
            true
        }
    }
}

/// Where the bits are that are flipped: spread over the file by a fixed generator, so that a failure repeats.
fn bits(count: usize, len: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 16).expect("64 bits") % (len * 8)
    })
}

#[test]
fn invariant_4_a_flipped_bit_is_an_error_and_never_a_wrong_value() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..KEYS).try_for_each(|i| tx.put("n", key(i), value(i))))?;
    store.compact()?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let mut bytes = fs::read(&data).expect("can be read");
    let len = bytes.len();
    // `COHAB_FLIPS=5000 cargo test -p cohab --test it invariant_4 -- --nocapture` is the long form.
    let flips = std::env::var("COHAB_FLIPS").map_or(400, |flips| flips.parse().expect("a number"));
    let noticed = bits(flips, len).filter(|bit| flip(&data, &scratch.path(), &mut bytes, *bit)).count();
    println!(
        "{noticed} of {flips} flipped bits in {len} bytes were noticed, the others lie where nothing is stored"
    );
    assert!(noticed * 20 > flips, "{noticed} of {flips} were noticed");
    Ok(())
}

#[test]
fn a_damaged_value_is_named_with_its_key_and_the_others_can_be_read() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..100).try_for_each(|i| tx.put("n", format!("key-{i}"), value(i))))?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let mut bytes = fs::read(&data).expect("can be read");
    let needle = value(42);
    let places: Vec<_> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(&needle)).collect();
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(&data, bytes).expect("can be written");
    let store = scratch.store();
    let snapshot = store.snapshot()?;
    let n = snapshot.namespace("n")?;
    let error = n.get("key-42").expect_err("is damaged");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("key \"key-42\""), "{error}");
    assert!(error.to_string().contains("namespace"), "{error}");
    assert_eq!(n.get("key-43")?.as_deref(), Some(&value(43)[..]));
    let report = snapshot.verify(|_| ())?;
    assert!(report.differences.iter().any(|d| d.to_string().contains("key-42")), "{:?}", report.differences);
    drop(snapshot);
    let error = store.check().expect_err("a page is damaged");
    assert_eq!(error.kind(), Kind::Corrupt);
    Ok(())
}

#[test]
fn a_damaged_key_does_not_pass_for_an_absent_one() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..100).try_for_each(|i| tx.put("n", format!("key-{i:03}"), value(i))))?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    let needle = b"key-042";
    let places: Vec<_> =
        (0..good.len() - needle.len()).filter(|at| good[*at..].starts_with(needle)).collect();
    for bit in 0..needle.len() * 8 {
        let mut bytes = good.clone();
        for at in &places {
            bytes[at + bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&data, bytes).expect("can be written");
        let store = Store::options().role(Role::Reader).open(scratch.path())?;
        let found = store.snapshot()?.get("n", "key-042").map(|found| found.map(|value| value.to_vec()));
        assert_eq!(found.map_err(|error| error.kind()), Err(Kind::Corrupt), "bit {bit}");
    }
    Ok(())
}

#[test]
fn a_file_that_was_cut_off_is_damage_however_it_is_read() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..20_000).try_for_each(|i| tx.put("n", key(i), [3; 100])))?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let len = fs::metadata(&data).expect("is there").len();
    let mut noticed = 0;
    for part in [99, 90, 50] {
        let file = fs::OpenOptions::new().write(true).open(&data).expect("can be opened");
        file.set_len(len * part / 100).expect("can be cut");
        let reader = Store::options().role(Role::Reader).open(scratch.path());
        match reader.and_then(|reader| reader.snapshot()?.verify(|_| ())) {
            Ok(report) => noticed += u32::from(!report.is_sound()),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::Corrupt | Kind::NeedsRecovery), "{part} %: {error:?}");
                noticed += 1;
            }
        }
    }
    assert!(noticed >= 2, "cutting into pages in use was noticed {noticed} times");
    Ok(())
}

/// Where a page that only a recovery needs is damaged, recovering left the file as it was, and every reader did it again and again.
#[test]
fn whatever_page_is_damaged_opening_a_store_that_was_not_closed_comes_to_an_end() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    (0..20).try_for_each(|i| store.write(|tx| tx.put("n", key(i), value(i))).map(drop))?;
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    drop(store);
    let (mut refused, mut unwritable) = (0, 0);
    for page in 1..good.len() / 4096 {
        for at in [0, 2, 323] {
            let mut bytes = good.clone();
            bytes[page * 4096 + at] ^= 8;
            fs::write(&data, &bytes).expect("can be written");
            let reader = Store::options().role(Role::Reader).register(false).open(scratch.path());
            match reader.and_then(|reader| Ok((read_all(&reader)?, reader))) {
                Ok((all, reader)) => {
                    assert_eq!(all.len(), 20, "page {page}, byte {at}");
                    // What only a writer needs keeps nobody from reading.
                    let writer = Store::options().register(false).open(scratch.path());
                    if let Err(error) = writer {
                        unwritable += 1;
                        assert_eq!(error.kind(), Kind::Corrupt, "page {page}, byte {at}: {error}");
                        assert!(error.to_string().contains("but not written"), "{error}");
                        let copied = scratch.path().join(format!("{page}-{at}.backup"));
                        reader.backup(&copied, |_| ())?;
                        let whole = Scratch::new();
                        let restored = Store::restore(&copied, whole.path(), |_| ())?;
                        assert_eq!(read_all(&restored)?.len(), 20, "page {page}, byte {at}");
                        restored.write(|tx| tx.put("n", "new", "is written"))?;
                    }
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), Kind::Corrupt, "page {page}, byte {at}: {error}");
                }
            }
        }
    }
    assert!(refused > 0 && unwritable > 3, "{refused} were refused, and {unwritable} only to a writer");
    Ok(())
}

/// The key of a store with two levels of branches.
fn long(i: u32) -> String {
    format!("{i:0>150}")
}

/// How many of them there are.
const LONG_KEYS: u32 = 400;

/// Fills a store with long keys and returns its file's bytes.
fn with_branches(scratch: &Scratch) -> Result<Vec<u8>> {
    let store = scratch.with_namespace();
    store.write(|tx| (0..LONG_KEYS).try_for_each(|i| tx.put("n", long(i), value(i))))?;
    store.compact()?;
    drop(store);
    Ok(fs::read(scratch.path().join("store.redb")).expect("can be read"))
}

/// The pages of branches, which begin with a 2, with their numbers.
fn branches(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    file.chunks(4096).enumerate().filter(|(_, page)| page[0] == 2)
}

/// Where the numbers of branches' children stand: behind the number of keys and, eight bytes later, a checksum of sixteen bytes
/// for each of them.
fn children(file: &[u8]) -> impl Iterator<Item = usize> {
    branches(file).flat_map(|(number, page)| {
        let children = usize::from(u16::from_le_bytes([page[2], page[3]])) + 1;
        (0..children).map(move |child| number * 4096 + 8 + 16 * children + 8 * child)
    })
}

/// Where a digit of each dividing key stands: a branch holds keys as they are.
fn digits(file: &[u8]) -> impl Iterator<Item = usize> {
    branches(file).flat_map(|(number, page)| {
        let keys = page.windows(140).enumerate().filter(|(_, piece)| piece.iter().all(|byte| *byte == b'0'));
        keys.filter(|(at, _)| page.get(at + 140) != Some(&b'0')).map(move |(at, _)| number * 4096 + at + 141)
    })
}

/// Reads every key, and the first entry of the ranges from it on in both directions: each is right or an error. Returns the
/// keys that cannot be read.
fn unreadable(n: &cohab::NamespaceView<'_>, damage: &str) -> Vec<u32> {
    (0..LONG_KEYS)
        .filter(|&i| {
            let ahead = n.range(long(i)..).and_then(|mut range| range.next().transpose());
            let back = n.reverse(..=long(i)).and_then(|mut range| range.next().transpose());
            for first in [ahead, back].into_iter().flatten() {
                let first = first.expect("there are keys to both sides");
                assert_eq!(first.key(), long(i).as_bytes(), "{damage}: range at {i}");
            }
            let found = n.get(long(i)).inspect(|found| {
                assert_eq!(found.as_deref(), Some(&value(i)[..]), "{damage}: key {i}");
            });
            found.is_err_and(|error| error.kind() == Kind::Corrupt)
        })
        .collect()
}

/// A bit of a page's number in a branch was flipped, so that it led to another leaf, all of whose keys came before the gap, or
/// all behind it. The keys of the leaf that belonged there were said to be absent, and ranges began behind them or ended before
/// them.
#[test]
fn a_branch_that_leads_to_another_leaf_hides_no_key() -> Result<()> {
    let scratch = Scratch::new();
    let good = with_branches(&scratch)?;
    let (mut led_astray, mut unread) = (0, 0);
    for (at, bit) in children(&good).flat_map(|at| (0..6).map(move |bit| (at, bit))).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        fs::write(scratch.path().join("store.redb"), &bytes).expect("can be written");
        let reader = Store::options().role(Role::Reader).register(false).open(scratch.path());
        let Ok(snapshot) = reader.and_then(|reader| reader.snapshot()) else { continue };
        let Ok(n) = snapshot.namespace("n") else { continue };
        led_astray += unreadable(&n, &format!("byte {at}, bit {bit}")).len();
        for i in (0..LONG_KEYS - 15).step_by(5) {
            let keys = |entries: cohab::Range<'_>| -> Result<Vec<_>> {
                entries.map(|entry| entry.map(|entry| entry.key().to_vec())).collect()
            };
            let expected: Vec<_> = (i..i + 15).map(|i| long(i).into_bytes()).collect();
            let ahead = n.range(long(i)..long(i + 15)).and_then(keys);
            let back = n.reverse(long(i)..long(i + 15)).and_then(keys);
            let back = back.map(|keys| keys.into_iter().rev().collect());
            for (found, damage) in [(ahead, "ahead"), (back, "back")] {
                unread += usize::from(found.is_err());
                assert!(
                    found.is_err() || found.is_ok_and(|found| found == expected),
                    "byte {at}, bit {bit}: {damage} from {i}"
                );
            }
        }
    }
    assert!(led_astray > 100 && unread > 100, "{led_astray} look-ups and {unread} ranges were led astray");
    Ok(())
}

/// The number of a leaf's entries was flipped to none, so that its only key passed for absent: nothing beside the gap tells.
#[test]
fn a_leaf_that_is_said_to_be_empty_hides_no_key() -> Result<()> {
    const LARGE_KEYS: u32 = 12;
    let value = vec![7; 20_000];
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..LARGE_KEYS).try_for_each(|i| tx.put("n", key(i), &value)))?;
    store.compact()?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    let leaves = good.chunks(4096).enumerate().filter(|(_, page)| page[0] == 1 && page[2..4] == [1, 0]);
    let mut hidden: Vec<u32> = Vec::new();
    for (number, _) in leaves {
        let mut bytes = good.clone();
        bytes[number * 4096 + 2] = 0;
        fs::write(&data, &bytes).expect("can be written");
        let as_reader = Store::options().role(Role::Reader).register(false).open(scratch.path());
        let Ok(snapshot) = as_reader.and_then(|reader| reader.snapshot()) else { continue };
        let lost = lost_keys(&snapshot, LARGE_KEYS, &value);
        let Some(&one) = lost.first() else { continue };
        hidden.extend(&lost);
        let n = snapshot.namespace("n")?;
        let read = |range: std::ops::Range<u32>| {
            let bounds = key(range.start)..key(range.end);
            let count =
                |entries: cohab::Range<'_>| entries.map(|entry| entry.map(drop)).collect::<Result<Vec<_>>>();
            [n.range(bounds.clone()).and_then(count), n.reverse(bounds).and_then(count)]
                .map(|read| read.map(|read| read.len()).map_err(|error| error.kind()))
        };
        for range in [0..LARGE_KEYS, one..one + 1, one..LARGE_KEYS, 0..one + 1] {
            let expected = [Err(Kind::Corrupt), Err(Kind::Corrupt)];
            assert_eq!(read(range.clone()), expected, "page {number}: key {one} in {range:?}");
        }
        let elsewhere = [0..one.saturating_sub(1), (one + 2).min(LARGE_KEYS)..LARGE_KEYS];
        for range in elsewhere.into_iter().filter(|range| !range.is_empty()) {
            let expected = [Ok(range.len()), Ok(range.len())];
            assert_eq!(read(range.clone()), expected, "page {number}: key {one} is not in {range:?}");
        }
        // Also to somebody who takes two entries, and does not ask for the end.
        if (1..LARGE_KEYS - 1).contains(&one) {
            let ahead = n.range(key(one - 1)..)?.take(2).collect::<Result<Vec<_>>>();
            let back = n.reverse(..=key(one + 1))?.take(2).collect::<Result<Vec<_>>>();
            for (read, from) in [(ahead, "ahead"), (back, "back")] {
                let read = read.map(drop).map_err(|error| error.kind());
                assert_eq!(read, Err(Kind::Corrupt), "page {number}: {from} over key {one}");
            }
        }
        assert!(!snapshot.verify(|_| ())?.is_sound(), "page {number}");
        let store = scratch.store();
        assert_eq!(lost_keys(&store.snapshot()?, LARGE_KEYS, &value), lost, "page {number}, for the writer");
        let deleted = store.write(|tx| tx.delete("n", key(one))).map(drop);
        let put = store.write(|tx| tx.put("n", key(one), b"new")).map(drop);
        for outcome in [deleted, put] {
            assert_eq!(outcome.map_err(|error| error.kind()), Err(Kind::Corrupt), "page {number}: key {one}");
        }
    }
    hidden.sort_unstable();
    assert_eq!(hidden, (0..LARGE_KEYS).collect::<Vec<_>>(), "each key has a leaf");
    Ok(())
}

/// Returns which keys are reported as damaged; every other has its value.
fn lost_keys(snapshot: &Snapshot, keys: u32, value: &[u8]) -> Vec<u32> {
    let is_lost = |i: &u32| match snapshot.get("n", key(*i)) {
        Ok(found) => {
            assert_eq!(found.as_deref(), Some(value), "key {i}");
            false
        }
        Err(error) => error.kind() == Kind::Corrupt,
    };
    (0..keys).filter(is_lost).collect()
}

/// The dividing key of a branch was flipped: a look-up of a key beside it was led to the wrong leaf and said so, but a
/// verification, which goes from leaf to leaf, found the store sound; and a deletion said that there was no such key, and
/// left it there.
#[test]
fn a_damaged_branch_is_found_by_a_verification_and_hides_no_key_from_a_deletion() -> Result<()> {
    let scratch = Scratch::new();
    let good = with_branches(&scratch)?;
    let mut led_astray = 0;
    for at in digits(&good).take(40) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(scratch.path().join("store.redb"), &bytes).expect("can be written");
        let reader = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
        let snapshot = reader.snapshot()?;
        let lost = unreadable(&snapshot.namespace("n")?, &format!("byte {at}"));
        let Some(&lost) = lost.first() else { continue };
        led_astray += 1;
        assert!(!snapshot.verify(|_| ())?.is_sound(), "byte {at}: key {lost} cannot be read");
        drop(snapshot);
        drop(reader);
        let deleted = scratch.store().write(|tx| tx.delete("n", long(lost)));
        assert_eq!(
            deleted.map(drop).map_err(|error| error.kind()),
            Err(Kind::Corrupt),
            "byte {at}: key {lost}"
        );
    }
    assert!(led_astray > 3, "{led_astray} flips led a look-up astray");
    Ok(())
}

/// A branch's checksum of a child leads no look-up astray, and was nowhere compared: only the check of every page, which needs the
/// file for itself, told. A handle that has read the branch before looks at it again.
#[test]
fn a_branch_that_was_damaged_since_it_was_read_is_found_by_a_verification() -> Result<()> {
    let scratch = Scratch::new();
    let good = with_branches(&scratch)?;
    let reader = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
    let snapshot = reader.snapshot()?;
    let n = snapshot.namespace("n")?;
    assert_eq!(n.range(long(0)..)?.count(), LONG_KEYS as usize);
    assert!(snapshot.verify(|_| ())?.is_sound());
    let mut data =
        fs::OpenOptions::new().write(true).open(scratch.path().join("store.redb")).expect("is there");
    let mut write = |at: usize, byte: u8| {
        data.seek(SeekFrom::Start(at as u64)).and_then(|_| data.write_all(&[byte])).expect("can be written");
    };
    let mut found = BTreeSet::new();
    for (number, page) in branches(&good) {
        let checksum = number * 4096 + 8;
        write(checksum, page[8] ^ 4);
        let whole = snapshot.verify(|_| ())?;
        let sliced = reader.verifier(VerifyOptions::default().slice_keys(3))?.run(|_| ())?;
        assert_eq!(whole.differences, sliced.differences, "page {number}: slices find the same");
        // What is left of earlier commits is nobody's.
        if let [damaged] = &whole.differences[..] {
            assert!(damaged.problem.contains("does not match"), "page {number}: {damaged}");
            found.insert((damaged.place.clone(), number));
        }
        write(checksum, page[8]);
    }
    for place in ["the index of the data", "the index of the log"] {
        assert!(found.iter().any(|(at, _)| at == place), "{place}: {found:?}");
    }
    assert!(snapshot.verify(|_| ())?.is_sound());
    Ok(())
}

/// The page with the store's own row was as it had been two versions before, as a lost write leaves it: a writer gave the numbers of
/// the versions out again, and wrote their records over.
#[test]
fn a_store_whose_last_version_is_older_than_its_log_is_not_written_to() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let data = scratch.path().join("store.redb");
    let put = |store: &Store, i: u32| store.write(|tx| tx.put("n", key(i), value(i)));
    let before = put(&store, 0)?.version;
    drop(store);
    let old = fs::read(&data).expect("can be read");
    let store = scratch.store();
    put(&store, 1)?;
    let last = put(&store, 2)?.version;
    drop(store);
    let new = fs::read(&data).expect("can be read");
    let mut refused = 0;
    for page in old.chunks(4096).filter(|page| page[0] == 1) {
        for at in (4096..new.len()).step_by(4096) {
            let mut bytes = new.clone();
            bytes[at..at + 4096].copy_from_slice(page);
            fs::write(&data, &bytes).expect("can be written");
            let reader = Store::options().role(Role::Reader).register(false).open(scratch.path());
            let Ok(snapshot) = reader.and_then(|reader| reader.snapshot()) else { continue };
            if snapshot.version() == last {
                continue;
            }
            assert_eq!(snapshot.version(), before, "which the page is of");
            drop(snapshot);
            let error =
                Store::open(scratch.path()).expect_err("would give the next version's number out again");
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            let said = error.to_string();
            assert!(
                said.contains(&format!("the last version is {before}, and the log goes on to")),
                "{said}"
            );
            refused += 1;
        }
    }
    assert!(refused > 0, "no page has the store's own row");
    Ok(())
}

/// Pages were in the places of others, and a verification that looked for the end of the damage found a key shorter than the
/// beginning that all keys should have had there.
#[test]
fn a_verification_ends_where_leaves_of_other_keys_have_come_in_between() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| {
        (1..b'0').try_for_each(|i| tx.put("n", [i], b"the short ones"))?;
        (0..LONG_KEYS).try_for_each(|i| tx.put("n", long(i), value(i)))
    })?;
    store.compact()?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    let leaves = || good.chunks(4096).enumerate().filter(|(_, page)| page[0] == 1);
    let find = |page: &[u8], piece: &[u8]| page.windows(piece.len()).position(|found| found == piece);
    let (_, short) = leaves().find(|(_, page)| find(page, b"the short ones").is_some()).expect("is there");
    let mut in_order: Vec<_> = leaves()
        .filter_map(|(number, page)| Some((&page[find(page, &[b'0'; 140])?..][..150], number * 4096)))
        .collect();
    in_order.sort_unstable();
    for (n, (_, unreadable)) in in_order.iter().enumerate().skip(1) {
        for [(_, one), (_, other)] in in_order[n + 1..].array_windows() {
            let mut bytes = good.clone();
            bytes[*unreadable..unreadable + 4096].fill(0xff);
            for at in [*one, *other] {
                bytes[at..at + 4096].copy_from_slice(short);
            }
            fs::write(&data, &bytes).expect("can be written");
            let reader = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
            let report = reader.snapshot()?.verify(|_| ())?;
            assert!(!report.is_sound(), "{unreadable}, {one}, {other}");
        }
    }
    Ok(())
}

/// A put of a new key was led to the wrong leaf by a damaged branch. It was found there again, but keys of the right leaf that had
/// been said to be damaged passed for absent from then on, because it stood between them and what gave the damage away.
#[test]
fn a_put_that_a_damaged_branch_leads_astray_is_refused() -> Result<()> {
    let scratch = Scratch::new();
    let good = with_branches(&scratch)?;
    let digits = digits(&good).take(20).map(|at| (at, 0));
    let children = children(&good).flat_map(|at| (0..6).map(move |bit| (at, bit)));
    let mut refused = 0;
    for (at, bit) in digits.chain(children) {
        let damage = format!("byte {at}, bit {bit}");
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        let open = || {
            fs::write(scratch.path().join("store.redb"), &bytes).expect("can be written");
            Store::options().register(false).open(scratch.path())
        };
        let Ok(store) = open() else { continue };
        let Ok(lost) =
            store.snapshot().and_then(|snapshot| Ok(unreadable(&snapshot.namespace("n")?, &damage)))
        else {
            continue;
        };
        drop(store);
        if lost.is_empty() {
            continue;
        }
        // Right behind those that are led astray, one by one, and behind all of them, in order.
        let puts = lost.iter().take(3).chain(lost.last()).map(|lost| *lost..*lost + 1);
        for keys in puts.chain(iter::once(0..LONG_KEYS)) {
            let store = open()?;
            let new = |i: u32| long(i) + "x";
            let put = store.write(|tx| keys.clone().try_for_each(|i| tx.put("n", new(i), "new")));
            let damage = format!("{damage}: behind {keys:?}");
            if let Err(error) = put {
                // What the engine stumbles over as it closes the transaction leaves the handle in doubt.
                assert!(
                    [Kind::Corrupt, Kind::Poisoned, Kind::CommitUnknown].contains(&error.kind()),
                    "{damage}: {error}"
                );
                refused += 1;
                continue;
            }
            let snapshot = store.snapshot()?;
            let n = snapshot.namespace("n")?;
            for i in keys {
                assert_eq!(n.get(new(i))?.as_deref(), Some(&b"new"[..]), "{damage}: {i}");
            }
            unreadable(&n, &damage);
        }
    }
    assert!(refused > 50, "{refused} puts were refused");
    Ok(())
}

/// The record of a namespace was damaged. What changed between two versions said nothing of the namespace then, as if it
/// had been purged since.
#[test]
fn a_damaged_record_is_not_taken_for_a_purged_namespace() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.update_namespace("n", &cohab::Update::new().description("what this one is for")))?;
    let before = store.write(|tx| tx.put("n", "k", "1"))?.version;
    let after = store.write(|tx| tx.put("n", "k", "2"))?.version;
    store.compact()?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let mut bytes = fs::read(&data).expect("can be read");
    let needle = b"what this one is for";
    let places: Vec<_> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    // The log has one as well, which is of an earlier version than those that are compared.
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(&data, bytes).expect("can be written");
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    let diff = reader.snapshot()?.diff(before, after);
    assert_eq!(diff.map(|diff| diff.namespaces().count()).map_err(|error| error.kind()), Err(Kind::Corrupt));
    Ok(())
}
