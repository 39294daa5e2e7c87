use cohab_engine::{Engine, Error, Options};
use std::ops::Bound;

use crate::{ONE, Scratch, TABLES};

/// Whatever is wrong with where the entries of a leaf begin and end, taking them out is an error or takes them out. The engine
/// panicked in a range that was being removed, and once more as that was dropped, which ended the process.
#[test]
fn removing_a_range_of_a_damaged_leaf_does_not_end_the_process() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = Scratch::new();
    let engine = scratch.engine();
    engine
        .write(|tx| (0..200u32).try_for_each(|i| tx.insert(ONE, &i.to_be_bytes(), &[&[7; 50]]).map(drop)))?;
    drop(engine);
    let good = std::fs::read(scratch.path())?;
    // A leaf begins with a 1, and has a four-byte offset for each of its keys and values.
    let leaves = good.chunks(4096).enumerate().filter(|(_, page)| {
        page[0] == 1 && page.windows(50).any(|piece| piece.iter().all(|byte| *byte == 7))
    });
    let offsets = leaves.flat_map(|(number, page)| {
        let entries = usize::from(u16::from_le_bytes([page[2], page[3]]));
        (0..2 * entries).map(move |n| number * 4096 + 4 + 4 * n)
    });
    let mut refused = 0;
    for at in offsets.step_by(5) {
        for (byte, bit) in [(0, 3), (1, 6), (3, 7)] {
            let mut bytes = good.clone();
            bytes[at + byte] ^= 1 << bit;
            std::fs::write(scratch.path(), bytes)?;
            let engine = Engine::open(&scratch.path(), Options::new(TABLES))?;
            let all = (Bound::Unbounded, Bound::Unbounded);
            let removed = engine.write(|tx| tx.remove_first(ONE, all, 150, |_, _| {}));
            match removed {
                Ok(removed) => assert_eq!(removed, 150, "byte {at}"),
                Err(Error::Corrupt { .. }) => refused += 1,
                Err(error) => return Err(format!("byte {at}: {error}").into()),
            }
        }
    }
    assert!(refused > 20, "{refused} were refused");
    Ok(())
}
