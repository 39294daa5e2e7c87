//! Where the stores are.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// A directory of our own on the file system to measure on, removed in the end.
pub struct Place {
    dir: TempDir,
    handle: File,
}

impl Place {
    /// Makes a directory inside the given one, which is created if need be.
    pub fn within(parent: &Path) -> Result<Self> {
        let make = || {
            fs::create_dir_all(parent)?;
            let dir = tempfile::Builder::new().prefix("peers-").tempdir_in(fs::canonicalize(parent)?)?;
            let handle = File::open(dir.path())?;
            Ok::<_, std::io::Error>(Self { dir, handle })
        };
        make().with_context(|| format!("making a directory in {}", parent.display()))
    }

    /// The path of a directory in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes an empty directory in it.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    /// Has the kernel write out what is left to write, so that nobody pays for what others left behind.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.handle).context("syncing the file system")
    }

    /// The path, and what kind of file system it is on.
    pub fn describe(&self) -> Result<String> {
        // Magic numbers from linux/magic.h.
        let kind = match rustix::fs::fstatfs(&self.handle)?.f_type {
            0xef53 => "ext4".to_owned(),
            0x5846_5342 => "xfs".to_owned(),
            0x9123_683e => "btrfs".to_owned(),
            0x794c_7630 => "overlayfs".to_owned(),
            0x0102_1994 => "tmpfs, where syncing costs nothing: commits mean little".to_owned(),
            other => format!("file system {other:#x}"),
        };
        Ok(format!("{} ({kind})", self.dir.path().display()))
    }
}

/// How much disk the files below a directory take up, in bytes.
pub fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
