//! What a hold is asked for.

use std::time::Duration;

use cohab::{LockMode, Name, Token, Version};
use cohab_exchange::{Operation, Text};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::moment::Moment;

/// A line, as far as it made sense.
pub(super) struct Request {
    /// What the answer is to repeat.
    pub(super) id: Option<Value>,
    pub(super) command: Result<Command, Failure>,
}

/// What is to be done.
pub(super) enum Command {
    Transaction {
        operations: Vec<Operation>,
        label: String,
        create: bool,
    },
    Get {
        of: Key,
        snapshot: Basis,
    },
    CachedGet(Key),
    GetMany {
        of: Vec<Key>,
        snapshot: Basis,
    },
    Scan {
        of: Scan,
        snapshot: Basis,
    },
    Count {
        ns: Name,
        snapshot: Basis,
    },
    Snapshot,
    /// One of the snapshots that are held, or all.
    Release(Option<u64>),
    AtLeast {
        target: Target,
        wait: Option<Duration>,
    },
    Refresh,
    Token,
    Promote {
        wait: Option<Duration>,
    },
    StepDown,
    Reopen,
    Lock {
        name: String,
        mode: LockMode,
        wait: Option<Duration>,
    },
    Unlock(String),
    Instances,
    Close,
}

/// What a read is of: a snapshot that is held, or a new one, as it is or as it was at an earlier version.
#[derive(Default)]
pub(super) struct Basis {
    pub(super) number: Option<u64>,
    pub(super) at: Option<Moment>,
}

/// A key of a namespace.
pub(super) struct Key {
    pub(super) ns: Name,
    pub(super) key: Vec<u8>,
}

/// A part of a namespace.
pub(super) struct Scan {
    pub(super) ns: Name,
    pub(super) prefix: Option<Vec<u8>>,
    pub(super) from: Option<Vec<u8>>,
    pub(super) to: Option<Vec<u8>>,
    pub(super) limit: usize,
    pub(super) reverse: bool,
}

/// A version to be reached.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Token(Token),
    Version(Version),
}

/// How many entries a scan returns that does not say how many it wants.
const LIMIT: usize = 1000;

const COMMANDS: &str = "`txn`, `put`, `del`, `expect`, `get`, `cached_get`, `get_many`, `scan`, `count`, `snapshot`, `release`, \
     `refresh`, `token`, `at_least`, `promote`, `step_down`, `reopen`, `lock`, `unlock`, `instances` and `close`";

impl Request {
    /// A request that was not even read.
    pub(super) fn refused(failure: Failure) -> Self {
        Self { id: None, command: Err(failure) }
    }

    /// Reads a line.
    pub(super) fn parse(line: &[u8]) -> Self {
        let mut object = match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Self::refused(Failure::input("the line is no JSON object")),
            Err(error) => return Self::refused(Failure::input(format!("the line is no JSON: {error}"))),
        };
        let id = object.remove("id");
        Self { id, command: command(object) }
    }
}

/// What stands next to a command.
struct Beside {
    label: Option<String>,
    create: Option<bool>,
    snapshot: Option<u64>,
    at: Option<Moment>,
}

impl Beside {
    fn take(object: &mut Map<String, Value>) -> Result<Self, Failure> {
        let wrong = |field: &str| Failure::input(format!("`{field}` is not what it should be"));
        let label = match object.remove("label") {
            None => None,
            Some(Value::String(label)) => Some(label),
            Some(_) => return Err(wrong("label")),
        };
        let create = match object.remove("create") {
            None => None,
            Some(Value::Bool(create)) => Some(create),
            Some(_) => return Err(wrong("create")),
        };
        // With an object, it is a command.
        let snapshot = match object.get("snapshot").and_then(Value::as_u64) {
            Some(number) => {
                object.remove("snapshot");
                Some(number)
            }
            None => None,
        };
        let at = match object.remove("at") {
            None => None,
            Some(Value::Number(version)) => {
                let version = version.as_u64().ok_or_else(|| wrong("at"))?;
                Some(Moment::Version(Version::new(version)))
            }
            Some(Value::String(text)) => {
                Some(text.parse().map_err(|error| Failure::input(format!("`at`: {error}")))?)
            }
            Some(_) => return Err(wrong("at")),
        };
        Ok(Self { label, create, snapshot, at })
    }

    /// Refuses what does not go with the command.
    fn check(&self, command: &str, goes: &[&str]) -> Result<(), Failure> {
        let there = [
            ("label", self.label.is_some()),
            ("create", self.create.is_some()),
            ("snapshot", self.snapshot.is_some()),
            ("at", self.at.is_some()),
        ];
        match there.iter().find(|(field, is_there)| *is_there && !goes.contains(field)) {
            Some((field, _)) => Err(Failure::input(format!("`{field}` does not go with `{command}`"))),
            None => Ok(()),
        }
    }
}

fn command(mut object: Map<String, Value>) -> Result<Command, Failure> {
    let beside = Beside::take(&mut object)?;
    let mut names = object.keys();
    let (Some(name), None) = (names.next().cloned(), names.next()) else {
        return Err(Failure::input("a line asks for exactly one thing").hint(format!("there are {COMMANDS}")));
    };
    let goes: &[&str] = match &*name {
        "txn" | "put" | "del" | "expect" => &["label", "create"],
        "get" | "get_many" | "scan" | "count" => &["snapshot", "at"],
        _ => &[],
    };
    let command = read(&name, &Value::Object(object), &beside)?;
    beside.check(&name, goes)?;
    Ok(command)
}

/// Reads the command of that name in an object.
fn read(name: &str, object: &Value, beside: &Beside) -> Result<Command, Failure> {
    let value = &object[name];
    let basis = |inner: Option<u64>| Basis { number: beside.snapshot.or(inner), at: beside.at.clone() };
    let wait = |ms: Option<u64>| ms.map(Duration::from_millis);
    let transaction = |operations| Command::Transaction {
        operations,
        label: beside.label.clone().unwrap_or_else(|| "cohab hold".to_owned()),
        create: beside.create.unwrap_or(false),
    };
    Ok(match name {
        "txn" => transaction(fields(name, value)?),
        "put" | "del" | "expect" => transaction(vec![fields(name, object)?]),
        "get" => {
            let KeyFields { ns, key, snapshot: inner } = fields(name, value)?;
            Command::Get { of: Key { ns, key: key.into_vec() }, snapshot: basis(inner) }
        }
        "cached_get" => {
            let PlainKeyFields { ns, key } = fields(name, value)?;
            Command::CachedGet(Key { ns, key: key.into_vec() })
        }
        "get_many" => {
            let keys: Vec<PlainKeyFields<'_>> = fields(name, value)?;
            let of = keys.into_iter().map(|PlainKeyFields { ns, key }| Key { ns, key: key.into_vec() });
            Command::GetMany { of: of.collect(), snapshot: basis(None) }
        }
        "scan" => {
            let ScanFields { ns, prefix, from, to, limit, reverse, snapshot: inner } = fields(name, value)?;
            let [prefix, from, to] = [prefix, from, to].map(|text| text.map(Text::into_vec));
            let of = Scan { ns, prefix, from, to, limit: limit.unwrap_or(LIMIT), reverse };
            Command::Scan { of, snapshot: basis(inner) }
        }
        "count" => {
            let CountFields { ns, snapshot: inner } = fields(name, value)?;
            Command::Count { ns, snapshot: basis(inner) }
        }
        "snapshot" => nothing(name, value, Command::Snapshot)?,
        "release" => Command::Release(match fields(name, value)? {
            ReleaseFields::Number(number) => Some(number),
            ReleaseFields::Named { snapshot } => snapshot,
        }),
        "at_least" => {
            let AtLeastFields { token, wait_ms } = fields(name, value)?;
            Command::AtLeast { target: token.target()?, wait: wait(wait_ms) }
        }
        "refresh" => nothing(name, value, Command::Refresh)?,
        "token" => nothing(name, value, Command::Token)?,
        "promote" => {
            let PromoteFields { wait_ms } = fields(name, value)?;
            Command::Promote { wait: wait(wait_ms) }
        }
        "step_down" => nothing(name, value, Command::StepDown)?,
        "reopen" => nothing(name, value, Command::Reopen)?,
        "lock" => {
            let LockFields { name, mode, wait_ms } = fields(name, value)?;
            let mode = match mode {
                None | Some(ModeField::Exclusive) => LockMode::Exclusive,
                Some(ModeField::Shared) => LockMode::Shared,
            };
            Command::Lock { name, mode, wait: wait(wait_ms) }
        }
        "unlock" => match fields(name, value)? {
            UnlockFields::Text(name) | UnlockFields::Named { name } => Command::Unlock(name),
        },
        "instances" => nothing(name, value, Command::Instances)?,
        "close" => nothing(name, value, Command::Close)?,
        other => {
            return Err(Failure::input(format!("there is no command `{}`", other.escape_debug()))
                .hint(format!("there are {COMMANDS}")));
        }
    })
}

/// Reads what a command is about.
fn fields<'v, T: Deserialize<'v>>(name: &str, value: &'v Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| Failure::input(format!("`{name}`: {error}")))
}

/// Reads what a command is about that needs nothing.
fn nothing(name: &str, value: &Value, command: Command) -> Result<Command, Failure> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    let Nothing {} = fields(name, value)?;
    Ok(command)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFields<'v> {
    ns: Name,
    #[serde(borrow)]
    key: Text<'v>,
    snapshot: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainKeyFields<'v> {
    ns: Name,
    #[serde(borrow)]
    key: Text<'v>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanFields<'v> {
    ns: Name,
    #[serde(borrow)]
    prefix: Option<Text<'v>>,
    #[serde(borrow)]
    from: Option<Text<'v>>,
    #[serde(borrow)]
    to: Option<Text<'v>>,
    limit: Option<usize>,
    #[serde(default)]
    reverse: bool,
    snapshot: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountFields {
    ns: Name,
    snapshot: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the number of a snapshot")]
enum ReleaseFields {
    Number(u64),
    Named { snapshot: Option<u64> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtLeastFields {
    token: TargetField,
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a token, or the number of a version")]
enum TargetField {
    Version(u64),
    Text(String),
}

impl TargetField {
    fn target(self) -> Result<Target, Failure> {
        Ok(match self {
            Self::Version(version) => Target::Version(Version::new(version)),
            Self::Text(text) => match text.parse() {
                Ok(version) => Target::Version(Version::new(version)),
                Err(_) => Target::Token(text.parse().map_err(Failure::input)?),
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromoteFields {
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockFields {
    name: String,
    mode: Option<ModeField>,
    wait_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeField {
    Exclusive,
    Shared,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the name of a lock")]
enum UnlockFields {
    Text(String),
    Named { name: String },
}
