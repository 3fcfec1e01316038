//! SQL functions on vectors of all types and on bit strings: distances, algebra, ordering, aggregates.
//!
//! Shells: each checks its operands, calls `vectorgpu-core` and raises what that refuses. All are immutable, strict
//! and parallel safe; their SQL declarations are in `sql/`.

mod aggregate;
mod algebra;
mod compare;
mod distance;
