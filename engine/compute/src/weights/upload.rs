//! Sending weights to the device, some rows at a time.

use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::blocks::Numbers;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::format::{Planes, UNIT};
use super::{GatedWeights, Gating, LinearWeights, Part, WeightRows, WeightType};
use crate::engine::Engine;
use crate::memory::staging::Source;
use crate::memory::view::{COPY_ALIGNMENT, View};
use crate::recording::{End, Recording};
use crate::rows::invalid;
use crate::runtime::{as_u64, as_usize};

/// A part has a multiple of so many rows, unless it is the last one of its type; so has a piece that is sent at once. Then
/// every plane of it is whole words.
const ROWS_STEP: usize = 64;

/// Bytes of a file that are laid out before they are sent.
const PIECE_BYTES: usize = 4 << 20;

/// Rows of one type, from wherever they lie.
struct Rows<'a> {
    of_type: WeightType,
    inputs: usize,
    count: usize,
    row: &'a dyn Fn(usize) -> &'a [u8],
}

impl Engine {
    /// Weights in long-lived memory, accounted under `label`: `matrices` with rows of `inputs` elements, their outputs one
    /// after the other. Of each run of matrices of one type, one kernel computes the outputs.
    ///
    /// What the weights stand for is what `vectorgpu_core::blocks` says, to within f32 rounding.
    ///
    /// ```
    /// # use vectorgpu_compute::{EngineBuilder, WeightRows, WeightType};
    /// # let Ok(engine) = EngineBuilder::new().allow_software(true).open() else { return };
    /// let bytes: Vec<u8> = [0.5_f32; 64].iter().flat_map(|x| x.to_le_bytes()).collect();
    /// let rows = WeightRows { weight_type: WeightType::F32, outputs: 2, bytes: &bytes };
    /// let weights = engine.upload_weights("example", 32, &[rows], &mut || true).unwrap();
    /// assert_eq!((weights.outputs(), weights.inputs()), (2, 32));
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not whole, `Unsupported` unless `inputs` is a multiple of 32, or for a device that
    /// cannot unpack f16; `LimitExceeded` for rows longer than a kernel can see; as [`Engine::upload`].
    pub fn upload_weights(
        &self,
        label: &'static str,
        inputs: usize,
        matrices: &[WeightRows<'_>],
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<LinearWeights> {
        for matrix in matrices {
            check(matrix, inputs)?;
        }
        let mut weights = LinearWeights {
            inputs,
            outputs: 0,
            parts: Vec::new(),
            bias: None,
        };
        for run in matrices.chunk_by(|a, b| a.weight_type == b.weight_type) {
            let of_type = run[0].weight_type;
            let row_bytes = of_type.row_bytes(inputs)?;
            let rows: Vec<&[u8]> = run
                .iter()
                .flat_map(|matrix| matrix.bytes.chunks_exact(row_bytes))
                .collect();
            let rows = Rows {
                of_type,
                inputs,
                count: rows.len(),
                row: &|number| rows[number],
            };
            self.add_parts(label, &mut weights, &rows, keep_waiting)?;
        }
        Ok(weights)
    }

    /// Weights of a gated layer, as [`Engine::upload_weights`]. One kernel computes it where both have the same type.
    ///
    /// # Errors
    /// `InvalidArgument` unless `gate` and `up` have as many outputs; as [`Engine::upload_weights`].
    pub fn upload_gated(
        &self,
        label: &'static str,
        inputs: usize,
        gate: WeightRows<'_>,
        up: WeightRows<'_>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<GatedWeights> {
        check(&gate, inputs)?;
        check(&up, inputs)?;
        if gate.outputs != up.outputs {
            return Err(invalid(format!(
                "a gate of {} outputs for {}",
                gate.outputs, up.outputs
            )));
        }
        let outputs = gate.outputs;
        if gate.weight_type != up.weight_type {
            let mut send = |rows| self.upload_weights(label, inputs, &[rows], keep_waiting);
            let kind = Gating::Apart(send(gate)?, send(up)?);
            return Ok(GatedWeights { outputs, kind });
        }
        let mut both = LinearWeights {
            inputs,
            outputs: 0,
            parts: Vec::new(),
            bias: None,
        };
        let row_bytes = gate.weight_type.row_bytes(inputs)?;
        let rows = Rows {
            of_type: gate.weight_type,
            inputs,
            count: 2 * outputs,
            row: &|number| {
                let matrix = if number.is_multiple_of(2) { gate } else { up };
                &matrix.bytes[number / 2 * row_bytes..][..row_bytes]
            },
        };
        self.add_parts(label, &mut both, &rows, keep_waiting)?;
        Ok(GatedWeights {
            outputs,
            kind: Gating::Paired(both),
        })
    }

    /// Appends parts with `rows` to `weights`.
    fn add_parts(
        &self,
        label: &'static str,
        weights: &mut LinearWeights,
        rows: &Rows<'_>,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let (capabilities, format) = (self.runtime.capabilities(), rows.of_type.format());
        if !capabilities.f16_rows && !matches!(rows.of_type, WeightType::F32 | WeightType::BF16) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the GPU cannot read f16 factors",
            ));
        }
        let row_bytes = format.row_bytes(rows.inputs);
        let most = as_usize(capabilities.binding_bytes)? / row_bytes;
        let most = if most > ROWS_STEP {
            (most - 1) / ROWS_STEP * ROWS_STEP
        } else {
            most / 2 * 2
        };
        if most == 0 {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("rows of {row_bytes} bytes exceed what a kernel can see"),
            ));
        }
        for start in (0..rows.count).step_by(most) {
            let outputs = most.min(rows.count - start);
            let layout = format.layout(outputs, rows.inputs).ok_or_else(|| {
                Error::new(ErrorKind::LimitExceeded, format!("{outputs} rows are too many"))
            })?;
            let bytes = as_u64(layout.bytes)?;
            let block = self.runtime.reserve(label, bytes, keep_waiting)?;
            let part = Part {
                format,
                layout,
                first: weights.outputs,
                outputs,
                view: View::front(&block, bytes)?,
                block,
            };
            self.write_part(&part, rows, start, keep_waiting)?;
            weights.outputs += outputs;
            weights.parts.push(part);
        }
        Ok(())
    }

    /// Sends the rows of `part`, which are those from `start` on.
    fn write_part(
        &self,
        part: &Part,
        rows: &Rows<'_>,
        start: usize,
        keep_waiting: &mut KeepWaiting<'_>,
    ) -> Result<()> {
        let row_bytes = rows.of_type.row_bytes(rows.inputs)?;
        let at_once = (PIECE_BYTES / row_bytes / ROWS_STEP).max(1) * ROWS_STEP;
        let mut numbers = Numbers::with_room(rows.inputs.next_multiple_of(UNIT))?;
        let mut planes = Planes::default();
        let mut written = [0; 4];
        for from in (0..part.outputs).step_by(at_once) {
            self.runtime.proceed(keep_waiting)?;
            planes.0.iter_mut().for_each(Vec::clear);
            for number in from..part.outputs.min(from + at_once) {
                planes.push(rows.of_type, (rows.row)(start + number), &mut numbers)?;
            }
            let mut recording = Recording::default();
            let targets = part.layout.planes.iter().zip(&mut written);
            for (plane, ((plane_at, _), written)) in planes.0.iter_mut().zip(targets) {
                // The last piece may end within a word; what fills it up lies before the next plane.
                plane.resize(plane.len().next_multiple_of(4), 0);
                if plane.is_empty() {
                    continue;
                }
                let at = as_u64(plane_at + *written)?;
                let target = part.view.part(at, as_u64(plane.len())?, COPY_ALIGNMENT)?;
                self.runtime.stage(
                    &mut recording,
                    Source::Bytes(plane),
                    End::View(target),
                    keep_waiting,
                )?;
                *written += plane.len();
            }
            self.runtime.submit(recording, keep_waiting)?;
        }
        Ok(())
    }
}

/// Checks that a matrix has whole rows.
fn check(matrix: &WeightRows<'_>, inputs: usize) -> Result<()> {
    let row_bytes = matrix.weight_type.row_bytes(inputs)?;
    if matrix.outputs.checked_mul(row_bytes) == Some(matrix.bytes.len()) {
        return Ok(());
    }
    Err(invalid(format!(
        "{} bytes are not {} rows of {row_bytes}",
        matrix.bytes.len(),
        matrix.outputs
    )))
}
