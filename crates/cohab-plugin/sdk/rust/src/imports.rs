//! The functions of the host, as the interface has them: pointers and lengths into this module's memory, which the host reads or
//! writes before it returns.

macro_rules! imports {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $returned:ty)?;)*) => {
        #[cfg(target_arch = "wasm32")]
        #[link(wasm_import_module = "cohab")]
        extern "C" {
            $(pub(crate) fn $name($($argument: $type),*) $(-> $returned)?;)*
        }

        $(
            #[cfg(not(target_arch = "wasm32"))]
            pub(crate) unsafe fn $name($(_: $type),*) $(-> $returned)? {
                panic!(concat!("`", stringify!($name), "` needs the host of the plugin, which is not here"))
            }
        )*
    };
}

imports! {
    fn get(namespace: *const u8, namespace_len: usize, key: *const u8, key_len: usize) -> i64;
    fn put(
        namespace: *const u8,
        namespace_len: usize,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        value_len: usize
    );
    fn delete(namespace: *const u8, namespace_len: usize, key: *const u8, key_len: usize) -> i32;
    fn scan(
        namespace: *const u8,
        namespace_len: usize,
        prefix: *const u8,
        prefix_len: usize,
        from: *const u8,
        from_len: usize,
        limit: u32
    ) -> i64;
    fn take(into: *mut u8, capacity: usize) -> usize;
    fn cache_get(key: *const u8, key_len: usize) -> i64;
    fn cache_put(key: *const u8, key_len: usize, value: *const u8, value_len: usize, ttl_ms: i64);
    fn log(level: i32, text: *const u8, text_len: usize);
    fn now() -> i64;
    fn reply(bytes: *const u8, len: usize);
    fn fail(message: *const u8, len: usize);
}

/// Fetches what `get`, `scan` or `cache_get` found, which is `len` bytes long, in place of what `into` holds.
pub(crate) fn fetch(len: usize, into: &mut Vec<u8>) {
    into.clear();
    into.reserve(len);
    // SAFETY: there is room for `len` bytes; the host writes no more than it is told there is, and says how many it wrote.
    unsafe {
        let written = take(into.as_mut_ptr(), len);
        into.set_len(written.min(len));
    }
}
