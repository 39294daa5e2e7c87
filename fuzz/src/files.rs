//! What several targets need.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// Makes a directory in memory: what a disk does to a store is not looked at here, and this is a hundred times faster.
///
/// # Panics
///
/// If there is no room.
pub fn memory_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("a directory can be made")
}

/// Checks that a record which can be read is the same once it was written and read again.
///
/// # Panics
///
/// If it is not.
pub fn same_when_encoded_again<T: DeserializeOwned + Serialize + PartialEq + Debug>(json: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(json) {
        let encoded = serde_json::to_vec(&record).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<T>(&encoded).ok().as_ref(), Some(&record));
    }
}

/// Makes a directory that is the user's own, with those above it.
///
/// # Panics
///
/// If there is no room.
pub(crate) fn make_dir(path: &Path) {
    DirBuilder::new().recursive(true).mode(0o700).create(path).expect("there is room in memory");
}

/// Writes a file that is the user's own. Most of a store's file is empty, and stays so.
///
/// # Panics
///
/// If there is no room.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) {
    const PAGE_BYTES: usize = 4096;
    let done = "there is room in memory";
    let file: File = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).expect(done);
    file.set_len(bytes.len() as u64).expect(done);
    let mut begin = 0;
    let is_empty = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    for run in bytes.chunks(PAGE_BYTES).collect::<Vec<_>>().chunk_by(|a, b| is_empty(a) == is_empty(b)) {
        let len: usize = run.iter().map(|page| page.len()).sum();
        if !is_empty(run[0]) {
            file.write_all_at(&bytes[begin..begin + len], begin as u64).expect(done);
        }
        begin += len;
    }
}

/// Removes a directory and all in it.
///
/// # Panics
///
/// If somebody has made a file meanwhile.
pub(crate) fn remove_dir(path: &Path) {
    fs::remove_dir_all(path).expect("nobody has it open");
}
