//! What weights will take on the device, for plans that are made before anything is sent.

use vectorgpu_core::Result;

use super::WeightType;
use crate::runtime::as_u64;

impl WeightType {
    /// Bytes of device memory that `outputs` rows of `inputs` such weights take, but for what rounding to whole blocks of memory adds.
    ///
    /// # Errors
    /// As [`WeightType::row_bytes`]; `LimitExceeded`.
    pub fn device_bytes(self, outputs: usize, inputs: usize) -> Result<u64> {
        self.row_bytes(inputs)?;
        as_u64(outputs.saturating_mul(self.format().row_bytes(inputs)))
    }
}
