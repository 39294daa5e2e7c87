use std::fs;

use proptest::prelude::*;

use super::*;

/// How one advance goes.
#[derive(Clone, Debug)]
enum Step {
    Succeeds,
    /// The process is killed, or the power fails, when that many bytes of the copy are written; with garbage after
    /// them, if so the disk does it.
    Dies {
        bytes: usize,
        garbage: Option<u8>,
        is_power_cut: bool,
    },
    /// There is no room, after that many bytes.
    StoreFails {
        bytes: usize,
    },
    /// The disk reports an error, having written the copy or not.
    SyncFails {
        is_written: bool,
        then_power_cut: bool,
    },
}

/// A file in memory, with what of it is on disk.
struct Disk {
    cache: [u8; FILE_BYTES],
    durable: [u8; FILE_BYTES],
    step: Step,
    is_restoring: bool,
}

impl Medium for Disk {
    fn load(&mut self) -> io::Result<[u8; FILE_BYTES]> {
        Ok(self.cache)
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let len = match self.step {
            Step::Dies { bytes, .. } | Step::StoreFails { bytes } if !self.is_restoring => bytes,
            _ => bytes.len(),
        };
        self.cache[offset..offset + len].copy_from_slice(&bytes[..len]);
        if let Step::Dies { garbage: Some(byte), .. } = self.step {
            self.cache[offset + len..offset + bytes.len()].fill(byte);
        }
        if len < bytes.len() {
            self.is_restoring = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Step::SyncFails { is_written, .. } = self.step {
            if is_written {
                self.durable = self.cache;
            }
            return Err(io::Error::other("the disk is gone"));
        }
        self.durable = self.cache;
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || 0..SLOT_BYTES;
    prop_oneof![
        3 => Just(Step::Succeeds),
        2 => (bytes(), any::<(Option<u8>, bool)>())
            .prop_map(|(bytes, (garbage, is_power_cut))| Step::Dies { bytes, garbage, is_power_cut }),
        1 => bytes().prop_map(|bytes| Step::StoreFails { bytes }),
        1 => any::<(bool, bool)>()
            .prop_map(|(is_written, then_power_cut)| Step::SyncFails { is_written, then_power_cut }),
    ]
}

proptest! {
    #[test]
    fn no_crash_makes_a_number_come_again(steps in prop::collection::vec((step(), 0..40u64), 1..60)) {
        let mut disk = Disk { cache: fresh(), durable: fresh(), step: Step::Succeeds, is_restoring: false };
        let mut returned = 0;
        for (step, floor) in steps {
            let image = disk.load()?;
            let latest = latest(&image).expect("one of the copies is always valid");
            let (last, older) = (latest.number, latest.older);
            prop_assert!(last >= returned, "{returned} was returned and {last} is found");
            (disk.step, disk.is_restoring) = (step.clone(), false);
            let next = latest.next(floor).expect("is far from the end");
            match step {
                Step::Dies { is_power_cut, .. } => {
                    // Nothing after the write happens any more.
                    let offset = SLOTS[older];
                    let _ = disk.store(offset, &encode(older, next));
                    if is_power_cut {
                        let torn = offset..offset + SLOT_BYTES;
                        disk.durable[torn.clone()].copy_from_slice(&disk.cache[torn]);
                        disk.cache = disk.durable;
                    } else {
                        disk.durable = disk.cache;
                    }
                }
                _ => if put(&mut disk, &image, older, next).is_ok() {
                    returned = next;
                },
            }
            if let Step::SyncFails { then_power_cut: true, .. } = step {
                disk.cache = disk.durable;
            }
        }
    }
}

#[test]
fn numbers_go_on_after_the_highest_that_is_known() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let counter = Counter::at(dir.path().join("epoch"));
    assert_eq!(counter.current()?, 0);
    assert!(!counter.path().exists(), "looking creates nothing");
    assert_eq!((counter.advance(0)?, counter.advance(0)?, counter.current()?), (1, 2, 2));
    assert_eq!((counter.advance(41)?, counter.advance(7)?, counter.current()?), (42, 43, 43));
    assert!(matches!(counter.advance(u64::MAX), Err(Error::Exhausted { .. })));
    assert_eq!(counter.advance(u64::MAX - 1)?, u64::MAX);
    Ok(())
}

/// As a writer does before each commit.
#[test]
fn a_counter_that_stays_open_is_looked_at_again_and_again() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let counter = Counter::at(dir.path().join("epoch"));
    assert!(counter.open().is_err(), "there is none yet, and looking creates nothing");
    counter.advance(0)?;
    let open = counter.open()?;
    assert_eq!((open.current()?, open.current()?), (1, 1));
    counter.advance(41)?;
    assert_eq!(open.current()?, 42);
    fs::write(counter.path(), [0xff; FILE_BYTES]).expect("can be written");
    let refused = open.current().expect_err("holds no number");
    assert!(refused.to_string().contains("epoch is damaged; once nothing"), "{refused}");
    Ok(())
}

#[test]
fn a_counter_that_is_neither_old_nor_new_is_damaged() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let counter = Counter::at(dir.path().join("epoch"));
    for content in [&b""[..], b"x", &[0; FILE_BYTES], &[0xff; 5000]] {
        fs::write(counter.path(), content).expect("can be written");
        for refused in [counter.current(), counter.advance(9)] {
            let refused = refused.expect_err("holds no number");
            assert!(refused.to_string().contains("epoch is damaged; once nothing"), "{refused}");
        }
        assert_eq!(fs::read(counter.path()).expect("can be read"), content, "damage is left as it is");
    }
    fs::remove_file(counter.path()).expect("can be removed");
    assert_eq!(counter.advance(9).expect("begins anew"), 10);
}

/// A bit of the last number's copy flipped, or its sector was lost. The copy before it was taken for the last one, and the
/// number behind it, which somebody had, was given out again: two holders with one token, neither of whom was refused.
/// Torn writes look the same, so the next number is skipped in either case.
#[test]
fn a_number_whose_copy_is_damaged_is_not_given_out_again() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let counter = Counter::at(dir.path().join("epoch"));
    for last in 1..3_u64 {
        let given = counter.advance(0)?;
        assert_eq!(given, last);
        let whole = fs::read(counter.path()).expect("can be read");
        let flips = (0..FILE_BYTES * 8)
            .step_by(5)
            .filter(|bit| SLOTS.iter().any(|slot| (slot * 8..(slot + 16) * 8).contains(bit)));
        let flipped = flips.map(|bit| {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            damaged
        });
        let zeroed = SLOTS.iter().map(|slot| {
            let mut damaged = whole.clone();
            damaged[*slot..slot + 512].fill(0);
            damaged
        });
        let cut_off = [513, 520].map(|len| whole[..len].to_vec());
        for damaged in flipped.chain(zeroed).chain(cut_off) {
            fs::write(counter.path(), damaged).expect("can be written");
            let next = counter.advance(0)?;
            assert!(next > last, "{next} after {last}");
        }
        fs::write(counter.path(), whole).expect("can be written");
    }
    Ok(())
}
