//! Modules of WebAssembly, in wasmtime.
//!
//! A module is checked before it is compiled ([`check`]), so that only what is valid, fits the interface and does not take too long
//! is. An instance has one memory and nothing of the world but the functions of the interface ([`imports`]).
//!
//! Traps are not told by signals: memory accesses are checked in the code that is compiled. That is somewhat slower than pages that
//! must not be touched, but the process that cohab is part of keeps its own signal handlers, an instance's memory takes the address
//! space that it needs rather than gigabytes, and nothing that happens to a handler can turn a plugin's mistake into a crash.

mod check;
mod clock;
mod fault;
mod imports;
mod interface;
mod work;

use std::sync::OnceLock;

use cohab_core::Timestamp;
use wasmtime::{
    Config, Engine, InstancePre, Linker, Memory, Result as WasmResult, Store, TypedFunc, UpdateDeadline,
};

use self::clock::Ticking;
use self::imports::State;
use crate::runtime::{Answer, Call, Deadline, Stop};
use crate::{API, API_OLDEST, CallError, CallErrorKind, LoadError, Manifest, Stage};

/// How deep the stack of a guest may be. It is part of the calling thread's, which therefore needs to have room for it.
const STACK_BYTES_MAX: usize = 512 << 10;

/// The steps that a call may take unless the manifest says something else.
const FUEL: u64 = 1_000_000_000;

/// A compiled module, and the functions that it imports.
pub(crate) struct Module(InstancePre<State>);

/// A module with its memory.
pub(crate) struct Instance {
    store: Store<State>,
    memory: Memory,
    alloc: TypedFunc<i32, i32>,
    handlers: Handlers,
}

/// The handlers that there are. Their types were checked before the module was compiled.
struct Handlers {
    on_commit: Option<TypedFunc<(i32, i32), i32>>,
    before_commit: Option<TypedFunc<(i32, i32), i32>>,
    on_request: Option<TypedFunc<(i32, i32), i32>>,
    on_schedule: Option<TypedFunc<i64, i32>>,
    migrate: Option<TypedFunc<i32, i32>>,
    check: Option<TypedFunc<(), i32>>,
}

/// The engine of this process, with the functions that modules import.
struct Host {
    engine: Engine,
    linker: Linker<State>,
}

impl Host {
    /// Returns the one that all plugins of the process share.
    fn get() -> Result<&'static Self, LoadError> {
        static HOST: OnceLock<Result<Host, String>> = OnceLock::new();
        let host = HOST.get_or_init(|| Self::new().map_err(|error| format!("{error:#}")));
        host.as_ref().map_err(|error| {
            let message = format!("the WebAssembly engine does not work on this machine: {error}");
            LoadError::new(Stage::Compile, message)
        })
    }

    fn new() -> WasmResult<Self> {
        let mut config = Config::new();
        config.wasm_features(wasmparser::WasmFeatures::all(), false).wasm_features(check::FEATURES, true);
        config.consume_fuel(true).epoch_interruption(true).max_wasm_stack(STACK_BYTES_MAX);
        config.signals_based_traps(false);
        // No more address space than what is used, and room to grow without being moved each time.
        config.memory_reservation(0).memory_guard_size(0).memory_reservation_for_growth(1 << 20);
        config.memory_init_cow(false);
        // Messages name functions, not places in them.
        config.generate_address_map(false).native_unwind_info(false);
        let engine = Engine::new(&config)?;
        let linker = imports::link(&engine)?;
        Ok(Self { engine, linker })
    }

    /// Returns the functions of a version of the interface.
    fn linker(&self, api: u32) -> Result<&Linker<State>, LoadError> {
        match api {
            1 => Ok(&self.linker),
            _ => Err(LoadError::new(
                Stage::Validate,
                format!(
                    "it is written for version {api} of the interface; this host speaks {API_OLDEST} to {API}"
                ),
            )),
        }
    }
}

impl Module {
    /// Checks and compiles a module.
    pub(crate) fn compile(manifest: &Manifest, bytes: &[u8]) -> Result<Self, LoadError> {
        Self::compile_entry(manifest, bytes).map_err(|error| error.file(&*manifest.entry))
    }

    fn compile_entry(manifest: &Manifest, bytes: &[u8]) -> Result<Self, LoadError> {
        let host = Host::get()?;
        let linker = host.linker(manifest.api)?;
        check::check(bytes, manifest)?;
        let module = wasmtime::Module::from_binary(&host.engine, bytes)
            .map_err(|error| LoadError::new(Stage::Compile, format!("it does not compile: {error:#}")))?;
        let ready = linker.instantiate_pre(&module);
        Ok(Self(ready.map_err(|error| {
            LoadError::new(Stage::Validate, format!("it does not fit the interface: {error:#}"))
        })?))
    }

    /// Makes an instance: runs the module's beginning, `_initialize`, and asks it for its version.
    pub(crate) fn instantiate(&self, manifest: &Manifest) -> Result<Instance, CallError> {
        let limit = manifest.limits.time;
        let deadline = Deadline::new(limit, &Stop::new());
        let state = State {
            memory: None,
            result: Vec::new(),
            memory_max: manifest.limits.memory,
            was_denied_memory: false,
            deadline: deadline.clone(),
        };
        let mut store = Store::new(self.0.module().engine(), state);
        store.limiter(|state| state);
        store.epoch_deadline_callback(|store| {
            store.data().deadline.check().map_err(wasmtime::Error::new)?;
            Ok(UpdateDeadline::Continue(1))
        });
        let (instance, api) = limited(&mut store, manifest, &deadline, |store| {
            let instance = self.0.instantiate(&mut *store)?;
            if let Some(initialize) = instance.get_func(&mut *store, interface::INITIALIZE) {
                initialize.typed::<(), ()>(&*store)?.call(&mut *store, ())?;
            }
            let api =
                instance.get_typed_func::<(), i32>(&mut *store, interface::API)?.call(&mut *store, ())?;
            Ok((instance, api.cast_unsigned()))
        })?;
        if api != manifest.api {
            let message = format!(
                "`{}` says that it is written for version {api} of the interface, `{}` says {}",
                interface::API,
                Manifest::FILE,
                manifest.api
            );
            return Err(CallError::new(CallErrorKind::Forbidden, message));
        }
        let is_gone = |what: &str| CallError::new(CallErrorKind::Host, format!("`{what}` is gone"));
        let memory = instance.get_memory(&mut store, interface::MEMORY).ok_or_else(|| is_gone("memory"))?;
        let alloc = instance.get_typed_func(&mut store, interface::ALLOC);
        let alloc = alloc.map_err(|_| is_gone(interface::ALLOC))?;
        let handlers = Handlers {
            on_commit: instance.get_typed_func(&mut store, "on_commit").ok(),
            before_commit: instance.get_typed_func(&mut store, "before_commit").ok(),
            on_request: instance.get_typed_func(&mut store, "on_request").ok(),
            on_schedule: instance.get_typed_func(&mut store, "on_schedule").ok(),
            migrate: instance.get_typed_func(&mut store, "migrate").ok(),
            check: instance.get_typed_func(&mut store, "check").ok(),
        };
        store.data_mut().memory = Some(memory);
        Ok(Instance { store, memory, alloc, handlers })
    }
}

/// Runs something of a guest's, under the limits of a call.
fn limited<T>(
    store: &mut Store<State>,
    manifest: &Manifest,
    deadline: &Deadline,
    run: impl FnOnce(&mut Store<State>) -> WasmResult<T>,
) -> Result<T, CallError> {
    deadline.check()?;
    let _ticking = Ticking::begin(store.engine())?;
    let fuel = manifest.limits.fuel.unwrap_or(FUEL);
    store.data_mut().begin(deadline);
    store.set_epoch_deadline(1);
    store
        .set_fuel(fuel)
        .and_then(|()| run(store))
        .map_err(|error| fault::call_error(error, manifest, store.data(), fuel))
}

impl Instance {
    pub(crate) fn call(
        &mut self,
        manifest: &Manifest,
        call: &Call<'_>,
        deadline: &Deadline,
    ) -> Result<Answer, CallError> {
        let Self { store, memory, alloc, handlers } = self;
        let missing = || {
            let message = format!("{} does not export `{}`", manifest.entry, call.handler());
            CallError::new(CallErrorKind::NoHandler, message)
        };
        let answer = match *call {
            Call::Commit(changes) | Call::BeforeCommit(changes) => {
                let handler = match call {
                    Call::Commit(_) => &handlers.on_commit,
                    _ => &handlers.before_commit,
                };
                let handler = handler.as_ref().ok_or_else(missing)?;
                let input = changes.as_bytes();
                limited(store, manifest, deadline, |store| {
                    let input = hand_over(store, *memory, alloc, manifest, input)?;
                    handler.call(store, input)
                })
            }
            Call::Request(input) => {
                let handler = handlers.on_request.as_ref().ok_or_else(missing)?;
                limited(store, manifest, deadline, |store| {
                    let input = hand_over(store, *memory, alloc, manifest, input)?;
                    handler.call(store, input)
                })
            }
            Call::Schedule(due) => {
                let handler = handlers.on_schedule.as_ref().ok_or_else(missing)?;
                let due = Timestamp::as_micros(due).cast_signed();
                limited(store, manifest, deadline, |store| handler.call(store, due))
            }
            Call::Migrate { from } => {
                let handler = handlers.migrate.as_ref().ok_or_else(missing)?;
                limited(store, manifest, deadline, |store| handler.call(store, from.cast_signed()))
            }
            Call::Check => match &handlers.check {
                Some(handler) => limited(store, manifest, deadline, |store| handler.call(store, ())),
                None => return Ok(Answer::Done),
            },
        };
        Ok(match answer? {
            0 => Answer::Done,
            _ => Answer::Failed,
        })
    }

    /// Returns how many bytes its memory has, and what the host keeps for it.
    pub(crate) fn memory_bytes(&self) -> u64 {
        (self.memory.data_size(&self.store) + self.store.data().result.capacity()) as u64
    }
}

/// Where an input of no bytes is: somewhere that is aligned and not zero. No room is asked for.
const NOWHERE: i32 = 8;

/// Copies input into the guest, into room that it makes; returns the address and length.
fn hand_over(
    store: &mut Store<State>,
    memory: Memory,
    alloc: &TypedFunc<i32, i32>,
    manifest: &Manifest,
    input: &[u8],
) -> WasmResult<(i32, i32)> {
    if input.is_empty() {
        return Ok((NOWHERE, 0));
    }
    let Some(len) = u32::try_from(input.len()).ok().filter(|&len| u64::from(len) <= manifest.limits.memory)
    else {
        return Err(wasmtime::Error::new(fault::out_of_memory(manifest)));
    };
    let len = len.cast_signed();
    let at = alloc.call(&mut *store, len)?;
    let start = imports::offset(at);
    let room =
        start.checked_add(input.len()).and_then(|end| memory.data_mut(&mut *store).get_mut(start..end));
    match room {
        Some(room) if at != 0 => {
            room.copy_from_slice(input);
            Ok((at, len))
        }
        // As `malloc` says that there is no more.
        _ if at == 0 => Err(wasmtime::Error::new(if store.data().was_denied_memory {
            fault::out_of_memory(manifest)
        } else {
            let message = format!("`{}` has no room for {} bytes of input", interface::ALLOC, input.len());
            CallError::new(CallErrorKind::OutOfMemory, message)
        })),
        _ => Err(fault::forbidden(format!(
            "`{}` says that there is room for {} bytes at address {start}, which is outside of its memory of {} bytes",
            interface::ALLOC,
            input.len(),
            memory.data_size(&*store)
        ))),
    }
}
