//! Models on a GPU: the first layers, or all, with the keys and values of their positions in its memory.
//!
//! What a pass does is recorded as a step of `vectorgpu-compute`, at most six kernels a layer when each text reads one token. Must not
//! know texts, nor how blocks of the cache are given out. The device's memory is planned for before it is taken (`plan`).

mod ahead;
mod layer;
mod model;
mod pass;
pub mod plan;
mod rows;

pub use ahead::{Ahead, AheadText, Next, TEXTS_AHEAD};
pub use layer::{LayerWeights, LinearRows};
pub use model::{Ends, GpuModel, GpuShape};
