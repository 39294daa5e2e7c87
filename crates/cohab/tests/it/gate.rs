//! Points inside a commit at which a process holds still, so that it can be killed or observed there.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cohab::Options;
use cohab::testing::Storage;
use cohab_testkit::Child;
use rustix::process::{Signal, getpid, kill_process};

/// The bytes of the file that name the last commit, and that the engine locks by the same range while it writes or
/// reads them.
const HEADER_BYTES: u64 = 320;

/// Where to hold still.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// Before a write.
    Write,
    /// Before a write of the header, with its lock held.
    Header,
    /// Before a sync.
    Sync,
    /// After a sync.
    Synced,
}

/// How to hold still. Either way the parent hears an event first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    /// The thread waits until it is disarmed, everything else in the process goes on.
    Hold,
    /// The process stops itself.
    Stop,
}

#[derive(Clone, Copy)]
struct Plan {
    act: Act,
    operation: Operation,
    /// How many operations go by first.
    left: u64,
}

/// Controls the points of one actor. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    plan: Arc<Mutex<Option<Plan>>>,
    held: Arc<Mutex<bool>>,
}

impl Gate {
    pub(crate) fn install(&self, options: Options) -> Options {
        let gate = self.clone();
        options.storage_layer(move |inner| Box::new(Layer { inner, gate: gate.clone() }))
    }

    /// Has the `count`-th operation from now on hold still; counts from 1.
    pub(crate) fn arm(&self, act: &str, operation: &str, count: u64) {
        let act = match act {
            "hold" => Act::Hold,
            "stop" => Act::Stop,
            _ => panic!("what does {act:?} mean?"),
        };
        let operation = match operation {
            "write" => Operation::Write,
            "header" => Operation::Header,
            "sync" => Operation::Sync,
            "synced" => Operation::Synced,
            _ => panic!("what does {operation:?} mean?"),
        };
        *lock(&self.plan) = Some(Plan { act, operation, left: count - 1 });
    }

    /// Lets everything go on.
    pub(crate) fn disarm(&self) {
        *lock(&self.plan) = None;
        *lock(&self.held) = false;
    }

    fn pass(&self, operation: Operation) {
        let act = {
            let mut slot = lock(&self.plan);
            let Some(plan) = slot.as_mut().filter(|plan| plan.operation == operation) else { return };
            if plan.left > 0 {
                plan.left -= 1;
                return;
            }
            let act = plan.act;
            *slot = None;
            act
        };
        *lock(&self.held) = act == Act::Hold;
        Child::report("event still").expect("the parent listens");
        match act {
            Act::Hold => {
                while *lock(&self.held) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Act::Stop => {
                kill_process(getpid(), Signal::STOP).expect("may stop itself");
                // Another thread may take the signal, and stops this one a little later.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Layer {
    inner: Box<dyn Storage>,
    gate: Gate,
}

impl Storage for Layer {
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
        self.gate.pass(Operation::Sync);
        let synced = self.inner.sync_data();
        self.gate.pass(Operation::Synced);
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.gate.pass(Operation::Write);
        if offset < HEADER_BYTES {
            self.gate.pass(Operation::Header);
        }
        self.inner.write(offset, data)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// Locks the header as the engine's readers do, until the file is dropped.
#[expect(unsafe_code, reason = "locks a range of bytes")]
pub(crate) fn hold_header(path: &Path) -> File {
    let file = File::open(path).expect("is there");
    let range = libc::flock {
        l_type: libc::c_short::try_from(libc::F_RDLCK).expect("is small"),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).expect("is small"),
        l_start: 0,
        l_len: HEADER_BYTES.cast_signed(),
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the range is what this command asks for.
    let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const range) };
    assert_eq!(locked, 0, "{}", io::Error::last_os_error());
    file
}
