//! The store's file: read by a reader, and read, written and read again by a writer.

use std::path::Path;

use cohab::{Integrity, Kind};

use super::bench::Bench;
use super::fixture::reader;
use super::outcome::Outcome;
use super::truth::{PROBE, Reading, Truth};

/// Reads everything as a reader, and verifies.
pub(super) fn read_all(path: &Path, truth: &Truth, turn: u64, outcome: &mut Outcome) {
    let mut reading = Reading::default();
    match reader(path).and_then(|store| store.snapshot()) {
        Ok(snapshot) => {
            if snapshot.version() != truth.version {
                reading.wrong.push(format!("version {} instead of {}", snapshot.version(), truth.version));
            }
            truth.compare(&snapshot, turn, &mut reading);
            let is_sound = snapshot.verify(|_| ()).is_ok_and(|report| report.is_sound());
            outcome.is_found |= !is_sound;
            if is_sound && !reading.is_as_it_was() {
                outcome.broken.push(missed(&reading));
            }
        }
        Err(error) => {
            outcome.is_found = true;
            // For one who opens a file it is either a backup or something else.
            if error.kind() == Kind::InvalidInput && path.is_file() {
                outcome.met("invalid_input");
            } else {
                reading.note("opening", &error);
            }
        }
    }
    outcome.add(reading);
}

fn missed(reading: &Reading) -> String {
    let (said, wrong) = (reading.said.join("; "), reading.wrong.join(", "));
    format!("verified as sound, although reading it fails ({said}) or is wrong ({wrong})")
}

/// Reads everything as the writer, writes to it, and reads everything again.
pub(super) fn write_and_read(path: &Path, truth: &Truth, turn: u64, outcome: &mut Outcome) {
    let (mut before, mut after) = (Reading::default(), Reading::default());
    let store = match Bench::writer(path) {
        Ok(store) => store,
        Err(error) => {
            outcome.is_found = true;
            return outcome.note("opening as the writer", &error);
        }
    };
    let look = |reading: &mut Reading| match store.snapshot() {
        Ok(snapshot) => {
            truth.compare(&snapshot, turn, reading);
            snapshot.verify(|_| ()).is_ok_and(|report| report.is_sound())
        }
        Err(error) => {
            reading.note("a snapshot", &error);
            false
        }
    };
    let was_sound = look(&mut before);
    let written = (0..4_u32).try_for_each(|round| {
        store.write(|tx| {
            (0..20_u32).try_for_each(|key| tx.put(PROBE, format!("{round}-{key}"), [b'p'; 300]))
        })?;
        Ok(())
    });
    if let Err(error) = &written {
        after.note("a commit", error);
    }
    let is_sound = look(&mut after);
    outcome.is_found |= !was_sound || !is_sound;
    if was_sound && !before.is_as_it_was() {
        outcome.broken.push(missed(&before));
    }
    if is_sound && written.is_ok() && !after.is_as_it_was() {
        outcome.broken.push(missed(&after));
    }
    outcome.has_spread = before.is_as_it_was() && was_sound && !(after.is_as_it_was() && is_sound);
    let checked = store.check();
    outcome.is_found_by_pages_alone = !outcome.is_found && !matches!(checked, Ok(Integrity::Sound));
    outcome.add(before);
    outcome.add(after);
}
