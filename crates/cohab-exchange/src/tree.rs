//! A directory tree as entries: paths as keys, contents as values.
//!
//! A file's key is its path below the root, with `/` between the parts whatever the platform. Directories are
//! nothing of their own, so empty ones leave no trace; neither do owners, modes and times. Symbolic links below
//! the root are not followed, and they and everything else that is not a regular file are skipped.
//!
//! # Limitations
//!
//! A tree that somebody changes meanwhile is read partly as it was and partly as it is.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cohab_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use walkdir::{DirEntry, WalkDir};

use crate::{Error, Result};

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its path below the root.
    pub key: Vec<u8>,
    /// Its content.
    pub value: Vec<u8>,
}

/// The files below a directory, in the order of their keys. After an error it yields nothing more.
///
/// Memory is one file and the names in the directories above it.
#[derive(Debug)]
pub struct Entries {
    root: PathBuf,
    walk: Option<walkdir::IntoIter>,
    skipped: u64,
}

/// Begins to read the tree below a directory, which may itself be named by a symbolic link.
pub fn entries(root: impl Into<PathBuf>) -> Result<Entries> {
    let root = root.into();
    let metadata = root.metadata();
    let metadata =
        metadata.map_err(|source| Error::Io { action: "examining", path: root.clone(), source })?;
    if !metadata.is_dir() {
        return Err(Error::Unfit { path: root, problem: "is not a directory".to_owned() });
    }
    let walk = WalkDir::new(&root).min_depth(1).follow_links(false).sort_by(by_key).into_iter();
    Ok(Entries { root, walk: Some(walk), skipped: 0 })
}

/// Orders siblings as the keys below them are ordered: a directory's name counts with the `/` that follows it.
fn by_key(one: &DirEntry, other: &DirEntry) -> Ordering {
    fn bytes(entry: &DirEntry) -> impl Iterator<Item = u8> {
        let separator = entry.file_type().is_dir().then_some(b'/');
        entry.file_name().as_encoded_bytes().iter().copied().chain(separator)
    }
    bytes(one).cmp(bytes(other))
}

impl Entries {
    /// Returns how many symbolic links and special files were passed over so far.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    fn advance(&mut self) -> Option<Result<Entry>> {
        loop {
            let entry = match self.walk.as_mut()?.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(self.walking_failed(error))),
            };
            if entry.file_type().is_file() {
                return Some(self.read(entry.path()));
            }
            self.skipped += u64::from(!entry.file_type().is_dir());
        }
    }

    fn read(&self, path: &Path) -> Result<Entry> {
        let below = path.strip_prefix(&self.root).expect("the walk stays below its root");
        let parts: Vec<_> = below.iter().map(OsStr::as_encoded_bytes).collect();
        let key = parts.join(&b'/');
        let unfit = |problem| Error::Unfit { path: path.to_owned(), problem };
        if key.len() > KEY_BYTES_MAX {
            let bytes = key.len();
            return Err(unfit(format!(
                "is {bytes} bytes long as a key, the most a key may have is {KEY_BYTES_MAX}"
            )));
        }
        let failed = |action| move |source| Error::Io { action, path: path.to_owned(), source };
        let file = File::open(path).map_err(failed("opening"))?;
        let bytes = file.metadata().map_err(failed("examining"))?.len();
        let mut value = Vec::new();
        let too_large =
            || unfit(format!("is larger than {VALUE_BYTES_MAX} bytes, the most a value may have"));
        if bytes > VALUE_BYTES_MAX as u64 {
            return Err(too_large());
        }
        // A file that grows meanwhile, or that the system gives no size, is bounded here.
        file.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value).map_err(failed("reading"))?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(too_large());
        }
        Ok(Entry { key, value })
    }

    fn walking_failed(&self, error: walkdir::Error) -> Error {
        let path = error.path().unwrap_or(&self.root).to_owned();
        Error::Io { action: "listing", path, source: error.into() }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.advance();
        if !matches!(entry, Some(Ok(_))) {
            self.walk = None;
        }
        entry
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn keys(entries: &mut Entries) -> Vec<String> {
        let keys =
            entries.map(|entry| String::from_utf8_lossy(&entry.expect("can be read").key).into_owned());
        keys.collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_keys_and_links_are_skipped() {
        let dir = tempfile::tempdir().expect("can be made");
        let write = |path: &str, content: &[u8]| {
            let path = dir.path().join("root").join(path);
            fs::create_dir_all(path.parent().expect("is below the root")).expect("can be made");
            fs::write(path, content).expect("can be written");
        };
        for path in ["b", "a/x", "a-b/y", "a.c", "a/d/z", "ü"] {
            write(path, path.as_bytes());
        }
        write("empty", b"");
        fs::write(dir.path().join("outside"), "not ours").expect("can be written");
        let root = dir.path().join("root");
        fs::write(root.join(OsStr::from_bytes(b"\xff")), "not UTF-8").expect("can be written");
        fs::create_dir(root.join("nothing")).expect("can be made");
        symlink("..", root.join("a/up")).expect("can be made");
        symlink("../outside", root.join("link")).expect("can be made");
        symlink(&root, dir.path().join("named")).expect("can be made");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("can be made");

        for root in [&root, &dir.path().join("named")] {
            let mut found = entries(root).expect("is there");
            let expected = ["a-b/y", "a.c", "a/d/z", "a/x", "b", "empty", "ü", "\u{fffd}"];
            assert_eq!(keys(&mut found), expected);
            assert_eq!(found.skipped(), 3);
        }
        let read: Result<Vec<_>> = entries(&root).expect("is there").collect();
        let read = read.expect("can be read");
        assert!(read.is_sorted_by(|one, other| one.key < other.key));
        assert_eq!((&read[2].value[..], &read[5].value[..]), (&b"a/d/z"[..], &b""[..]));
        assert_eq!(read[7].key, b"\xff");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let check = |root: &Path, why: &str| {
            let refused = entries(root).and_then(|mut found| found.try_for_each(|entry| entry.map(drop)));
            let message = refused.expect_err("should be refused").to_string();
            assert!(message.contains(why), "{message}");
        };
        let dir = tempfile::tempdir().expect("can be made");
        check(&dir.path().join("none"), "none failed");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("can be written");
        check(&file, "file is not a directory");

        let large = File::create(dir.path().join("large")).expect("can be made");
        large.set_len(VALUE_BYTES_MAX as u64).expect("can be grown");
        assert_eq!(entries(dir.path()).expect("is there").count(), 2);
        large.set_len(VALUE_BYTES_MAX as u64 + 1).expect("can be grown");
        check(dir.path(), "large is larger than 67108864 bytes");

        let deep = dir.path().join(["d"; 16].map(|part| part.repeat(150)).join("/"));
        fs::create_dir_all(&deep).expect("can be made");
        fs::write(deep.join("file"), "").expect("can be written");
        check(dir.path(), "bytes long as a key, the most a key may have is 2048");
    }
}
