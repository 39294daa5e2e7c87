//! What is known of a module before it is compiled.
//!
//! Compiling takes a time and memory that a module of a few kilobytes can drive up as far as it likes: with types of a thousand
//! values, or with many variables in many nested loops. So the work is estimated first.

use std::fmt::Display;
use std::mem;

use wasmparser::{
    BinaryReaderError, ElementItems, ExternalKind, FuncToValidate, FuncType, FuncValidatorAllocations,
    FunctionBody, MemoryType, OperatorsReader, Parser, Payload, TypeRef, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

use super::fault::bytes_shown;
use super::imports::{TABLE_ELEMENTS_MAX, TABLES_MAX};
use super::interface;
use super::work::Work;
use crate::{LoadError, Manifest, Stage};

/// What modules may use beside the first version of WebAssembly. Of reference types that is what compilers emit without being
/// asked: calls through more than one table. There are no references to things of the host.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::FLOATS
    .union(WasmFeatures::MUTABLE_GLOBAL)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::REFERENCE_TYPES);

const MODULE_BYTES_MAX: usize = 16 << 20;
const TYPES_MAX: u32 = 10_000;
const IMPORTS_MAX: u32 = 1_000;
const FUNCTIONS_MAX: u32 = 50_000;
const GLOBALS_MAX: u32 = 10_000;
const EXPORTS_MAX: u32 = 10_000;
const SEGMENTS_MAX: u32 = 50_000;
const ELEMENTS_MAX: u32 = 1_000_000;
const LOCALS_MAX: u64 = 1_000_000;

/// The most work to compile a module, and a function, in something like instructions. A module of that much takes some seconds.
const WORK_MAX: u64 = 2_000_000;
const FUNCTION_WORK_MAX: u64 = 500_000;

/// How deep blocks may be nested in each other: what compiling takes grows with the square of that.
const NESTING_MAX: u32 = 4_000;

/// How much of a name a message shows.
const NAME_BYTES_SHOWN_MAX: usize = 128;

const PAGE_BYTES: u64 = 64 << 10;

/// Checks a module against the interface, the limits, and what the manifest needs.
pub(super) fn check(bytes: &[u8], manifest: &Manifest) -> Result<(), LoadError> {
    check_beginning(bytes)?;
    let mut checked = Checked::new(manifest);
    let mut parser = Parser::new(0);
    parser.set_features(FEATURES);
    for payload in parser.parse_all(bytes) {
        checked.payload(payload?)?;
    }
    checked.check_memory()?;
    checked.check_exports()
}

fn check_beginning(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MODULE_BYTES_MAX {
        return Err(refuse(format!(
            "a module may have {} at the most, it has {} bytes",
            bytes_shown(MODULE_BYTES_MAX as u64),
            bytes.len()
        )));
    }
    if Parser::is_component(bytes) {
        return Err(refuse(
            "it is a component, where a core module is wanted: build it without the component model, \
             for instance for `wasm32-unknown-unknown`",
        ));
    }
    if bytes.trim_ascii_start().starts_with(b"(module") {
        return Err(refuse(
            "it is a module's text, where the binary is wanted: `wat2wasm` or `wasm-tools parse` makes it",
        ));
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(refuse("it is not a module of WebAssembly: it does not begin with `\\0asm`"));
    }
    Ok(())
}

fn refuse(message: impl Into<String>) -> LoadError {
    LoadError::new(Stage::Validate, message)
}

impl From<BinaryReaderError> for LoadError {
    fn from(error: BinaryReaderError) -> Self {
        refuse(format!("it is not a valid module: {} (at byte {})", error.message(), error.offset()))
    }
}

/// What was found in a module so far.
struct Checked<'a> {
    manifest: &'a Manifest,
    validator: Validator,
    allocations: FuncValidatorAllocations,
    types: Vec<FuncType>,
    /// The types of the functions, imported ones first, as places in `types`.
    functions: Vec<u32>,
    memories: Vec<MemoryType>,
    exports: Vec<(&'a str, ExternalKind, u32)>,
    elements: u32,
    locals: u64,
    work: u64,
}

impl<'a> Checked<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        Self {
            manifest,
            validator: Validator::new_with_features(FEATURES),
            allocations: FuncValidatorAllocations::default(),
            types: Vec::new(),
            functions: Vec::new(),
            memories: Vec::new(),
            exports: Vec::new(),
            elements: 0,
            locals: 0,
            work: 0,
        }
    }

    /// Checks a part of the module: whether there is too much of it, first; then whether it is valid; then what is in it.
    fn payload(&mut self, payload: Payload<'a>) -> Result<(), LoadError> {
        check_count(&payload)?;
        if let ValidPayload::Func(function, body) = self.validator.payload(&payload)? {
            return self.function(function, &body);
        }
        match payload {
            Payload::TypeSection(types) => {
                self.types = types.into_iter_err_on_gc_types().collect::<Result<_, _>>()?;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import?;
                    self.import(import.module, import.name, import.ty)?;
                }
            }
            Payload::FunctionSection(functions) => {
                for index in functions {
                    self.functions.push(index?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let elements = table?.ty.initial;
                    if elements > TABLE_ELEMENTS_MAX as u64 {
                        return Err(refuse(format!(
                            "a table may have {TABLE_ELEMENTS_MAX} elements at the most, one has {elements}"
                        )));
                    }
                }
            }
            Payload::MemorySection(memories) => {
                self.memories = memories.into_iter().collect::<Result<_, _>>()?;
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    self.exports.push((export.name, export.kind, export.index));
                }
            }
            Payload::ElementSection(elements) => {
                for element in elements {
                    let count = match element?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.elements = self.elements.saturating_add(count);
                }
                check_max("elements of tables", self.elements, ELEMENTS_MAX)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &str, name: &str, import: TypeRef) -> Result<(), LoadError> {
        let known = interface::IMPORTS.iter().find(|known| module == interface::MODULE && known.name == name);
        let Some(known) = known else {
            let hint = if module.starts_with("wasi") {
                "; a plugin has no files, no environment and no sockets: build it without WASI, for instance for \
                 `wasm32-unknown-unknown`"
            } else {
                ""
            };
            let names: Vec<_> = interface::IMPORTS.iter().map(|known| known.name).collect();
            return Err(refuse(format!(
                "it imports `{}.{}`, which the interface does not have{hint}; from `{}` it may import: {}",
                shorten(module),
                shorten(name),
                interface::MODULE,
                names.join(", "),
            )));
        };
        let found = match import {
            TypeRef::Func(index) => match self.types.get(index as usize) {
                Some(found) if known.is(found) => {
                    self.functions.push(index);
                    return Ok(());
                }
                found => found.map_or_else(
                    || "a function".into(),
                    |found| interface::shown(found.params(), found.results()),
                ),
            },
            TypeRef::Memory(_) => "a memory".into(),
            TypeRef::Table(_) => "a table".into(),
            TypeRef::Global(_) => "a global".into(),
            _ => "something else".into(),
        };
        Err(refuse(format!("it imports `{module}.{name}` as {found}; it is {}", known.shown())))
    }

    /// Validates a function, and adds up what it takes to compile it.
    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), LoadError> {
        let own =
            self.functions.get(function.index as usize).and_then(|index| self.types.get(*index as usize));
        let mut locals = own.map_or(0, |own| own.params().len() as u64);
        for local in body.get_locals_reader()? {
            locals += u64::from(local?.0);
        }
        self.locals += locals;
        check_max("variables of functions", self.locals, LOCALS_MAX)?;
        let mut work = Work::new(&self.types, &self.functions, locals, own);
        let mut validator = function.into_validator(mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let mut operators = OperatorsReader::new(reader);
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            validator.op(at, &operator)?;
            if validator.control_stack_height() > NESTING_MAX {
                return Err(refuse(format!("it nests blocks deeper than {NESTING_MAX}, at byte {at}")));
            }
            work.add(&operator, validator.operand_stack_height());
        }
        operators.finish()?;
        self.allocations = validator.into_allocations();
        let work = work.total();
        self.work = self.work.saturating_add(work);
        let at = body.range().start;
        for (what, work, most) in
            [("the function", work, FUNCTION_WORK_MAX), ("all up to the function", self.work, WORK_MAX)]
        {
            if work > most {
                return Err(refuse(format!(
                    "it is too large to compile: about {work} steps of work for {what} at byte {at}, {most} are the most"
                )));
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), LoadError> {
        let [memory] = &*self.memories else {
            return Err(refuse("it has no memory: it needs one, exported as `memory`"));
        };
        let least = memory.initial.saturating_mul(PAGE_BYTES);
        let most = self.manifest.limits.memory;
        if least > most {
            return Err(refuse(format!(
                "it begins with {} of memory, and may have {} (`[limits] memory`)",
                bytes_shown(least),
                bytes_shown(most)
            )));
        }
        Ok(())
    }

    fn check_exports(&self) -> Result<(), LoadError> {
        let find = |name: &str| self.exports.iter().find(|(exported, ..)| *exported == name);
        match find(interface::MEMORY) {
            Some((_, ExternalKind::Memory, _)) => {}
            Some((_, kind, _)) => {
                return Err(refuse(format!("it exports `memory` as {}; it is its memory", named(*kind))));
            }
            None => return Err(refuse("it does not export `memory`, its memory")),
        }
        for known in interface::EXPORTS {
            let is_needed = [interface::API, interface::ALLOC].contains(&known.name)
                || self.manifest.triggers.iter().any(|trigger| trigger.handler() == known.name);
            let found = match find(known.name) {
                None if is_needed => {
                    return Err(refuse(format!(
                        "it does not export `{}`, which is {}",
                        known.name,
                        known.shown()
                    )));
                }
                None => continue,
                Some((_, ExternalKind::Func, index)) => {
                    let index = self.functions.get(*index as usize);
                    match index.and_then(|index| self.types.get(*index as usize)) {
                        Some(found) if known.is(found) => continue,
                        Some(found) => interface::shown(found.params(), found.results()),
                        None => "a function".into(),
                    }
                }
                Some((_, kind, _)) => named(*kind).into(),
            };
            return Err(refuse(format!("it exports `{}` as {found}; it is {}", known.name, known.shown())));
        }
        Ok(())
    }
}

/// Checks how much there is of something, before any of it is read.
fn check_count(payload: &Payload<'_>) -> Result<(), LoadError> {
    match payload {
        Payload::TypeSection(section) => check_max("types", section.count(), TYPES_MAX),
        Payload::ImportSection(section) => check_max("imports", section.count(), IMPORTS_MAX),
        Payload::FunctionSection(section) => check_max("functions", section.count(), FUNCTIONS_MAX),
        Payload::TableSection(section) => {
            check_max("tables", section.count(), u32::try_from(TABLES_MAX).unwrap_or(u32::MAX))
        }
        Payload::GlobalSection(section) => check_max("globals", section.count(), GLOBALS_MAX),
        Payload::ExportSection(section) => check_max("exports", section.count(), EXPORTS_MAX),
        Payload::ElementSection(section) => check_max("element segments", section.count(), SEGMENTS_MAX),
        Payload::DataSection(section) => check_max("data segments", section.count(), SEGMENTS_MAX),
        _ => Ok(()),
    }
}

fn check_max<N: PartialOrd + Display + Copy>(what: &str, count: N, most: N) -> Result<(), LoadError> {
    if count <= most {
        return Ok(());
    }
    Err(refuse(format!("it has {count} {what}, and may have {most}")))
}

fn named(kind: ExternalKind) -> &'static str {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => "a function",
        ExternalKind::Table => "a table",
        ExternalKind::Memory => "a memory",
        ExternalKind::Global => "a global",
        ExternalKind::Tag => "a tag",
    }
}

/// The beginning of a name that a module gives.
fn shorten(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_SHOWN_MAX)]
}
