//! Copies on a disk that refuses something.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cohab_engine::{Engine, Error, Mapping, Options, Storage};

use crate::{Scratch, TABLES, put};

/// Refuses one write of a file.
#[derive(Debug)]
struct Refusing {
    inner: Box<dyn Storage>,
    left: Arc<AtomicI64>,
}

impl Storage for Refusing {
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
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.write(offset, data)
    }
}

/// A disk that was full at the very last write of a copy left a file that said it was not closed properly, and the copy
/// was reported to be made: closing a file writes, and the engine kept to itself that it had failed. Such a backup could
/// not be opened until somebody opened it for writing, which nobody does with a backup. A copy now counts as made once
/// it has been opened for reading.
#[test]
fn a_copy_that_was_made_can_be_opened_whichever_write_was_refused() -> Result<(), Error> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    for key in 0..40u8 {
        put(&engine, &[key], &[key; 300])?;
    }
    let snapshot = engine.snapshot()?;
    let mut refused = 0;
    for n in 0.. {
        let left = Arc::new(AtomicI64::new(n));
        let counter = left.clone();
        let layer = move |inner| -> Box<dyn Storage> { Box::new(Refusing { inner, left: counter.clone() }) };
        let options = Options::new(TABLES).mapping(Mapping::Off).storage_layer(layer);
        let copy = scratch.path().with_file_name(format!("copy-{n}"));
        match snapshot.copy_to(&copy, options, TABLES, |_| (), |_| Ok(())) {
            Ok(()) => {
                let copy = Engine::open_reader(&copy, Options::new(TABLES))?.snapshot()?;
                assert_eq!(copy.get(crate::ONE, &[7])?.as_deref(), Some(&[7; 300][..]), "write {n}");
                if left.load(Ordering::SeqCst) >= 0 {
                    break;
                }
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 5, "only {refused} writes");
    Ok(())
}
