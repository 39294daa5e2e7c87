//! Whatever the file is read through, the engine does the same.

use std::collections::BTreeMap;
use std::ops::Bound;

use cohab_engine::{Direction, Engine, Error, Mapping, Options};
use proptest::prelude::*;

use crate::{ONE, Scratch, TABLES};

type Changes = Vec<Vec<(u16, Option<Vec<u8>>)>>;

fn contract(mapping: Mapping, rounds: &Changes) -> Result<(), Error> {
    let scratch = Scratch::new();
    // A cache this small makes nearly every read one of storage.
    let options = || Options::new(TABLES).mapping(mapping).cache_bytes(64 << 10);
    let mut engine = Engine::open(&scratch.path(), options())?;
    let mut model = BTreeMap::new();
    for (round, changes) in rounds.iter().enumerate() {
        engine.write(|tx| {
            for (key, value) in changes {
                let key = key.to_be_bytes();
                let before = match value {
                    Some(value) => tx.insert(ONE, &key, &[value])?.map(<[u8]>::to_vec),
                    None => tx.remove(ONE, &key)?.map(<[u8]>::to_vec),
                };
                let expected = match value {
                    Some(value) => model.insert(key, value.clone()),
                    None => model.remove(&key),
                };
                assert_eq!(before, expected);
                assert_eq!(tx.get(ONE, &key)?.map(|now| now.to_vec()), value.clone());
            }
            Ok::<_, Error>(())
        })?;
        match round % 4 {
            1 => _ = engine.compact()?,
            2 => engine.reopen()?,
            3 => {
                drop(engine);
                engine = Engine::open(&scratch.path(), options())?;
            }
            _ => {}
        }
        let snapshot = engine.snapshot()?;
        for (direction, expected) in [
            (Direction::Forward, model.iter().collect::<Vec<_>>()),
            (Direction::Reverse, model.iter().rev().collect::<Vec<_>>()),
        ] {
            let entries = snapshot.range(ONE, (Bound::Unbounded, Bound::Unbounded), direction)?;
            let found: Vec<_> = entries.collect::<Result<_, _>>()?;
            assert!(
                found
                    .iter()
                    .map(|e| (e.key(), e.value()))
                    .eq(expected.iter().map(|(k, v)| (&k[..], v.as_slice())))
            );
        }
    }
    Ok(())
}

fn rounds() -> impl Strategy<Value = Changes> {
    let change = (0..200u16, prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..3000)));
    prop::collection::vec(prop::collection::vec(change, 0..40), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn through_a_map(rounds in rounds()) {
        contract(Mapping::On, &rounds)?;
    }

    #[test]
    fn by_system_call(rounds in rounds()) {
        contract(Mapping::Off, &rounds)?;
    }
}
