//! The functions that modules import.
//!
//! They know of the guest its memory and nothing else. In particular they hold none of its functions, so the host cannot call back
//! into a guest that is waiting for an import: a call of a plugin is never inside of another call of the same instance.

use wasmtime::{Caller, Engine, Linker, Memory, Result};

use super::fault::forbidden;
use super::interface::MODULE;
use crate::Level;
use crate::runtime::Deadline;
use crate::sandbox;

/// How many bytes of the result buffer are kept for the next call.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What belongs to an instance beside its memory.
pub(super) struct State {
    /// The instance's memory; `None` while it is made, and no import may be used.
    pub(super) memory: Option<Memory>,
    /// What `take` copies: the last result of `get`, `scan` or `cache_get`.
    pub(super) result: Vec<u8>,
    /// How many bytes of memory it may have.
    pub(super) memory_max: u64,
    /// Whether this call asked for more memory than it may have.
    pub(super) was_denied_memory: bool,
    /// When the call has to be over.
    pub(super) deadline: Deadline,
}

impl State {
    pub(super) fn begin(&mut self, deadline: &Deadline) {
        self.deadline = deadline.clone();
        self.was_denied_memory = false;
        self.forget_result();
    }

    fn forget_result(&mut self) {
        self.result.clear();
        self.result.shrink_to(KEPT_BYTES_MAX);
    }
}

/// The most elements of a table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 10_000;

/// The most tables of a module.
pub(super) const TABLES_MAX: usize = 4;

impl wasmtime::ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let may = desired as u64 <= self.memory_max;
        self.was_denied_memory |= !may;
        Ok(may)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        1
    }
}

/// Makes the functions of version 1 of the interface.
pub(super) fn link(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(MODULE, "get", get)?;
    linker.func_wrap(MODULE, "put", put)?;
    linker.func_wrap(MODULE, "delete", delete)?;
    linker.func_wrap(MODULE, "scan", scan)?;
    linker.func_wrap(MODULE, "take", take)?;
    linker.func_wrap(MODULE, "cache_get", cache_get)?;
    linker.func_wrap(MODULE, "cache_put", cache_put)?;
    linker.func_wrap(MODULE, "log", log)?;
    linker.func_wrap(MODULE, "now", now)?;
    linker.func_wrap(MODULE, "reply", reply)?;
    linker.func_wrap(MODULE, "fail", fail)?;
    Ok(linker)
}

fn get(mut caller: Caller<'_, State>, ns: i32, ns_len: i32, key: i32, key_len: i32) -> Result<i64> {
    let (memory, state) = guest(&mut caller, "get")?;
    let (namespace, key) = (memory.text(ns, ns_len)?, memory.bytes(key, key_len)?);
    state.forget_result();
    let is_there =
        sandbox::with(|host| host.get(namespace, key, &mut |value| state.result.extend_from_slice(value)))?;
    Ok(if is_there { length(&state.result) } else { ABSENT })
}

fn put(
    mut caller: Caller<'_, State>,
    ns: i32,
    ns_len: i32,
    key: i32,
    key_len: i32,
    value: i32,
    value_len: i32,
) -> Result<()> {
    let (memory, _) = guest(&mut caller, "put")?;
    let (namespace, key) = (memory.text(ns, ns_len)?, memory.bytes(key, key_len)?);
    let value = memory.bytes(value, value_len)?;
    Ok(sandbox::with(|host| host.put(namespace, key, value))?)
}

fn delete(mut caller: Caller<'_, State>, ns: i32, ns_len: i32, key: i32, key_len: i32) -> Result<i32> {
    let (memory, _) = guest(&mut caller, "delete")?;
    let (namespace, key) = (memory.text(ns, ns_len)?, memory.bytes(key, key_len)?);
    Ok(sandbox::with(|host| host.delete(namespace, key))?.into())
}

#[expect(clippy::too_many_arguments, reason = "three texts and a number")]
fn scan(
    mut caller: Caller<'_, State>,
    ns: i32,
    ns_len: i32,
    prefix: i32,
    prefix_len: i32,
    from: i32,
    from_len: i32,
    limit: i32,
) -> Result<i64> {
    let (memory, state) = guest(&mut caller, "scan")?;
    let (namespace, prefix) = (memory.text(ns, ns_len)?, memory.bytes(prefix, prefix_len)?);
    let from = memory.bytes(from, from_len)?;
    let limit = if limit == 0 { usize::MAX } else { offset(limit) };
    state.forget_result();
    let result = &mut state.result;
    result.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    sandbox::with(|host| {
        host.scan(namespace, prefix, from, limit, &mut |key, value| {
            count += 1;
            for piece in [key, value] {
                // Keys and values are far shorter than 4 GiB.
                result.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_le_bytes());
                result.extend_from_slice(piece);
            }
        })
    })?;
    result[..4].copy_from_slice(&count.to_le_bytes());
    Ok(length(result))
}

fn take(mut caller: Caller<'_, State>, to: i32, capacity: i32) -> Result<i32> {
    let (mut memory, state) = guest(&mut caller, "take")?;
    let to = memory.bytes_mut(to, capacity)?;
    let len = to.len().min(state.result.len());
    to[..len].copy_from_slice(&state.result[..len]);
    // No more than the capacity, which came as an `i32`.
    Ok(u32::try_from(len).unwrap_or(u32::MAX).cast_signed())
}

fn cache_get(mut caller: Caller<'_, State>, key: i32, key_len: i32) -> Result<i64> {
    let (memory, state) = guest(&mut caller, "cache_get")?;
    let key = memory.bytes(key, key_len)?;
    state.forget_result();
    let is_there =
        sandbox::with(|host| host.cache_get(key, &mut |value| state.result.extend_from_slice(value)));
    Ok(if is_there { length(&state.result) } else { ABSENT })
}

fn cache_put(
    mut caller: Caller<'_, State>,
    key: i32,
    key_len: i32,
    value: i32,
    value_len: i32,
    ttl_ms: i64,
) -> Result<()> {
    let (memory, _) = guest(&mut caller, "cache_put")?;
    let (key, value) = (memory.bytes(key, key_len)?, memory.bytes(value, value_len)?);
    let Ok(ttl_ms) = u64::try_from(ttl_ms) else {
        return Err(forbidden(format!("it calls `{MODULE}.cache_put` with a time of {ttl_ms} ms")));
    };
    sandbox::with(|host| host.cache_put(key, value, ttl_ms));
    Ok(())
}

fn log(mut caller: Caller<'_, State>, level: i32, text: i32, text_len: i32) -> Result<()> {
    let (memory, _) = guest(&mut caller, "log")?;
    let text = memory.text(text, text_len)?;
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        3 => Level::Error,
        _ => return Err(forbidden(format!("it logs with the level {level}, which there is not: 0 to 3"))),
    };
    Ok(sandbox::with(|host| host.log(level, text))?)
}

fn now(mut caller: Caller<'_, State>) -> Result<i64> {
    guest(&mut caller, "now")?;
    let now = sandbox::with(|host| host.now())?;
    Ok(now.as_micros().cast_signed())
}

fn reply(mut caller: Caller<'_, State>, bytes: i32, len: i32) -> Result<()> {
    let (memory, _) = guest(&mut caller, "reply")?;
    let bytes = memory.bytes(bytes, len)?;
    Ok(sandbox::with(|host| host.reply(bytes))?)
}

fn fail(mut caller: Caller<'_, State>, message: i32, len: i32) -> Result<()> {
    let (memory, _) = guest(&mut caller, "fail")?;
    let message = memory.text(message, len)?;
    sandbox::with(|host| host.fail(message));
    Ok(())
}

/// What stands for a value that is not there.
const ABSENT: i64 = -1;

fn length(result: &[u8]) -> i64 {
    i64::try_from(result.len()).unwrap_or(i64::MAX)
}

/// Addresses and lengths are unsigned.
pub(super) fn offset(number: i32) -> usize {
    number.cast_unsigned() as usize
}

/// A guest's memory during an import.
struct Guest<'a>(&'a mut [u8]);

fn guest<'a>(caller: &'a mut Caller<'_, State>, import: &str) -> Result<(Guest<'a>, &'a mut State)> {
    let Some(memory) = caller.data().memory else {
        return Err(forbidden(format!(
            "it calls `{MODULE}.{import}` while an instance is made, where no import may be used"
        )));
    };
    let (memory, state) = memory.data_and_store_mut(caller);
    Ok((Guest(memory), state))
}

impl Guest<'_> {
    fn bytes(&self, at: i32, len: i32) -> Result<&[u8]> {
        let (at, len) = (offset(at), offset(len));
        let end = at.checked_add(len);
        end.and_then(|end| self.0.get(at..end)).ok_or_else(|| self.outside(at, len))
    }

    fn bytes_mut(&mut self, at: i32, len: i32) -> Result<&mut [u8]> {
        let (at, len) = (offset(at), offset(len));
        match at.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(&mut self.0[at..end]),
            _ => Err(self.outside(at, len)),
        }
    }

    fn text(&self, at: i32, len: i32) -> Result<&str> {
        str::from_utf8(self.bytes(at, len)?)
            .map_err(|error| forbidden(format!("it hands over a text that is not UTF-8: {error}")))
    }

    #[cold]
    fn outside(&self, at: usize, len: usize) -> wasmtime::Error {
        let size = self.0.len();
        forbidden(format!(
            "it hands over {len} bytes at address {at}, which is outside of its memory of {size} bytes"
        ))
    }
}
