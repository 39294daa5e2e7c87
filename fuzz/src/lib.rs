//! A store next to a model of it: what the fuzz target `store_ops` does with its input.
//!
//! The input is a [`Plan`], steps to take one after the other. Each is taken by the store and by the [`Model`], which
//! keeps the same things in maps, and both must answer alike; then everything that can be read of the store is
//! compared with the model, and the log record that the step left is replayed. The tests of the facade have a model
//! of their own, of single steps; in this one a transaction holds any number of actions, of which some may fail and be
//! passed over, and every key, namespace and precondition has its versions.

mod compare;
mod drive;
mod material;
mod model;
mod plan;
mod replay;

pub use drive::run;
pub use model::Model;
pub use plan::Plan;
