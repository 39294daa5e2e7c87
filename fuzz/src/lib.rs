//! A store next to a model of it: what the fuzz target `store_ops` does with its input.
//!
//! The input is a [`Plan`], steps to take one after the other. Each is taken by the store and by the [`Model`], which
//! keeps the same things in maps, and both must answer alike; then everything that can be read of the store is
//! compared with the model, and the log record that the step left is replayed. The tests of the facade have a model
//! of their own, of single steps; in this one a transaction holds any number of actions, of which some may fail and be
//! passed over, and every key, namespace and precondition has its versions.

mod beside;
mod compare;
mod drive;
mod faults;
mod files;
mod hostile;
mod material;
mod model;
mod panics;
mod plan;
mod plugins;
mod replay;

pub use beside::{Beside, damage_beside};
pub use drive::run;
pub use files::{memory_dir, same_when_encoded_again};
pub use hostile::{Hostile, open_hostile};
pub use model::Model;
pub use panics::{caught, unwind_from};
pub use plan::Plan;
pub use plugins::{Plugins, run_hostile_plugins};
