use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use cohab_coord::{PAGE_BYTES, Page};
use cohab_core::StoreId;
use proptest::prelude::*;

use crate::{Scratch, at, ns, v};

/// Writes into the file that is there, as somebody would who is not supposed to.
fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("is there");
    file.seek(SeekFrom::Start(offset)).expect("can be sought");
    file.write_all(bytes).expect("can be written");
}

/// A page at version 9, where namespace 2 changed last and namespace 1 before it.
fn used(scratch: &Scratch) -> Page {
    let page = scratch.create();
    page.raise(at(7, 3));
    page.publish(at(8, 3), v(7), [ns(1)]);
    page.publish(at(9, 3), v(8), [ns(2)]);
    page
}

fn length() -> usize {
    usize::try_from(PAGE_BYTES).expect("is small")
}

#[test]
fn a_page_that_is_removed_or_replaced_is_no_longer_current() -> std::io::Result<()> {
    let scratch = Scratch::new();
    let page = used(&scratch);
    fs::remove_file(scratch.path())?;
    assert!(!page.is_current());
    assert_eq!(page.published(), Some(at(9, 3)), "what it said stays true");
    page.publish(at(10, 3), v(9), [ns(1)]);

    let new = scratch.create();
    assert!(new.is_current() && !page.is_current());
    assert_eq!((new.published(), new.changed(ns(1))), (None, v(u64::MAX)));
    Ok(())
}

#[test]
fn a_page_that_is_cut_off_where_nobody_looks_is_no_longer_current() {
    let scratch = Scratch::new();
    let page = used(&scratch);
    let file = OpenOptions::new().write(true).open(scratch.path()).expect("is there");
    for (length, is_current) in [(4096, false), (PAGE_BYTES, true), (PAGE_BYTES + 1, false)] {
        file.set_len(length).expect("can be set");
        assert_eq!(page.is_current(), is_current, "{length} bytes");
    }
    assert_eq!(page.published(), Some(at(9, 3)));
    assert_eq!(page.changed(ns(900)), v(u64::MAX), "what was lost says nothing");
}

#[test]
fn a_page_that_is_overwritten_has_nothing_to_say() -> std::io::Result<()> {
    let other = Scratch::new();
    Page::create(&other.path(), StoreId::generate()).expect("can be made").raise(at(90, 9));
    let others = fs::read(other.path())?;
    for content in [vec![0; length()], vec![0xFF; length()], others] {
        let scratch = Scratch::new();
        let page = used(&scratch);
        overwrite(&scratch.path(), 0, &content);
        assert_eq!((page.published(), page.changed(ns(1))), (None, v(u64::MAX)));
        assert_eq!(page.snapshot_age_max(), None);
        assert!(!page.is_current());
        assert!(!page.raise(at(10, 3)) && !page.publish(at(10, 3), v(9), [ns(1)]));
        page.set_snapshot_age_max(None);
        page.wake();
        assert_eq!(fs::read(scratch.path())?, content, "what is not ours is not written to");
        assert!(Page::open(&scratch.path(), scratch.store).is_err());
        assert!(scratch.create().is_current());
    }
    Ok(())
}

#[test]
fn an_older_copy_put_over_the_page_hides_no_change() -> std::io::Result<()> {
    let scratch = Scratch::new();
    let page = used(&scratch);
    let older = fs::read(scratch.path())?;
    page.publish(at(10, 3), v(9), [ns(1)]);
    overwrite(&scratch.path(), 0, &older);
    assert_eq!(page.published(), Some(at(9, 3)));
    page.publish(at(11, 3), v(10), [ns(2)]);
    assert_eq!([1, 2, 3].map(|id| page.changed(ns(id))), [v(11); 3]);
    Ok(())
}

#[test]
fn damaged_words_are_healed_by_the_next_commit() {
    let scratch = Scratch::new();
    let page = used(&scratch);
    // Versions, epochs and the snapshots' age; then the slots.
    for (offset, length) in [(256, 64), (384, 8), (512, 8192)] {
        overwrite(&scratch.path(), offset, &vec![0xA5; length]);
        assert!(page.changed(ns(1)) >= v(8) && page.changed(ns(2)) >= v(9));
    }
    assert_eq!((page.published(), page.snapshot_age_max()), (None, None));
    page.publish(at(10, 3), v(9), [ns(1)]);
    assert_eq!(page.published(), Some(at(10, 3)));
    assert_eq!([1, 2].map(|id| page.changed(ns(id))), [v(10); 2]);
}

proptest! {
    #[test]
    fn no_damage_passes_for_a_publication(
        spots in prop::collection::vec((0..length(), prop::collection::vec(any::<u8>(), 1..300)), 1..20),
    ) {
        let scratch = Scratch::new();
        let page = used(&scratch);
        for (offset, bytes) in spots {
            let end = (offset + bytes.len()).min(length());
            overwrite(&scratch.path(), offset as u64, &bytes[..end - offset]);
            let published = page.published();
            prop_assert!(published.is_none_or(|published| published == at(9, 3)), "{published:?}");
            let changed = [1, 2].map(|id| page.changed(ns(id)));
            prop_assert!(changed[0] >= v(8) && changed[1] >= v(9), "{changed:?}");
            prop_assert_eq!(page.is_current(), Page::open(&scratch.path(), scratch.store).is_ok());
        }
    }

    #[test]
    fn random_bytes_are_no_page(bytes in prop::collection::vec(any::<u8>(), length())) {
        let scratch = Scratch::new();
        let page = used(&scratch);
        overwrite(&scratch.path(), 0, &bytes);
        prop_assert_eq!(page.published(), None);
        prop_assert!(!page.is_current());
        // With its header left alone it looks like a page, but each word still has to prove itself.
        let mut header = fs::read(scratch.path()).expect("is there");
        header.copy_from_slice(&bytes);
        let other = Scratch::new();
        let page = used(&other);
        overwrite(&other.path(), 128, &bytes[128..]);
        prop_assert_eq!(page.published(), None);
        prop_assert!(page.is_current());
        prop_assert!(page.changed(ns(1)) >= v(8));
    }
}
