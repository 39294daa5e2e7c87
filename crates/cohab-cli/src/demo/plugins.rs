//! Plugins: an index that is kept of what is committed, by a script that is edited while everything goes on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cohab::{AddPlugin, Store};

use super::stage::Stage;
use super::{Step, ensure, grouped};
use crate::failure::Failure;
use crate::interrupt;

pub(super) const STEPS: &[Step] = &[
    Step { name: "plugin", says: "add a script that indexes what is committed", run: add },
    Step { name: "edit", says: "save a second version of it while four threads commit and call", run: edit },
    Step { name: "break", says: "save a third one that does not compile", run: break_it },
    Step { name: "mend", says: "mend it", run: mend },
];

const ORDERS: &str = "demo/orders";
const INDEX: &str = "demo/orders/by-customer";
const PLUGIN: &str = "demo-index";

/// How many orders a step commits.
const COUNT: usize = 400;

/// By when an edit has taken effect, unless it never will.
const PATIENCE: Duration = Duration::from_secs(30);

const MANIFEST: &str = r#"name = "demo-index"
description = "Which customer has which orders"
api = 1
entry = "index.rhai"

[[trigger]]
on = "commit"
namespaces = ["demo/orders"]
start = "existing"

[[trigger]]
on = "request"

[grants]
write = ["demo/orders/by-customer"]
"#;

/// A script that says which version of it is at work.
fn script(version: &str) -> String {
    format!(
        r#"const INDEX = "demo/orders/by-customer";

fn on_commit(changes) {{
    for change in changes {{
        if change.before != () {{ delete(INDEX, change.before + "/" + change.key); }}
        if change.after != () {{ put(INDEX, change.after + "/" + change.key, "{version}"); }}
    }}
    let seen = get("seen");
    put("seen", ((if seen == () {{ 0 }} else {{ seen.parse_int() }}) + changes.len).to_string());
}}

fn on_request(input) {{ "{version} " + get("seen") }}
"#
    )
}

fn save(stage: &Stage, file: &str, text: &str) -> Result<(), Failure> {
    let path = stage.path("plugin").join(file);
    fs::write(&path, text).map_err(|error| Failure::io(format!("writing {} failed", path.display()), &error))
}

/// Commits orders one by one, by four threads.
fn commit(
    store: &Store,
    from: usize,
    calls: &AtomicU64,
    also: &(dyn Fn() -> bool + Sync),
) -> Result<(), Failure> {
    let is_over = AtomicBool::new(false);
    let results: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut number = from + thread;
                    while number < from + COUNT || !(is_over.load(Ordering::Relaxed) || also()) {
                        if number < from + COUNT {
                            let order = cohab::Batch::new().put(
                                &ORDERS.parse().map_err(Failure::input)?,
                                format!("{number:06}"),
                                format!("customer-{:02}", number % 17),
                            );
                            store.submit(order)?;
                            number += 4;
                        }
                        store.plugins().call(PLUGIN, b"")?;
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                    is_over.store(true, Ordering::Relaxed);
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a thread of the demonstration panicked"))
            .collect()
    });
    results.into_iter().collect()
}

fn wait_until(what: &str, condition: impl Fn() -> Result<bool, Failure>) -> Result<Duration, Failure> {
    let begin = Instant::now();
    while !condition()? {
        interrupt::check()?;
        ensure(begin.elapsed() < PATIENCE, || format!("waited in vain for {what}"))?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begin.elapsed())
}

fn says(store: &Store, version: &str) -> Result<bool, Failure> {
    Ok(store.plugins().call(PLUGIN, b"")?.starts_with(version.as_bytes()))
}

/// Checks that the index says what the orders say, and that every order was seen once.
fn ensure_indexed(store: &Store) -> Result<u64, Failure> {
    wait_until("the index", || Ok(store.plugins().show(PLUGIN)?.lag == Some(0)))?;
    let snapshot = store.refresh()?;
    let (orders, index) = (snapshot.namespace(ORDERS)?, snapshot.namespace(INDEX)?);
    for entry in orders.all()? {
        let entry = entry?;
        let key = [entry.value(), b"/", entry.key()].concat();
        ensure(index.get(&key)?.is_some(), || {
            format!("order {} is not in the index", entry.key().escape_ascii())
        })?;
    }
    ensure(index.count() == orders.count(), || "the index holds more than the orders".into())?;
    let said = store.plugins().call(PLUGIN, b"")?;
    let seen = String::from_utf8_lossy(&said);
    let seen = seen.split(' ').nth(1).and_then(|seen| seen.parse().ok()).unwrap_or(0);
    ensure(seen == orders.count(), || format!("the plugin saw {seen} changes of {}", orders.count()))?;
    Ok(seen)
}

fn add(stage: &mut Stage) -> Result<String, Failure> {
    let dir = stage.path("plugin");
    fs::create_dir(&dir).map_err(|error| Failure::io(format!("making {} failed", dir.display()), &error))?;
    save(stage, "plugin.toml", MANIFEST)?;
    save(stage, "index.rhai", &script("v1"))?;
    let store = stage.writer()?;
    store.write(|tx| {
        tx.create_namespace(ORDERS)?;
        tx.put(ORDERS, "000000", "customer-00")
    })?;
    store.plugins().add(&dir, AddPlugin::new())?;
    wait_until("what was there", || Ok(!store.plugins().call(PLUGIN, b"")?.ends_with(b" ")))?;
    let begin = Instant::now();
    commit(&store, 1, &AtomicU64::new(0), &|| true)?;
    let seen = ensure_indexed(&store)?;
    Ok(format!("{} orders committed and indexed in {:.0?}, each seen once", grouped(seen), begin.elapsed()))
}

fn edit(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    let calls = AtomicU64::new(0);
    let began = Instant::now();
    let effect = std::sync::OnceLock::new();
    save(stage, "index.rhai", &script("v2"))?;
    commit(&store, 1 + COUNT, &calls, &|| {
        let is_there = says(&store, "v2").unwrap_or(false);
        if is_there {
            effect.get_or_init(|| began.elapsed());
        }
        is_there || began.elapsed() > PATIENCE
    })?;
    ensure(effect.get().is_some(), || "the second version never came".into())?;
    let took = effect.get().copied().unwrap_or_default();
    let seen = ensure_indexed(&store)?;
    let calls = grouped(calls.load(Ordering::Relaxed));
    Ok(format!("in effect within {took:.0?}, {calls} calls answered, {} orders seen once", grouped(seen)))
}

fn break_it(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    save(stage, "index.rhai", "fn on_commit(changes) {\n    put(INDEX, ;\n}\n")?;
    wait_until("the refusal", || Ok(store.plugins().show(PLUGIN)?.record.failure.is_some()))?;
    let failure = store.plugins().show(PLUGIN)?.record.failure;
    let failure = failure.ok_or_else(|| Failure::unexpected("the refusal went away"))?;
    ensure(failure.error.line == Some(2), || format!("the error names no line: {}", failure.error))?;
    commit(&store, 1 + 2 * COUNT, &AtomicU64::new(0), &|| true)?;
    ensure(says(&store, "v2")?, || "the second version is not in service".into())?;
    let seen = ensure_indexed(&store)?;
    Ok(format!("refused ({}), v2 serves on, {} orders seen once", failure.error, grouped(seen)))
}

fn mend(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    save(stage, "index.rhai", &script("v3"))?;
    let took = wait_until("the third version", || says(&store, "v3"))?;
    let status = store.plugins().show(PLUGIN)?;
    ensure(status.record.failure.is_none(), || "the failure is still there".into())?;
    let seen = ensure_indexed(&store)?;
    let generation = status.record.generation;
    Ok(format!("generation {generation} in effect within {took:.0?}, {} orders seen once", grouped(seen)))
}
