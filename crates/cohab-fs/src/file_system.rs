//! Which file systems share what they hold with other machines.

use std::path::Path;

use crate::Result;

/// What kind of file system a path is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileSystem {
    /// One that this kernel alone decides about: its locks exclude and its memory maps agree with its files.
    Local,
    /// One whose truth lies elsewhere, with its usual name, such as `NFS`. Locks may exclude nobody, maps may show
    /// old bytes, and a file that was removed may still be there.
    Remote(&'static str),
}

/// Returns the kind of file system that an existing file or directory is on.
///
/// FUSE counts as remote: some file systems behind it are local, but nothing tells which. What is not known to be
/// remote counts as local, and so does everything on systems other than Linux, which are not asked.
///
/// # Errors
///
/// [`NotFound`](crate::Error::NotFound), and what else keeps the system from looking.
pub fn file_system(path: &Path) -> Result<FileSystem> {
    #[cfg(target_os = "linux")]
    {
        let found = rustix::fs::statfs(path).map_err(|error| {
            crate::Error::io("asking for the file system of", path, std::io::Error::from(error))
        })?;
        // The field's width and sign differ between architectures; the number has 32 bits everywhere.
        let magic = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).expect("is masked to 32 bits");
        Ok(classify(magic))
    }
    #[cfg(not(target_os = "linux"))]
    {
        path.symlink_metadata().map_err(|error| crate::Error::io("examining", path, error))?;
        Ok(FileSystem::Local)
    }
}

/// Tells remote file systems by the numbers of Linux, from statfs(2) and the sources of those that it does not list.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn classify(magic: u32) -> FileSystem {
    FileSystem::Remote(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0000_564c => "NCP",
        0x0bd0_0bd0 => "Lustre",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0xaad7_aaea => "PanFS",
        // Folders that a hypervisor shares with its guest: the host writes there too.
        0x786f_4256 => "vboxsf",
        0xbacb_acbc => "vmhgfs",
        0x7c7c_6673 => "prl_fs",
        _ => return FileSystem::Local,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_told_by_their_number() {
        let local = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010, 0];
        for magic in local {
            assert_eq!(classify(magic), FileSystem::Local, "{magic:#x}");
        }
        for (magic, name) in [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0x6573_5546, "FUSE")] {
            assert_eq!(classify(magic), FileSystem::Remote(name));
        }
    }

    #[test]
    fn what_is_not_there_is_on_no_file_system() {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        assert!(file_system(dir.path()).is_ok());
        let missing = file_system(&dir.path().join("none"));
        assert!(matches!(missing, Err(crate::Error::NotFound(_))), "{missing:?}");
    }
}
