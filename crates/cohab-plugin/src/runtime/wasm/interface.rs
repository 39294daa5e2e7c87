//! The interface as types: what a module may import, and what it exports.

use wasmparser::FuncType;
use wasmparser::ValType::{self, I32, I64};

/// What all imports are from.
pub(super) const MODULE: &str = "cohab";

/// The name and type of a function.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) takes: &'static [ValType],
    pub(super) gives: &'static [ValType],
}

const fn function(name: &'static str, takes: &'static [ValType], gives: &'static [ValType]) -> Function {
    Function { name, takes, gives }
}

/// What a module may import from [`MODULE`].
pub(super) const IMPORTS: &[Function] = &[
    function("get", &[I32, I32, I32, I32], &[I64]),
    function("put", &[I32, I32, I32, I32, I32, I32], &[]),
    function("delete", &[I32, I32, I32, I32], &[I32]),
    function("scan", &[I32, I32, I32, I32, I32, I32, I32], &[I64]),
    function("take", &[I32, I32], &[I32]),
    function("cache_get", &[I32, I32], &[I64]),
    function("cache_put", &[I32, I32, I32, I32, I64], &[]),
    function("log", &[I32, I32, I32], &[]),
    function("now", &[], &[I64]),
    function("reply", &[I32, I32], &[]),
    function("fail", &[I32, I32], &[]),
];

pub(super) const MEMORY: &str = "memory";
pub(super) const API: &str = "cohab_api";
pub(super) const ALLOC: &str = "cohab_alloc";
pub(super) const INITIALIZE: &str = "_initialize";

/// The functions by whose names a module may export something, beside what it likes under others.
pub(super) const EXPORTS: &[Function] = &[
    function(API, &[], &[I32]),
    function(ALLOC, &[I32], &[I32]),
    function("on_commit", &[I32, I32], &[I32]),
    function("before_commit", &[I32, I32], &[I32]),
    function("on_request", &[I32, I32], &[I32]),
    function("on_schedule", &[I64], &[I32]),
    function("migrate", &[I32], &[I32]),
    function("check", &[], &[I32]),
    function(INITIALIZE, &[], &[]),
];

impl Function {
    pub(super) fn is(&self, found: &FuncType) -> bool {
        self.takes == found.params() && self.gives == found.results()
    }

    pub(super) fn shown(&self) -> String {
        shown(self.takes, self.gives)
    }
}

/// The most values that are shown of a type.
const VALUES_SHOWN_MAX: usize = 16;

/// A function's type: `(i32, i32) -> i32`.
pub(super) fn shown(takes: &[ValType], gives: &[ValType]) -> String {
    let list = |values: &[ValType]| {
        let mut shown: Vec<_> = values.iter().take(VALUES_SHOWN_MAX).map(ToString::to_string).collect();
        if values.len() > VALUES_SHOWN_MAX {
            shown.push("…".into());
        }
        shown.join(", ")
    };
    match gives {
        [one] => format!("a function ({}) -> {one}", list(takes)),
        many => format!("a function ({}) -> ({})", list(takes), list(many)),
    }
}
