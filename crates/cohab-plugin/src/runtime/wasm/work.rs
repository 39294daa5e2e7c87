//! What it takes to compile a function, as far as it can be told from reading it.

use wasmparser::{BlockType, FuncType, Operator};

/// So many pairs of a variable and a block cost about as much as an instruction.
const PAIRS_PER_STEP: u64 = 16;

/// What a pair of a variable and a loop costs: what the variable is at the loop's beginning is not known before its end.
const STEPS_PER_LOOP_PAIR: u64 = 4;

/// An estimate, in something like instructions. Most functions take about as much as they have instructions; what can take a
/// multiple is counted by itself:
///
/// - A jump hands on the values that its target expects, and a call returns those of its type, in two bytes whatever their number.
/// - Each variable is looked up in each block that is between where it is written and where it is read.
/// - A value that is on the stack is kept over all blocks in between.
pub(super) struct Work<'a> {
    types: &'a [FuncType],
    functions: &'a [u32],
    locals: u64,
    steps: u64,
    blocks: u64,
    loops: u64,
    /// The sum of the stack's heights at all blocks.
    kept: u64,
    /// The most values that a jump in this function may hand on.
    widest: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        types: &'a [FuncType],
        functions: &'a [u32],
        locals: u64,
        own: Option<&FuncType>,
    ) -> Self {
        let widest = own.map_or(0, width);
        // Space is made for each variable.
        Self { types, functions, locals, steps: 16 + locals / 4, blocks: 0, loops: 0, kept: 0, widest }
    }

    /// Adds an instruction.
    pub(super) fn add(&mut self, operator: &Operator<'_>, height: u32) {
        self.steps += 1;
        match operator {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                if let BlockType::FuncType(index) = blockty {
                    let width = self.width_of(*index);
                    self.steps += width;
                    self.widest = self.widest.max(width);
                }
                self.block(1, height);
                self.loops += u64::from(matches!(operator, Operator::Loop { .. }));
            }
            Operator::Br { .. } | Operator::BrIf { .. } | Operator::Else | Operator::Return => {
                self.steps += self.widest;
                self.block(1, height);
            }
            Operator::BrTable { targets } => {
                let targets = u64::from(targets.len()) + 1;
                self.steps += targets * (1 + self.widest);
                self.block(targets, height);
            }
            Operator::Call { function_index } => {
                if let Some(index) = self.functions.get(*function_index as usize) {
                    self.steps += self.width_of(*index);
                }
            }
            Operator::CallIndirect { type_index, .. } => self.steps += self.width_of(*type_index),
            _ => {}
        }
    }

    fn block(&mut self, count: u64, height: u32) {
        self.blocks += count;
        self.kept = self.kept.saturating_add(count * u64::from(height));
    }

    fn width_of(&self, index: u32) -> u64 {
        self.types.get(index as usize).map_or(0, width)
    }

    pub(super) fn total(&self) -> u64 {
        let pairs = self.locals.saturating_mul(self.blocks).saturating_add(self.kept);
        let in_loops = self.locals.saturating_add(self.widest).saturating_mul(self.loops);
        self.steps
            .saturating_add(pairs / PAIRS_PER_STEP)
            .saturating_add(in_loops.saturating_mul(STEPS_PER_LOOP_PAIR))
    }
}

fn width(function: &FuncType) -> u64 {
    (function.params().len() + function.results().len()) as u64
}
