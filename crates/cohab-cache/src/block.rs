//! One cached value, or the proof that there is none, in a place that readers find without a lock.
//!
//! A block is one allocation: a reference count of `bytes`, the [`Head`], the key and the value. The head holds a
//! [`Bytes`] of the value in its own block, so a reader that has found the block clones that, and neither allocates nor
//! asks anybody. That handle is itself one of the references that keep the block; whoever owns the [`Entry`] ends
//! the cycle by dropping it.

#![expect(unsafe_code, reason = "a block refers to itself, and readers find it by its address")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use cohab_core::Version;

/// What the cache knows of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup<T> {
    /// Its value.
    Value(T),
    /// That there is none.
    Absent,
    /// Nothing that holds for the read.
    Unknown,
}

/// Whose entry it is: the space, and its generation. Equal numbers mean that it is the reader's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tenant(u64);

impl Tenant {
    #[inline]
    pub(crate) const fn new(space: u32, generation: u32) -> Self {
        Self((space as u64) << 32 | generation as u64)
    }

    #[inline]
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    pub(crate) fn space(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the other half is the space")]
    pub(crate) fn generation(self) -> u32 {
        self.0 as u32
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'k> {
    pub(crate) valid_from: Version,
    pub(crate) tenant: Tenant,
    pub(crate) is_pinned: bool,
    pub(crate) key: &'k [u8],
}

/// How a block begins. Nothing of it changes while readers can find it but the mark of use.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Head {
    /// The value; the key lies right before it. Written once, before anybody else knows of the block.
    value: UnsafeCell<MaybeUninit<Bytes>>,
    valid_from: Version,
    tenant: Tenant,
    key_len: u16,
    is_present: bool,
    is_pinned: bool,
    is_decoded: bool,
    /// Set by readers, and cleared by whoever looks for what may go.
    is_used: AtomicBool,
}

/// A head with what follows it.
#[repr(C)]
struct Block<T> {
    head: Head,
    /// The key and the value.
    bytes: T,
}

/// A head with a value as the application sees it; the head has the key alone.
#[repr(C)]
struct DecodedBlock {
    head: Head,
    value: Option<Arc<dyn Any + Send + Sync>>,
    /// What the value occupies beside this.
    value_bytes: usize,
}

// SAFETY: the cell is written before the head is shared, and afterwards only read until the last owner takes it.
unsafe impl Sync for Head {}

impl Head {
    fn new(label: &Label<'_>, is_present: bool, is_decoded: bool) -> Self {
        Self {
            value: UnsafeCell::new(MaybeUninit::uninit()),
            valid_from: label.valid_from,
            tenant: label.tenant,
            key_len: u16::try_from(label.key.len()).expect("keys are at most 2048 bytes long"),
            is_present,
            is_pinned: label.is_pinned,
            is_decoded,
            is_used: AtomicBool::new(false),
        }
    }

    /// The value's bytes, which for one that is absent or decoded are none.
    #[inline]
    fn bytes(&self) -> &Bytes {
        // SAFETY: written when the block was made, and not since.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        let (end, len) = (self.bytes().as_ptr(), usize::from(self.key_len));
        // SAFETY: the handle was made of the key and the value, and moved behind the key.
        unsafe { std::slice::from_raw_parts(end.sub(len), len) }
    }

    #[inline]
    pub(crate) fn tenant(&self) -> Tenant {
        self.tenant
    }

    #[inline]
    pub(crate) fn valid_from(&self) -> Version {
        self.valid_from
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// Returns whether it is the tenant's entry for the key, rather than another whose hash is the same.
    #[inline]
    pub(crate) fn is_of(&self, tenant: Tenant, key: &[u8]) -> bool {
        self.tenant == tenant && self.key() == key
    }

    /// Notes that it was used, and returns whether that was not noted yet.
    #[inline]
    pub(crate) fn note_use(&self) -> bool {
        let is_new = !self.is_used.load(Ordering::Relaxed);
        if is_new {
            self.is_used.store(true, Ordering::Relaxed);
        }
        is_new
    }

    /// Returns whether it was used since this was asked the last time.
    pub(crate) fn was_used(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// The value as it is stored.
    #[inline]
    pub(crate) fn value(&self) -> Lookup<&Bytes> {
        match (self.is_decoded, self.is_present) {
            (true, _) => Lookup::Unknown,
            (false, true) => Lookup::Value(self.bytes()),
            (false, false) => Lookup::Absent,
        }
    }
}

/// An entry, owned: dropping it takes the cache's reference to the block away.
///
/// No reader may have found the block and still be looking at it, nor find it any more.
#[derive(Debug)]
pub(crate) struct Entry(NonNull<Head>);

// SAFETY: heads are shared between threads anyway, and what they lead to is `Send` and `Sync`.
unsafe impl Send for Entry {}

/// The address of an entry that somebody else owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Address(NonNull<Head>);

// SAFETY: an address says nothing until it is turned into a reference, which is the caller's business.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Entry {
    /// Makes an entry of bytes, or of their absence.
    pub(crate) fn stored(label: &Label<'_>, value: Option<&[u8]>) -> Self {
        let head = Head::new(label, value.is_some(), false);
        let value = value.unwrap_or_default();
        let len = label.key.len() + value.len();
        let fill = |bytes: &mut [u8]| {
            bytes[..label.key.len()].copy_from_slice(label.key);
            bytes[label.key.len()..].copy_from_slice(value);
        };
        allocate(head, len, fill)
    }

    /// Makes an entry of a decoded value, or of its absence.
    pub(crate) fn decoded(
        label: &Label<'_>,
        value: Option<Arc<dyn Any + Send + Sync>>,
        value_bytes: usize,
    ) -> Self {
        let mut head = Head::new(label, value.is_some(), true);
        let mut key = Bytes::copy_from_slice(label.key);
        key.advance(label.key.len());
        head.value.get_mut().write(key);
        let block = Box::new(DecodedBlock { head, value, value_bytes });
        Self(NonNull::from(Box::leak(block)).cast())
    }

    /// Gives the entry away, to be taken back once.
    pub(crate) fn into_address(self) -> Address {
        let address = Address(self.0);
        std::mem::forget(self);
        address
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: the entry is owned, so the block is there, and nobody else looks at its head.
        let head = unsafe { self.0.as_ref() };
        // SAFETY: it was written when the block was made, and is never used again.
        let value = unsafe { ptr::read(head.value.get()).assume_init() };
        if head.is_decoded {
            // SAFETY: entries with this flag are made of such a box, in `decoded`.
            drop(unsafe { Box::from_raw(self.0.cast::<DecodedBlock>().as_ptr()) });
        }
        // Frees the block, unless the application still has the value.
        drop(value);
    }
}

impl Address {
    /// Takes the entry back.
    ///
    /// # Safety
    ///
    /// Nobody else does; it can be found no more, and those who have found it look at it no more.
    pub(crate) unsafe fn into_entry(self) -> Entry {
        Entry(self.0)
    }

    /// Looks at the entry.
    ///
    /// # Safety
    ///
    /// The entry is not dropped for as long as the reference is used.
    #[inline]
    pub(crate) unsafe fn head<'a>(self) -> &'a Head {
        // SAFETY: by contract it is there.
        unsafe { self.0.as_ref() }
    }

    /// The value in the application's type, if it is that.
    ///
    /// # Safety
    ///
    /// As for [`head`](Self::head).
    #[inline]
    pub(crate) unsafe fn decoded<V: Send + Sync + 'static>(self) -> Lookup<Arc<V>> {
        // SAFETY: by contract it is there.
        if !unsafe { self.head() }.is_decoded {
            return Lookup::Unknown;
        }
        // SAFETY: entries with this flag are made of such a box, in `Entry::decoded`.
        let block = unsafe { self.0.cast::<DecodedBlock>().as_ref() };
        match &block.value {
            Some(value) => value.clone().downcast().map_or(Lookup::Unknown, Lookup::Value),
            None => Lookup::Absent,
        }
    }

    /// Returns how much memory the entry occupies, the allocator's bookkeeping included.
    ///
    /// # Safety
    ///
    /// As for [`head`](Self::head).
    pub(crate) unsafe fn heap_bytes(self) -> usize {
        // SAFETY: by contract it is there.
        let head = unsafe { self.head() };
        let key_len = usize::from(head.key_len);
        if head.is_decoded {
            // SAFETY: entries with this flag are made of such a box, in `Entry::decoded`.
            let value_bytes = unsafe { self.0.cast::<DecodedBlock>().as_ref() }.value_bytes;
            return chunk(size_of::<DecodedBlock>()) + chunk(key_len) + value_bytes;
        }
        block_bytes(key_len + head.bytes().len())
    }

    /// Has the processor fetch what lies around the head while that is on its way, all of which is asked for in a moment:
    /// the reference count before it, and the key and the value behind it, of which only the head tells where they are.
    #[inline]
    pub(crate) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let head = self.0.as_ptr().cast::<i8>();
            let key = head.wrapping_add(size_of::<Head>());
            for part in [key, key.wrapping_add(128)] {
                // SAFETY: a hint, which reads nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(part) };
            }
        }
    }

    /// The address as a number, to be packed with others.
    #[inline]
    pub(crate) fn expose(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// Undoes [`expose`](Self::expose). Zero is no address.
    #[inline]
    pub(crate) fn from_exposed(number: usize) -> Option<Self> {
        NonNull::new(ptr::with_exposed_provenance_mut(number)).map(Self)
    }
}

/// What an allocation occupies: the usual allocators round up to 16 bytes, and keep 8 for themselves.
pub(crate) fn chunk(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

/// What `bytes` keeps in front of an owner.
const OWNED: usize = size_of::<[usize; 2]>();

/// Keys and values of up to this many bytes lie in their block; longer ones in an allocation of their own.
const INLINE_MAX: usize = 512;

/// Blocks are made in steps of 16 bytes, as the allocator would round them anyway.
fn inline_len(len: usize) -> usize {
    len.next_multiple_of(16).max(16)
}

fn block_bytes(len: usize) -> usize {
    if len <= INLINE_MAX {
        chunk(OWNED + size_of::<Head>() + inline_len(len))
    } else {
        chunk(OWNED + size_of::<Block<Box<[u8]>>>()) + chunk(len)
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Block<T> {
    fn as_ref(&self) -> &[u8] {
        PLACE.set((&raw const *self).cast());
        self.bytes.as_ref()
    }
}

thread_local! {
    /// Where the block lies that was last asked for its bytes.
    static PLACE: Cell<*const Head> = const { Cell::new(ptr::null()) };
}

/// Puts a block in its place, and into its head the handle of its value.
fn place<T: AsRef<[u8]> + Send + 'static>(block: Block<T>, len: usize) -> Entry {
    let key_len = usize::from(block.head.key_len);
    // This moves the block to where it stays, and asks it there for its bytes.
    let mut value = Bytes::from_owner(block);
    value.truncate(len);
    value.advance(key_len);
    let head = NonNull::new(PLACE.get().cast_mut()).expect("was asked for its bytes");
    // SAFETY: the block is there, as `value` keeps it, and nobody else knows of it.
    let cell = unsafe { &head.as_ref().value };
    // SAFETY: for the same reason nobody else uses the cell.
    unsafe { (*cell.get()).write(value) };
    Entry(head)
}

fn inline<const LEN: usize>(head: Head, len: usize, fill: impl FnOnce(&mut [u8])) -> Entry {
    let mut bytes = [0; LEN];
    fill(&mut bytes[..len]);
    place(Block { head, bytes }, len)
}

fn allocate(head: Head, len: usize, fill: impl FnOnce(&mut [u8])) -> Entry {
    macro_rules! inline {
        ($($rounded:literal)*) => {
            match inline_len(len) {
                $($rounded => inline::<$rounded>(head, len, fill),)*
                _ => {
                    let mut bytes = vec![0; len].into_boxed_slice();
                    fill(&mut bytes);
                    place(Block { head, bytes }, len)
                }
            }
        };
    }
    inline!(16 32 48 64 80 96 112 128 144 160 176 192 208 224 240 256 272 288 304 320 336 352 368 384 400 416 432 448
        464 480 496 512)
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout, System};

    use super::*;

    /// Counts what each thread has allocated and not freed, as the usual allocators round it.
    struct Counting;

    thread_local! {
        static LIVE: Cell<usize> = const { Cell::new(0) };
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn rounded(layout: Layout) -> usize {
        (layout.size() + 8).div_ceil(16).max(2) * 16
    }

    // SAFETY: the system's does it all.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(rounded(layout))));
            // SAFETY: the caller's promises are the same.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
            let _ = LIVE.try_with(|live| live.set(live.get().wrapping_sub(rounded(layout))));
            // SAFETY: the caller's promises are the same.
            unsafe { System.dealloc(place, layout) }
        }
    }

    /// Makes an entry, and compares what it says it occupies with what was allocated; then drops it, and looks for what is left.
    fn weigh(what: &str, make: impl FnOnce() -> Entry) {
        let live = || LIVE.with(Cell::get);
        let before = live();
        let entry = make();
        // SAFETY: the entry is there.
        let said = unsafe { Address(entry.0).heap_bytes() };
        assert_eq!(said, live() - before, "{what}");
        drop(entry);
        assert_eq!(live(), before, "{what} leaves something behind");
    }

    #[test]
    fn an_entry_occupies_what_it_says_and_leaves_nothing_behind() {
        for len in (0..700_usize).chain([4096, 100_000]) {
            let value = vec![7; len];
            weigh(&format!("a value of {len}"), || Entry::stored(&label(b"key"), Some(&value)));
        }
        weigh("an absence", || Entry::stored(&label(b"key"), None));
        for len in [1, 20, 300, 2000] {
            let key = vec![1; len];
            weigh("a decoded absence", || Entry::decoded(&label(&key), None, 0));
            // Which somebody else has as well, so that nothing of its own is freed with it.
            let value: Arc<dyn Any + Send + Sync> = Arc::new(5_u32);
            weigh("a decoded value", || Entry::decoded(&label(&key), Some(value.clone()), 0));
            assert_eq!(Arc::strong_count(&value), 1);
            let bytes = |value_bytes| {
                let entry = Entry::decoded(&label(&key), Some(value.clone()), value_bytes);
                // SAFETY: the entry is there.
                unsafe { Address(entry.0).heap_bytes() }
            };
            assert_eq!(bytes(96), bytes(0) + 96);
        }
    }

    #[test]
    fn a_use_is_noted_once_until_somebody_asks() {
        let entry = Entry::stored(&label(b"key"), None);
        let head = head(&entry);
        assert!(!head.was_used());
        for _ in 0..2 {
            assert!(head.note_use() && !head.note_use() && !head.note_use());
            assert!(head.was_used() && !head.was_used());
        }
    }

    #[test]
    fn a_tenant_is_a_space_and_a_generation() {
        let tenant = Tenant::new(0x1234_5678, 0x9abc_def0);
        assert_eq!((tenant.space(), tenant.generation()), (0x1234_5678, 0x9abc_def0));
        assert_eq!(tenant.get(), 0x1234_5678_9abc_def0);
    }

    fn label(key: &[u8]) -> Label<'_> {
        Label { valid_from: Version::new(7), tenant: Tenant::new(3, 4), is_pinned: false, key }
    }

    fn head(entry: &Entry) -> &Head {
        // SAFETY: the entry is borrowed for as long.
        unsafe { entry.0.as_ref() }
    }

    #[test]
    fn every_length_is_kept_as_it_is() {
        for len in (0..700_usize).chain([4096, 100_000]) {
            let value: Vec<u8> = (0..len).map(|i| (i % 251).to_le_bytes()[0]).collect();
            let entry = Entry::stored(&label(b"key"), Some(&value));
            assert!(head(&entry).is_of(Tenant::new(3, 4), b"key"), "{len}");
            let is_anothers = |tenant, key: &[u8]| !head(&entry).is_of(tenant, key);
            assert!(is_anothers(Tenant::new(3, 5), b"key") && is_anothers(Tenant::new(3, 4), b"kex"));
            assert_eq!(head(&entry).valid_from(), Version::new(7));
            // SAFETY: the entry is there.
            let bytes = unsafe { Address(entry.0).heap_bytes() };
            assert!(bytes >= len + 3 && bytes < len + 200, "{len} takes {bytes}");
            assert_eq!(head(&entry).value(), Lookup::Value(&value.into()));
        }
    }

    #[test]
    fn a_value_outlives_its_entry() {
        for len in [5, 5000] {
            let entry = Entry::stored(&label(b"key"), Some(&vec![9; len]));
            let Lookup::Value(value) = head(&entry).value() else { panic!("has a value") };
            let value = value.clone();
            drop(entry);
            assert_eq!(value, vec![9; len]);
        }
    }

    #[test]
    fn an_empty_value_is_not_an_absent_one() {
        assert_eq!(head(&Entry::stored(&label(b""), Some(b""))).value(), Lookup::Value(&Bytes::new()));
        assert_eq!(head(&Entry::stored(&label(b""), None)).value(), Lookup::Absent);
    }

    #[test]
    fn what_was_decoded_comes_back_in_its_own_type_only() {
        let entry = Entry::decoded(&label(b"k"), Some(Arc::new(5_u32)), 8);
        assert!(head(&entry).is_of(Tenant::new(3, 4), b"k"));
        let address = Address(entry.0);
        // SAFETY: the entry is there.
        assert_eq!(unsafe { address.decoded::<u32>() }, Lookup::Value(Arc::new(5)));
        // SAFETY: the entry is there.
        assert_eq!(unsafe { address.decoded::<u64>() }, Lookup::Unknown);
        let absent = Entry::decoded(&label(b"k"), None, 0);
        // SAFETY: the entry is there.
        assert_eq!(unsafe { Address(absent.0).decoded::<u64>() }, Lookup::Absent);
    }
}
