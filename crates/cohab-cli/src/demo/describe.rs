//! What people say about namespaces, and what that cannot do to data.

use std::time::Instant;

use cohab::{DropMode, Kind, Name, Update};

use super::stage::{Stage, digests, ensure_unchanged};
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::session::write;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "describe",
        says: "edit title, description and labels of every namespace, one by one",
        run: describe,
    },
    Step { name: "rename", says: "rename the largest namespace", run: rename },
    Step { name: "protect", says: "try to drop a protected namespace", run: protect },
    Step {
        name: "undrop",
        says: "drop the largest namespace with everything in it, and bring it back",
        run: undrop,
    },
];

fn describe(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    let snapshot = store.snapshot()?;
    let before = digests(&snapshot)?;
    let names = snapshot.namespaces()?.map(|info| info.map(|info| info.name));
    let names: Vec<Name> = names.collect::<cohab::Result<_>>()?;
    drop(snapshot);
    let begin = Instant::now();
    for name in &names {
        let update = Update::new().title(format!("Section {name}")).description("edited by cohab demo");
        let update = update.label("origin", "demo");
        write(&store, "demo: describe", |tx| Ok(tx.update_namespace(name, &update)?))?;
    }
    let time = begin.elapsed();
    let snapshot = store.snapshot()?;
    let mut described = snapshot.namespaces()?;
    let all = described.all(|info| {
        info.is_ok_and(|info| info.title.ends_with(info.name.as_str()) && info.labels.contains_key("origin"))
    });
    ensure(all, || "a namespace is not described as it should be".to_owned())?;
    ensure_unchanged(&before, &digests(&snapshot)?)?;
    let (count, each) = (names.len(), time / u32::try_from(names.len().max(1)).unwrap_or(1));
    Ok(format!("{count} namespaces in {count} commits, {} each; all digests stand", readable(each)))
}

fn rename(stage: &mut Stage) -> Result<String, Failure> {
    let largest = stage.largest()?;
    let store = stage.writer()?;
    let before = digests(&store.snapshot()?)?;
    let to = format!("renamed/{}", largest.name);
    let begin = Instant::now();
    write(&store, "demo: rename", |tx| Ok(tx.rename_namespace(&largest.name, &to)?))?;
    let time = begin.elapsed();
    let renamed = store.snapshot()?.namespace(&to)?.info();
    ensure(renamed.id == largest.id, || "the namespace has another identity now".to_owned())?;
    ensure(renamed.data_version == largest.data_version, || "its data_version has moved".to_owned())?;
    ensure_unchanged(&before, &digests(&store.snapshot()?)?)?;
    // What was sampled is looked for under the new name from here on.
    for (namespace, _, _) in &mut stage.model.sample {
        if *namespace == largest.name.as_str() {
            namespace.clone_from(&to);
        }
    }
    if let Some(digest) = stage.model.digests.remove(largest.name.as_str()) {
        stage.model.digests.insert(to.clone(), digest);
    }
    let keys = grouped(largest.keys);
    Ok(format!("`{}` with {keys} keys became `{to}` in {}; all digests stand", largest.name, readable(time)))
}

fn protect(stage: &mut Stage) -> Result<String, Failure> {
    let name = stage.largest()?.name;
    let store = stage.writer()?;
    let protect = |protected| {
        let update = Update::new().protected(protected);
        write(&store, "demo: protect", |tx| Ok(tx.update_namespace(&name, &update)?))
    };
    let version = protect(true)?.version;
    let refused = store.write(|tx| tx.drop_namespace(&name, DropMode::WithContents));
    let refusal = refused.err().ok_or_else(|| Failure::unexpected("the drop was not refused"))?;
    ensure(refusal.kind() == Kind::Conflict, || format!("it was refused for another reason: {refusal}"))?;
    ensure(store.snapshot()?.version() == version, || "the refused drop made a version".to_owned())?;
    protect(false)?;
    Ok(format!("refused: {refusal}"))
}

fn undrop(stage: &mut Stage) -> Result<String, Failure> {
    let info = stage.largest()?;
    let store = stage.writer()?;
    let before = digests(&store.snapshot()?)?;
    let begin = Instant::now();
    write(&store, "demo: drop", |tx| Ok(tx.drop_namespace(&info.name, DropMode::WithContents)?))?;
    let drop_time = begin.elapsed();
    let gone = store.snapshot()?.namespace(&info.name).map(drop);
    ensure(gone.is_err_and(|error| error.kind() == Kind::NotFound), || "it is still there".to_owned())?;
    let begin = Instant::now();
    write(&store, "demo: undrop", |tx| Ok(tx.undrop_namespace(&info.name)?))?;
    let undrop_time = begin.elapsed();
    ensure_unchanged(&before, &digests(&store.snapshot()?)?)?;
    let (keys, name) = (grouped(info.keys), &info.name);
    let (dropped, back) = (readable(drop_time), readable(undrop_time));
    Ok(format!("`{name}` with {keys} keys: gone in {dropped}, back in {back}, with the same digest"))
}
