//! The plugin of the contract suite, in Rust.

use std::str::from_utf8;

use cohab_plugin_sdk::{self as cohab, Changes, Namespace, Result, export, namespace, reply, state};

export! {
    on_commit: copy,
    before_commit: refuse_bad,
    on_request: answer,
    on_schedule: note_due,
    migrate: migrate,
    check: check,
}

fn copy(changes: Changes<'_>) -> Result {
    let out = namespace("out");
    for change in changes {
        match change.after {
            Some(after) => out.put(change.key, after),
            None => drop(out.delete(change.key)),
        }
    }
    Ok(())
}

fn refuse_bad(changes: Changes<'_>) -> Result {
    for change in changes {
        if change.after == Some(b"bad") {
            return Err(format!("{} is bad", String::from_utf8_lossy(change.key)));
        }
    }
    Ok(())
}

fn answer(request: &[u8]) -> Result {
    let (command, rest) = split(request);
    match command {
        b"echo" => reply(rest),
        b"get" => {
            let (space, key) = place(rest)?;
            reply(space.get(key).ok_or("absent")?);
        }
        b"put" => {
            let (space, rest) = place(rest)?;
            let (key, value) = split(rest);
            space.put(key, value);
        }
        b"delete" => {
            let (space, key) = place(rest)?;
            reply(if space.delete(key) { "1" } else { "0" });
        }
        b"scan" => {
            let (space, rest) = place(rest)?;
            let (prefix, limit) = split(rest);
            list(space, if prefix == b"-" { b"" } else { prefix }, number(limit)?);
        }
        b"cache-put" => {
            let (key, rest) = split(rest);
            let (ttl_ms, value) = split(rest);
            cohab::cache_put(key, value, number(ttl_ms)?.into());
        }
        b"cache-get" => reply(cohab::cache_get(rest).ok_or("absent")?),
        b"log" => cohab::info(text(rest)?),
        b"now" => reply(cohab::now().to_string()),
        b"fail" => return Err(text(rest)?.to_owned()),
        b"count" => {
            let n = state().get("n").map_or(Ok(0), |n| number(&n))? + 1;
            state().put("n", n.to_string());
            reply(n.to_string());
        }
        b"loop" => spin(),
        b"grow" => grow(),
        b"recurse" => drop(recurse(1)),
        b"trap" => trap(),
        b"huge" => reply(vec![b'0'; number(rest)? as usize]),
        _ => return Err("there is no such request".to_owned()),
    }
    Ok(())
}

fn note_due(due: u64) -> Result {
    state().put("due", due.to_string());
    Ok(())
}

fn migrate(from: u32) -> Result {
    if from == 99 {
        return Err("no way from 99".to_owned());
    }
    state().put("migrated", from.to_string());
    Ok(())
}

fn check() -> Result {
    match state().get("broken") {
        Some(_) => Err("broken".to_owned()),
        None => Ok(()),
    }
}

fn list(space: Namespace<'_>, prefix: &[u8], limit: u32) {
    let mut entries = space.scan(prefix).one_page();
    if limit > 0 {
        entries = entries.limit(limit);
    }
    let mut lines = Vec::new();
    while let Some((key, value)) = entries.next_entry() {
        for piece in [key, b"=", value, b"\n"] {
            lines.extend_from_slice(piece);
        }
    }
    reply(lines);
}

/// The first word, and what follows it.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(blank) => (&text[..blank], &text[blank + 1..]),
        None => (text, &[]),
    }
}

/// The namespace that a text begins with, and what follows it.
fn place(request: &[u8]) -> Result<(Namespace<'_>, &[u8])> {
    let (name, rest) = split(request);
    Ok((if name == b"-" { state() } else { namespace(text(name)?) }, rest))
}

fn text(bytes: &[u8]) -> Result<&str> {
    from_utf8(bytes).map_err(|error| error.to_string())
}

fn number(bytes: &[u8]) -> Result<u32> {
    text(bytes)?.parse().map_err(|_| "that is not a number".to_owned())
}

#[allow(clippy::empty_loop)]
fn spin() -> ! {
    loop {}
}

fn grow() -> ! {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(vec![1; 64 << 10]);
    }
}

/// Each call has something to do after the one within, and something to keep for it.
#[allow(unconditional_recursion)]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let within = recurse(depth.wrapping_mul(3).wrapping_add(1));
    within.wrapping_mul(depth) ^ depth
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}
