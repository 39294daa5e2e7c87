//! Decoded values in the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cohab::typed::{Codec, Namespace, Postcard};
use cohab::{Kind, Result, Store};
use serde::{Deserialize, Serialize};

use crate::Scratch;
use crate::cached::{cost, put, reader};

/// Text as it is, so that what bytes and types find can be compared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Text(pub(crate) String);

#[derive(Debug)]
pub(crate) enum Plain {}

impl Codec for Plain {
    fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(serde_json::from_value::<String>(serde_json::to_value(value)?)?.into_bytes())
    }

    fn decode<V: serde::de::DeserializeOwned>(
        bytes: &[u8],
    ) -> Result<V, Box<dyn std::error::Error + Send + Sync>> {
        Ok(serde_json::from_value(serde_json::to_value(str::from_utf8(bytes)?)?)?)
    }
}

pub(crate) const TEXT: Namespace<str, Text, Plain> = Namespace::new("n");

static DECODED: AtomicU64 = AtomicU64::new(0);

/// A number that counts how often one was decoded.
#[derive(PartialEq, Debug)]
struct Counted(u32);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        u32::deserialize(deserializer).map(Self)
    }
}

#[test]
fn a_typed_value_is_decoded_once_after_it_was_written() -> Result<()> {
    const COUNTED: Namespace<str, Counted> = Namespace::new("n");
    const NUMBERS: Namespace<str, u32> = Namespace::new("n");
    let scratch = Scratch::new();
    let writer = scratch.with_namespace();
    let set = |key: &str, number: u32| {
        writer.write(|tx| tx.typed(&NUMBERS)?.put(key, &number)).expect("can be put");
    };
    set("k", 1);
    let other = reader(&scratch);
    for store in [&writer, &other] {
        let decoded = |read: &mut dyn FnMut()| {
            let before = DECODED.load(Ordering::Relaxed);
            read();
            DECODED.load(Ordering::Relaxed) - before
        };
        set("k", 1);
        set("unrelated", 1);
        let cached = store.cached_typed(&COUNTED)?;
        let mut first = None;
        assert_eq!(decoded(&mut || first = cached.get("k").expect("works")), 1);
        let first = first.expect("is there");
        assert_eq!(*first, Counted(1));
        set("unrelated", 2);
        let snapshot = store.snapshot()?;
        let view = snapshot.typed(&COUNTED)?;
        let again = decoded(&mut || {
            for _ in 0..10 {
                assert!(Arc::ptr_eq(&first, &cached.get("k").expect("works").expect("is there")));
                assert!(Arc::ptr_eq(&first, &view.get_arc("k").expect("works").expect("is there")));
                assert!(Arc::ptr_eq(&first, &cached.clone().get("k").expect("works").expect("is there")));
            }
        });
        assert_eq!(again, 0);
        // As another type, and as bytes, it is another entry.
        let numbers = store.cached_typed(&NUMBERS)?;
        assert_eq!(numbers.get("k")?.as_deref(), Some(&1));
        assert_eq!(cached.bytes().get("k")?.as_deref(), Some(&[1][..]));
        assert!(Arc::ptr_eq(&first, &cached.get("k")?.expect("is there")));
        // All of them go when it is written.
        set("k", 2);
        assert_eq!(
            decoded(&mut || assert_eq!(cached.get("k").expect("works").as_deref(), Some(&Counted(2)))),
            1
        );
        assert_eq!(numbers.get("k")?.as_deref(), Some(&2));
        assert_eq!(cached.bytes().get("k")?.as_deref(), Some(&[2][..]));
        assert_eq!(
            decoded(&mut || assert_eq!(cached.get("k").expect("works").as_deref(), Some(&Counted(2)))),
            0
        );
        // Who has it keeps it, and the snapshot shows what it showed.
        assert_eq!(*first, Counted(1));
        assert_eq!(view.get_arc("k")?.as_deref(), Some(&Counted(1)));
        assert_eq!(cached.get("k")?.as_deref(), Some(&Counted(2)));
        // Absences are kept as well.
        assert_eq!(cached.get("absent")?, None);
        assert_eq!(
            cost(cached.bytes(), || assert_eq!(cached.get("absent").expect("works"), None)),
            (1, 0, 0)
        );
        set("absent", 3);
        assert_eq!(cached.get("absent")?.as_deref(), Some(&Counted(3)));
        writer.write(|tx| tx.delete("n", "absent"))?;
        assert_eq!(cached.get("absent")?, None);
    }
    Ok(())
}

#[test]
fn a_value_that_does_not_decode_is_an_error_every_time() -> Result<()> {
    const NUMBERS: Namespace<str, u32> = Namespace::new("n");
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", [0xff; 9]);
    let (cached, snapshot) = (store.cached_typed(&NUMBERS)?, store.snapshot()?);
    for _ in 0..3 {
        let error = cached.get("k").expect_err("is no number");
        assert!(error.kind() == Kind::Decode && error.to_string().contains("`n`"), "{error}");
        assert_eq!(snapshot.typed(&NUMBERS)?.get_arc("k").expect_err("is none").kind(), Kind::Decode);
        // As bytes it can be read.
        assert_eq!(cached.bytes().get("k")?.as_deref(), Some(&[0xff; 9][..]));
    }
    put(&store, "k", Postcard::encode(&5_u32).expect("is a number"));
    assert_eq!(cached.get("k")?.as_deref(), Some(&5));
    Ok(())
}

#[test]
fn more_types_than_are_kept_apart_are_right_all_the_same() -> Result<()> {
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Typed<const N: usize>(u32);

    fn read<const N: usize>(store: &Store, expected: u32) -> Result<()> {
        let namespace = Namespace::<str, Typed<N>>::new("n");
        let (cached, snapshot) = (store.cached_typed(&namespace)?, store.snapshot()?);
        for _ in 0..2 {
            assert_eq!(cached.get("k")?.as_deref(), Some(&Typed::<N>(expected)));
            assert_eq!(snapshot.typed(&namespace)?.get_arc("k")?.as_deref(), Some(&Typed::<N>(expected)));
            assert_eq!(cached.get("absent")?, None);
        }
        Ok(())
    }
    let scratch = Scratch::new();
    let writer = scratch.with_namespace();
    let other = reader(&scratch);
    for round in 1..4 {
        put(&writer, "k", Postcard::encode(&round).expect("is a number"));
        for store in [&writer, &other] {
            read::<0>(store, round)?;
            read::<1>(store, round)?;
            read::<2>(store, round)?;
            read::<3>(store, round)?;
            read::<4>(store, round)?;
            read::<5>(store, round)?;
            read::<6>(store, round)?;
            read::<7>(store, round)?;
            read::<8>(store, round)?;
            read::<9>(store, round)?;
        }
    }
    Ok(())
}

/// Two codecs make different things of the same bytes, even where both call it the same type.
#[test]
fn what_one_codec_has_decoded_is_not_what_another_makes_of_it() -> Result<()> {
    #[derive(Debug)]
    enum Reversed {}

    impl Codec for Reversed {
        fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
            Plain::encode(value).map(|bytes| bytes.into_iter().rev().collect())
        }

        fn decode<V: serde::de::DeserializeOwned>(
            bytes: &[u8],
        ) -> Result<V, Box<dyn std::error::Error + Send + Sync>> {
            Plain::decode(&bytes.iter().copied().rev().collect::<Vec<_>>())
        }
    }

    const REVERSED: Namespace<str, Text, Reversed> = Namespace::new("n");
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let (plain, reversed) = (store.cached_typed(&TEXT)?, store.cached_typed(&REVERSED)?);
    for (value, backwards) in [("abc", "cba"), ("xy", "yx")] {
        put(&store, "k", value);
        let snapshot = store.snapshot()?;
        for _ in 0..2 {
            assert_eq!(plain.get("k")?.expect("is there").0, value);
            assert_eq!(reversed.get("k")?.expect("is there").0, backwards);
            assert_eq!(snapshot.typed(&REVERSED)?.get_arc("k")?.expect("is there").0, backwards);
            assert_eq!(snapshot.typed(&TEXT)?.get_arc("k")?.expect("is there").0, value);
        }
    }
    Ok(())
}
