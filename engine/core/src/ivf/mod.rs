//! The IVF index on pages: layout, build, insert, search, vacuum, verification.
//!
//! Written against [`store::PageStore`] and [`crate::backend::Backend`]; must not know PostgreSQL, WAL records or wgpu.
//! Invariants (ARCHITECTURE.md draws the bytes): the code bytes of a live slot never change; bytes of a slot beyond
//! `count`, or of a slot whose TID is a tombstone, may be written at any time; every change of what a list holds
//! raises the version in its head page in the same record, and every change that is not an append raises the epoch
//! too; groups are locked from the list's head towards its tail, the metapage last.

pub mod build;
pub mod encode;
pub mod insert;
pub mod layout;
pub mod memory;
pub mod page;
pub mod search;
pub mod stats;
pub mod store;
pub mod vacuum;
pub mod verify;
mod window;
mod write;
