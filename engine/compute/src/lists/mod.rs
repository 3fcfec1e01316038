//! Copies of indexes' lists in device memory: which there are, and searches of them.
//!
//! Must not know pages: what a copy holds, and whether that is what its list holds now, is `vectorgpu_core::ivf::copy`'s
//! business. Copies of all indexes share the engine's budget; the ones used least recently make room for others.
//! Invariant: no `RefCell` is borrowed while a caller's closure runs.

mod batch;
mod cache;
mod copies;
mod extent;
mod hits;
mod plan;
mod plan_each;
mod plan_same;
mod search;

pub use cache::{IndexUsage, ListCache};
pub use copies::{CopiedIndex, IndexCopies, OnFailure};
