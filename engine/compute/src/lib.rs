//! The GPU side of vectorgpu: all of wgpu, behind the `Backend` trait of `vectorgpu-core`.
//!
//! An [`Engine`] owns one GPU context of one process and hands out [`GpuBackend`]s. Nothing here knows SQL, pages or
//! PostgreSQL; what the host process needs (signals blocked while drivers start threads, interrupts while waiting)
//! comes in through closures. Invariants: no call panics outward; every allocation is charged to a budget first;
//! every submission is short and every wait asks its caller whether to go on and has a deadline; a lost device is
//! an error of kind `DeviceLost`, after which the engine is dropped and another one opened.
//! Used from one thread: an engine is neither `Send` nor `Sync`.

mod adapter;
mod array;
mod backend;
mod builder;
mod capabilities;
mod context;
mod counters;
mod device;
mod engine;
mod kernels;
mod lists;
mod measure;
mod memory;
mod pace;
mod pipeline;
pub mod private_file;
mod profile;
mod record;
mod recording;
pub mod reference;
mod rows;
mod runtime;
mod scaled_rows;
mod sequences;
mod shader;
mod step;
mod step_data;
mod submit;
mod transfer;
mod tuning;
mod wait;
mod weights;

pub use adapter::{AdapterReport, DeviceChoice, DeviceKind, Vendor};
pub use array::Array;
pub use backend::GpuBackend;
pub use builder::EngineBuilder;
pub use capabilities::Feature;
pub use context::ThreadGuard;
pub use counters::Counters;
pub use engine::Engine;
pub use kernels::assign::Assignment;
pub use kernels::attention::{DecodeRows, LayerInput, Tile};
pub use kernels::codes::{BitScore, Int8Score};
pub use kernels::encoder::{Gelu, LayerNorm};
pub use kernels::search::RowScore;
pub use kernels::weights::{LinearInput, Outcome, RmsNorm};
pub use kernels::{Choice, SortKey, ValueAt};
pub use lists::{CopiedIndex, IndexCopies, IndexUsage, ListCache, OnFailure};
pub use memory::view::RangeError;
pub use memory::{LabelUsage, MemoryReport};
pub use profile::{KernelTime, Profiling};
pub use rows::{Int8Rows, RowArray, RowFormat};
pub use scaled_rows::ScaledRows;
pub use sequences::{BLOCK_TOKENS, Heads, LayerCache, RowPlace, Sequences, Turns};
pub use step::{Pending, Step};
pub use step_data::PendingRead;
pub use tuning::{TunableConstant, tunable_constants};
pub use wait::WaitHook;
pub use weights::{GatedWeights, LinearWeights, WeightRows, WeightType};

#[cfg(target_endian = "big")]
compile_error!("rows are little-endian bytes and go to the GPU as they are");
