//! A queue of jobs that many threads claim: batches with preconditions that share commits.
//!
//! `cargo run -p cohab --example jobs`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::{AtomicU32, Ordering};

use cohab::{Batch, Kind, Name, Precondition, Result, Store};

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("there is room for a temporary directory");
    let store = Store::open(dir.path().join("store"))?;
    let (open, claimed): (Name, Name) = ("jobs/open".parse()?, "jobs/claimed".parse()?);
    store.write(|tx| {
        tx.create_namespace(&open)?;
        tx.create_namespace(&claimed)?;
        (0..20).try_for_each(|job| tx.put(&open, format!("job-{job:02}"), "work to do"))
    })?;

    let too_late = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (store, open, claimed, too_late) = (&store, &open, &claimed, &too_late);
            scope.spawn(move || -> Result<()> {
                for job in 0..20 {
                    let job = format!("job-{job:02}");
                    let claim = Batch::new()
                        .expect(Precondition::present(open, job.clone()))
                        .delete(open, job.clone())
                        .put(claimed, job, format!("worker {worker}"));
                    match store.submit(claim) {
                        Ok(_) => {}
                        Err(error) if error.kind() == Kind::Conflict => {
                            too_late.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            });
        }
    });

    let snapshot = store.snapshot()?;
    assert_eq!((snapshot.namespace(&open)?.count(), snapshot.namespace(&claimed)?.count()), (0, 20));
    println!("20 jobs were claimed once each; {} attempts came too late", too_late.into_inner());
    Ok(())
}
