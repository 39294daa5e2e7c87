//! Reading.

use std::time::{Duration, Instant};

use cohab::Digest;

use super::stage::Stage;
use super::{Step, ensure, grouped};
use crate::failure::Failure;
use crate::interrupt;
use crate::terminal::{rate, size};

pub(super) const STEPS: &[Step] = &[
    Step { name: "get", says: "read keys at random and compare them with the source", run: get },
    Step { name: "scan", says: "read everything in order and compute the digests anew", run: scan },
];

/// Far from any divisor of a sample's size, so that steps of it reach all of the sample.
const STRIDE: usize = 7919;

fn get(stage: &mut Stage) -> Result<String, Failure> {
    let snapshot = stage.snapshot()?;
    let sample = &stage.model.sample;
    let mut reading = Duration::ZERO;
    for index in 0..sample.len() {
        interrupt::check()?;
        let (namespace, key, expected) = &sample[index.wrapping_mul(STRIDE) % sample.len()];
        let begin = Instant::now();
        let value = snapshot.get(namespace, key)?;
        reading += begin.elapsed();
        ensure(value.as_deref() == Some(expected.as_slice()), || {
            format!("key \"{}\" of `{namespace}` is not what the source says", key.escape_ascii())
        })?;
        let absent = [key, &b"?"[..]].concat();
        ensure(snapshot.get(namespace, absent)?.is_none(), || {
            "a key was found that is not there".to_owned()
        })?;
    }
    let each = reading / u32::try_from(sample.len().max(1)).unwrap_or(u32::MAX);
    let count = grouped(sample.len() as u64);
    Ok(format!("{count} keys of {} namespaces, {each:.1?} each, all equal", stage.model.digests.len()))
}

fn scan(stage: &mut Stage) -> Result<String, Failure> {
    let snapshot = stage.snapshot()?;
    let begin = Instant::now();
    let (mut keys, mut bytes) = (0, 0);
    for (namespace, expected) in &stage.model.digests {
        interrupt::check()?;
        let mut digest = Digest::EMPTY;
        for entry in snapshot.namespace(namespace)?.all()? {
            let entry = entry?;
            digest.add(entry.key(), entry.value());
            keys += 1;
            bytes += (entry.key().len() + entry.value().len()) as u64;
        }
        ensure(digest == *expected, || format!("`{namespace}` has digest {digest}, the source {expected}"))?;
    }
    let rate = rate(bytes, begin.elapsed());
    Ok(format!("{} keys, {} at {rate}; the digests are those of the source", grouped(keys), size(bytes)))
}
