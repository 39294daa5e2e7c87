//! Follows the store's versions.

use std::time::Duration;

use anyhow::Result;
use cohab::{Filter, NamespaceId, Role, Store, Version, WatchEvent};

use super::{Stage, unless_stalled};
use crate::kill::history::Event;
use crate::kill::keys::{Key, NAMESPACES, Op};
use crate::kill::points::Point;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let options = stage.options().role(Role::Reader);
    let store = stage.open(&options)?;
    let position = stage.scene.position(stage.casting.place);
    // Where the one before it was, or from now on.
    let from = position.get().filter(|_| !stage.random.one_in(4)).map(Version::new);
    let filter = from.map_or_else(Filter::new, |from| Filter::new().from(from));
    let Some(mut watch) = unless_stalled(stage, store.watch(filter))? else { return Ok(()) };
    stage.journal.note(Event::Watching { from: watch.position().get() });
    let Some(ids) = ids(stage, &store)? else { return Ok(()) };
    loop {
        let Some(event) = watch.next_within(Duration::from_millis(200)) else { continue };
        let Some(event) = unless_stalled(stage, event)? else { continue };
        stage.points.pass(Point::Watched);
        note(stage, &event, &ids)?;
        position.put(watch.position().get())?;
    }
}

fn ids(stage: &Stage, store: &Store) -> Result<Option<Vec<NamespaceId>>> {
    let Some(snapshot) = unless_stalled(stage, store.snapshot())? else { return Ok(None) };
    let ids = NAMESPACES.iter().map(|name| Ok(snapshot.namespace(name)?.id())).collect::<cohab::Result<_>>();
    unless_stalled(stage, ids)
}

fn note(stage: &Stage, event: &WatchEvent, ids: &[NamespaceId]) -> Result<()> {
    let op = Op::parse(event.label()).unwrap_or(Op::NONE);
    let (mut puts, mut deletes) = (0, 0);
    let Some(changes) = unless_stalled(stage, event.changes())? else { return Ok(()) };
    for change in changes {
        let Some(namespace) = ids.iter().position(|id| *id == change.namespace) else { continue };
        let Some(key) = Key::parse(&change.key).filter(|key| key.namespace_number() == namespace) else {
            stage.journal.broken(format!("version {} changes a key that is nobody's", event.version()));
            continue;
        };
        match key.op(change.after.as_deref()) {
            Ok(Op::NONE) => deletes |= key.bit(),
            Ok(after) if after == op => puts |= key.bit(),
            Ok(after) => {
                stage.journal.broken(format!("version {} of {op:?} puts {after:?}", event.version()));
            }
            Err(broken) => stage.journal.broken(broken.0),
        }
    }
    stage.journal.note(Event::Watched { version: event.version().get(), op: op.0, puts, deletes });
    Ok(())
}
