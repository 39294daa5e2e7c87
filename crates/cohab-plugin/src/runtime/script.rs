//! Scripts, in Rhai.
//!
//! A script is functions. The handlers among them have the names and the parameters that the interface gives them; the rest is
//! the script's own business, as long as it does not take the name of one of the interface's functions.
//!
//! Beside functions, the top level of a script may define constants, which all functions see. It is run once, when the script is
//! compiled, under limits and without any authority; variables there are refused, as no function would ever see them.
//!
//! # What a script cannot do
//!
//! There are no modules, no `eval`, no clock but the interface's, no files, no randomness. A function without a name
//! (`|order| order.total > 10`) is for `map`, `filter` and the like; it sees its parameters and the constants, but not the
//! variables around it, and takes no arguments in advance (`curry`): both would make values that own themselves, and would be
//! leaked. `this` does not exist either.
//!
//! # Limits
//!
//! Steps and time are counted by the [`Meter`], which sees every operation, also those of functions that are called back by
//! `map` or `sort`. Memory is bounded in three ways: one string has at most an eighth of it in bytes, one blob a sixteenth, one array at most
//! as many elements, one map a quarter of that, with everything in it, and never more than 4 Mi; the variables of all the functions under way are
//! counted up from time to time; and calls, expressions and values are nested only so deep. A limit that is reached ends the
//! call; the script cannot catch it.

mod functions;
mod meter;
mod value;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rhai::packages::{Package, StandardPackage};
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, ParseError, Position, Scope};

use self::meter::{Authority, Meter};
use crate::runtime::{Answer, Call, Deadline, Stop};
use crate::{CallError, CallErrorKind, LoadError, Manifest, Stage, sandbox};

/// The longest script, in bytes.
const SOURCE_BYTES_MAX: usize = 1 << 20;

/// The operations that a call may do if the manifest does not say.
const FUEL_DEFAULT: u64 = 10_000_000;

/// The operations, and the time, that the top level may take.
const TOP_LEVEL_FUEL: u64 = 100_000;
const TOP_LEVEL_TIME: Duration = Duration::from_millis(100);

/// How deep functions may call each other, and expressions and blocks be nested in a function. A thread's smallest usual stack
/// (2 MiB) takes both at once.
const CALL_LEVELS_MAX: usize = 32;
const EXPRESSION_DEPTH_MAX: usize = 32;

/// Bounds of the size of one value, whatever the memory. One operation on the largest array takes tens of milliseconds, during
/// which nobody looks at the clock.
const VALUE_SIZE_MIN: usize = 4 << 10;
const VALUE_SIZE_MAX: usize = 4 << 20;

const FUNCTIONS_MAX: usize = 1_000;
const VARIABLES_MAX: usize = 1_000;

/// The handlers, with the number of their parameters and how they are written.
const HANDLERS: [(&str, usize, &str); 6] = [
    ("on_commit", 1, "fn on_commit(changes)"),
    ("before_commit", 1, "fn before_commit(changes)"),
    ("on_request", 1, "fn on_request(input)"),
    ("on_schedule", 1, "fn on_schedule(due)"),
    ("migrate", 1, "fn migrate(from)"),
    ("check", 0, "fn check()"),
];

type Constants = BTreeMap<String, Dynamic>;

/// A script, compiled. All instances share it.
pub(crate) struct Script(Arc<Compiled>);

struct Compiled {
    engine: Engine,
    ast: AST,
    /// The handlers that it has.
    handlers: Vec<&'static str>,
}

/// A script with a scope of its own. It keeps nothing between calls.
pub(crate) struct Instance {
    script: Arc<Compiled>,
    scope: Scope<'static>,
}

impl Script {
    pub(crate) fn compile(manifest: &Manifest, source: &[u8]) -> Result<Self, LoadError> {
        let entry = manifest.entry.as_str();
        let source = text_of(source).map_err(|error| error.file(entry))?;
        let constants = Arc::new(OnceLock::new());
        let mut engine = engine(manifest.limits.memory, &constants);
        let not_parsed = |error: ParseError| parse_error(&error).file(entry);

        // Once to learn the constants, once more to find the names that nothing stands behind.
        let ast = engine.compile(source).map_err(not_parsed)?;
        let handlers = handlers(manifest, &ast).map_err(|error| error.file(entry))?;
        let scope = run_top_level(&engine, &ast).map_err(|error| error.file(entry))?;
        engine.set_strict_variables(true);
        let ast = engine.compile_with_scope(&scope, source).map_err(not_parsed)?.clone_functions_only();
        let found: Constants = scope.iter().map(|(name, _, value)| (name.to_owned(), value)).collect();
        if !found.is_empty() {
            constants.set(found).expect("they are set once");
        }
        Ok(Self(Arc::new(Compiled { engine, ast, handlers })))
    }

    pub(crate) fn instantiate(&self) -> Instance {
        Instance { script: self.0.clone(), scope: Scope::new() }
    }
}

fn text_of(source: &[u8]) -> Result<&str, LoadError> {
    if source.len() > SOURCE_BYTES_MAX {
        let message = format!("a script of {} bytes, the most is {SOURCE_BYTES_MAX}", source.len());
        return Err(LoadError::new(Stage::Compile, message));
    }
    str::from_utf8(source).map_err(|error| {
        let before = String::from_utf8_lossy(&source[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        LoadError::new(Stage::Compile, "a script is UTF-8, and this is not")
            .at(u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).ok())
    })
}

/// An engine costs some microseconds: what is registered with it is shared by all.
fn engine(memory: u64, constants: &Arc<OnceLock<Constants>>) -> Engine {
    static STANDARD: OnceLock<StandardPackage> = OnceLock::new();

    let mut engine = Engine::new_raw();
    engine.register_global_module(STANDARD.get_or_init(StandardPackage::new).as_shared_module());
    engine.register_global_module(functions::module());
    for keyword in ["eval", "Fn", "curry", "call", "this", "is_def_var", "is_def_fn"] {
        engine.disable_symbol(keyword);
    }
    let size = usize::try_from(memory / 16).unwrap_or(VALUE_SIZE_MAX).clamp(VALUE_SIZE_MIN, VALUE_SIZE_MAX);
    engine
        .set_max_string_size(2 * size)
        .set_max_array_size(size)
        .set_max_map_size(size / 4)
        .set_max_variables(VARIABLES_MAX)
        .set_max_functions(FUNCTIONS_MAX)
        .set_max_call_levels(CALL_LEVELS_MAX)
        .set_max_expr_depths(EXPRESSION_DEPTH_MAX, EXPRESSION_DEPTH_MAX)
        .on_progress(|_| meter::step())
        .on_print(|text| functions::print(crate::Level::Info, text))
        .on_debug(|text, _, _| functions::print(crate::Level::Debug, text));
    let constants = constants.clone();
    #[expect(deprecated, reason = "that is how Rhai marks what may change with a version")]
    engine.on_var(move |name, index, context| {
        meter::look(&context)?;
        // Variables that are there when it is compiled have an index.
        match constants.get() {
            Some(constants) if index == 0 && !context.scope().contains(name) => {
                Ok(constants.get(name).cloned())
            }
            _ => Ok(None),
        }
    });
    engine
}

/// Checks the functions of a script against the interface and the manifest.
fn handlers(manifest: &Manifest, ast: &AST) -> Result<Vec<&'static str>, LoadError> {
    let wrong = |message: String| Err(LoadError::new(Stage::Validate, message));
    let mut found = Vec::new();
    for function in ast.iter_functions() {
        let (name, parameters) = (function.name, function.params.len());
        if functions::NAMES.contains(&name) {
            return wrong(format!("`{name}` is a function of the interface; call yours something else"));
        }
        let Some(&(name, expected, signature)) = HANDLERS.iter().find(|handler| handler.0 == name) else {
            continue;
        };
        if parameters != expected {
            return wrong(format!(
                "`{name}` has {parameters} parameters, and has to have {expected}: `{signature}`"
            ));
        }
        found.push(name);
    }
    for name in manifest.triggers.iter().map(crate::Trigger::handler) {
        if !found.contains(&name) {
            let signature =
                HANDLERS.iter().find(|handler| handler.0 == name).map_or(name, |handler| handler.2);
            return wrong(format!(
                "a trigger of the manifest needs `{signature}`, which the script does not have"
            ));
        }
    }
    Ok(found)
}

/// Runs what is outside of functions, and returns the constants that it leaves.
fn run_top_level(engine: &Engine, ast: &AST) -> Result<Scope<'static>, LoadError> {
    let deadline = Deadline { at: Instant::now() + TOP_LEVEL_TIME, limit: TOP_LEVEL_TIME, stop: Stop::new() };
    let memory = u64::try_from(engine.max_string_size()).unwrap_or(u64::MAX);
    let meter = Meter::new(TOP_LEVEL_FUEL, memory, deadline, Authority::None);
    let mut scope = Scope::new();
    let ran = guard(|| meter.set(|| engine.run_ast_with_scope(&mut scope, ast)));
    let error = match (ran, meter.take_verdict()) {
        (Ok(()), None) => None,
        (Ok(()), Some(verdict)) => Some((verdict.message, Position::NONE)),
        (Err(mut error), verdict) => {
            let position = innermost(&mut error).take_position();
            Some((verdict.map_or_else(|| error.to_string(), |verdict| verdict.message), position))
        }
    };
    if let Some((message, position)) = error {
        let message = format!("outside of functions there may be constants only: {message}");
        return Err(placed(LoadError::new(Stage::Compile, message), position));
    }
    if let Some((name, ..)) = scope.iter_raw().find(|(_, is_constant, _)| !is_constant) {
        let message = format!(
            "`{name}` is a variable outside of functions, which no function sees: make it a `const`, or keep it in the state"
        );
        return Err(LoadError::new(Stage::Compile, message));
    }
    Ok(scope)
}

impl Instance {
    pub(crate) fn call(
        &mut self,
        manifest: &Manifest,
        call: &Call<'_>,
        deadline: &Deadline,
    ) -> Result<Answer, CallError> {
        let Self { script, scope } = self;
        let name = call.handler();
        if !script.handlers.contains(&name) {
            return match call {
                Call::Check => Ok(Answer::Done),
                _ => Err(CallError::new(CallErrorKind::NoHandler, format!("the script has no `{name}`"))),
            };
        }
        let arguments = match *call {
            Call::Commit(changes) | Call::BeforeCommit(changes) => Some(value::of_changes(changes)),
            Call::Request(input) => Some(value::of_bytes(input)),
            Call::Schedule(due) => Some(value::of_number(due.as_micros())),
            Call::Migrate { from } => Some(value::of_number(u64::from(from))),
            Call::Check => None,
        };
        let arguments: Vec<Dynamic> = arguments.into_iter().collect();
        let fuel = manifest.limits.fuel.unwrap_or(FUEL_DEFAULT);
        let meter = Meter::new(fuel, manifest.limits.memory, deadline.clone(), Authority::Call);
        let options = CallFnOptions::new().eval_ast(false).rewind_scope(true);
        scope.clear();
        let called = guard(|| {
            meter.set(|| {
                script.engine.call_fn_with_options::<Dynamic>(options, scope, &script.ast, name, arguments)
            })
        });
        // A limit that was reached counts, whatever the script made of it.
        let ended = match (called, meter.take_verdict()) {
            (Ok(value), None) => return answer(call, value),
            (Ok(_), Some(verdict)) => return Err(verdict),
            (Err(error), verdict) => (error, verdict),
        };
        failure(&manifest.entry, ended.0, ended.1)
    }
}

/// Runs Rhai. It does not panic as far as anybody knows; if it does, that is an error of the call and not the end of the process.
fn guard<T>(run: impl FnOnce() -> Result<T, Box<EvalAltResult>>) -> Result<T, Box<EvalAltResult>> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let message = "the script engine failed".into();
        Err(Box::new(EvalAltResult::ErrorArithmetic(message, Position::NONE)))
    })
}

/// Makes a reply of what a handler returned.
fn answer(call: &Call<'_>, value: Dynamic) -> Result<Answer, CallError> {
    if matches!(call, Call::Request(_)) && !value.is_unit() {
        let bytes = value::to_bytes(value).map_err(|name| {
            let message =
                format!("`on_request` returned {name}: a reply is a string or a blob, see `to_string()`");
            CallError::new(CallErrorKind::Trapped, message)
        })?;
        // What is denied is kept by the sandbox.
        let _ = sandbox::with(|guest| guest.reply(&bytes));
    }
    Ok(Answer::Done)
}

/// Says why a call ended.
fn failure(
    entry: &str,
    mut error: Box<EvalAltResult>,
    verdict: Option<CallError>,
) -> Result<Answer, CallError> {
    let inner = innermost(&mut error);
    if let (None, EvalAltResult::ErrorRuntime(thrown, _)) = (&verdict, &*inner) {
        if let Some(message) = value::message_of(thrown) {
            sandbox::with(|guest| guest.fail(&message));
        }
        return Ok(Answer::Failed);
    }
    let position = inner.take_position();
    let mut error = verdict.unwrap_or_else(|| {
        let kind = match inner {
            EvalAltResult::ErrorTooManyOperations(_) => CallErrorKind::OutOfFuel,
            EvalAltResult::ErrorStackOverflow(_)
            | EvalAltResult::ErrorDataTooLarge(..)
            | EvalAltResult::ErrorTooManyVariables(_) => CallErrorKind::OutOfMemory,
            _ => CallErrorKind::Trapped,
        };
        let hint =
            if matches!(inner, EvalAltResult::ErrorDataTooLarge(..)) { " (`[limits] memory`)" } else { "" };
        CallError::new(kind, format!("{inner}{hint}"))
    });
    error.message = match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("{entry}:{line}:{column}: {}", error.message),
        (Some(line), None) => format!("{entry}:{line}: {}", error.message),
        _ => format!("{entry}: {}", error.message),
    };
    Err(error)
}

/// Returns what happened, without the calls that it happened in; and without a place of its own, in that of the innermost call.
fn innermost(mut error: &mut EvalAltResult) -> &mut EvalAltResult {
    let mut place = Position::NONE;
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, position) = error {
        place = if position.is_none() { place } else { *position };
        error = inner;
    }
    if error.position().is_none() {
        error.set_position(place);
    }
    error
}

fn parse_error(error: &ParseError) -> LoadError {
    placed(LoadError::new(Stage::Compile, error.err_type().to_string()), error.position())
}

fn placed(error: LoadError, position: Position) -> LoadError {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    match position.line() {
        Some(line) => error.at(number(line), position.position().map(number)),
        None => error,
    }
}

#[cfg(test)]
mod tests;
