//! From text to a manifest that keeps every rule.

use std::ops::Range;
use std::time::Duration;

use bytesize::ByteSize;
use cohab_core::Name;
use cohab_core::limits::{KEY_BYTES_MAX, TITLE_BYTES_MAX};
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{ErrorPolicy, Grants, Limits, Manifest, OnFailure, Start, Trigger};
use crate::bundle::is_relative;
use crate::schedule::parse_duration;
use crate::{API, API_OLDEST, Bundle, LoadError, Schedule, Stage};

const NAME_CHARS_MAX: usize = 64;
const EXTENSIONS: [&str; 2] = ["wasm", "rhai"];

/// A page of WebAssembly's memory, under which there is none.
const MEMORY_MIN: u64 = 64 << 10;
const MEMORY_MAX: u64 = 1 << 30;
const WRITES_MAX: u64 = 64 << 20;
const CACHE_MAX: u64 = 256 << 20;

const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_mins(1);
const BEFORE_COMMIT_TIME_MAX: Duration = Duration::from_secs(1);
const MIGRATE_TIME_MAX: Duration = Duration::from_mins(1);

const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// The longest time that may be waited between two attempts.
const BACKOFF_LIMIT: Duration = Duration::from_hours(24);

/// The manifest as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    description: Option<Spanned<String>>,
    api: Spanned<i64>,
    entry: Spanned<String>,
    schema: Option<Spanned<i64>>,
    #[serde(default)]
    trigger: Vec<Spanned<WrittenTrigger>>,
    #[serde(default)]
    grants: WrittenGrants,
    #[serde(default)]
    limits: WrittenLimits,
    on_error: Option<Spanned<WrittenPolicy>>,
}

/// All that one kind of trigger or another has: an enum would lose the places.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenTrigger {
    on: Spanned<String>,
    namespaces: Option<Spanned<Vec<Spanned<String>>>>,
    prefixes: Option<Spanned<Vec<Spanned<String>>>>,
    start: Option<Spanned<String>>,
    on_failure: Option<Spanned<String>>,
    every: Option<Spanned<String>>,
    cron: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct WrittenGrants {
    read: Vec<Spanned<String>>,
    write: Vec<Spanned<String>>,
    log: bool,
    clock: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct WrittenLimits {
    memory: Option<Spanned<Value>>,
    fuel: Option<Spanned<i64>>,
    time: Option<Spanned<Value>>,
    before_commit_time: Option<Spanned<Value>>,
    migrate_time: Option<Spanned<Value>>,
    writes: Option<Spanned<Value>>,
    cache: Option<Spanned<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenPolicy {
    policy: Spanned<String>,
    attempts: Option<Spanned<i64>>,
    backoff: Option<Spanned<Value>>,
    backoff_max: Option<Spanned<Value>>,
}

/// What is wrong, and where.
struct Wrong {
    at: Range<usize>,
    message: String,
}

type Checked<T> = Result<T, Wrong>;

fn wrong<T>(at: &Spanned<T>, message: impl Into<String>) -> Wrong {
    Wrong { at: at.span(), message: message.into() }
}

pub(super) fn parse(bundle: &Bundle) -> Result<Manifest, LoadError> {
    let unreadable = |message: &str| LoadError::new(Stage::Read, message).file(Manifest::FILE);
    let bytes = bundle.file(Manifest::FILE);
    let bytes = bytes
        .ok_or_else(|| unreadable("is missing; every plugin has one, which says what it is called for"))?;
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = place(&String::from_utf8_lossy(&bytes[..error.valid_up_to()]), error.valid_up_to()).0;
        unreadable("is not UTF-8; store it as UTF-8").at(line, None)
    })?;
    let written = toml::from_str::<Written>(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        Wrong { at, message: error.message().to_owned() }
    });
    written.and_then(|written| check(&written, bundle)).map_err(|Wrong { at, message }| {
        let (line, column) = place(text, at.start);
        LoadError::new(Stage::Validate, message).file(Manifest::FILE).at(line, Some(column))
    })
}

/// The line and the column of an offset, counted from 1.
fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let from_1 = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
    (from_1(before.matches('\n').count()), from_1(before[line_start..].chars().count()))
}

fn check(written: &Written, bundle: &Bundle) -> Checked<Manifest> {
    Ok(Manifest {
        name: name(&written.name)?,
        description: written.description.as_ref().map(description).transpose()?.unwrap_or_default(),
        api: api(&written.api)?,
        entry: entry(&written.entry, bundle)?,
        schema: written.schema.as_ref().map_or(Ok(1), schema)?,
        triggers: triggers(&written.trigger)?,
        grants: Grants {
            read: patterns(&written.grants.read)?,
            write: patterns(&written.grants.write)?,
            log: written.grants.log,
            clock: written.grants.clock,
        },
        limits: limits(&written.limits)?,
        on_error: written.on_error.as_ref().map_or(Ok(ErrorPolicy::default()), policy)?,
    })
}

pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    begins && text.len() <= NAME_CHARS_MAX && text.chars().all(is_allowed)
}

fn name(name: &Spanned<String>) -> Checked<String> {
    let text = name.get_ref();
    if is_name(text) {
        return Ok(text.clone());
    }
    let rule =
        format!("a plugin's name is 1 to {NAME_CHARS_MAX} of `a-z`, `0-9`, `-` and `_`, a letter first");
    Err(wrong(name, format!("{} is not a name: {rule}", shown(text))))
}

/// A text as messages show it, which may be anything.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(NAME_CHARS_MAX).collect();
    let dots = if start.len() < text.len() { "…" } else { "" };
    format!("`{}{dots}`", start.escape_debug())
}

fn description(description: &Spanned<String>) -> Checked<String> {
    let text = description.get_ref();
    if text.len() > TITLE_BYTES_MAX || text.contains(char::is_control) {
        let rule = format!("is not a line of at most {TITLE_BYTES_MAX} bytes without control characters");
        return Err(wrong(description, format!("the description {rule}")));
    }
    Ok(text.clone())
}

fn api(api: &Spanned<i64>) -> Checked<u32> {
    let number = u32::try_from(*api.get_ref()).ok().filter(|number| (API_OLDEST..=API).contains(number));
    number.ok_or_else(|| {
        let known = format!("the oldest that is spoken here is {API_OLDEST}, the newest is {API}");
        wrong(api, format!("there is no version {} of the interface: {known}", api.get_ref()))
    })
}

fn schema(schema: &Spanned<i64>) -> Checked<u32> {
    let number = u32::try_from(*schema.get_ref()).ok().filter(|number| *number >= 1);
    let rule = format!("it is a number from 1 to {}", u32::MAX);
    number
        .ok_or_else(|| wrong(schema, format!("{} is not the version of a schema: {rule}", schema.get_ref())))
}

fn entry(entry: &Spanned<String>, bundle: &Bundle) -> Checked<String> {
    let text = entry.get_ref();
    let refuse = |why: &str| Err(wrong(entry, format!("the entry {} {why}", shown(text))));
    if !is_relative(text) {
        return refuse(
            "is not the name of a file of the plugin: relative to its directory, without `.` and `..`",
        );
    }
    let extension = text.rsplit_once('.').map_or("", |(_, extension)| extension);
    if !EXTENSIONS.contains(&extension) {
        return refuse("is neither a module of WebAssembly (`*.wasm`) nor a script (`*.rhai`)");
    }
    if bundle.file(text).is_none() {
        let is_code =
            |name: &&str| EXTENSIONS.iter().any(|extension| name.ends_with(&format!(".{extension}")));
        let code: Vec<_> = bundle.files().map(|(name, _)| name).filter(is_code).take(8).map(shown).collect();
        let there = if code.is_empty() { "none with code".to_owned() } else { code.join(", ") };
        return refuse(&format!("is not among the plugin's files; of those there is {there}"));
    }
    Ok(text.clone())
}

fn triggers(written: &[Spanned<WrittenTrigger>]) -> Checked<Vec<Trigger>> {
    let mut triggers: Vec<Trigger> = Vec::new();
    for written in written {
        let trigger = trigger(written)?;
        if triggers.iter().any(|other| std::mem::discriminant(other) == std::mem::discriminant(&trigger)) {
            let on = &written.get_ref().on;
            return Err(wrong(
                on,
                format!("there is a second trigger on `{}`: one of each kind is allowed", on.get_ref()),
            ));
        }
        triggers.push(trigger);
    }
    if triggers.is_empty() {
        let message = "there is no trigger, so the plugin would never be called; \
                       add `[[trigger]]` with `on` = `commit`, `before-commit`, `schedule` or `request`";
        return Err(Wrong { at: 0..0, message: message.to_owned() });
    }
    Ok(triggers)
}

fn trigger(written: &Spanned<WrittenTrigger>) -> Checked<Trigger> {
    let WrittenTrigger { on, namespaces, prefixes, start, on_failure, every, cron } = written.get_ref();
    let span = |field: Option<Range<usize>>, name| field.map(|at| (name, at));
    let given = [
        span(namespaces.as_ref().map(Spanned::span), "namespaces"),
        span(prefixes.as_ref().map(Spanned::span), "prefixes"),
        span(start.as_ref().map(Spanned::span), "start"),
        span(on_failure.as_ref().map(Spanned::span), "on-failure"),
        span(every.as_ref().map(Spanned::span), "every"),
        span(cron.as_ref().map(Spanned::span), "cron"),
    ];
    let kind = on.get_ref().as_str();
    let allowed: &[&str] = match kind {
        "commit" => &["namespaces", "prefixes", "start"],
        "before-commit" => &["namespaces", "prefixes", "on-failure"],
        "schedule" => &["every", "cron"],
        "request" => &[],
        _ => return Err(unknown(on, "trigger", &["commit", "before-commit", "schedule", "request"])),
    };
    if let Some((name, at)) = given.into_iter().flatten().find(|(name, _)| !allowed.contains(name)) {
        let message =
            format!("a trigger on `{kind}` has no `{name}`; it has {}", listed(&[&["on"], allowed].concat()));
        return Err(Wrong { at, message });
    }
    Ok(match kind {
        "commit" => Trigger::Commit {
            namespaces: shown_namespaces(written, namespaces.as_ref())?,
            prefixes: key_prefixes(prefixes.as_ref())?,
            start: match start.as_ref().map(|start| (start, start.get_ref().as_str())) {
                None | Some((_, "now")) => Start::Now,
                Some((_, "existing")) => Start::Existing,
                Some((start, _)) => return Err(unknown(start, "start", &["now", "existing"])),
            },
        },
        "before-commit" => Trigger::BeforeCommit {
            namespaces: shown_namespaces(written, namespaces.as_ref())?,
            prefixes: key_prefixes(prefixes.as_ref())?,
            on_failure: match on_failure
                .as_ref()
                .map(|on_failure| (on_failure, on_failure.get_ref().as_str()))
            {
                None | Some((_, "refuse")) => OnFailure::Refuse,
                Some((_, "allow")) => OnFailure::Allow,
                Some((on_failure, _)) => return Err(unknown(on_failure, "on-failure", &["refuse", "allow"])),
            },
        },
        "schedule" => Trigger::Schedule(match (every, cron) {
            (Some(every), None) => {
                Schedule::every(every.get_ref()).map_err(|error| wrong(every, error.to_string()))?
            }
            (None, Some(cron)) => {
                Schedule::cron(cron.get_ref()).map_err(|error| wrong(cron, error.to_string()))?
            }
            (Some(_), Some(cron)) => {
                return Err(wrong(cron, "a trigger on `schedule` has either `every` or `cron`, not both"));
            }
            (None, None) => {
                let message =
                    "a trigger on `schedule` needs `every`, such as \"1m\", or `cron`, such as \"0 4 * * *\"";
                return Err(wrong(on, message));
            }
        }),
        _ => Trigger::Request,
    })
}

fn unknown(value: &Spanned<String>, what: &str, allowed: &[&str]) -> Wrong {
    let value_shown = shown(value.get_ref());
    wrong(value, format!("{value_shown} is not a known {what}; allowed is {}", listed(allowed)))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn shown_namespaces(
    trigger: &Spanned<WrittenTrigger>,
    namespaces: Option<&Spanned<Vec<Spanned<String>>>>,
) -> Checked<Vec<String>> {
    let rule = "name at least one, or `*` for all";
    let Some(namespaces) = namespaces else {
        let on = &trigger.get_ref().on;
        return Err(wrong(on, format!("a trigger on `{}` needs `namespaces`: {rule}", on.get_ref())));
    };
    if namespaces.get_ref().is_empty() {
        return Err(wrong(namespaces, format!("`namespaces` is empty: {rule}")));
    }
    patterns(namespaces.get_ref())
}

fn patterns(patterns: &[Spanned<String>]) -> Checked<Vec<String>> {
    patterns.iter().map(pattern).collect()
}

fn pattern(pattern: &Spanned<String>) -> Checked<String> {
    let text = pattern.get_ref();
    if text != "*" {
        let name = text.strip_suffix("/*").unwrap_or(text);
        if name.contains('*') {
            let rule =
                "`*` alone stands for all, and after a name and a slash for all below it, as in `name/*`";
            return Err(wrong(pattern, format!("{} is not a pattern of namespaces: {rule}", shown(text))));
        }
        Name::new(name).map_err(|error| wrong(pattern, error.to_string()))?;
    }
    Ok(text.clone())
}

fn key_prefixes(prefixes: Option<&Spanned<Vec<Spanned<String>>>>) -> Checked<Vec<String>> {
    let Some(prefixes) = prefixes else {
        return Ok(Vec::new());
    };
    let check = |prefix: &Spanned<String>| match prefix.get_ref().len() {
        1..=KEY_BYTES_MAX => Ok(prefix.get_ref().clone()),
        0 => Err(wrong(
            prefix,
            "a prefix is empty, which every key begins with; leave `prefixes` out for all keys",
        )),
        bytes => {
            Err(wrong(prefix, format!("a prefix is {bytes} bytes long, the longest key has {KEY_BYTES_MAX}")))
        }
    };
    prefixes.get_ref().iter().map(check).collect()
}

fn limits(written: &WrittenLimits) -> Checked<Limits> {
    let default = Limits::default();
    let fuel = |fuel: &Spanned<i64>| {
        let steps = u64::try_from(*fuel.get_ref()).ok().filter(|steps| *steps >= 1);
        steps.ok_or_else(|| {
            wrong(fuel, format!("{} is not a limit on steps: it is a number from 1", fuel.get_ref()))
        })
    };
    Ok(Limits {
        memory: size(written.memory.as_ref(), default.memory, MEMORY_MIN, MEMORY_MAX)?,
        fuel: written.fuel.as_ref().map(fuel).transpose()?,
        time: duration(written.time.as_ref(), default.time, TIME_MAX)?,
        before_commit_time: duration(
            written.before_commit_time.as_ref(),
            default.before_commit_time,
            BEFORE_COMMIT_TIME_MAX,
        )?,
        migrate_time: duration(written.migrate_time.as_ref(), default.migrate_time, MIGRATE_TIME_MAX)?,
        writes: size(written.writes.as_ref(), default.writes, 0, WRITES_MAX)?,
        cache: size(written.cache.as_ref(), default.cache, 0, CACHE_MAX)?,
    })
}

fn size(written: Option<&Spanned<Value>>, default: u64, min: u64, max: u64) -> Checked<u64> {
    let Some(written) = written else {
        return Ok(default);
    };
    let (bytes, value) = match written.get_ref() {
        Value::Integer(number) => (u64::try_from(*number).ok(), number.to_string()),
        Value::String(text) => (text.parse::<ByteSize>().ok().map(|size| size.as_u64()), shown(text)),
        other => (None, format!("a value of type {}", other.type_str())),
    };
    let refuse = |why| {
        let (min, max) = (ByteSize::b(min), ByteSize::b(max));
        let rule = format!("allowed is {min} to {max}, written as in \"16 MiB\" or as a number of bytes");
        wrong(written, format!("{value} {why}; {rule}"))
    };
    match bytes {
        None => Err(refuse("is not a size")),
        Some(bytes) if bytes < min => Err(refuse("is too little")),
        Some(bytes) if bytes > max => Err(refuse("is too much")),
        Some(bytes) => Ok(bytes),
    }
}

fn duration(written: Option<&Spanned<Value>>, default: Duration, max: Duration) -> Checked<Duration> {
    let Some(written) = written else {
        return Ok(default);
    };
    // A number has no unit: it is refused as what it looks like.
    let text = match written.get_ref() {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        other => format!("a value of type {}", other.type_str()),
    };
    parse_duration(&text, TIME_MIN, max).map_err(|message| wrong(written, message))
}

fn policy(written: &Spanned<WrittenPolicy>) -> Checked<ErrorPolicy> {
    let WrittenPolicy { policy, attempts, backoff, backoff_max } = written.get_ref();
    let given = [
        ("attempts", attempts.as_ref().map(Spanned::span)),
        ("backoff", backoff.as_ref().map(Spanned::span)),
        ("backoff-max", backoff_max.as_ref().map(Spanned::span)),
    ];
    let plain = |plain| {
        let Some((name, at)) = given.into_iter().find_map(|(name, at)| at.map(|at| (name, at))) else {
            return Ok(plain);
        };
        let message =
            format!("`{name}` belongs to the policy `retry`, and the policy is `{}`", policy.get_ref());
        Err(Wrong { at, message })
    };
    match policy.get_ref().as_str() {
        "log" => plain(ErrorPolicy::Log),
        "disable" => plain(ErrorPolicy::Disable),
        "retry" => {
            let attempts = attempts.as_ref().map(|attempts| {
                let number = u32::try_from(*attempts.get_ref()).ok().filter(|number| *number >= 1);
                let rule = "it is a number from 1, or left out for ever";
                number.ok_or_else(|| {
                    wrong(attempts, format!("{} is not a number of attempts: {rule}", attempts.get_ref()))
                })
            });
            let first = duration(backoff.as_ref(), BACKOFF, BACKOFF_LIMIT)?;
            let most = duration(backoff_max.as_ref(), BACKOFF_MAX.max(first), BACKOFF_LIMIT)?;
            if let Some(backoff_max) = backoff_max.as_ref().filter(|_| most < first) {
                let message = format!("`backoff-max` is {most:?}, which is less than `backoff`, {first:?}");
                return Err(wrong(backoff_max, message));
            }
            Ok(ErrorPolicy::Retry { attempts: attempts.transpose()?, backoff: first, backoff_max: most })
        }
        _ => Err(unknown(policy, "policy", &["log", "retry", "disable"])),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn manifest(text: &str) -> Result<Manifest, LoadError> {
        let files = [(Manifest::FILE, text), ("plugin.rhai", ""), ("lib/plugin.wasm", "")];
        Manifest::of(&Bundle::of(
            files.map(|(name, text)| (name.to_owned(), Bytes::copy_from_slice(text.as_bytes()))),
        ))
    }

    const LEAST: &str = "name = 'p'\napi = 1\nentry = 'plugin.rhai'\n";

    #[test]
    fn the_least_manifest_has_defaults() {
        let manifest = manifest(&format!("{LEAST}[[trigger]]\non = 'request'")).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.description.as_str()), ("p", ""));
        assert_eq!((manifest.api, manifest.schema), (1, 1));
        assert_eq!(manifest.triggers, [Trigger::Request]);
        assert_eq!((manifest.grants, manifest.limits), (Grants::default(), Limits::default()));
        assert_eq!(manifest.on_error, ErrorPolicy::Log);
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = manifest(
            r#"
            name = "by-customer"
            description = "Finds orders by their customers – in a line"
            api = 1
            entry = "lib/plugin.wasm"
            schema = 3

            [[trigger]]
            on = "commit"
            namespaces = ["orders", "team/*", "*"]
            prefixes = ["2026/"]
            start = "existing"

            [[trigger]]
            on = "before-commit"
            namespaces = ["customers"]
            on-failure = "allow"

            [[trigger]]
            on = "schedule"
            cron = "0 * * * * UTC"

            [[trigger]]
            on = "request"

            [grants]
            read = ["orders"]
            write = ["orders/by-customer"]
            log = true
            clock = true

            [limits]
            memory = "1 GiB"
            fuel = 1_000_000_000
            time = "1m"
            before-commit-time = "1s"
            migrate-time = "0m 30s"
            writes = 0
            cache = "1.5 MiB"

            [on-error]
            policy = "retry"
            attempts = 5
            backoff = "20s"
            "#,
        )
        .unwrap();
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let triggers = [
            Trigger::Commit {
                namespaces: own(&["orders", "team/*", "*"]),
                prefixes: own(&["2026/"]),
                start: Start::Existing,
            },
            Trigger::BeforeCommit {
                namespaces: own(&["customers"]),
                prefixes: own(&[]),
                on_failure: OnFailure::Allow,
            },
            Trigger::Schedule(Schedule::cron("0 * * * * UTC").unwrap()),
            Trigger::Request,
        ];
        assert_eq!(manifest.triggers, triggers);
        assert_eq!((manifest.entry.as_str(), manifest.schema), ("lib/plugin.wasm", 3));
        assert_eq!(manifest.grants.write, ["orders/by-customer"]);
        let asked = manifest.asks_for();
        assert_eq!(asked.read, ["orders", "team/*", "*"], "`*` covers the rest");
        assert_eq!((asked.write, asked.log, asked.clock), (own(&["orders/by-customer"]), true, true));
        let limits = Limits {
            memory: 1 << 30,
            fuel: Some(1_000_000_000),
            time: Duration::from_mins(1),
            before_commit_time: Duration::from_secs(1),
            migrate_time: Duration::from_secs(30),
            writes: 0,
            cache: 3 << 19,
        };
        assert_eq!(manifest.limits, limits);
        let backoff = Duration::from_secs(20);
        assert_eq!(
            manifest.on_error,
            ErrorPolicy::Retry { attempts: Some(5), backoff, backoff_max: backoff }
        );
    }

    #[track_caller]
    fn refused(text: &str, line: u32, why: &str) -> LoadError {
        let error = manifest(text).unwrap_err();
        assert!(error.message.contains(why), "{text}\n{error}");
        assert_eq!((error.stage, error.line), (Stage::Validate, Some(line)), "{text}\n{error}");
        assert_eq!(error.file.as_deref(), Some(Manifest::FILE));
        error
    }

    #[test]
    fn what_is_wrong_at_the_top_is_named_with_its_line() {
        let base = format!("{LEAST}[[trigger]]\non = 'request'\n");
        let top = |from: &str, to: &str, line, why: &str| _ = refused(&base.replace(from, to), line, why);
        top("'p'", "'P'", 1, "`P` is not a name: a plugin's name is 1 to 64 of `a-z`");
        for bad in ["", "1p", "-p", "a.b", "a b", "ä", "p\\u001b", &"p".repeat(65)] {
            top("'p'", &format!("\"{bad}\""), 1, "is not a name");
        }
        top("name = 'p'\n", "", 1, "missing field `name`");
        top("name = 'p'", "name = 3", 1, "invalid type: integer `3`, expected a string");
        top("name = 'p'", "name = 'p'\nname = 'p'", 2, "duplicate key");
        top("name = 'p'", "nam = 'p'", 1, "unknown field `nam`, expected one of `name`");
        top("name = 'p'", "name = 'p'\ndescription = \"a\\nb\"", 2, "the description is not a line");
        for bad in ["0", "2", "-1", "4294967297"] {
            let why = format!(
                "no version {bad} of the interface: the oldest that is spoken here is 1, the newest is 1"
            );
            top("api = 1", &format!("api = {bad}"), 2, &why);
        }
        for bad in [
            "../plugin.rhai",
            "/plugin.rhai",
            "lib/../plugin.rhai",
            "./plugin.rhai",
            "",
            "lib//plugin.wasm",
            "lib\\plugin.wasm",
        ] {
            top("plugin.rhai", bad, 3, "is not the name of a file of the plugin");
        }
        top("plugin.rhai", "plugin.toml", 3, "the entry `plugin.toml` is neither a module of WebAssembly");
        top("plugin.rhai", "rhai", 3, "is neither");
        top("plugin.rhai", "other.rhai", 3, "of those there is `lib/plugin.wasm`, `plugin.rhai`");
        top("api", "schema = 0\napi", 2, "0 is not the version of a schema: it is a number from 1");
        top("api", "api = = 2\napi", 2, "");
        assert_eq!(refused(&base.replace("'p'", "'P'"), 1, "").column, Some(8));
        assert_eq!(
            refused(&base.replace("'p'", "\"äö\"").replace("api", "  api = 'ä'\n# "), 2, "").column,
            Some(9)
        );
        refused(LEAST, 1, "there is no trigger");
        refused("", 1, "missing field");
    }

    #[test]
    fn what_is_wrong_with_a_trigger_is_named_with_its_line() {
        let trigger = |text: &str, line: u32, why: &str| {
            _ = refused(&format!("{LEAST}[[trigger]]\n{text}\n"), 4 + line, why);
        };
        trigger(
            "on = 'write'",
            1,
            "`write` is not a known trigger; allowed is `commit`, `before-commit`, `schedule`, `request`",
        );
        trigger("every = '1m'", 0, "missing field `on`");
        trigger("on = 'request'\nwhen = 'now'", 2, "unknown field `when`");
        trigger("on = 'request'\nevery = '1m'", 2, "a trigger on `request` has no `every`; it has `on`");
        trigger(
            "on = 'schedule'\nevery = '1m'\nnamespaces = ['a']",
            3,
            "has no `namespaces`; it has `on`, `every`, `cron`",
        );
        trigger("on = 'commit'\nnamespaces = ['a']\non-failure = 'allow'", 3, "has no `on-failure`");
        trigger("on = 'before-commit'\nnamespaces = ['a']\nstart = 'now'", 3, "has no `start`");
        trigger("on = 'commit'", 1, "a trigger on `commit` needs `namespaces`");
        trigger("on = 'before-commit'\nnamespaces = []", 2, "`namespaces` is empty");
        trigger("on = 'commit'\nnamespaces = [\n'a',\n'_plugins']", 4, "begins with `_`, which is reserved");
        for (bad, why) in [
            ("", "empty"),
            ("_*", "is not a pattern"),
            ("a*", "is not a pattern of namespaces: `*` alone"),
            ("*/a", "is not a pattern"),
            ("**", "is not a pattern"),
            ("a/*/b", "is not a pattern"),
            ("*/*", "is not a pattern"),
            ("/*", "empty"),
            ("_a/*", "reserved"),
            ("a//b", "segment"),
            ("a/../*", "segment"),
        ] {
            trigger(&format!("on = 'commit'\nnamespaces = ['ok', '{bad}']"), 2, why);
            trigger(&format!("on = 'request'\n[grants]\nread = ['a', '{bad}']"), 3, why);
            trigger(&format!("on = 'request'\n[grants]\nwrite = ['{bad}']"), 3, why);
        }
        trigger("on = 'commit'\nnamespaces = 'a'", 2, "expected a sequence");
        trigger("on = 'commit'\nnamespaces = ['a']\nprefixes = ['']", 3, "a prefix is empty");
        trigger(
            &format!("on = 'commit'\nnamespaces = ['a']\nprefixes = ['{}']", "p".repeat(2049)),
            3,
            "2049 bytes long",
        );
        trigger(
            "on = 'commit'\nnamespaces = ['a']\nstart = 'then'",
            3,
            "`then` is not a known start; allowed is `now`, `existing`",
        );
        trigger(
            "on = 'before-commit'\nnamespaces = ['a']\non-failure = ''",
            3,
            "allowed is `refuse`, `allow`",
        );
        trigger("on = 'schedule'", 1, "needs `every`");
        trigger("on = 'schedule'\nevery = '1m'\ncron = '* * * * *'", 3, "not both");
        trigger("on = 'schedule'\nevery = '99ms'", 2, "`99ms` is too short; allowed is 100ms");
        trigger("on = 'schedule'\nevery = 60", 2, "expected a string");
        trigger("on = 'schedule'\ncron = '0 25 * * *'", 2, "is not a cron expression");
        for kind in [
            "request'",
            "schedule'\nevery = '1m'",
            "commit'\nnamespaces = ['*']",
            "before-commit'\nnamespaces = ['*']",
        ] {
            let text = format!("on = '{kind}\n[[trigger]]\non = '{kind}");
            let line = u32::try_from(kind.lines().count()).unwrap() + 2;
            trigger(&text, line, "one of each kind is allowed");
        }
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_named_with_its_line() {
        let limit = |text: &str, why: &str| {
            let text = format!("{LEAST}[[trigger]]\non = 'request'\n[limits]\n{text}");
            _ = refused(&text, 7, why);
        };
        limit("memory = '2 GiB'", "`2 GiB` is too much; allowed is 64.0 KiB to 1.0 GiB");
        limit("memory = 65535", "65535 is too little");
        limit("memory = -1", "-1 is not a size");
        limit("memory = true", "a value of type boolean is not a size");
        limit("memory = 'much'", "`much` is not a size");
        limit("memory = '1e99 GiB'", "is not a size");
        limit("memory = '99999999999999999999 EiB'", "is too much");
        limit("writes = '65 MiB'", "allowed is 0 B to 64.0 MiB");
        limit("cache = '257 MiB'", "to 256.0 MiB");
        limit("fuel = 0", "0 is not a limit on steps");
        limit("fuel = 'all'", "expected i64");
        limit("time = '61s'", "`61s` is too long; allowed is 1ms to 1m");
        limit("time = '0s'", "is too short");
        limit("time = 5", "`5` is not a duration");
        limit("time = 1.5", "is not a duration");
        limit("before-commit-time = '1001ms'", "allowed is 1ms to 1s");
        limit("migrate-time = '2h'", "allowed is 1ms to 1m");
        limit("before_commit_time = '1s'", "unknown field `before_commit_time`");
    }

    #[test]
    fn what_is_wrong_with_the_policy_is_named_with_its_line() {
        let policy = |text: &str, line: u32, why: &str| {
            let text = format!("{LEAST}[[trigger]]\non = 'request'\n[on-error]\n{text}");
            _ = refused(&text, 6 + line, why);
        };
        policy("policy = 'panic'", 1, "`panic` is not a known policy; allowed is `log`, `retry`, `disable`");
        policy("attempts = 1", 0, "missing field `policy`");
        policy(
            "policy = 'log'\nattempts = 1",
            2,
            "`attempts` belongs to the policy `retry`, and the policy is `log`",
        );
        policy("policy = 'disable'\nbackoff-max = '1s'", 2, "`backoff-max` belongs");
        policy("policy = 'retry'\nattempts = 0", 2, "0 is not a number of attempts");
        policy("policy = 'retry'\nbackoff = '25h'", 2, "`25h` is too long; allowed is 1ms to 24h");
        policy("policy = 'retry'\nbackoff = '2s'\nbackoff-max = '1s'", 3, "less than `backoff`");
    }

    #[test]
    fn a_manifest_that_is_not_there_is_not_read() {
        let of = |files: &[(&str, &'static [u8])]| {
            let files = files.iter().map(|(name, content)| ((*name).to_owned(), Bytes::from_static(content)));
            Manifest::of(&Bundle::of(files)).unwrap_err()
        };
        let error = of(&[("plugin.rhai", b"")]);
        assert_eq!(
            (error.stage, error.to_string().starts_with("plugin.toml: is missing")),
            (Stage::Read, true)
        );
        let error = of(&[(Manifest::FILE, b"name = 'p'\napi = '\xff'")]);
        assert_eq!((error.stage, error.line), (Stage::Read, Some(2)));
        assert!(error.message.contains("is not UTF-8"));
    }
}
