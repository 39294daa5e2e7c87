//! Loading.

use std::time::Instant;

use super::stage::Stage;
use super::{Step, ensure, grouped};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;
use crate::terminal::{rate, size};

pub(super) const STEPS: &[Step] = &[Step {
    name: "load",
    says: "put all of it into namespaces, by section or crate, in one transaction",
    run: load,
}];

fn load(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    let begin = Instant::now();
    let material = &stage.material;
    let done = write(&store, "demo: load", |tx| {
        material.pour(|namespace, key, value| {
            interrupt::check()?;
            tx.ensure_namespace(namespace)?;
            Ok(tx.put(namespace, key, value)?)
        })
    })?;
    let time = begin.elapsed();
    let (model, version) = (done.value, done.version);
    ensure(version.get() == 1, || format!("one transaction made version {version}"))?;
    let snapshot = store.snapshot()?;
    for (namespace, expected) in &model.digests {
        let found = snapshot.namespace(namespace)?.digest();
        ensure(found == *expected, || format!("`{namespace}` has digest {found}, the source {expected}"))?;
    }
    let detail = format!(
        "{} {} in {} namespaces, {} at {}; every digest is that of the source",
        grouped(model.entries),
        stage.material.noun(),
        model.digests.len(),
        size(model.bytes),
        rate(model.bytes, time),
    );
    stage.model = model;
    Ok(detail)
}
