//! Versions of redb that know nothing of the multi-process locks must not get in.
//!
//! On Linux the whole-file lock that they take and the range locks that 4.4 takes do not see each other: they would
//! open a file that a writer has open, commit with `Ok`, and the commit would be lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use cohab_engine::Error;

use crate::{ONE, Scratch, put};

/// Builds the program beside this test that has the old versions in it, which cannot be had in one workspace.
fn old_versions() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old-redb/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("old-redb");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status();
    assert!(built.expect("cargo runs").success(), "the program with the old versions builds");
    target.join("debug/old-redb")
}

fn attempts(path: &Path) -> Vec<String> {
    let output = Command::new(old_versions()).arg(path).output().expect("runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn redb_3_1_and_4_2_are_kept_out_while_the_writer_is_there() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    put(&engine, b"k", b"v")?;
    let attempts = attempts(&scratch.path());
    assert_eq!(attempts.len(), 2);
    assert!(
        attempts.iter().all(|attempt| attempt.contains("refused: Database already open")),
        "{attempts:?}"
    );
    put(&engine, b"l", b"w")?;
    drop(engine);
    let engine = scratch.engine();
    assert_eq!(engine.snapshot()?.get(ONE, b"l")?.as_deref(), Some(&b"w"[..]));
    Ok(())
}

#[test]
fn the_test_above_would_see_an_intruder() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    put(&engine, b"k", b"v")?;
    drop(engine);
    let attempts = attempts(&scratch.path());
    assert!(attempts.iter().all(|attempt| attempt.ends_with("committed")), "{attempts:?}");
    Ok(())
}
