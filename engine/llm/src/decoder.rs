//! What reads tokens and says what may follow them: a model, on whatever computes it, with the memory that texts keep keys and values in.

mod on_cpu;
mod on_gpu;

pub use on_cpu::OnCpu;
pub use on_gpu::OnGpu;

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;

use crate::batch::Part;
use crate::cache::BlockPool;
use crate::gpu::GpuModel;

/// A decoder model that can be asked.
pub trait Decoder {
    /// Tokens that it knows.
    fn vocabulary(&self) -> usize;

    /// Most tokens of a text.
    fn context(&self) -> usize;

    /// Rows that one pass should have at most, so that a request to stop is heard soon.
    fn rows_at_once(&self) -> usize;

    /// What chooses tokens itself, a step ahead of whoever reads them, where all of the model is on a device that can.
    fn chooser(&mut self) -> Option<&mut GpuModel> {
        None
    }

    /// The blocks in which texts keep keys and values.
    fn pool(&mut self) -> &mut BlockPool;

    /// Reads the tokens of `parts`, whose tables have room for them, and writes to `logits`, `[rows, vocabulary]`, how likely each next
    /// token is, for those rows that are wanted, in their order. Tables are the caller's to advance, when this has succeeded.
    ///
    /// # Errors
    /// `InvalidArgument` for a token that is none, `Cancelled`, what the device reports.
    fn forward(
        &mut self,
        parts: &[Part<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<()>;
}
