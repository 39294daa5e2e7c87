//! The files of a store, as far as the file system shows them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Check;
use crate::commands::Exit;
use crate::failure::Failure;

/// Files that were left unfinished carry this prefix.
const UNFINISHED: &str = ".cohab-";

/// A card that is longer is none.
const CARD_BYTES_MAX: u64 = 64 << 10;

/// A file younger than this may belong to somebody who is at work on it.
const AGE_MIN: Duration = Duration::from_mins(1);

/// What to do with what a crash left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leftovers {
    /// Count it.
    Count,
    /// Remove it.
    Remove,
}

/// Checks that nobody else can read or change the store. What is not there is for others to miss.
pub(super) fn permissions(path: &Path) -> Vec<Check> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut paths = vec![path.to_owned()];
        let names = [
            "store.redb",
            "store.json",
            "writer.lock",
            "writer.json",
            "writer.epoch",
            "handover.lock",
            "coord.page",
            "instances",
            "tmp",
            "ports",
            "locks",
            "followers",
            "plugins",
        ];
        paths.extend(names.map(|name| path.join(name)));
        let mode = |path: &PathBuf| Some(path.symlink_metadata().ok()?.permissions().mode() & 0o777);
        let mut open = paths.iter().filter_map(|path| Some((path, mode(path)?)));
        let check = match open.find(|(_, mode)| mode & 0o077 != 0) {
            None => Check::good("permissions", "only the owner has access"),
            Some((path, mode)) => {
                let detail = format!("{} has mode {mode:04o}, so others have access", path.display());
                let hint = format!("`chmod go-rwx {}`, unless that is intended", path.display());
                Check::bad("permissions", Exit::Difference, detail).hint(hint)
            }
        };
        vec![check]
    }
    #[cfg(not(unix))]
    {
        _ = path;
        Vec::new()
    }
}

/// Whether there is a file of data.
pub(super) fn has_data(path: &Path) -> bool {
    path.join("store.redb").is_file()
}

/// Whether the card is there and can be read, be it right or wrong.
pub(super) fn has_card(path: &Path) -> bool {
    let path = path.join("store.json");
    // Whoever opens a pipe waits for its other end, and the file may be as long as it likes.
    let is_card = |metadata: fs::Metadata| metadata.is_file() && metadata.len() <= CARD_BYTES_MAX;
    let card = path.symlink_metadata().is_ok_and(is_card).then(|| fs::read(&path).ok()).flatten();
    let card: Option<Value> = card.and_then(|card| serde_json::from_slice(&card).ok());
    card.is_some_and(|card| {
        ["store", "format", "oldest_format"].iter().all(|field| card.get(field).is_some())
    })
}

/// Looks for unfinished files, which are harmless but for the room they take.
pub(super) fn leftovers(path: &Path, what: Leftovers) -> Result<Option<Check>, Failure> {
    if !path.is_dir() {
        return Ok(None);
    }
    let failed = |error: io::Error| Failure::io(format!("tidying up {} failed", path.display()), &error);
    let mut count = 0;
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        // One that vanishes meanwhile was somebody's at work.
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        if age.is_none_or(|age| age < AGE_MIN) {
            continue;
        }
        count += 1;
        if what == Leftovers::Remove {
            let path = entry.path();
            let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.map_err(failed)?;
        }
    }
    let check = match (count, what) {
        (0, _) => Check::good("leftovers", "none"),
        (count, Leftovers::Remove) => Check::good("leftovers", format!("{count} unfinished files removed")),
        (count, Leftovers::Count) => Check::good("leftovers", format!("{count} unfinished files of a crash"))
            .hint("harmless; `cohab doctor --repair` removes them"),
    };
    Ok(Some(check))
}
