//! Encodings of keys whose bytes sort as the keys do.
//!
//! ```text
//! u8 … u128      big endian
//! i8 … i128      big endian, sign bit flipped
//! bool           00 or 01
//! char           u32
//! str, [u8]      as they are; within a tuple 00 becomes 00 FF, and 00 00 ends them
//! tuples         their parts, one after the other
//! ```

/// A type whose values are keys.
///
/// For all `a` and `b`, `a < b` exactly if the encoding of `a` sorts before that of `b`, byte by byte.
pub trait Key {
    /// The type as it is read back.
    type Owned;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Decodes a key, or returns `None` for bytes that no key encodes to.
    fn decode(bytes: &[u8]) -> Option<Self::Owned>;
}

/// A type whose values are parts of keys: its encoding tells where it ends.
pub trait KeyPart: Sized {
    /// Appends the encoding.
    fn encode_part(&self, out: &mut Vec<u8>);

    /// Decodes a part and moves `bytes` behind it.
    fn decode_part(bytes: &mut &[u8]) -> Option<Self>;
}

/// Whatever has a fixed shape is a key as it is a part of one.
macro_rules! key_from_part {
    ($($type:ty),*) => {$(
        impl Key for $type {
            type Owned = Self;

            fn encode(&self, out: &mut Vec<u8>) {
                self.encode_part(out);
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                Self::decode_part(&mut bytes).filter(|_| bytes.is_empty())
            }
        }
    )*};
}

macro_rules! integer_keys {
    ($($type:ident: $flip:expr),*) => {$(
        impl KeyPart for $type {
            fn encode_part(&self, out: &mut Vec<u8>) {
                out.extend((self ^ $flip).to_be_bytes());
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some($type::from_be_bytes(*head) ^ $flip)
            }
        }

        key_from_part!($type);
    )*};
}

integer_keys!(
    u8: 0, u16: 0, u32: 0, u64: 0, u128: 0,
    i8: i8::MIN, i16: i16::MIN, i32: i32::MIN, i64: i64::MIN, i128: i128::MIN
);

impl KeyPart for bool {
    fn encode_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        match u8::decode_part(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl KeyPart for char {
    fn encode_part(&self, out: &mut Vec<u8>) {
        u32::from(*self).encode_part(out);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_u32(u32::decode_part(bytes)?)
    }
}

key_from_part!(bool, char);

impl Key for str {
    type Owned = String;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<String> {
        str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl Key for String {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        str::decode(bytes)
    }
}

impl Key for [u8] {
    type Owned = Vec<u8>;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
}

impl Key for Vec<u8> {
    type Owned = Self;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

/// `00 00` ends the part and sorts before everything that could follow in its place, `00 FF` included.
impl KeyPart for Vec<u8> {
    fn encode_part(&self, out: &mut Vec<u8>) {
        for &byte in self {
            out.push(byte);
            if byte == 0 {
                out.push(0xFF);
            }
        }
        out.extend([0, 0]);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        let mut part = Self::new();
        loop {
            match u8::decode_part(bytes)? {
                0 => match u8::decode_part(bytes)? {
                    0 => return Some(part),
                    0xFF => part.push(0),
                    _ => return None,
                },
                byte => part.push(byte),
            }
        }
    }
}

impl KeyPart for String {
    fn encode_part(&self, out: &mut Vec<u8>) {
        for byte in self.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xFF);
            }
        }
        out.extend([0, 0]);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::decode_part(bytes)?).ok()
    }
}

macro_rules! tuple_keys {
    ($($name:ident),*) => {
        impl<$($name: KeyPart),*> KeyPart for ($($name,)*) {
            fn encode_part(&self, out: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "the variables are named after their types")]
                let ($($name,)*) = self;
                $($name.encode_part(out);)*
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($name::decode_part(bytes)?,)*))
            }
        }

        impl<$($name: KeyPart),*> Key for ($($name,)*) {
            type Owned = Self;

            fn encode(&self, out: &mut Vec<u8>) {
                self.encode_part(out);
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                Self::decode_part(&mut bytes).filter(|_| bytes.is_empty())
            }
        }
    };
}

tuple_keys!(A);
tuple_keys!(A, B);
tuple_keys!(A, B, C);
tuple_keys!(A, B, C, D);
tuple_keys!(A, B, C, D, E);
tuple_keys!(A, B, C, D, E, F);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    fn check<K: Key<Owned = K> + Ord + Debug>(a: &K, b: &K) {
        let encoded = |key: &K| {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            bytes
        };
        assert_eq!(encoded(a).cmp(&encoded(b)), a.cmp(b), "{a:?} and {b:?}");
        assert_eq!(K::decode(&encoded(a)).as_ref(), Some(a));
        assert_ne!(K::decode(&[encoded(a), vec![7; 40]].concat()).as_ref(), Some(a), "bytes are left over");
    }

    fn texts() -> impl Strategy<Value = String> {
        "[a\u{0}\u{1}é]{0,4}"
    }

    proptest! {
        #[test]
        fn integers_sort_as_they_do(a: (u64, i64, i8), b: (u64, i64, i8), c: i128, d: i128) {
            check(&a.0, &b.0);
            check(&a.1, &b.1);
            check(&a.2, &b.2);
            check(&c, &d);
            check(&a, &b);
        }

        #[test]
        fn tuples_of_texts_sort_as_they_do(a in (texts(), texts(), any::<bool>()), b in (texts(), texts(), any::<bool>())) {
            check(&a, &b);
        }

        #[test]
        fn tuples_of_bytes_sort_as_they_do(
            a in (prop::collection::vec(prop::sample::select(vec![0u8, 1, 254, 255]), 0..4), any::<char>()),
            b in (prop::collection::vec(prop::sample::select(vec![0u8, 1, 254, 255]), 0..4), any::<char>()),
        ) {
            check(&a, &b);
        }

        #[test]
        fn no_bytes_panic_the_decoders(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let _ = (<(String, u64)>::decode(&bytes), <(Vec<u8>, char, bool)>::decode(&bytes), str::decode(&bytes));
        }
    }
}
