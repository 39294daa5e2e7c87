//! `cohab info`

use clap::Args;
use cohab::{FORMAT, FollowerRecord, Upstream};
use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::moment::At;
use crate::report::holder;
use crate::session::Session;
use crate::terminal::{Cell, Format, Record, size};

/// Tell what the store is, how large, and who writes to it
///
/// `replica_of` is the store whose deltas it applies, with the version that it has reached, unless it was made
/// independent; `followers` are those who keep a replica of this one. With --at, `version`, `epoch`, `namespaces` and `keys` are those of then.
#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    at: At,
}

impl Info {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let store = session.reader()?;
        let snapshot = self.at.of(store.snapshot()?)?;
        let (mut namespaces, mut keys) = (0, 0);
        for info in snapshot.namespaces()? {
            let info = info?;
            // Those of cohab itself are none of the user's.
            if !info.name.is_reserved() {
                namespaces += 1;
                keys += info.keys;
            }
        }
        let for_people = session.out.format() == Format::Table;
        let bytes = |bytes: u64| if for_people { size(bytes).into() } else { Cell::Number(bytes) };
        let writer = store.writer();
        let writer = match (&writer, for_people) {
            (Some(writer), true) => writer.to_string().into(),
            (None, true) => "nobody".into(),
            (Some(writer), false) => holder(writer).into(),
            (None, false) => Cell::Null,
        };
        let record = Record::new()
            .with("store", store.id().to_string())
            .with("path", store.path().to_string_lossy().into_owned())
            .with("version", snapshot.version())
            .with("oldest_version", snapshot.oldest_version())
            .with("format", u64::from(FORMAT))
            .with("epoch", snapshot.epoch().get())
            .with("writer", writer)
            .with("namespaces", namespaces)
            .with("keys", keys)
            .with("bytes", bytes(store.file_bytes()?))
            .with("log_bytes", bytes(snapshot.log_bytes()))
            .with("created", snapshot.created_at())
            .with("origin", snapshot.origin().map(|origin| origin.to_string()))
            .with("replica_of", snapshot.upstream().map(|upstream| replica_of(upstream, for_people)))
            .with("followers", followers(&store.followers(), for_people));
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}

/// Who keeps a replica of the store, and which version it has.
fn followers(followers: &[FollowerRecord], for_people: bool) -> Cell<'static> {
    if for_people {
        let told = |it: &FollowerRecord| format!("{} at version {}", it.path.display(), it.version);
        return followers.iter().map(told).collect::<Vec<_>>().join(", ").into();
    }
    let told = |it: &FollowerRecord| {
        json!({
            "path": it.path.to_string_lossy(),
            "store": it.replica.to_string(),
            "version": it.version.get(),
            "at": it.at.to_string(),
        })
    };
    followers.iter().map(told).collect::<Value>().into()
}

/// Which store a replica follows, or has followed.
fn replica_of(upstream: &Upstream, for_people: bool) -> Cell<'static> {
    let Upstream { store, version, promoted, .. } = upstream;
    if for_people {
        let past = if *promoted { ", until it was promoted" } else { "" };
        return format!("store {store} at version {version}{past}").into();
    }
    json!({ "store": store.to_string(), "version": version.get(), "promoted": promoted }).into()
}
