//! A store, or one namespace of it, into a dump.

use std::io::Write;

use cohab::{Name, NamespaceInfo, NamespaceView, Snapshot};
use cohab_exchange::Error as ExchangeError;
use cohab_exchange::dump::{NamespaceHeader, Writer};

use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::Progress;

/// Writes a dump of all namespaces but cohab's own, or of one.
pub(crate) fn dump<W: Write>(
    snapshot: &Snapshot,
    only: Option<&Name>,
    out: W,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut dump = Writer::begin(out).map_err(written)?;
    match only {
        Some(name) => namespace(&mut dump, &snapshot.namespace(name)?, progress)?,
        None => {
            for info in snapshot.namespaces()? {
                let info = info?;
                if !info.name.is_reserved() {
                    namespace(&mut dump, &snapshot.namespace_by_id(info.id)?, progress)?;
                }
            }
        }
    }
    dump.finish().map_err(written)?;
    Ok(())
}

fn namespace<W: Write>(
    dump: &mut Writer<W>,
    view: &NamespaceView<'_>,
    progress: &Progress,
) -> Result<(), Failure> {
    let info = view.info();
    let (name, digest) = (info.name.clone(), info.digest);
    dump.namespace(&header(info)).map_err(written)?;
    for entry in view.all()? {
        interrupt::check()?;
        let entry = entry?;
        dump.entry(entry.key(), entry.value()).map_err(written)?;
        progress.add((entry.key().len() + entry.value().len()) as u64);
    }
    let end = dump.end_namespace().map_err(written)?;
    if end.digest != digest {
        // Every value verified, so it is the sum that is wrong, or an entry that is missing.
        let message = format!("namespace `{name}` should have the digest {digest}, found {}", end.digest);
        return Err(Failure::corrupt(message).hint("run `cohab verify` to see how far the damage goes"));
    }
    Ok(())
}

fn header(info: NamespaceInfo) -> NamespaceHeader {
    let mut header = NamespaceHeader::new(info.name);
    (header.title, header.description, header.labels) = (info.title, info.description, info.labels);
    (header.protected, header.history) = (info.protected, info.history.as_str().to_owned());
    header
}

/// That the reader of a dump has gone is seen by the command as everywhere else.
fn written(error: ExchangeError) -> Failure {
    match &error {
        ExchangeError::Write { source, .. } => Failure::output(source),
        _ => error.into(),
    }
}
