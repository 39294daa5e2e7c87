//! How a namespace's bytes are spread over its keys, which takes reading all of them.

use cohab::NamespaceView;

use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::Record;

pub(super) fn read(session: &Session, view: &NamespaceView<'_>) -> Result<Record<'static>, Failure> {
    let progress = session.progress("reading", Some(view.info().bytes));
    let (mut key_bytes, mut value_bytes) = (0, 0);
    let (mut key_max, mut value_max) = (0, 0);
    let (mut oldest, mut newest) = (None, None);
    let (mut first, mut last) = (None, Vec::new());
    for entry in view.all()? {
        interrupt::check()?;
        let entry = entry?;
        let (key, value) = (entry.key().len() as u64, entry.value().len() as u64);
        key_bytes += key;
        value_bytes += value;
        (key_max, value_max) = (key_max.max(key), value_max.max(value));
        let version = entry.version();
        oldest = Some(oldest.map_or(version, |oldest| version.min(oldest)));
        newest = newest.max(Some(version));
        first.get_or_insert_with(|| entry.key().to_vec());
        last.clear();
        last.extend_from_slice(entry.key());
        progress.add(key + value);
    }
    drop(progress);
    let mut record = Record::new()
        .with("key_bytes", key_bytes)
        .with("value_bytes", value_bytes)
        .with("key_bytes_max", key_max)
        .with("value_bytes_max", value_max)
        .with("oldest_version", oldest)
        .with("newest_version", newest);
    if let Some(first) = first {
        record = record.with_bytes("first_key", first).with_bytes("last_key", last);
    }
    Ok(record)
}
