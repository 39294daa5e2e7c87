//! A file system of our own, in an image on a loop device, whose power can be cut.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::shutdown::{self, Journal};
use crate::random::Random;

/// The file systems that are tried, each with the options it is mounted with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FileSystem {
    Ext4,
    /// Names and lengths may be on the disk before the data is.
    Ext4Writeback,
    Xfs,
}

impl FileSystem {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Ext4Writeback => "ext4, data=writeback",
            Self::Xfs => "xfs",
        }
    }

    fn kind(self) -> &'static str {
        if self == Self::Xfs { "xfs" } else { "ext4" }
    }

    fn options(self) -> &'static str {
        if self == Self::Ext4Writeback { "loop,data=writeback" } else { "loop" }
    }

    /// The smallest that `mkfs.xfs` makes is 300 MiB.
    fn bytes(self) -> u64 {
        if self == Self::Xfs { 320 << 20 } else { 192 << 20 }
    }

    pub(crate) fn maker(self) -> &'static str {
        if self == Self::Xfs { "mkfs.xfs" } else { "mkfs.ext4" }
    }
}

/// What reaches the disk by itself, before the power goes: not everything that was not synced is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stray {
    Nothing,
    /// Some pages of the store's file, as if the kernel had come to them.
    Pages,
    /// The journal, as if another program had synced a file of its own.
    Journal,
}

/// A file system in an image, mounted.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) file_system: FileSystem,
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    /// Makes an image in a directory, and mounts it.
    pub(crate) fn make(file_system: FileSystem, dir: &Path) -> anyhow::Result<Self> {
        Self::make_sized(file_system, dir, file_system.bytes())
    }

    pub(crate) fn make_sized(file_system: FileSystem, dir: &Path, bytes: u64) -> anyhow::Result<Self> {
        let (image, mount) = (dir.join("image"), dir.join("disk"));
        File::create(&image)?.set_len(bytes)?;
        fs::create_dir_all(&mount)?;
        let mut make = Command::new(file_system.maker());
        match file_system {
            FileSystem::Xfs => make.args(["-q", "-f"]),
            _ => make.args(["-q", "-F", "-E", "lazy_itable_init=0"]),
        };
        run(make.arg(&image))?;
        let disk = Self { file_system, image, mount };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> anyhow::Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-t", self.file_system.kind(), "-o", self.file_system.options()]);
        run(mount.arg(&self.image).arg(&self.mount))
    }

    /// Cuts its power.
    pub(crate) fn cut(&self, journal: Journal) -> anyhow::Result<()> {
        shutdown::shut_down(&self.mount, journal).context("the file system cannot be shut down")
    }

    /// Lets some of what was not synced reach the disk.
    pub(crate) fn let_stray(&self, stray: Stray, file: &Path, random: &mut Random) -> anyhow::Result<()> {
        match stray {
            Stray::Nothing => {}
            Stray::Pages => {
                let Ok(file) = File::open(file) else { return Ok(()) };
                let pages = file.metadata()?.len() / 4096 + 1;
                for _ in 0..=random.below(6) {
                    // Many at once now and then, or they would rarely be among those that were written.
                    let (page, count) = (random.below(pages), 1 << random.below(12));
                    shutdown::write_back(&file, page * 4096, count * 4096)?;
                }
            }
            Stray::Journal => File::create(self.mount.join("stray"))?.sync_all()?,
        }
        Ok(())
    }

    /// Takes it down and up again, which has it go through its journal. Returns how long the second took.
    pub(crate) fn start_again(&self) -> anyhow::Result<Duration> {
        self.unmount()?;
        let begin = Instant::now();
        self.mount()?;
        Ok(begin.elapsed())
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match run(Command::new("umount").arg(&self.mount)) {
                Ok(()) => return Ok(()),
                // A process that was killed may not be gone quite yet.
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a store would soon find it full.
    pub(crate) fn is_nearly_full(&self) -> anyhow::Result<bool> {
        let space = rustix::fs::statvfs(&self.mount)?;
        Ok(space.f_bavail * 2 < space.f_blocks)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
        let _ = fs::remove_file(&self.image);
    }
}

/// Runs a command that says nothing unless it fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
