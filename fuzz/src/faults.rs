//! A layer under a store that fails, or takes a picture of the file, at one of its operations.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arbitrary::Arbitrary;
use cohab::Options;
use cohab::testing::Storage;

/// What is to happen, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Arbitrary)]
pub(crate) struct Fault {
    at: Operation,
    /// How many operations of the kind go by before.
    left: u8,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Arbitrary)]
enum Operation {
    Write,
    Sync,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Arbitrary)]
enum What {
    FailOnce,
    FailForEver,
    /// What another process would find if this one were killed before the operation.
    Picture,
    /// The same, with the operation half done.
    PictureWithin,
}

/// Controls the layer. Clones share the control.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    planned: Option<Fault>,
    picture: Option<Vec<u8>>,
}

impl Faults {
    /// Puts the layer into a store's options.
    pub(crate) fn install(&self, options: Options) -> Options {
        let faults = self.clone();
        options.storage_layer(move |inner| Box::new(Layer { inner, faults: faults.clone() }))
    }

    pub(crate) fn plan(&self, fault: Fault) {
        *self.shared() = Shared { planned: Some(fault), picture: None };
    }

    /// Lets everything work again, and returns the picture if one was taken.
    pub(crate) fn heal(&self) -> Option<Vec<u8>> {
        std::mem::take(&mut *self.shared()).picture
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what happens at an operation, if anything does.
    fn meet(&self, operation: Operation) -> Option<What> {
        let mut shared = self.shared();
        let fault = shared.planned.as_mut().filter(|fault| fault.at == operation)?;
        if fault.left > 0 {
            fault.left -= 1;
            return None;
        }
        let what = fault.what;
        if what != What::FailForEver {
            shared.planned = None;
        }
        Some(what)
    }
}

#[derive(Debug)]
struct Layer {
    inner: Box<dyn Storage>,
    faults: Faults,
}

impl Layer {
    fn picture(&self) -> io::Result<()> {
        let mut picture = vec![0; usize::try_from(self.inner.len()?).map_err(io::Error::other)?];
        self.inner.read(0, &mut picture)?;
        self.faults.shared().picture = Some(picture);
        Ok(())
    }
}

/// What a system says where there is no room, and where a disk is broken.
const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

impl Storage for Layer {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len <= self.inner.len()? {
            return self.inner.set_len(len);
        }
        match self.faults.meet(Operation::Write) {
            None => {}
            Some(What::Picture | What::PictureWithin) => self.picture()?,
            Some(What::FailOnce | What::FailForEver) => return Err(io::Error::from_raw_os_error(NO_SPACE)),
        }
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.faults.meet(Operation::Sync) {
            None => {}
            Some(What::Picture | What::PictureWithin) => self.picture()?,
            Some(What::FailOnce | What::FailForEver) => return Err(io::Error::from_raw_os_error(IO_ERROR)),
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let half = &data[..data.len() / 2];
        match self.faults.meet(Operation::Write) {
            None => {}
            Some(What::Picture) => self.picture()?,
            Some(What::PictureWithin) => {
                self.inner.write(offset, half)?;
                self.picture()?;
            }
            // A full disk takes what still fits.
            Some(What::FailOnce | What::FailForEver) => {
                return self.inner.write(offset, half).and(Err(io::Error::from_raw_os_error(NO_SPACE)));
            }
        }
        self.inner.write(offset, data)
    }
}
