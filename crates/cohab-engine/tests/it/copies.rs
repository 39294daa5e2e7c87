//! Copies of a snapshot where writing them fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cohab_engine::{Engine, Error, Options, Storage};

use crate::{ONE, Scratch, TABLES, put};

/// Storage in which one write finds no room, and another so many later.
#[derive(Debug)]
struct Full {
    inner: Box<dyn Storage>,
    /// How many writes go well before; what is below zero came after.
    left: Arc<AtomicI64>,
    /// How many writes after the first the second is refused.
    later: i64,
}

impl Storage for Full {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if [0, -self.later].contains(&self.left.fetch_sub(1, Ordering::SeqCst)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.write(offset, data)
    }
}

/// A backup was acknowledged that nobody could read. The disk was full when the copy was closed, of which the B-tree says
/// nothing, and what is not closed properly has to be recovered, which a reader of a backup cannot do. Now a copy is looked at
/// as a reader will, and closed again if need be, so that it is good or the copying fails. Where there was no room for that either,
/// the advice was to have a writer recover the copy, which is gone by then; and then that something was refused, and not what.
#[test]
fn a_copy_that_is_acknowledged_opens_for_reading_whichever_writes_of_it_failed() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    (0..100u8).try_for_each(|i| put(&engine, &[i], &[i; 300]))?;
    let (mut made, mut failed, mut not_closed) = (0, 0, 0_u64);
    for later in 0..16 {
        for k in 0.. {
            let left = Arc::new(AtomicI64::new(k));
            let layered = left.clone();
            let options = Options::new(TABLES)
                .storage_layer(move |inner| Box::new(Full { inner, later, left: layered.clone() }));
            let path = scratch.path().with_file_name(format!("copy {k} {later}"));
            let copied = engine.snapshot()?.copy_to(&path, options, TABLES, |_| (), |_| Ok(()));
            let is_over = left.load(Ordering::SeqCst) >= 0;
            match copied {
                Ok(()) => {
                    let copy = Engine::open_reader(&path, Options::new(TABLES))?.snapshot()?;
                    assert_eq!(copy.get(ONE, &[7])?.as_deref(), Some(&[7; 300][..]), "k = {k}");
                    made += u64::from(!is_over);
                }
                Err(error) => {
                    assert!(!matches!(error, Error::NeedsRecovery(_)), "{k} and {later}: {error}");
                    if error.to_string().contains("closing") {
                        let told =
                            std::error::Error::source(&error).and_then(|it| it.downcast_ref::<io::Error>());
                        assert_eq!(told.map(io::Error::kind), Some(io::ErrorKind::StorageFull), "{error}");
                        not_closed += 1;
                    }
                    failed += 1;
                }
            }
            if is_over {
                break;
            }
        }
    }
    let counts =
        format!("{made} copies were made in spite of a failure, {failed} were not, {not_closed} not closed");
    assert!(made > 0 && failed > 2 && not_closed > 0, "{counts}");
    Ok(())
}
