//! The functions of the interface, and those of Rhai that are not as they should be for code that nobody trusts.

use std::sync::{Arc, OnceLock};

use rhai::{
    Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, ImmutableString, Module, NativeCallContext,
    Position,
};

use super::meter;
use super::value::{self, Bytes};
use crate::Level;
use crate::sandbox::{self, Denied, Guest, SCAN_ENTRIES_MAX};

/// The functions of the interface.
pub(super) const NAMES: [&str; 9] =
    ["get", "put", "delete", "scan", "cache_get", "cache_put", "log", "now", "reply"];

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// Returns the functions, which all engines share.
pub(super) fn module() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    MODULE
        .get_or_init(|| {
            let mut module = Module::new();
            register_store(&mut module);
            register_rest(&mut module);
            register_replacements(&mut module);
            module.build_index();
            Arc::new(module)
        })
        .clone()
}

/// `print` and `debug`, which cannot fail: what is denied ends the call at its next operation.
pub(super) fn print(level: Level, text: &str) {
    let _ = ask(|guest| guest.log(level, text));
}

macro_rules! register {
    ($module:ident, $name:literal, $function:expr) => {
        FuncRegistration::new($name).with_volatility(true).set_into_module($module, $function)
    };
}

fn register_store(module: &mut Module) {
    register!(module, "get", |key: Dynamic| get("", key));
    register!(module, "get", |namespace: &str, key: Dynamic| get(namespace, key));
    register!(module, "put", |key: Dynamic, value: Dynamic| put("", key, value));
    register!(module, "put", |namespace: &str, key: Dynamic, value: Dynamic| put(namespace, key, value));
    register!(module, "delete", |key: Dynamic| delete("", key));
    register!(module, "delete", |namespace: &str, key: Dynamic| delete(namespace, key));
    register!(module, "scan", |namespace: &str, prefix: Dynamic| scan(namespace, prefix, None, 0));
    register!(module, "scan", |namespace: &str, prefix: Dynamic, limit: i64| {
        scan(namespace, prefix, None, limit)
    });
    register!(module, "scan", |namespace: &str, prefix: Dynamic, from: Dynamic, limit: i64| {
        scan(namespace, prefix, Some(from), limit)
    });
}

fn register_rest(module: &mut Module) {
    register!(module, "cache_get", cache_get);
    register!(module, "cache_put", |key: Dynamic, value: Dynamic| cache_put(key, value, 0));
    register!(module, "cache_put", cache_put);
    register!(module, "log", |text: Dynamic| log("info", text));
    register!(module, "log", log);
    register!(module, "now", || -> Result<Dynamic> {
        ask(|guest| guest.now()).map(|now| value::of_number(now.as_micros()))
    });
    register!(module, "reply", |reply: Dynamic| -> Result<()> {
        let reply = bytes("reply", reply)?;
        ask(|guest| guest.reply(&reply))
    });
}

/// Asks the sandbox. What it denies ends the script.
fn ask<T>(ask: impl FnOnce(&mut dyn Guest) -> std::result::Result<T, Denied>) -> Result<T> {
    meter::check_authority()?;
    sandbox::with(ask).map_err(|Denied| {
        meter::end();
        meter::terminated()
    })
}

fn bytes(what: &str, value: Dynamic) -> Result<Bytes> {
    value::to_bytes(value)
        .map_err(|name| mismatch(&format!("a string or a blob as the {what}; see `to_string()`"), name))
}

#[expect(clippy::unnecessary_box_returns, reason = "errors of scripts are boxed")]
fn mismatch(expected: &str, actual: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorMismatchDataType(expected.into(), actual.into(), Position::NONE))
}

fn get(namespace: &str, key: Dynamic) -> Result<Dynamic> {
    let key = bytes("key", key)?;
    let mut value = Dynamic::UNIT;
    ask(|guest| guest.get(namespace, &key, &mut |found| value = value::of_bytes(found)))?;
    Ok(value)
}

fn put(namespace: &str, key: Dynamic, value: Dynamic) -> Result<()> {
    let (key, value) = (bytes("key", key)?, bytes("value", value)?);
    ask(|guest| guest.put(namespace, &key, &value))
}

fn delete(namespace: &str, key: Dynamic) -> Result<bool> {
    let key = bytes("key", key)?;
    ask(|guest| guest.delete(namespace, &key))
}

/// A limit of zero stands for as many as one scan returns.
fn scan(namespace: &str, prefix: Dynamic, from: Option<Dynamic>, limit: i64) -> Result<Array> {
    let prefix = bytes("prefix", prefix)?;
    let from = from.map(|from| bytes("start", from)).transpose()?;
    let limit = match usize::try_from(limit) {
        Ok(0) => SCAN_ENTRIES_MAX,
        Ok(limit) => limit,
        Err(_) => return Err(mismatch("a limit that is not negative", "i64")),
    };
    let mut entries = Array::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        let mut entry = rhai::Map::new();
        entry.insert("key".into(), value::of_bytes(key));
        entry.insert("value".into(), value::of_bytes(value));
        entries.push(Dynamic::from_map(entry));
    };
    let from = from.as_deref().unwrap_or_default();
    ask(|guest| guest.scan(namespace, &prefix, from, limit, &mut visit))?;
    Ok(entries)
}

fn cache_get(key: Dynamic) -> Result<Dynamic> {
    let key = bytes("key", key)?;
    let mut value = Dynamic::UNIT;
    ask(|guest| Ok(guest.cache_get(&key, &mut |found| value = value::of_bytes(found))))?;
    Ok(value)
}

fn cache_put(key: Dynamic, value: Dynamic, ttl_ms: i64) -> Result<()> {
    let (key, value) = (bytes("key", key)?, bytes("value", value)?);
    let Ok(ttl_ms) = u64::try_from(ttl_ms) else {
        return Err(mismatch("a time to live that is not negative", "i64"));
    };
    ask(|guest| {
        guest.cache_put(&key, &value, ttl_ms);
        Ok(())
    })
}

fn log(level: &str, text: Dynamic) -> Result<()> {
    let level = match level {
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => return Err(mismatch("a level: debug, info, warn or error", level)),
    };
    let text = bytes("text", text)?;
    ask(|guest| guest.log(level, &String::from_utf8_lossy(&text)))
}

/// Functions of Rhai's packages that wait, that make a value before they look how large it gets, or that may panic.
fn register_replacements(module: &mut Module) {
    register!(module, "sleep", |_: i64| -> Result<()> { Err(unknown("sleep")) });
    register!(module, "sleep", |_: f64| -> Result<()> { Err(unknown("sleep")) });
    register!(module, "replace", |ctx: NativeCallContext<'_>,
                                  text: &mut ImmutableString,
                                  find: &str,
                                  by: &str| {
        replace(&ctx, text, find, by)
    });
    register!(module, "replace", |ctx: NativeCallContext<'_>,
                                  text: &mut ImmutableString,
                                  find: &str,
                                  by: char| {
        replace(&ctx, text, find, by.encode_utf8(&mut [0; 4]))
    });
    register!(module, "replace", |ctx: NativeCallContext<'_>,
                                  text: &mut ImmutableString,
                                  find: char,
                                  by: &str| {
        replace(&ctx, text, find.encode_utf8(&mut [0; 4]), by)
    });
    register!(module, "replace", |ctx: NativeCallContext<'_>,
                                  text: &mut ImmutableString,
                                  find: char,
                                  by: char| {
        replace(&ctx, text, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
    });
    register!(module, "pad", pad);
    register!(module, "parse_json", |json: &str| -> Result<Dynamic> {
        serde_json::from_str(json).map(value::of_json).map_err(|error| {
            Box::new(EvalAltResult::ErrorArithmetic(format!("not JSON: {error}"), Position::NONE))
        })
    });
    for name in ["sort", "sort_by"] {
        FuncRegistration::new(name)
            .set_into_module(module, |ctx: NativeCallContext<'_>, array: &mut Array, compare: FnPtr| {
                sort(&ctx, array, &compare)
            });
    }
    for name in ["order", "order_by"] {
        FuncRegistration::new(name).set_into_module(
            module,
            |ctx: NativeCallContext<'_>, mut array: Array, compare: FnPtr| -> Result<Array> {
                sort(&ctx, &mut array, &compare)?;
                Ok(array)
            },
        );
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "errors of scripts are boxed")]
fn unknown(name: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorFunctionNotFound(name.into(), Position::NONE))
}

#[expect(clippy::unnecessary_box_returns, reason = "errors of scripts are boxed")]
fn too_large(what: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorDataTooLarge(what.into(), Position::NONE))
}

/// Rhai's own makes the text first.
fn replace(ctx: &NativeCallContext<'_>, text: &mut ImmutableString, find: &str, by: &str) -> Result<()> {
    let growth = by.len().saturating_sub(find.len());
    if growth > 0 {
        let len = text.matches(find).count().saturating_mul(growth).saturating_add(text.len());
        if len > ctx.engine().max_string_size() {
            return Err(too_large("Length of string"));
        }
    }
    *text = text.replace(find, by).into();
    Ok(())
}

/// Rhai's own computes the size of the array with numbers that overflow.
#[expect(clippy::needless_pass_by_value, reason = "as scripts call it")]
fn pad(ctx: NativeCallContext<'_>, array: &mut Array, len: i64, item: Dynamic) -> Result<()> {
    let Ok(len) = usize::try_from(len) else { return Ok(()) };
    if len <= array.len() {
        return Ok(());
    }
    if len > ctx.engine().max_array_size() {
        return Err(too_large("Size of array/BLOB"));
    }
    // One more at a time, so that the engine's sizes cannot be passed by more than one value's worth.
    let room = ctx.engine().max_array_size();
    let each = size_of(&item);
    if each.saturating_mul(len - array.len()) > room {
        return Err(too_large("Size of array/BLOB"));
    }
    array.resize(len, item);
    Ok(())
}

/// How many values there are in a value, bytes counted as values: never less than what the engine counts.
fn size_of(value: &Dynamic) -> usize {
    if let Ok(blob) = value.as_blob_ref() {
        1 + blob.len()
    } else if let Ok(array) = value.as_array_ref() {
        array.iter().map(size_of).fold(1, usize::saturating_add)
    } else if let Ok(map) = value.as_map_ref() {
        map.values().map(size_of).fold(1, usize::saturating_add)
    } else {
        1
    }
}

/// A merge sort, which takes every order that a script gives for what it is. Rhai's own goes on after an error, and panics
/// within if the order is none. If the comparison throws, the array is left empty.
fn sort(ctx: &NativeCallContext<'_>, array: &mut Array, compare: &FnPtr) -> Result<()> {
    let mut sorted: Array = std::mem::take(array);
    let mut width = 1;
    while width < sorted.len() {
        let mut merged = Array::with_capacity(sorted.len());
        let mut rest = sorted.into_iter().peekable();
        while rest.peek().is_some() {
            let left: Vec<Dynamic> = rest.by_ref().take(width).collect();
            let right: Vec<Dynamic> = rest.by_ref().take(width).collect();
            let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
            while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
                let order: Dynamic = compare.call_within_context(ctx, (one.clone(), other.clone()))?;
                let is_right_first = match (order.as_int(), order.as_bool()) {
                    (Ok(order), _) => order > 0,
                    (_, Ok(is_less)) => !is_less,
                    _ => {
                        return Err(mismatch("a number or a boolean from the comparison", order.type_name()));
                    }
                };
                merged.extend(if is_right_first { right.next() } else { left.next() });
            }
            merged.extend(left);
            merged.extend(right);
        }
        sorted = merged;
        width *= 2;
    }
    *array = sorted;
    Ok(())
}
