//! Making the corpora small.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::bounds::Bounds;
use super::build::Built;
use super::execute;
use crate::workspace::{self, Workspace};

/// How much is committed for one target, at the most.
const BYTES_MAX: u64 = 300 << 10;

/// Puts into a target's committed corpus what reaches further than the inputs that have a name, which are seeds and what
/// failures were found with, and takes out what does not.
///
/// Two inputs that reach the same places differ in how often, which is what libFuzzer searches by, and what corpora of
/// hundreds of thousands of files come of. Here places alone count.
pub(super) fn minimize(workspace: &Workspace, built: &Built, target: &str) -> Result<()> {
    let (committed, found) = (execute::committed(workspace, target), built.corpora.join(target));
    fs::create_dir_all(&found)?;
    let merged = tempfile::tempdir()?;
    for path in files(&committed)? {
        if !is_found(&path) {
            fs::copy(&path, merged.path().join(name(&path)?))?;
        }
    }
    let mut command = execute::command(workspace, built, target)?;
    command.args(["-merge=1", "-use_counters=0"]).arg(merged.path()).arg(&committed).arg(&found);
    workspace::announce(&command);
    let mut child = command.spawn().with_context(|| format!("cannot run the fuzz target `{target}`"))?;
    let mut said = String::new();
    child.stderr.take().context("the output was piped")?.read_to_string(&mut said)?;
    ensure!(child.wait()?.success(), "the corpora of `{target}` cannot be merged:\n{said}");

    let (before, mut bytes, mut count) = (files(&committed)?.len(), 0, 0);
    for path in files(&committed)?.iter().filter(|path| is_found(path)) {
        fs::remove_file(path)?;
    }
    let mut all = files(merged.path())?;
    // Those with a name first, then what is small.
    all.sort_by_key(|path| (is_found(path), fs::metadata(path).map_or(0, |metadata| metadata.len())));
    let (mut left_out, inputs_max) = (0, Bounds::of(target).inputs);
    for path in all {
        let len = fs::metadata(&path)?.len();
        if is_found(&path) && (count >= inputs_max || bytes + len > BYTES_MAX) {
            left_out += 1;
            continue;
        }
        (bytes, count) = (bytes + len, count + 1);
        fs::copy(&path, committed.join(name(&path)?))?;
    }
    println!("{target:16} {before:>5} inputs became {count:>5}, {bytes:>7} bytes; {left_out} were left out");
    Ok(())
}

/// Whether a file is called as libFuzzer calls what it finds: by its SHA-1.
fn is_found(path: &Path) -> bool {
    let is_hash = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.file_name().and_then(|name| name.to_str()).is_some_and(is_hash)
}

fn name(path: &Path) -> Result<&Path> {
    path.file_name().map(Path::new).with_context(|| format!("{} has no name", path.display()))
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}
