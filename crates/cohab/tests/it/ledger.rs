//! A store in which every version writes its own number under the same keys, so that any snapshot that mixes two
//! versions, or claims to be another than it is, shows.

use cohab::{
    Batch, Error, History, Metadata, Name, Precondition, Result, Snapshot, Store, Transaction, Version,
};

/// The namespaces and how many keys each has.
const KEYS: [(&str, u8); 3] = [("accounts", 6), ("orders", 5), ("stock", 5)];

fn rows() -> impl Iterator<Item = (&'static str, u8)> {
    KEYS.iter().flat_map(|&(namespace, keys)| (0..keys).map(move |key| (namespace, key)))
}

/// Makes the namespaces and the first entries, as version 1.
pub(crate) fn create(store: &Store) -> Result<Version> {
    let made = store.write(|tx| {
        for (namespace, _) in KEYS {
            tx.create_namespace(namespace)?;
        }
        // For what only takes up space.
        let mut bulk = Metadata::new(Name::new("bulk")?);
        bulk.history = History::Off;
        tx.create_namespace_with(bulk)?;
        enter(tx)
    })?;
    assert_eq!(made.version, Version::new(1), "the store is new");
    Ok(made.version)
}

/// Writes a version's entries in a transaction.
pub(crate) fn enter(tx: &mut Transaction<'_, '_>) -> Result<()> {
    let number = tx.version().get().to_be_bytes();
    rows().try_for_each(|(namespace, key)| tx.put(namespace, [key], number))
}

/// Commits the next version; odd ones as a transaction, even ones as a batch.
pub(crate) fn commit(store: &Store) -> Result<Version> {
    let present = store.snapshot()?.version();
    if present.get() % 2 == 0 {
        return Ok(store.write(enter)?.version);
    }
    let number = present.next().get().to_be_bytes();
    let batch = rows().try_fold(
        Batch::new().expect(Precondition::StoreVersion(present)),
        |batch, (namespace, key)| {
            Ok::<_, Error>(batch.put(&Name::new(namespace)?, vec![key], number.to_vec()))
        },
    );
    store.submit(batch?)
}

/// Reads every entry of a snapshot, and says what is wrong if one is not of its version.
pub(crate) fn check(snapshot: &Snapshot) -> Result<Version> {
    let version = snapshot.version();
    for (namespace, keys) in KEYS {
        let mut found = 0;
        let mut range = snapshot.namespace(namespace)?.all()?;
        while let Some(entry) = range.step()? {
            let number = entry.value().try_into().map_or(u64::MAX, u64::from_be_bytes);
            if number != version.get() || entry.version() != version {
                let (key, set) = (entry.key().escape_ascii(), entry.version());
                let problem =
                    format!("WRONG: {namespace}/{key} is {number}, set by {set}, in version {version}");
                return Err(Error::abort(problem));
            }
            found += 1;
        }
        if found != keys {
            return Err(Error::abort(format!("WRONG: {found} entries of {namespace} in version {version}")));
        }
    }
    Ok(version)
}
