//! The SQL types: datums as safe Rust values, their I/O functions and casts.
//!
//! Must not know how anything is computed. Invariant: a value of a type in here has passed its header checks.

pub(crate) mod array;
mod array_cast;
pub(crate) mod bit;
mod cast;
pub(crate) mod elements;
mod io;
mod io_sparse;
mod message;
mod modifier;
pub(crate) mod sparse;
pub(crate) mod state;
mod value;
pub(crate) mod varlena;
pub(crate) mod vector;
