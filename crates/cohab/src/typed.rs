//! Types over the bytes: namespaces whose keys and values are Rust values.
//!
//! A [`Namespace`] names a namespace and fixes its types, once, as a constant. Keys are encoded so that their bytes
//! sort as they do ([`Key`]); values go through serde ([`Codec`]), in postcard's encoding unless another is named.
//!
//! ```
//! use cohab::{Store, typed::Namespace};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Reading {
//!     celsius: f32,
//! }
//!
//! const READINGS: Namespace<(String, u64), Reading> = Namespace::new("readings");
//!
//! # let dir = tempfile::tempdir()?;
//! # let store = Store::open(dir.path().join("store"))?;
//! store.write(|tx| {
//!     tx.ensure_namespace(READINGS.name())?;
//!     let mut readings = tx.typed(&READINGS)?;
//!     readings.put(&("attic".into(), 20), &Reading { celsius: 31.5 })?;
//!     readings.put(&("attic".into(), 3), &Reading { celsius: 30.0 })
//! })?;
//!
//! let snapshot = store.snapshot()?;
//! let readings = snapshot.typed(&READINGS)?;
//! assert_eq!(readings.get(&("attic".into(), 20))?, Some(Reading { celsius: 31.5 }));
//! let times: Vec<u64> = readings.all()?.map(|entry| entry.map(|(key, _)| key.1)).collect::<Result<_, _>>()?;
//! assert_eq!(times, [3, 20]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cached;
mod codec;
mod key;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

pub use cached::TypedCached;
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, Postcard};
pub use key::{Key, KeyPart};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entries::Range;
use crate::view::Direction;
use crate::{Error, Kind, NamespaceMut, NamespaceView, Result, Snapshot, Transaction};

/// Marks the types without holding any, so that handles are `Send` and `Sync` whatever they are.
type Types<K, V, C> = PhantomData<fn(&K) -> (V, C)>;

/// A namespace's name and the types of its keys and values.
pub struct Namespace<K: Key + ?Sized, V, C = Postcard> {
    name: &'static str,
    types: Types<K, V, C>,
}

impl<K: Key + ?Sized, V, C> Namespace<K, V, C> {
    /// Names a namespace. Whether it is a name is checked when it is opened.
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// Returns the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K: Key + ?Sized, V, C> Clone for Namespace<K, V, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Key + ?Sized, V, C> Copy for Namespace<K, V, C> {}

impl<K: Key + ?Sized, V, C> fmt::Debug for Namespace<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}

impl Snapshot {
    /// Returns a typed namespace to read from.
    ///
    /// # Errors
    ///
    /// As for [`namespace`](Snapshot::namespace). Types are not recorded in the store: a key or value that does not
    /// decode is [`Kind::Decode`] when it is read.
    pub fn typed<K: Key + ?Sized, V, C>(
        &self,
        namespace: &Namespace<K, V, C>,
    ) -> Result<TypedView<'_, K, V, C>> {
        Ok(TypedView { view: self.namespace(namespace.name)?, types: PhantomData })
    }
}

impl<'c, 'tx> Transaction<'c, 'tx> {
    /// Returns a typed namespace to read from and write to.
    pub fn typed<K: Key + ?Sized, V, C>(
        &mut self,
        namespace: &Namespace<K, V, C>,
    ) -> Result<TypedMut<'_, 'c, 'tx, K, V, C>> {
        Ok(TypedMut { name: namespace.name, namespace: self.namespace(namespace.name)?, types: PhantomData })
    }
}

/// A typed namespace in a snapshot.
#[derive(Debug)]
pub struct TypedView<'s, K: Key + ?Sized, V, C = Postcard> {
    view: NamespaceView<'s>,
    types: Types<K, V, C>,
}

impl<'s, K: Key + ?Sized, V: DeserializeOwned, C: Codec> TypedView<'s, K, V, C> {
    /// Returns the namespace without its types.
    pub fn bytes(&self) -> &NamespaceView<'s> {
        &self.view
    }

    /// Reads a key's value.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        let key = encoded(key);
        let value = self.view.get(&key)?;
        value.map(|value| decode_value::<V, C>(self.view.metadata().name.as_str(), &key, &value)).transpose()
    }

    /// Reads everything in ascending order, lazily.
    pub fn all(&self) -> Result<TypedRange<'s, K, V, C>> {
        Ok(self.wrap(self.view.all()?))
    }

    /// Reads a range in ascending order, lazily.
    pub fn range<'k>(&self, range: impl RangeBounds<&'k K>) -> Result<TypedRange<'s, K, V, C>>
    where
        K: 'k,
    {
        let bound = |bound: Bound<&&'k K>| bound.map(|key| encoded(*key));
        let (start, end) = (bound(range.start_bound()), bound(range.end_bound()));
        let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        Ok(self.wrap(self.view.scan(bounds, Direction::Forward)?))
    }

    fn wrap(&self, range: Range<'s>) -> TypedRange<'s, K, V, C> {
        TypedRange { name: self.view.metadata().name.to_string(), range, types: PhantomData }
    }
}

/// A typed range. After an error of decoding it can go on; after one of the store it yields nothing more.
#[derive(Debug)]
pub struct TypedRange<'s, K: Key + ?Sized, V, C = Postcard> {
    name: String,
    range: Range<'s>,
    types: Types<K, V, C>,
}

impl<K: Key + ?Sized, V: DeserializeOwned, C: Codec> Iterator for TypedRange<'_, K, V, C> {
    type Item = Result<(K::Owned, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.range.next()?;
        Some(entry.and_then(|entry| {
            let key = K::decode(entry.key())
                .ok_or_else(|| undecodable::<K::Owned>(&self.name, entry.key(), "key"))?;
            Ok((key, decode_value::<V, C>(&self.name, entry.key(), entry.value())?))
        }))
    }
}

/// A typed namespace within a transaction.
#[derive(Debug)]
pub struct TypedMut<'t, 'c, 'tx, K: Key + ?Sized, V, C = Postcard> {
    name: &'static str,
    namespace: NamespaceMut<'t, 'c, 'tx>,
    types: Types<K, V, C>,
}

impl<K: Key + ?Sized, V: Serialize + DeserializeOwned, C: Codec> TypedMut<'_, '_, '_, K, V, C> {
    /// Reads a key's value, with the changes made so far.
    pub fn get(&mut self, key: &K) -> Result<Option<V>> {
        let key = encoded(key);
        let name = self.name;
        let value = self.namespace.get(&key)?;
        value.map(|value| decode_value::<V, C>(name, &key, &value)).transpose()
    }

    /// Puts a value under a key, replacing what was there.
    ///
    /// # Errors
    ///
    /// [`Kind::Decode`] if the value does not serialize, and errors of bounds.
    pub fn put(&mut self, key: &K, value: &V) -> Result<()> {
        let bytes = C::encode(value).map_err(|error| {
            let message = format!("a value for namespace `{}` does not serialize", self.name);
            Error::new(Kind::Decode, message).source(error)
        })?;
        self.namespace.put(encoded(key), bytes)
    }

    /// Removes a key, and returns whether it was there.
    pub fn delete(&mut self, key: &K) -> Result<bool> {
        self.namespace.delete(encoded(key))
    }
}

fn encoded<K: Key + ?Sized>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

fn decode_value<V: DeserializeOwned, C: Codec>(namespace: &str, key: &[u8], value: &[u8]) -> Result<V> {
    C::decode(value).map_err(|error| undecodable::<V>(namespace, key, "value").source(error))
}

fn undecodable<T>(namespace: &str, key: &[u8], what: &str) -> Error {
    let (key, wanted) = (key.escape_ascii(), std::any::type_name::<T>());
    let message = format!("the {what} at \"{key}\" of namespace `{namespace}` does not decode as {wanted}");
    Error::new(Kind::Decode, message).hint("read it with the types it was written with, or as bytes")
}
