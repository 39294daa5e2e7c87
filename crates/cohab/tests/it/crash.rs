use std::time::Duration;

use cohab::{Batch, Name, Result, Role, Store};
use cohab_testkit::{Child, child_store};

use crate::{Scratch, v};

/// Commits for ever, by turns as a transaction and as a batch, and reports every version that was acknowledged.
#[test]
fn child_commits_until_it_is_killed() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let store = Store::open(path)?;
    let n: Name = "n".parse()?;
    loop {
        let version = store.snapshot()?.version().next();
        let (key, value) = (version.get().to_be_bytes(), vec![7; 300]);
        let committed = if version.get().is_multiple_of(2) {
            store.submit(Batch::new().put(&n, key.to_vec(), value))?
        } else {
            // Several keys, so that a half-done transaction would show.
            let put = |tx: &mut cohab::Transaction<'_, '_>| {
                tx.put("n", key, &value)?;
                (0..20u8).try_for_each(|i| tx.put("same", [i], key))
            };
            store.write(put)?.version
        };
        Child::report(committed).expect("the parent listens");
    }
}

#[test]
fn invariant_1_what_was_acknowledged_survives_a_kill() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("same"))?;
    drop(store);
    let mut last = 2;
    for round in 0..12u64 {
        let mut child =
            Child::start("crash::child_commits_until_it_is_killed", &scratch.path()).expect("starts");
        let first = child.next_report().expect("can be heard").expect("commits");
        assert_eq!(first.parse(), Ok(last + 1), "invariant 2: no gap and no repeat across a crash");
        std::thread::sleep(Duration::from_millis(round * 3));
        let reports = child.kill().expect("can be killed");
        let acknowledged: u64 = reports.last().unwrap_or(&first).parse().expect("reports versions");

        // By turns a reader, which has to recover the store on the side, and a writer come first.
        let role = if round % 2 == 0 { Role::Reader } else { Role::Writer };
        let store = Store::options().role(role).open(scratch.path())?;
        let snapshot = store.snapshot()?;
        last = snapshot.version().get();
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "{acknowledged} acknowledged, {last} found"
        );
        let n = snapshot.namespace("n")?;
        for version in 3..=last {
            let value = n.get(version.to_be_bytes())?.expect("every version put a key");
            assert_eq!(value.version(), v(version));
        }
        let mut same = snapshot.namespace("same")?.all()?;
        let first = same.next().transpose()?.map(|entry| entry.value().to_vec());
        assert!(
            same.all(|entry| entry.is_ok_and(|entry| Some(entry.value()) == first.as_deref())),
            "half a commit"
        );
        let report = snapshot.verify(|_| ())?;
        assert!(report.is_sound(), "{:?}", report.differences);
    }
    Ok(())
}
