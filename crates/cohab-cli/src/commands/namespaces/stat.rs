//! `cohab ns stat`

mod caches;
mod spread;

use std::ffi::OsString;

use clap::Args;
use cohab::{NamespaceInfo, Snapshot};
use serde_json::Value;

use self::caches::Caches;
use crate::arguments::name;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::{Format, Record, size};

/// Tell how large namespaces are, and how each process's cache of them does
///
/// Costs the same at any size: what is told of a namespace is what the store keeps account of, and what is told of a
/// process is what its instance said of itself up to a second ago. An instance tells of the 16 namespaces that occupy the
/// most of its cache; one that does not read a namespace through the cache is not listed below it. With --at, the sizes
/// are told that the namespaces had, and nothing of caches, which are of the present.
///
/// `hits`, `misses`, `hit_rate`: reads that the cache answered, or did not. `refusals`: entries refused because they
/// would have been stale. `evictions`: entries that made room for others. `invalidations`: entries whose key was written.
/// `floors`: how often all entries went, because it was not known which keys were written. `horizon`: the version through
/// which the entries are right; `lag`: by how many versions that was behind the namespace's last change.
#[derive(Debug, Args)]
pub(super) struct Stat {
    /// The namespace; all of them if none is named
    name: Option<OsString>,
    /// Read all of the namespace, and tell how its bytes are spread over its keys
    #[arg(long, requires = "name")]
    spread: bool,
    #[command(flatten)]
    at: At,
}

impl Stat {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = self.name.as_deref().map(name).transpose()?;
        let snapshot = session.snapshot_at(&self.at)?;
        let caches = if self.at.is_present() { Caches::of(session)? } else { Caches::none() };
        match &name {
            Some(name) => {
                let view = snapshot.namespace(name)?;
                let mut record = sizes(&view.info(), session.out.format());
                if self.spread {
                    record.extend(spread::read(session, &view)?);
                }
                if session.out.format() == Format::Table {
                    session.out.record(&record)?;
                    return caches.print(session, &[view.info()]);
                }
                session.out.record(&record.with("processes", caches.json(&view.info())))?;
                Ok(Exit::Done)
            }
            None => all(session, &snapshot, &caches),
        }
    }
}

fn all(session: &mut Session, snapshot: &Snapshot, caches: &Caches) -> Outcome {
    let infos = snapshot.namespaces()?.filter_map(|info| {
        let info = interrupt::check().and_then(|()| Ok(info?));
        // Those of cohab itself are told of by name only.
        if info.as_ref().is_ok_and(|info| info.name.is_reserved()) { None } else { Some(info) }
    });
    let infos: Vec<NamespaceInfo> = infos.collect::<Result<_, Failure>>()?;
    let format = session.out.format();
    let columns = &["name", "keys", "bytes", "entry_bytes_avg", "data_version", "meta_version", "cached_by"];
    let mut list = session.out.list(columns, &["name", "keys", "bytes", "data_version", "meta_version"])?;
    for info in &infos {
        let record = sizes(info, format);
        list.push(&match format {
            Format::Table => record.with("cached_by", caches.count(info)),
            _ => record.with("processes", caches.json(info)),
        })?;
    }
    list.finish()?;
    match format {
        Format::Table => caches.print(session, &infos),
        _ => Ok(Exit::Done),
    }
}

/// What the store keeps account of.
fn sizes(info: &NamespaceInfo, format: Format) -> Record<'static> {
    let entry_bytes = info.bytes.checked_div(info.keys);
    let record = Record::new().with("name", info.name.as_str().to_owned());
    let record = match format {
        Format::Table => record
            .with("keys", info.keys)
            .with("bytes", size(info.bytes))
            .with("entry_bytes_avg", entry_bytes.map(size)),
        _ => record
            .with("id", u64::from(info.id.get()))
            .with("keys", info.keys)
            .with("bytes", info.bytes)
            .with("entry_bytes_avg", entry_bytes),
    };
    record.with("data_version", info.data_version).with("meta_version", info.meta_version)
}

/// A part of a whole as a number with four digits.
fn rate(part: Option<f64>) -> Value {
    part.map_or(Value::Null, |part| ((part * 10_000.0).round() / 10_000.0).into())
}
