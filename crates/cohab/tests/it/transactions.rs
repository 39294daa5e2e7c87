use std::panic::{AssertUnwindSafe, catch_unwind};

use cohab::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use cohab::typed::Namespace;
use cohab::{Error, Kind, Result};

use crate::{Scratch, key, v};

#[test]
fn a_transaction_reads_its_own_writes_and_happens_at_one_version() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let before = store.snapshot()?;
    let done = store.write(|tx| {
        tx.put("n", "a", "1")?;
        tx.put("n", "b", "2")?;
        assert_eq!(tx.get("n", "a")?.as_deref(), Some(&b"1"[..]));
        assert!(tx.delete("n", "a")?);
        assert!(!tx.delete("n", "a")?);
        let mut n = tx.namespace("n")?;
        let keys: Vec<_> = n.range(..)?.map(|e| e.map(|e| e.key().to_vec())).collect::<Result<_>>()?;
        assert_eq!(keys, [b"b"]);
        Ok(n.count())
    })?;
    assert_eq!((done.version, done.value), (v(2), 1));
    assert_eq!(store.snapshot()?.get("n", "b")?.map(|value| value.version()), Some(v(2)));
    assert_eq!(before.get("n", "b")?.as_deref(), None, "a snapshot never changes");
    Ok(())
}

#[test]
fn a_transaction_that_changes_nothing_makes_no_version() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let done = store.write(|tx| Ok(tx.get("n", "a")?.is_some() || tx.delete("n", "a")?))?;
    assert_eq!((done.version, done.value), (v(1), false));
    assert_eq!(store.snapshot()?.version(), v(1));
    Ok(())
}

#[test]
fn a_transaction_that_fails_or_panics_is_dropped_whole() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let digest = store.snapshot()?.namespace("n")?.digest();
    let given_up = store.write(|tx| -> Result<()> {
        for i in 0..10_000 {
            tx.put("n", key(i), [7; 100])?;
        }
        Err(Error::abort("changed my mind"))
    });
    let error = given_up.expect_err("gave up");
    assert_eq!(error.kind(), Kind::Aborted);
    assert_eq!(std::error::Error::source(&error).map(ToString::to_string), Some("changed my mind".into()));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.write(|tx| -> Result<()> {
            tx.put("n", "a", "1")?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    let snapshot = store.snapshot()?;
    assert_eq!((snapshot.version(), snapshot.namespace("n")?.digest()), (v(1), digest));
    assert_eq!(store.write(|tx| tx.put("n", "a", "1"))?.version, v(2), "the next one works");
    Ok(())
}

#[test]
fn an_operation_that_failed_half_way_cannot_be_committed_by_dropping_its_error() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    // Refused before anything was done: the transaction goes on.
    let done = store.write(|tx| {
        assert_eq!(tx.put("nope", "k", "v").map_err(|e| e.kind()), Err(Kind::NotFound));
        assert_eq!(
            tx.put("n", vec![0; KEY_BYTES_MAX + 1], "v").map_err(|e| e.kind()),
            Err(Kind::InvalidInput)
        );
        tx.put("n", "k", "v")
    })?;
    assert_eq!(done.version, v(2));
    Ok(())
}

#[test]
fn keys_and_values_may_be_as_long_as_their_limits_and_no_longer() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let (longest_key, largest) = (vec![0xAB; KEY_BYTES_MAX], vec![0xCD; VALUE_BYTES_MAX]);
    store.write(|tx| {
        tx.put("n", "", "")?;
        tx.put("n", &longest_key, &largest)
    })?;
    let snapshot = store.snapshot()?;
    let view = snapshot.namespace("n")?;
    assert_eq!(view.get("")?.as_deref(), Some(&b""[..]));
    assert_eq!(view.get(&longest_key)?.as_deref(), Some(&largest[..]));
    assert_eq!(view.range(longest_key.as_slice()..)?.count(), 1);
    assert_eq!(view.range([longest_key.as_slice(), &[0]].concat()..)?.count(), 0, "a bound past every key");

    for (key, value) in [(vec![0; KEY_BYTES_MAX + 1], vec![]), (vec![], vec![0; VALUE_BYTES_MAX + 1])] {
        let error = store.write(|tx| tx.put("n", &key, &value)).expect_err("over the limit");
        assert_eq!(error.kind(), Kind::InvalidInput);
        let (found, limit) =
            if key.is_empty() { (value.len(), VALUE_BYTES_MAX) } else { (key.len(), KEY_BYTES_MAX) };
        let message = error.to_string();
        assert!(message.contains(&found.to_string()) && message.contains(&limit.to_string()), "{message}");
    }
    assert_eq!(view.get(vec![0; KEY_BYTES_MAX + 1]).map_err(|e| e.kind()).err(), Some(Kind::InvalidInput));
    Ok(())
}

#[test]
fn ranges_are_read_in_both_directions_by_prefix_and_by_lending() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| {
        tx.create_namespace("after")?;
        tx.put("after", "aa", "another namespace's")?;
        for key in ["a", "aa", "ab", "b", "ba"] {
            tx.put("n", key, key)?;
        }
        Ok(())
    })?;
    let snapshot = store.snapshot()?;
    let n = snapshot.namespace("n")?;
    let keys = |range: cohab::Range<'_>| -> Result<String> {
        let keys: Result<Vec<_>> =
            range.map(|e| e.map(|e| String::from_utf8_lossy(e.key()).into_owned())).collect();
        Ok(keys?.join(" "))
    };
    assert_eq!(keys(n.all()?)?, "a aa ab b ba");
    assert_eq!(keys(n.range("aa".."b")?)?, "aa ab");
    assert_eq!(keys(n.range("aa"..="b")?)?, "aa ab b");
    assert_eq!(keys(n.range(.."ab")?)?, "a aa");
    assert_eq!(keys(n.reverse("aa"..)?)?, "ba b ab aa");
    assert_eq!(keys(n.reverse(.."ab")?)?, "aa a");
    assert_eq!(keys(n.prefix("a")?)?, "a aa ab");
    assert_eq!(keys(n.prefix("")?)?, "a aa ab b ba");
    assert_eq!(keys(n.prefix("c")?)?, "");
    assert_eq!(keys(n.range("b".."a")?)?, "", "a range that ends before it begins");
    let mut range = n.range("ab"..)?;
    let mut lent = Vec::new();
    while let Some(entry) = range.step()? {
        assert_eq!(entry.version(), v(2));
        lent.extend_from_slice(entry.value());
    }
    assert_eq!(lent, b"abbba");
    assert!(range.step()?.is_none(), "the end stays the end");
    let values = n.get_many(["b", "x", "a"])?;
    let values: Vec<_> = values.iter().map(Option::as_deref).collect();
    assert_eq!(values, [Some(&b"b"[..]), None, Some(&b"a"[..])]);
    Ok(())
}

#[test]
fn types_that_do_not_fit_are_an_error_that_names_the_key() -> Result<()> {
    const NUMBERS: Namespace<str, u32> = Namespace::new("n");
    const WORDS: Namespace<str, String> = Namespace::new("n");
    const BY_NUMBER: Namespace<u64, u32> = Namespace::new("n");
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.typed(&NUMBERS)?.put("answer", &42_000))?;
    let snapshot = store.snapshot()?;
    assert_eq!(snapshot.typed(&NUMBERS)?.get("answer")?, Some(42_000));
    let error = snapshot.typed(&WORDS)?.get("answer").expect_err("a number is no word");
    assert_eq!(error.kind(), Kind::Decode);
    assert!(error.to_string().contains("answer") && error.to_string().contains("String"), "{error}");
    let entry = snapshot.typed(&BY_NUMBER)?.all()?.next().expect("there is one");
    assert_eq!(entry.expect_err("six bytes are no u64").kind(), Kind::Decode);
    Ok(())
}

#[test]
fn a_label_is_in_the_log_and_comes_first() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| {
        tx.label("import")?;
        tx.put("n", "k", "v")?;
        assert_eq!(tx.label("too late").map_err(|e| e.kind()), Err(Kind::InvalidInput));
        Ok(())
    })?;
    let snapshot = store.snapshot()?;
    let record = snapshot.log(v(2)..).next().expect("there is one")?;
    assert_eq!(record.label(), "import");
    Ok(())
}
