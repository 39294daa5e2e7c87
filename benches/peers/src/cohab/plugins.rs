//! Cases of plugins. All are of one plugin, once as a module of WebAssembly and once as a script: it adds up the numbers in what
//! is committed, counts the requests that ask for it, and says which edit of it answers.

pub mod call;
pub mod check;
pub mod follow;
pub mod reload;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use cohab::{AddPlugin, Batch, Store};

use super::NAMESPACE;
use crate::engine::History;
use crate::place::Place;

/// What the plugin is called.
const PLUGIN: &str = "sums";

/// The request for the sum, and the one that is counted. One of no bytes asks which edit answers.
const SUM: &[u8] = b"sum";
const COUNT: &[u8] = b"count";
const MARK: &[u8] = b"";

/// How long a value is that is added up, in bytes.
const VALUE_BYTES: usize = 64;

/// How much memory a store has for its pages: no more than it soon fills, so that what grows on is something else.
const CACHE_BYTES: usize = 16 << 20;

/// About how large a module is that has more in it than it needs, in bytes.
const LARGE_BYTES: usize = 20_000;

/// What the plugin is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// WebAssembly.
    Wasm,
    /// Rhai.
    Script,
}

impl Tier {
    const ALL: &[Self] =
        if cfg!(feature = "modules") { &[Self::Wasm, Self::Script] } else { &[Self::Script] };

    fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Script => "script",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Self::Wasm => "sums.wasm",
            Self::Script => "sums.rhai",
        }
    }

    fn manifest(self) -> String {
        include_str!("plugins/sums.toml").replace("{entry}", self.entry())
    }

    /// The code of an edit.
    fn code(self, mark: u64) -> Result<Vec<u8>> {
        self.code_with(mark, "")
    }

    /// The code of an edit with functions in it that nobody calls, if it is a module.
    fn large_code(self, mark: u64) -> Result<Vec<u8>> {
        self.code_with(mark, &functions())
    }

    fn code_with(self, mark: u64, more: &str) -> Result<Vec<u8>> {
        let mark = format!("{mark:08}");
        Ok(match self {
            Self::Wasm => {
                assemble(&include_str!("plugins/sums.wat").replace("{mark}", &mark).replace("{more}", more))?
            }
            Self::Script => include_str!("plugins/sums.rhai").replace("{mark}", &mark).into_bytes(),
        })
    }

    /// An edit that cannot be taken into service.
    fn broken_code(self) -> Result<Vec<u8>> {
        let mut code = self.large_code(0)?;
        // Half of a module, and a script that does not end.
        code.truncate(code.len() / 2);
        Ok(code)
    }
}

#[cfg(feature = "modules")]
fn assemble(text: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(text)?)
}

#[cfg(not(feature = "modules"))]
fn assemble(_text: &str) -> Result<Vec<u8>> {
    anyhow::bail!("modules are measured with the feature `modules` alone")
}

/// The text of functions that make a module of about [`LARGE_BYTES`].
fn functions() -> String {
    /// What one of them takes in the module, in bytes.
    const BYTES_EACH: usize = 61;
    let mut text = String::new();
    for number in 0..LARGE_BYTES / BYTES_EACH {
        let step = |text: &mut String, factor: usize| {
            write!(
                text,
                "local.get 0 i64.const {} i64.mul i64.const {number} i64.xor local.set 0 ",
                factor + 1_000_000
            )
        };
        text.push_str("(func (param i64) (result i64) ");
        // Nothing fails that writes to a string.
        let _ = (1..=4).try_for_each(|factor| step(&mut text, factor * number));
        text.push_str("local.get 0)\n");
    }
    text
}

/// A plugin's directory.
struct Folder {
    path: PathBuf,
    tier: Tier,
}

impl Folder {
    fn make(place: &Place, called: &str, tier: Tier, code: &[u8]) -> Result<Self> {
        let folder = Self { path: place.fresh(called)?, tier };
        fs::write(folder.path.join("plugin.toml"), tier.manifest())?;
        folder.save_in_place(code)?;
        Ok(folder)
    }

    /// Overwrites the code where it is, as a simple editor does.
    fn save_in_place(&self, code: &[u8]) -> Result<()> {
        Ok(fs::write(self.path.join(self.tier.entry()), code)?)
    }

    /// Puts a new file in the place of the code, as a compiler does.
    fn save_by_rename(&self, code: &[u8]) -> Result<()> {
        let new = self.path.join("new.tmp");
        fs::write(&new, code)?;
        Ok(fs::rename(new, self.path.join(self.tier.entry()))?)
    }

    fn save(&self, code: &[u8]) -> Result<()> {
        match self.tier {
            Tier::Wasm => self.save_by_rename(code),
            Tier::Script => self.save_in_place(code),
        }
    }

    fn remove(self) -> Result<()> {
        Ok(fs::remove_dir_all(self.path)?)
    }
}

/// A store with the plugin in it.
struct Home {
    store: Store,
    dir: PathBuf,
    folder: Folder,
}

impl Home {
    fn make(place: &Place, called: &str, tier: Tier, code: &[u8]) -> Result<Self> {
        let called = format!("{called}-{}", tier.name());
        let folder = Folder::make(place, &format!("{called}-plugin"), tier, code)?;
        let dir = place.fresh(&called)?;
        let store = open(&dir)?;
        store.plugins().add(&folder.path, AddPlugin::new())?;
        Ok(Self { store, dir, folder })
    }

    /// The sum of what the plugin was called for.
    fn sum(&self) -> Result<u64> {
        let sum = self.store.plugins().call(PLUGIN, SUM)?;
        if sum.is_empty() { Ok(0) } else { number(&sum) }
    }

    fn end(self) -> Result<()> {
        drop(self.store);
        fs::remove_dir_all(self.dir)?;
        self.folder.remove()
    }
}

/// Makes a store.
fn open(dir: &Path) -> Result<Store> {
    Ok(super::Cohab::open_with(dir, History::Full, CACHE_BYTES)?.store)
}

fn number(text: &[u8]) -> Result<u64> {
    str::from_utf8(text)?.parse().with_context(|| format!("{text:?} is no number"))
}

/// A value that says a number.
fn value(number: u64) -> Bytes {
    format!("{number:<VALUE_BYTES$}").into()
}

/// A commit of one key. Keys come round.
fn batch(namespace: &cohab::Name, number: u64) -> Batch {
    Batch::new().put(namespace, format!("key/{:08}", number % 1_000), value(number))
}

fn namespace() -> Result<cohab::Name> {
    Ok(NAMESPACE.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_as_large_as_they_should_be() -> Result<()> {
        let (small, large) = (Tier::Wasm.code(1)?.len(), Tier::Wasm.large_code(1)?.len());
        assert!(small < 1_500, "{small}");
        assert!((18_000..22_000).contains(&large), "{large}");
        Ok(())
    }

    #[test]
    fn values_are_as_long_as_they_should_be() {
        assert_eq!(value(17).len(), VALUE_BYTES);
    }
}
