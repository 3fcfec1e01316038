//! The IVF index on pages: layout, build, insert, search, vacuum, verification.
//!
//! Written against [`store::PageStore`] and [`crate::backend::Backend`]; must not know PostgreSQL, WAL records or wgpu.
//! Invariants (ARCHITECTURE.md draws the bytes): the code bytes of a live slot never change; bytes of a slot beyond
//! `count`, or of a slot whose TID is a tombstone, may be written at any time; every change of what a list holds
//! raises the version in its head page in the same record, and every change that is not an append raises the epoch
//! too; groups are locked from the list's head towards its tail, the metapage last.
//!
//! ```
//! use vectorgpu_core::cpu::CpuBackend;
//! use vectorgpu_core::ivf::build::Placement;
//! use vectorgpu_core::ivf::encode::RowEncoder;
//! use vectorgpu_core::ivf::layout::{Meta, Tid};
//! use vectorgpu_core::ivf::memory::MemoryStore;
//! use vectorgpu_core::ivf::search::{Iterate, Search, SearchOptions, Taken};
//! use vectorgpu_core::metric::{Metric, Storage};
//! use vectorgpu_core::quantize::Summation;
//!
//! // One list of three rows, in memory.
//! let rows = [[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]];
//! let meta = Meta::plan(Metric::L2, Storage::F32, 2, 1, 3, 42);
//! let store = MemoryStore::new();
//! let placement = Placement::new(meta, vec![3])?;
//! placement.write_front(&mut &store, &[1.0, 1.0])?;
//! let mut lists = placement.write_lists(&store, 0..1);
//! let mut encoder = RowEncoder::new(&meta);
//! for (i, row) in (1..).zip(&rows) {
//!     lists.push(0, encoder.encode(Tid::new(0, i), row, 0, &[1.0, 1.0])?)?;
//! }
//! lists.finish()?;
//!
//! let options = SearchOptions {
//!     probes: 1,
//!     max_probes: 1,
//!     iterate: Iterate::Strict,
//!     window_rows: 16,
//!     expected: Taken { rows: 3, returned: 3 },
//!     summation: Summation::Kernels,
//! };
//! let mut search = Search::new(meta, options);
//! search.start(Some([0.0, 0.0].as_slice().into()), true)?;
//! let mut distances = Vec::new();
//! while let Some(found) = search.next(&store, &mut CpuBackend::new(), &mut || true)? {
//!     distances.push(found.distance);
//! }
//! assert_eq!(distances, [0.0, 1.0, 5.0]);
//! # Ok::<(), vectorgpu_core::Error>(())
//! ```

pub mod build;
pub mod centroids;
pub mod copy;
pub mod cost;
pub mod encode;
mod group;
pub mod insert;
pub mod layout;
pub mod memory;
pub mod page;
mod run;
pub mod search;
pub mod stats;
pub mod store;
pub mod vacuum;
pub mod value;
pub mod verify;
mod window;
mod write;
