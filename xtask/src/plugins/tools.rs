//! The compilers that plugins are built with.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::tools::{install, may_install, on_path, printed};

/// The target that plugins in Rust are compiled for.
pub(super) const RUST_TARGET: &str = "wasm32-unknown-unknown";

/// Where Debian's compiler is, also where rustup's comes before it on the path.
const DEBIANS_RUSTC: &str = "/usr/bin/rustc";

/// The oldest release of Node.js that the AssemblyScript compiler runs on. It asks for 20; Debian has this one.
const NODE_OLDEST: u32 = 18;

/// The compilers of all languages that plugins are written in.
pub(super) struct Tools {
    pub(super) clang: PathBuf,
    pub(super) linker: PathBuf,
    pub(super) rustc: Rustc,
    pub(super) npm: PathBuf,
}

/// A Rust compiler that has the target.
pub(super) struct Rustc {
    pub(super) program: PathBuf,
    /// Whether it brings a linker for the target; Debian's does not.
    pub(super) has_linker: bool,
}

/// Something that is not there.
struct Missing {
    what: &'static str,
    packages: &'static [&'static str],
}

impl Tools {
    /// Finds the compilers. On a Debian system that one may install to, installs those that are missing.
    pub(super) fn find_or_install() -> Result<Self> {
        let missing = match Self::find() {
            Ok(tools) => return Ok(tools),
            Err(missing) => missing,
        };
        if may_install() {
            install(&packages(&missing))?;
        }
        Self::find().or_else(|missing| {
            let what: Vec<_> = missing.iter().map(|missing| missing.what).collect();
            bail!(
                "the plugins are built with what is not here: {} (Debian: apt-get install {})",
                what.join("; "),
                packages(&missing).join(" ")
            )
        })
    }

    fn find() -> Result<Self, Vec<Missing>> {
        let clang =
            find_program("clang", 14..=30).ok_or(Missing { what: "clang 14 or later", packages: &["clang"] });
        let linker = find_program("wasm-ld", 14..=30)
            .ok_or(Missing { what: "wasm-ld of lld 14 or later", packages: &["lld"] });
        let rustc = find_rustc().ok_or(Missing {
            what: "Rust for wasm32-unknown-unknown (`rustup target add wasm32-unknown-unknown`)",
            packages: &["rustc", "libstd-rust-dev-wasm32"],
        });
        let npm = find_npm().ok_or(Missing {
            what: "npm with Node.js 18 or later (https://nodejs.org)",
            packages: &["nodejs", "npm"],
        });
        match (clang, linker, rustc, npm) {
            (Ok(clang), Ok(linker), Ok(rustc), Ok(npm)) => Ok(Self { clang, linker, rustc, npm }),
            (clang, linker, rustc, npm) => {
                Err([clang.err(), linker.err(), rustc.err(), npm.err()].into_iter().flatten().collect())
            }
        }
    }
}

fn packages(missing: &[Missing]) -> Vec<&'static str> {
    missing.iter().flat_map(|missing| missing.packages).copied().collect()
}

/// Looks for a program by its name, or by its name with a version, the oldest first: the result should be the same for everybody.
fn find_program(name: &str, versions: impl Iterator<Item = u32>) -> Option<PathBuf> {
    let mut names = versions.map(|version| format!("{name}-{version}"));
    names.find_map(|name| on_path(&name)).or_else(|| on_path(name))
}

/// The compiler that compiles everything else if it has the target, or else Debian's, whose target is a package.
fn find_rustc() -> Option<Rustc> {
    let ours = env::var_os("RUSTC").map_or_else(|| "rustc".into(), PathBuf::from);
    [Rustc { program: ours, has_linker: true }, Rustc { program: DEBIANS_RUSTC.into(), has_linker: false }]
        .into_iter()
        .find(Rustc::has_target)
}

impl Rustc {
    fn has_target(&self) -> bool {
        // It names the directory whether it is there or not.
        let libraries = printed(&self.program, &["--print", "target-libdir", "--target", RUST_TARGET]);
        libraries.is_some_and(|libraries| Path::new(libraries.trim()).is_dir())
    }
}

fn find_npm() -> Option<PathBuf> {
    let version = printed(Path::new("node"), &["--version"])?;
    let major = version.trim().strip_prefix('v')?.split('.').next()?.parse::<u32>().ok()?;
    if major < NODE_OLDEST { None } else { on_path("npm") }
}
