//! `cohab log trim`

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cohab::{NamedSnapshot, Retention, Snapshot, Store};
use serde_json::Value;

use crate::arguments::bytes;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Cell, Record};

/// Remove the oldest records of the log now
///
/// A record goes when any of the bounds that are given is passed; without any, those are that commits trim by on the side:
/// 100,000 versions, 1 GiB, 30 days. The newest always stays. What a snapshot or a follower needs stays as well: `kept_for` and
/// `followed_by` name those that hold the oldest record; `lapsed` names snapshots that were given up because they held too
/// much, or were too old.
/// What was trimmed cannot be read, undone, rolled back to or made a delta from any more.
#[derive(Debug, Args)]
pub(super) struct Trim {
    /// How many versions to keep
    #[arg(long, value_name = "N")]
    keep: Option<u64>,
    /// How many bytes of records to keep, such as 100MB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    keep_bytes: Option<u64>,
    /// Up to which age to keep records, such as 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    keep_age: Option<Duration>,
    /// Keep the log no longer for the replica in this directory, which will not follow any more
    #[arg(long, value_name = "REPLICA")]
    forget: Vec<PathBuf>,
}

impl Trim {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let store = session.writer_keeping(self.retention())?;
        self.forget(&store)?;
        let before = lapsed(&store.snapshot()?)?;
        let (mut trimmed, mut reclaimed) = (0, 0);
        loop {
            let step = store.maintain()?;
            trimmed += step.trimmed;
            reclaimed += step.reclaimed;
            if !step.more {
                break;
            }
            interrupt::check()?;
        }
        let snapshot = store.snapshot()?;
        let oldest = snapshot.oldest_version();
        let all = snapshot.named_snapshots()?;
        let has_lapsed =
            |known: &&NamedSnapshot| !known.kept.is_active() && !before.contains(known.name.as_str());
        let holds = |known: &&NamedSnapshot| known.kept.is_active() && known.kept.version <= oldest;
        let followers = store.followers().into_iter().filter(|follower| follower.version <= oldest);
        let followers = followers.map(|follower| Value::from(follower.path.to_string_lossy()));
        let record = Record::new()
            .with("trimmed", trimmed)
            .with("oldest_version", oldest)
            .with("log_bytes", snapshot.log_bytes())
            .with("lapsed", names(all.iter().filter(has_lapsed)))
            .with("kept_for", names(all.iter().filter(holds)))
            .with("followed_by", followers.collect::<Value>())
            .with("reclaimed", reclaimed);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }

    /// Takes back the word of followers.
    fn forget(&self, store: &Store) -> Result<(), Failure> {
        let known = store.followers();
        for path in &self.forget {
            // It may be gone.
            let absolute = || std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let canonical = path.canonicalize().unwrap_or_else(|_| absolute());
            let Some(follower) = known.iter().find(|follower| follower.path == canonical) else {
                let message = format!("no follower at {} has left word", path.display());
                let hint = "`cohab info` names those who have";
                return Err(Failure::not_found(message).hint(hint));
            };
            store.forget_follower(follower.replica);
        }
        Ok(())
    }

    fn retention(&self) -> Retention {
        let Self { keep, keep_bytes, keep_age, .. } = *self;
        if keep.is_none() && keep_bytes.is_none() && keep_age.is_none() {
            return Retention::default();
        }
        let all = Retention::UNBOUNDED;
        all.versions(keep.unwrap_or(all.versions))
            .bytes(keep_bytes.unwrap_or(all.bytes))
            .age(keep_age.unwrap_or(all.age))
    }
}

/// The names of the snapshots that have lapsed.
fn lapsed(snapshot: &Snapshot) -> cohab::Result<HashSet<String>> {
    let all = snapshot.named_snapshots()?.into_iter().filter(|known| !known.kept.is_active());
    Ok(all.map(|known| known.name.to_string()).collect())
}

fn names<'s>(all: impl Iterator<Item = &'s NamedSnapshot>) -> Cell<'static> {
    all.map(|known| Value::from(known.name.as_str())).collect::<Value>().into()
}

/// Reads an age, in which a day has 24 hours.
fn age(text: &str) -> Result<Duration, String> {
    let form = "expected an age such as 90s, 12h, 7d or 4w";
    let span: jiff::Span = text.parse().map_err(|_| form)?;
    let age = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| form)?;
    Duration::try_from(age).map_err(|_| form.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        let check = |text: &str, seconds| assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        check("90s", 90);
        check("12h", 43_200);
        check("7d", 604_800);
        check("4w", 2_419_200);
        check("1d 12h", 129_600);
        for text in ["", "7", "-1d", "d", "1 month", "1y", "soon", "99999999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
