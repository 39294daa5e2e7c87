//! Transactions that do not happen.

use cohab::{Batch, Kind, Name, Precondition, Version};

use super::stage::{Stage, digests, ensure_unchanged};
use super::{Step, ensure, grouped};
use crate::failure::Failure;

pub(super) const STEPS: &[Step] = &[
    Step { name: "abort", says: "let a transaction fail after many changes", run: abort },
    Step { name: "refuse", says: "submit a batch whose two preconditions do not hold", run: refuse },
];

/// How many changes the failing transaction makes first.
const CHANGES: u64 = 20_000;

fn abort(stage: &mut Stage) -> Result<String, Failure> {
    let largest = stage.largest()?.name;
    let store = stage.writer()?;
    let snapshot = store.snapshot()?;
    let (before, version) = (digests(&snapshot)?, snapshot.version());
    drop(snapshot);
    let outcome = store.write(|tx| {
        tx.create_namespace("half")?;
        for number in 0..CHANGES {
            tx.put("half", number.to_be_bytes(), "never seen")?;
            tx.put(&largest, format!("half/{number}"), "never seen")?;
        }
        Err::<(), _>(cohab::Error::abort("something went wrong half-way"))
    });
    let error = outcome.err().ok_or_else(|| Failure::unexpected("the transaction was committed"))?;
    ensure(error.kind() == Kind::Aborted, || format!("it failed for another reason: {error}"))?;
    let snapshot = store.snapshot()?;
    ensure(snapshot.version() == version, || "it made a version all the same".to_owned())?;
    ensure_unchanged(&before, &digests(&snapshot)?)?;
    let changes = grouped(2 * CHANGES);
    Ok(format!("nothing is left of {changes} changes; version {version} and all digests stand"))
}

fn refuse(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    let version = store.snapshot()?.version();
    let Some((namespace, key, _)) = stage.model.sample.first() else {
        return Err(Failure::unexpected("nothing was sampled"));
    };
    let namespace = Name::new(namespace).map_err(Failure::input)?;
    let batch = Batch::new()
        .expect(Precondition::value(&namespace, key.clone(), "something else"))
        .expect(Precondition::present(&namespace, key.clone()))
        .expect(Precondition::StoreVersion(Version::ZERO))
        .put(&namespace, key.clone(), "lost update");
    let refused = store.submit(batch);
    let error = refused.err().ok_or_else(|| Failure::unexpected("the batch was committed"))?;
    ensure(error.kind() == Kind::Conflict, || format!("it was refused for another reason: {error}"))?;
    let named = error.refusals().len();
    ensure(named == 2, || format!("{named} of the two failing preconditions were named: {error}"))?;
    ensure(store.snapshot()?.version() == version, || "it made a version all the same".to_owned())?;
    Ok(format!("refused, and both are named: {error}").replace('\n', " "))
}
