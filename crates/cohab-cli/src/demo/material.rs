//! Real data that this machine has.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use cohab::{Digest, Name};
use cohab_exchange::deb822::Stanzas;
use cohab_exchange::{input, tree};

use crate::failure::{Failure, in_file};

/// How much is taken, so that the demonstration takes well under a minute.
const BYTES_MAX: u64 = 50_000_000;

/// Takes less: for tests.
const BYTES_VARIABLE: &str = "COHAB_DEMO_BYTES";

/// One entry in so many is kept to compare reads with.
const SAMPLE_STRIDE: u64 = 13;

/// Where the data is.
pub(super) struct Material {
    source: Source,
    bytes_max: u64,
}

enum Source {
    /// Debian package lists: a namespace for each section, a key for each package.
    Packages(Vec<PathBuf>),
    /// Sources of crates: a namespace for each crate, a key for each file.
    Crates(Vec<PathBuf>),
}

/// What was taken from the source, known independently of any store.
#[derive(Default)]
pub(super) struct Model {
    pub(super) digests: BTreeMap<String, Digest>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// Entries to compare reads with: namespace, key, value.
    pub(super) sample: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl Material {
    /// Looks for package lists, then for dpkg's list of what is installed, then for sources of crates.
    pub(super) fn find() -> Result<Self, Failure> {
        let limit = std::env::var(BYTES_VARIABLE).ok().and_then(|limit| limit.parse().ok());
        let bytes_max = limit.unwrap_or(BYTES_MAX);
        let is_list = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            ["Packages", "Packages.lz4", "Packages.gz"].iter().any(|end| name.ends_with(end))
        };
        let mut lists = children(Path::new("/var/lib/apt/lists"));
        lists.retain(|path| is_list(path) && path.is_file());
        if !lists.is_empty() {
            return Ok(Self { source: Source::Packages(lists), bytes_max });
        }
        let status = PathBuf::from("/var/lib/dpkg/status");
        if status.is_file() {
            return Ok(Self { source: Source::Packages(vec![status]), bytes_max });
        }
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let registries = cargo.map(|cargo| children(&cargo.join("registry/src"))).unwrap_or_default();
        let mut crates: Vec<PathBuf> = registries.iter().flat_map(|registry| children(registry)).collect();
        crates.retain(|path| path.is_dir());
        if crates.is_empty() {
            return Err(Failure::not_found("this machine has no data to show anything with")
                .hint("looked for apt's package lists, dpkg's status and cargo's registry"));
        }
        Ok(Self { source: Source::Crates(crates), bytes_max })
    }

    /// Says in a line what the data is.
    pub(super) fn describe(&self) -> String {
        match &self.source {
            Source::Packages(lists) => match &lists[..] {
                [list] => format!("Debian packages from {}", list.display()),
                lists => format!("Debian packages from {} lists of this machine's apt", lists.len()),
            },
            Source::Crates(crates) => format!("sources of {} crates from cargo's registry", crates.len()),
        }
    }

    /// What an entry is.
    pub(super) fn noun(&self) -> &'static str {
        match &self.source {
            Source::Packages(_) => "packages",
            Source::Crates(_) => "files",
        }
    }

    /// Hands every entry to `put`, namespace, key and value, and returns what they were.
    pub(super) fn pour(
        &self,
        mut put: impl FnMut(&str, &[u8], &[u8]) -> Result<(), Failure>,
    ) -> Result<Model, Failure> {
        let mut model = Model::default();
        let mut taken: HashSet<Vec<u8>> = HashSet::new();
        match &self.source {
            Source::Packages(lists) => {
                for list in lists {
                    let mut stanzas = Stanzas::new(input::open(list).map_err(in_file(list))?);
                    while model.bytes < self.bytes_max
                        && let Some(stanza) = stanzas.next().map_err(in_file(list))?
                    {
                        let section = stanza.section.unwrap_or("other");
                        let section = if Name::new(section).is_ok() { section } else { "other" };
                        // Where two lists have a package, it is that of the first which counts.
                        let id = [section.as_bytes(), b"\n", stanza.key].concat();
                        if taken.insert(id) {
                            put(section, stanza.key, stanza.body)?;
                            model.add(section, stanza.key, stanza.body);
                        }
                    }
                }
            }
            Source::Crates(crates) => {
                for dir in crates {
                    let namespace = dir.file_name().and_then(|name| name.to_str()).unwrap_or("other");
                    for file in tree::entries(dir)? {
                        let file = file?;
                        put(namespace, &file.key, &file.value)?;
                        model.add(namespace, &file.key, &file.value);
                    }
                    if model.bytes >= self.bytes_max {
                        break;
                    }
                }
            }
        }
        Ok(model)
    }
}

impl Model {
    fn add(&mut self, namespace: &str, key: &[u8], value: &[u8]) {
        let digest = match self.digests.get_mut(namespace) {
            Some(digest) => digest,
            None => self.digests.entry(namespace.to_owned()).or_default(),
        };
        digest.add(key, value);
        if self.entries.is_multiple_of(SAMPLE_STRIDE) {
            self.sample.push((namespace.to_owned(), key.to_vec(), value.to_vec()));
        }
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// What is in a directory, in a fixed order; nothing if it cannot be read.
fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut children: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    children.sort();
    children
}
