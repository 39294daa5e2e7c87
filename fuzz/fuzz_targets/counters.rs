//! Counters: whatever was done to the file, it is damaged or says a number that was taken, and goes on behind it.

#![no_main]

use arbitrary::Arbitrary;
use cohab_lock::testing::{COUNTER_BYTES, advance, counter, fresh_counter};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Take a number that is larger than this one.
    Advance(u64),
    /// A byte of the file becomes another.
    Byte(u16, u8),
    /// The file is cut off, and what is missing reads as zeros.
    Cut(u16),
    /// A piece of the file comes to lie where another was.
    Move { from: u16, to: u16, bytes: u8 },
}

fuzz_target!(|input: (Vec<Step>, &[u8])| {
    let (steps, raw) = input;
    // What is not ours has no number, unless it holds a copy with a check that is right.
    let mut image = [0; COUNTER_BYTES];
    let length = raw.len().min(COUNTER_BYTES);
    image[..length].copy_from_slice(&raw[..length]);
    if let Some(number) = counter(&image) {
        goes_on(image, number);
    }

    let mut image = fresh_counter();
    let (mut taken, mut is_whole) = (vec![0], true);
    for step in steps.iter().take(64) {
        match *step {
            Step::Advance(floor) => match (counter(&image), advance(&mut image, floor)) {
                (Some(last), Some(next)) => {
                    assert!(next > last && next > floor);
                    if is_whole {
                        assert!(taken.iter().all(|number| *number < next), "{next} was taken before");
                    }
                    taken.push(next);
                }
                // Of a copy that is damaged the number is not given out again, which costs one.
                (Some(last), None) => {
                    let left = u64::MAX - last.max(floor);
                    assert!(left <= u64::from(!is_whole), "there were numbers left");
                }
                (None, advanced) => assert_eq!(advanced, None, "the file is damaged"),
            },
            Step::Byte(at, byte) => image[usize::from(at) % COUNTER_BYTES] = byte,
            Step::Cut(at) => image[usize::from(at) % COUNTER_BYTES..].fill(0),
            Step::Move { from, to, bytes } => {
                let [from, to] = [from, to].map(|at| usize::from(at) % (COUNTER_BYTES - 255));
                image.copy_within(from..from + usize::from(bytes), to);
            }
        }
        is_whole &= matches!(step, Step::Advance(_));
        if let Some(number) = counter(&image) {
            assert!(taken.contains(&number), "{number} was never taken");
        }
    }
});

fn goes_on(mut image: [u8; COUNTER_BYTES], number: u64) {
    if let Some(next) = advance(&mut image, 0) {
        assert!(next > number && next - number <= 2, "{next} comes after {number}");
        assert_eq!(counter(&image), Some(next));
    }
}
