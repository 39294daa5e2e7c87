//! Typed namespaces read through the cache, which keeps the decoded values.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use cohab_cache::Lookup;
use serde::de::DeserializeOwned;

use super::{Codec, Key, Namespace, Postcard, TypedView, Types, decode_value};
use crate::{Cached, NamespaceView, Prefetch, Result, Store};

impl Store {
    /// Returns a typed namespace to read from as it is now, through the cache, which keeps values decoded: each is decoded
    /// once after it was written, and then handed out by reference count.
    ///
    /// ```
    /// use cohab::{Store, typed::Namespace};
    ///
    /// const RULES: Namespace<str, Vec<String>> = Namespace::new("rules");
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// store.write(|tx| {
    ///     tx.create_namespace(RULES.name())?;
    ///     tx.typed(&RULES)?.put("beta", &vec!["user in staff".into(), "country = NL".into()])
    /// })?;
    /// let rules = store.cached_typed(&RULES)?;
    /// let beta = rules.get("beta")?.expect("was put");
    /// assert_eq!(beta.len(), 2);
    /// // The same object, as long as nobody writes the key.
    /// assert!(std::sync::Arc::ptr_eq(&beta, &rules.get("beta")?.expect("is there")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`cached`](Store::cached).
    pub fn cached_typed<K: Key + ?Sized, V, C>(
        &self,
        namespace: &Namespace<K, V, C>,
    ) -> Result<TypedCached<K, V, C>> {
        Ok(TypedCached { cached: self.cached(namespace.name())?, types: PhantomData })
    }
}

/// A typed namespace as it is now, read through the cache; see [`Store::cached_typed`].
pub struct TypedCached<K: Key + ?Sized, V, C = Postcard> {
    cached: Cached,
    types: Types<K, V, C>,
}

impl<K: Key + ?Sized, V: DeserializeOwned + Send + Sync + 'static, C: Codec + 'static> TypedCached<K, V, C> {
    /// Returns the namespace without its types.
    pub fn bytes(&self) -> &Cached {
        &self.cached
    }

    /// Reads a key's value, decoded once and shared.
    ///
    /// Cost, if the cache knows it: as for [`Cached::get`], and the encoding of the key.
    ///
    /// # Errors
    ///
    /// As for [`Cached::get`]; [`Kind::Decode`](crate::Kind::Decode).
    pub fn get(&self, key: &K) -> Result<Option<Arc<V>>> {
        let probe = |key: &[u8]| {
            self.cached.probe(&cohab_cache::pin(), |space, at| space.get_decoded::<V, C>(key, at))
        };
        with_encoded(key, |key| match probe(key) {
            Some(Lookup::Value(value)) => Ok(Some(value)),
            Some(Lookup::Absent) => Ok(None),
            asked => self.cached.read(asked.is_some(), |namespace| get_arc::<V, C>(namespace, key)),
        })
    }
}

impl<K: Key + ?Sized, V: DeserializeOwned + Send + Sync + 'static, C: Codec + 'static> TypedCached<K, V, C> {
    /// Decodes all values of the namespace into the cache, on a thread of its own; see [`Cached::prefetch`].
    ///
    /// # Errors
    ///
    /// As for [`Cached::prefetch`]. A value that does not decode ends it, which [`Prefetch::wait`] tells.
    pub fn prefetch(&self) -> Result<Prefetch> {
        let name = self.cached.name().clone();
        self.cached.prefetch_with(&[], move |space, at, entry| {
            let value = Arc::new(decode_value::<V, C>(name.as_str(), entry.key(), entry.value())?);
            let bytes = size_of::<V>() + entry.value().len();
            Ok(space.fill_decoded::<V, C>(entry.key(), Some((entry.version(), value)), bytes, at))
        })
    }
}

impl<K: Key + ?Sized, V: DeserializeOwned + Send + Sync + 'static, C: Codec + 'static>
    TypedView<'_, K, V, C>
{
    /// Reads a key's value through the cache, decoded once for all who read the same.
    pub fn get_arc(&self, key: &K) -> Result<Option<Arc<V>>> {
        with_encoded(key, |key| get_arc::<V, C>(&self.view, key))
    }
}

fn get_arc<V: DeserializeOwned + Send + Sync + 'static, C: Codec + 'static>(
    view: &NamespaceView<'_>,
    key: &[u8],
) -> Result<Option<Arc<V>>> {
    if view.is_past() {
        let decode = |stored: crate::Value<'_>| {
            decode_value::<V, C>(view.metadata().name.as_str(), key, &stored).map(Arc::new)
        };
        return view.get(key)?.map(decode).transpose();
    }
    let (space, at) = view.cached()?;
    match space.get_decoded::<V, C>(key, at) {
        Lookup::Value(value) => return Ok(Some(value)),
        Lookup::Absent => return Ok(None),
        Lookup::Unknown => {}
    }
    space.note_miss();
    let Some(stored) = view.get(key)? else {
        space.fill_decoded::<V, C>(key, None, 0, at);
        return Ok(None);
    };
    let value = Arc::new(decode_value::<V, C>(view.metadata().name.as_str(), key, &stored)?);
    // What lies behind pointers is about as large as it was encoded.
    let bytes = size_of::<V>() + stored.len();
    space.fill_decoded::<V, C>(key, Some((stored.version(), value.clone())), bytes, at);
    Ok(Some(value))
}

/// Encodes a key into a buffer that the thread keeps for the next.
fn with_encoded<K: Key + ?Sized, R>(key: &K, f: impl FnOnce(&[u8]) -> R) -> R {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
    // Taken out, because what encodes a key may read a value. While a thread ends there may be none.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    key.encode(&mut buffer);
    let result = f(&buffer);
    let _ = BUFFER.try_with(|kept| kept.set(buffer));
    result
}

impl<K: Key + ?Sized, V, C> Clone for TypedCached<K, V, C> {
    fn clone(&self) -> Self {
        Self { cached: self.cached.clone(), types: PhantomData }
    }
}

impl<K: Key + ?Sized, V, C> fmt::Debug for TypedCached<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedCached").field(&self.cached).finish()
    }
}
