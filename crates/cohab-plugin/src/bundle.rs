//! All files of a plugin, as one unit.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::LoadError;
use crate::listing::{BYTES_MAX, FILES_MAX, ListError, Listing};

/// What an encoded bundle begins with, and the version of what follows.
const MAGIC: &[u8; 8] = b"cohabplg";
const FORMAT: u32 = 1;

/// All files of a plugin: what is loaded, hashed, stored and handed on as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    files: Vec<(String, Bytes)>,
    hash: ContentHash,
}

/// The BLAKE3 hash of a bundle. As text it has 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

/// A text that is not a [`ContentHash`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not the hash of a plugin: that has 64 hexadecimal digits")]
pub struct ContentHashError(String);

/// Why bytes are not an encoded [`Bundle`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the stored files of the plugin are damaged: {0}")]
pub struct BundleError(&'static str);

impl Bundle {
    /// Reads the files of a directory: regular ones, and those that links lead to, at most four levels deep. Left out are
    /// hidden ones, what editors leave (`*~`, `*.swp`, `*.tmp`, `#*#`), and what is not a file.
    ///
    /// # Errors
    ///
    /// The directory is not there or cannot be read; it has a file too many or too large, a directory too deep, a link to a
    /// directory or to nothing.
    pub fn read(dir: &Path) -> Result<Self, LoadError> {
        Listing::of(dir).and_then(|listing| listing.read()).map_err(ListError::into_inner)
    }

    /// Makes one of files with relative names, with `/` between their parts. Of two with one name the last counts.
    pub fn of(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let files: Vec<_> = files.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        let mut hasher = blake3::Hasher::new();
        for (name, content) in &files {
            for piece in [name.as_bytes(), content] {
                hasher.update(&(piece.len() as u64).to_le_bytes());
                hasher.update(piece);
            }
        }
        Self { files, hash: ContentHash(hasher.finalize().into()) }
    }

    /// Returns a file's bytes.
    pub fn file(&self, name: &str) -> Option<&Bytes> {
        let at = self.files.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(&self.files[at].1)
    }

    /// Returns the files, in the order of their names.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(name, content)| (name.as_str(), content))
    }

    /// Returns how many bytes the files have together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, content)| content.len() as u64).sum()
    }

    /// Returns the hash of all of it.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns all of it as one piece, from which [`decode`](Self::decode) makes it again.
    pub fn encode(&self) -> Vec<u8> {
        let names: usize = self.files.iter().map(|(name, _)| name.len() + 16).sum();
        let mut bytes = Vec::with_capacity(64 + names + usize::try_from(self.size()).unwrap_or(0));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&(self.files.len() as u64).to_le_bytes());
        for (name, content) in &self.files {
            for piece in [name.as_bytes(), content] {
                bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
                bytes.extend_from_slice(piece);
            }
        }
        bytes
    }

    /// Makes a bundle of what [`encode`](Self::encode) returned. Bytes from elsewhere do no harm.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let mut rest = bytes;
        let cut_off = BundleError("they end too early");
        if take(&mut rest, MAGIC.len()) != Some(MAGIC) {
            return Err(BundleError("they do not begin as they should"));
        }
        let format: &[u8; 4] = take_chunk(&mut rest).ok_or(cut_off.clone())?;
        if u32::from_le_bytes(*format) != FORMAT {
            return Err(BundleError("they are in a format that this version does not know"));
        }
        let hash: &[u8; 32] = take_chunk(&mut rest).ok_or(cut_off.clone())?;
        let count = take_number(&mut rest).ok_or(cut_off.clone())?;
        if count > FILES_MAX || bytes.len() as u64 > 2 * BYTES_MAX {
            return Err(BundleError("they are more than a plugin may have"));
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let name = take_piece(&mut rest).ok_or(cut_off.clone())?;
            let content = take_piece(&mut rest).ok_or(cut_off.clone())?;
            let name = str::from_utf8(name).ok().filter(|name| is_relative(name));
            let name = name.ok_or(BundleError("a file has a name that it cannot have"))?;
            files.push((name.to_owned(), Bytes::copy_from_slice(content)));
        }
        if !rest.is_empty() {
            return Err(BundleError("they do not end where they should"));
        }
        let bundle = Self::of(files);
        // Names out of order or twice would make other bytes of one bundle.
        if bundle.hash.0 != *hash || bundle.files.len() != count {
            return Err(BundleError("they do not have the hash that they should"));
        }
        Ok(bundle)
    }
}

/// Returns whether a name leads to nowhere but below the directory that it is relative to.
pub(crate) fn is_relative(name: &str) -> bool {
    !name.contains(['\\', '\0']) && !name.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    rest.split_off(..len)
}

fn take_chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    take(rest, N)?.try_into().ok()
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(*take_chunk(rest)?)).ok()
}

fn take_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_number(rest)?;
    take(rest, len)
}

impl ContentHash {
    /// Returns the first 12 digits, which are enough for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ContentHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text);
        hash.map(|hash| Self(hash.into())).map_err(|_| ContentHashError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = ContentHashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn names(bundle: &Bundle) -> Vec<&str> {
        bundle.files().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_directory_is_read_without_what_is_none_of_the_plugins() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("lib/deep/er")).unwrap();
        fs::create_dir_all(at(".git")).unwrap();
        for name in ["plugin.toml", "b.rhai", "lib/a.rhai", "lib/deep/er/z", "#", "~x", "a.tmp.rhai"] {
            fs::write(at(name), name).unwrap();
        }
        for name in [".hidden", "b.rhai~", "b.swp", "c.tmp", "#b.rhai#", ".git/HEAD"] {
            fs::write(at(name), name).unwrap();
        }
        let bundle = Bundle::read(dir.path()).unwrap();
        let expected = ["#", "a.tmp.rhai", "b.rhai", "lib/a.rhai", "lib/deep/er/z", "plugin.toml", "~x"];
        assert_eq!(names(&bundle), expected);
        assert_eq!(bundle.file("lib/a.rhai").unwrap(), "lib/a.rhai");
        assert_eq!(bundle.file("lib"), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_files_and_no_further() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("plugin");
        fs::create_dir(&dir).unwrap();
        fs::write(outer.path().join("elsewhere"), "content").unwrap();
        symlink("../elsewhere", dir.join("linked")).unwrap();
        symlink(&dir, outer.path().join("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let bundle = Bundle::read(&outer.path().join("link")).unwrap();
        assert_eq!(names(&bundle), ["linked"]);
        assert_eq!(bundle.file("linked").unwrap(), "content");

        for (target, why) in [
            (".", "link to a directory"),
            ("..", "link to a directory"),
            ("self", "cannot be read"),
            ("nothing", "link to a file that is not there"),
        ] {
            symlink(target, dir.join("self")).unwrap();
            let error = Bundle::read(&dir).unwrap_err();
            assert_eq!(error.file.as_deref(), Some("self"));
            assert!(error.message.contains(why), "{target}: {error}");
            fs::remove_file(dir.join("self")).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let check = |path: &Path, why: &str| {
            let error = Bundle::read(path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        fs::write(dir.path().join("file"), "").unwrap();
        check(&dir.path().join("none"), "there is no directory");
        check(&dir.path().join("file"), "is not a directory; a plugin is");
        check(&dir.path().join("file/below"), "lies below something that is not a directory");

        fs::create_dir_all(dir.path().join("deep/a/b/c/d")).unwrap();
        check(&dir.path().join("deep"), "a/b/c/d: is a directory too deep");

        let many = dir.path().join("many");
        fs::create_dir(&many).unwrap();
        for number in 0..FILES_MAX {
            fs::write(many.join(number.to_string()), "").unwrap();
        }
        assert_eq!(Bundle::read(&many).unwrap().files().len(), FILES_MAX);
        fs::write(many.join("more"), "").unwrap();
        check(&many, "is a file too many: a plugin has at most 256");

        let large = dir.path().join("large");
        fs::create_dir(&large).unwrap();
        let file = fs::File::create(large.join("file")).unwrap();
        file.set_len(BYTES_MAX).unwrap();
        assert_eq!(Bundle::read(&large).unwrap().size(), BYTES_MAX);
        file.set_len(BYTES_MAX + 1).unwrap();
        check(&large, "file: is too large: a plugin's files have at most 32 MiB");
    }

    #[test]
    fn a_hash_is_of_names_and_contents() {
        let of = |files: &[(&str, &'static str)]| {
            Bundle::of(files.iter().map(|(name, content)| ((*name).to_owned(), Bytes::from(*content)))).hash()
        };
        let hash = of(&[("a", "b"), ("c", "d")]);
        assert_eq!(hash, of(&[("c", "d"), ("a", "b")]));
        for other in
            [of(&[]), of(&[("a", "bc"), ("", "d")]), of(&[("a", "b"), ("d", "c")]), of(&[("ab", "cd")])]
        {
            assert_ne!(hash, other);
        }
        let text = hash.to_string();
        assert_eq!((text.len(), text.parse()), (64, Ok(hash)));
        assert_eq!(hash.short(), text[..12]);
        assert_eq!(serde_json::to_string(&hash).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ContentHash>(&format!("\"{text}\"")).unwrap(), hash);
        for bad in ["", "abc", &text[1..], &text.replacen(|_: char| true, "ü", 1)] {
            assert!(bad.parse::<ContentHash>().unwrap_err().to_string().contains("64 hexadecimal digits"));
        }
    }

    #[test]
    fn a_damaged_bundle_is_refused() {
        let bundle = Bundle::of([("a".to_owned(), "1".into()), ("b/c".to_owned(), "22".into())]);
        let bytes = bundle.encode();
        for end in 0..bytes.len() {
            Bundle::decode(&bytes[..end]).unwrap_err();
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x81;
            Bundle::decode(&bytes).unwrap_err();
        }
        Bundle::decode(&[&bytes[..], b"x"].concat()).unwrap_err();
        for name in ["../a", "/a", "a//b", "a/./b", "", "a\\b"] {
            let bytes = Bundle::of([(name.to_owned(), Bytes::new())]).encode();
            assert!(Bundle::decode(&bytes).unwrap_err().to_string().contains("a name that it cannot have"));
        }
    }

    proptest! {
        #[test]
        fn a_bundle_survives_being_encoded(
            files in prop::collection::btree_map("[a-zü]{1,8}(/[a-z.]{3,8}){0,2}", prop::collection::vec(any::<u8>(), 0..64), 0..8)
        ) {
            let is_valid = files.keys().all(|name| is_relative(name));
            let bundle = Bundle::of(files.into_iter().map(|(name, content)| (name, content.into())));
            let decoded = Bundle::decode(&bundle.encode());
            prop_assert_eq!(decoded.ok(), is_valid.then_some(bundle));
        }

        #[test]
        fn bytes_from_elsewhere_are_refused(
            head in prop::bool::ANY,
            count in any::<u64>(),
            bytes in prop::collection::vec(any::<u8>(), 0..256)
        ) {
            let mut all = Vec::new();
            if head {
                all.extend_from_slice(MAGIC);
                all.extend_from_slice(&FORMAT.to_le_bytes());
                all.extend_from_slice(&[7; 32]);
                all.extend_from_slice(&(count >> (count % 64)).to_le_bytes());
            }
            all.extend_from_slice(&bytes);
            prop_assert!(Bundle::decode(&all).is_err());
        }
    }
}
