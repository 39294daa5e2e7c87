//! The coordination page is a hint: whatever becomes of it, nobody crashes and nothing wrong is read.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Scratch;
use crate::actor::Actor;

fn overwrite(page: &Path, content: &[u8]) {
    use std::os::unix::fs::FileExt;
    // In place, so that it changes under those who have it mapped.
    let file = fs::OpenOptions::new().write(true).open(page).expect("is there");
    file.write_all_at(content, 0).expect("can be written");
}

fn cut_off(page: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(page).expect("is there").set_len(length).expect("can be cut off");
}

/// For what becomes of the page, and what has to be undone.
type Fault = (&'static str, fn(page: &Path, other: &Path));

const FAULTS: [Fault; 10] = [
    ("removed", |page, _| fs::remove_file(page).expect("is there")),
    ("zeroed", |page, _| overwrite(page, &[0; 8704])),
    ("filled with garbage", |page, _| {
        let mut random = crate::Random(u64::from(std::process::id()));
        let garbage: Vec<u8> = (0..8704 / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        overwrite(page, &garbage);
    }),
    ("filled with garbage but for its header", |page, _| {
        let mut garbage = fs::read(page).expect("is there");
        let mut random = crate::Random(u64::from(std::process::id()));
        garbage[128..].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()));
        overwrite(page, &garbage);
    }),
    ("cut off", |page, _| cut_off(page, 0)),
    ("cut off in the middle", |page, _| cut_off(page, 4096)),
    ("made longer", |page, _| cut_off(page, 1 << 20)),
    ("overwritten by another store's", |page, other| overwrite(page, &fs::read(other).expect("is there"))),
    ("replaced by another store's", |page, other| {
        let copy = page.with_extension("copy");
        fs::copy(other, &copy).expect("can be copied");
        fs::rename(copy, page).expect("can be renamed");
    }),
    ("replaced by a directory", |page, _| {
        fs::remove_file(page).expect("is there");
        fs::create_dir(page).expect("can be made");
    }),
];

#[test]
fn whatever_becomes_of_the_page_readers_follow_and_read_nothing_wrong() {
    let scratch = Scratch::with_ledger();
    let other = Scratch::with_ledger();
    let mut others_writer = Actor::open(&other.path(), "writer");
    others_writer.does("commit 5");
    let (page, others_page) = (scratch.path().join("coord.page"), other.path().join("coord.page"));
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut readers = [(); 2].map(|()| Actor::open(&scratch.path(), "reader"));
    writer.does("keep-committing");
    for reader in &mut readers {
        reader.does("keep-looking");
    }
    for (what, fault) in FAULTS {
        std::thread::sleep(Duration::from_millis(30));
        fault(&page, &others_page);
        let since = Instant::now();
        for _ in 0..5 {
            let version = writer.number("look");
            for reader in &mut readers {
                while reader.number("seen") < version {
                    assert!(since.elapsed() < Duration::from_secs(10), "{what}: a reader does not follow");
                }
            }
        }
        println!("the page {what}: readers had followed 5 commits after {} ms", since.elapsed().as_millis());
        assert!(since.elapsed() < Duration::from_secs(3), "{what}: {:?}", since.elapsed());
        // Who comes now, and who waits, gets along, too.
        let version = writer.number("look");
        let mut late = Actor::open(&scratch.path(), "reader");
        assert!(late.number("look") >= version, "{what}");
        late.end();
        if page.is_dir() {
            fs::remove_dir(&page).expect("is empty");
        }
        // The writer makes a new one.
        let deadline = Instant::now() + Duration::from_secs(3);
        while fs::symlink_metadata(&page).map_or(0, |it| it.len()) != 8704 {
            assert!(Instant::now() < deadline, "{what}: the page stays as it is");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    writer.does("rest");
    for mut actor in readers {
        actor.does("rest");
        assert!(actor.kill().is_empty());
    }
    writer.does("verify");
    assert!(writer.kill().iter().all(|event| event.starts_with("acknowledged ")));
}

/// An older copy of the page was written over it, and nobody committed after that. Readers took what it said for the last
/// that anybody had been told of, and stayed behind.
#[test]
fn a_page_that_says_too_little_is_made_up_for_while_nobody_commits() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut reader = Actor::open(&scratch.path(), "reader");
    let page = scratch.path().join("coord.page");
    for round in 0..3 {
        let version = reader.number("look");
        let older = fs::read(&page).expect("there is a page");
        assert_eq!((writer.number("commit"), writer.number("commit")), (version + 1, version + 2));
        // In place, under everybody's maps, and before the reader has looked again.
        overwrite(&page, &older);
        let since = Instant::now();
        while reader.number("look") < version + 2 {
            assert!(since.elapsed() < Duration::from_secs(2), "round {round}: stays behind");
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("caught up after {} ms", since.elapsed().as_millis());
    }
}
