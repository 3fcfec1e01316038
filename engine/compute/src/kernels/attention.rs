//! The kernels of attention: `attention_decode` and `attention_combine` for single rows, `attention_prefill` for many rows of a
//! sequence.
//!
//! A row's context is cut into spans by its length alone, so what comes out for a row does not depend on the other rows of the
//! batch. Queries are turned where they are read; nobody stores turned ones.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vectorgpu_core::{Error, ErrorKind, Result};

use super::plan::stride_workgroups;
use crate::array::Array;
use crate::capabilities::Capabilities;
use crate::memory::view::View;
use crate::record::Extent;
use crate::rows::invalid;
use crate::runtime::{as_u32, as_u64};
use crate::sequences::{Heads, LayerCache, Sequences, Turns};
use crate::shader::{Kernel, Sum, Variant, kernel};
use crate::step::Step;

static ATTENTION_DECODE: Kernel = kernel!("attention_decode", "llm/attention_decode.wgsl");
static ATTENTION_COMBINE: Kernel = kernel!("attention_combine", "llm/attention_combine.wgsl");
static ATTENTION_PREFILL: Kernel = kernel!("attention_prefill", "llm/attention_prefill.wgsl");

/// Most heads of queries that a workgroup of `attention_decode` does with one read of the keys.
const GROUP_MAX: usize = 8;
/// Invocations that share a key in `attention_decode`.
const LANES: u32 = 4;
/// Pairs of row and head of queries in a tile.
const TILE_QUERIES: usize = 32;
/// Most spans of a context, and the shortest one; shared/spans.wgsl cuts it.
const SPANS_MAX: usize = 32;
const SPAN_MIN: usize = 32;

/// `Params` of attention_decode.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DecodeParams {
    row_first: u32,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    blocks_max: u32,
    blocks: u32,
    pairs: u32,
    adjacent: u32,
    positions: u32,
    spans: u32,
    scale: f32,
}

/// `Params` of attention_combine.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CombineParams {
    row_first: u32,
    rows: u32,
    heads: u32,
    spans: u32,
}

/// `Params` of attention_prefill.wgsl.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PrefillParams {
    tiles: u32,
    heads: u32,
    kv_heads: u32,
    blocks_max: u32,
    blocks: u32,
    pairs: u32,
    adjacent: u32,
    positions: u32,
    scale: f32,
}

/// What attention in a layer works on.
#[derive(Clone, Copy)]
pub struct LayerInput<'a> {
    /// `[rows, heads of queries + 2 * heads of keys, numbers]`: queries, keys and values, none of them turned.
    pub rows_in: &'a Array<f32>,
    /// Where the rows stand.
    pub sequences: &'a Sequences,
    /// How positions turn queries and keys.
    pub turns: &'a Turns,
    /// Keys and values of the layer.
    pub cache: &'a LayerCache,
}

/// Rows of one sequence that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tile {
    /// The first one.
    pub row_first: u32,
    /// How many there are.
    pub rows: u32,
}

/// Single rows of a batch, each of a sequence of its own.
#[derive(Debug, Clone)]
pub struct DecodeRows {
    /// Which rows.
    pub rows: Range<usize>,
    /// Positions that the row with the longest context sees, its own included.
    pub positions_max: usize,
    /// Whether the rows' own keys and values are to be stored; else they are in the cache.
    pub own: bool,
}

impl LayerInput<'_> {
    /// What the kernels bind first.
    pub(super) fn views(&self) -> [&View; 5] {
        [
            self.rows_in.view(),
            self.sequences.rows().view(),
            self.sequences.tables().view(),
            self.turns.table().view(),
            self.cache.words().view(),
        ]
    }
}

/// Heads of queries that a workgroup of `attention_decode` does.
fn group_of(heads: Heads) -> usize {
    let parts = heads.group().div_ceil(GROUP_MAX);
    heads.group().div_ceil(parts)
}

/// Rows of a sequence that fit a tile of [`Step::attention_prefill`]; `None` where the device's workgroups share too little memory,
/// or too many heads of queries share keys.
fn tile_rows(capabilities: &Capabilities, heads: Heads) -> Option<usize> {
    // Queries, a block of keys, two sets of weights, and what a tile is.
    let numbers = (TILE_QUERIES + 16) * heads.numbers + 4 * 16 + 2 * TILE_QUERIES * 16 + 4;
    let shared = usize::try_from(capabilities.workgroup_bytes).unwrap_or(usize::MAX);
    let rows = TILE_QUERIES / heads.group();
    (4 * numbers <= shared && rows > 0).then_some(rows)
}

impl Step {
    /// Rows of a sequence that a tile may have at most; `None` where many rows have to be done as single ones.
    #[must_use]
    pub fn attention_tile_rows(&self, heads: Heads) -> Option<usize> {
        tile_rows(self.runtime.capabilities(), heads)
    }

    /// Whether [`Step::attention_decode`] can store rows' own keys and values: at most 8 heads of queries share a head of keys.
    #[must_use]
    pub fn attention_stores_own(heads: Heads) -> bool {
        heads.group() <= GROUP_MAX
    }

    /// Numbers that [`Step::attention_decode`] needs between its kernels, for so many rows of so many positions at most.
    #[must_use]
    pub fn attention_scratch(heads: Heads, rows: usize, positions_max: usize) -> usize {
        rows * heads.queries * spans_max(positions_max) * (heads.numbers + 4)
    }

    /// Records the attention of single rows: `attended`, `[rows.len(), heads of queries, numbers]`, of rows `rows.rows` and the
    /// positions up to each one's own, `softmax(query * key / sqrt(numbers)) * value`.
    ///
    /// In f32, over keys and values of f16; the order of sums depends on a row's position alone. `scratch` is for what one kernel
    /// leaves to the next, [`Step::attention_scratch`] numbers.
    ///
    /// # Errors
    /// `InvalidArgument` for rows that are not there, other lengths, or where own keys are to be stored by several workgroups (more
    /// than 8 heads of queries to a head of keys: use [`Step::rope`]); `Unsupported` on a device that cannot pack f16; what compiling
    /// the kernels reports.
    pub fn attention_decode(
        &mut self,
        layer: &LayerInput<'_>,
        rows: &DecodeRows,
        scratch: &Array<f32>,
        attended: &Array<f32>,
    ) -> Result<()> {
        let heads = self.check_layer(layer, &rows.rows)?;
        let count = rows.rows.len();
        let spans = spans_max(rows.positions_max);
        if attended.len() < count * heads.queries * heads.numbers
            || spans > 1 && scratch.len() < Self::attention_scratch(heads, count, rows.positions_max)
            || rows.own && !Self::attention_stores_own(heads)
        {
            return Err(invalid(format!(
                "attention of {count} rows with {} numbers for results and {} between",
                attended.len(),
                scratch.len()
            )));
        }
        if count == 0 {
            return Ok(());
        }
        let variant = Variant::default()
            .sum(lanes_sum(self.runtime.capabilities()))
            .constant("HEAD", as_u32(heads.numbers)?)
            .constant("GROUP", as_u32(group_of(heads))?)
            .constant("OWN", u32::from(rows.own));
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ATTENTION_DECODE, variant)?;
        let params = DecodeParams {
            row_first: as_u32(rows.rows.start)?,
            rows: as_u32(count)?,
            heads: as_u32(heads.queries)?,
            kv_heads: as_u32(heads.keys)?,
            blocks_max: as_u32(layer.sequences.table_blocks())?,
            blocks: as_u32(layer.cache.blocks())?,
            pairs: as_u32(layer.turns.pairs())?,
            adjacent: u32::from(layer.turns.is_adjacent()),
            positions: as_u32(layer.turns.positions())?,
            spans: as_u32(spans)?,
            scale: scale_of(heads),
        };
        let parts = heads.group().div_ceil(group_of(heads));
        let items = as_u32(count * heads.keys * parts * spans)?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, items, 1),
            units: as_u64(count * rows.positions_max * heads.queries * heads.numbers * 2)?,
        };
        let out = if spans == 1 { attended } else { scratch };
        let [a, b, c, d, e] = layer.views();
        let views = [a, b, c, d, e, out.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)?;
        if spans == 1 {
            return Ok(());
        }
        self.attention_combine(layer, rows, scratch, attended)
    }

    fn attention_combine(
        &mut self,
        layer: &LayerInput<'_>,
        rows: &DecodeRows,
        scratch: &Array<f32>,
        attended: &Array<f32>,
    ) -> Result<()> {
        let heads = layer.cache.heads();
        let spans = spans_max(rows.positions_max);
        let variant = Variant::default().constant("HEAD", as_u32(heads.numbers)?);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ATTENTION_COMBINE, variant)?;
        let params = CombineParams {
            row_first: as_u32(rows.rows.start)?,
            rows: as_u32(rows.rows.len())?,
            heads: as_u32(heads.queries)?,
            spans: as_u32(spans)?,
        };
        let items = as_u32(rows.rows.len() * heads.queries)?;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, items, 1),
            units: as_u64(rows.rows.len() * heads.queries * spans * heads.numbers)?,
        };
        let views = [scratch.view(), layer.sequences.rows().view(), attended.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Records the attention of the rows of `tiles`, whose own keys and values [`Step::rope`] has stored: `attended`, `[rows, heads
    /// of queries, numbers]`, at the rows' own places, as [`Step::attention_decode`] gives it but for the order of sums.
    ///
    /// Rows of a tile are of one sequence, in the order of its positions, at most [`Step::attention_tile_rows`]. `positions_max` is the
    /// longest context of a row.
    ///
    /// # Errors
    /// `InvalidArgument` for a result of other length; `Unsupported` on a device that has no tiles or cannot unpack f16; what compiling
    /// the kernel reports.
    pub fn attention_prefill(
        &mut self,
        layer: &LayerInput<'_>,
        tiles: &Array<Tile>,
        positions_max: usize,
        attended: &Array<f32>,
    ) -> Result<()> {
        let rows = layer.rows_in.len() / layer.cache.heads().row_numbers();
        let heads = self.check_layer(layer, &(0..rows))?;
        let Some(tile_rows) = self.attention_tile_rows(heads) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the GPU cannot do many rows of a sequence at once",
            ));
        };
        if attended.len() < rows * heads.queries * heads.numbers {
            return Err(invalid(format!("{} numbers for {rows} rows", attended.len())));
        }
        if tiles.is_empty() {
            return Ok(());
        }
        let variant = Variant::default()
            .constant("HEAD", as_u32(heads.numbers)?)
            .constant("GROUP", as_u32(heads.group())?);
        let pipeline = self
            .runtime
            .pipelines
            .pipeline(&self.runtime.context, &ATTENTION_PREFILL, variant)?;
        let params = PrefillParams {
            tiles: as_u32(tiles.len())?,
            heads: as_u32(heads.queries)?,
            kv_heads: as_u32(heads.keys)?,
            blocks_max: as_u32(layer.sequences.table_blocks())?,
            blocks: as_u32(layer.cache.blocks())?,
            pairs: as_u32(layer.turns.pairs())?,
            adjacent: u32::from(layer.turns.is_adjacent()),
            positions: as_u32(layer.turns.positions())?,
            scale: scale_of(heads),
        };
        let items = as_u32(tiles.len() * heads.keys)?;
        let work = tiles.len() * tile_rows * positions_max * heads.queries * heads.numbers * 2;
        let extent = Extent {
            workgroups: stride_workgroups(&self.runtime, items, 1),
            units: as_u64(work)?,
        };
        let [a, b, c, d, e] = layer.views();
        let views = [a, b, c, d, e, tiles.view(), attended.view()];
        self.runtime
            .record(&mut self.recording, &pipeline, &params, &views, extent)
    }

    /// Checks what every kernel of this family relies on.
    pub(super) fn check_layer(&self, layer: &LayerInput<'_>, rows: &Range<usize>) -> Result<Heads> {
        let heads = layer.cache.heads();
        if !self.runtime.capabilities().f16_rows {
            return Err(Error::new(ErrorKind::Unsupported, "the GPU cannot read f16 rows"));
        }
        if rows.end > layer.sequences.rows().len()
            || layer.rows_in.len() < rows.end.saturating_mul(heads.row_numbers())
            || 2 * layer.turns.pairs() > heads.numbers
        {
            return Err(invalid(format!(
                "rows {rows:?} of {}, with {} numbers, of whose heads {} of {} numbers turn",
                layer.sequences.rows().len(),
                layer.rows_in.len(),
                2 * layer.turns.pairs(),
                heads.numbers
            )));
        }
        Ok(heads)
    }
}

/// Most spans of a context of up to so many positions: a shorter context may have more than a longer one.
fn spans_max(positions_max: usize) -> usize {
    positions_max.div_ceil(SPAN_MIN).min(SPANS_MAX)
}

fn scale_of(heads: Heads) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "at most 256")]
    let numbers = heads.numbers as f32;
    numbers.sqrt().recip()
}

/// How the invocations of a key add up.
fn lanes_sum(capabilities: &Capabilities) -> Sum {
    match capabilities.subgroups {
        Some((smallest, _)) if smallest >= LANES => Sum::Subgroup,
        _ => Sum::Workgroup,
    }
}

/// The kernels of this family.
pub(crate) const KERNELS: &[&Kernel] = &[&ATTENTION_DECODE, &ATTENTION_COMBINE, &ATTENTION_PREFILL];

/// Every pipeline that this family can ask for, on any device, but for the heads' length.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static Kernel, Variant)> {
    let head = Variant::default().constant("HEAD", 64);
    let mut variants = vec![(&ATTENTION_COMBINE, head.clone())];
    for group in [1, 3, 8] {
        let grouped = head.clone().constant("GROUP", group);
        variants.push((&ATTENTION_PREFILL, grouped.clone()));
        for sum in [Sum::Workgroup, Sum::Subgroup] {
            for own in [0, 1] {
                let variant = grouped.clone().sum(sum).constant("OWN", own);
                variants.push((&ATTENTION_DECODE, variant));
            }
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::assert_params;

    #[test]
    fn parameters_lie_in_memory_as_the_shaders_read_them() {
        assert_params!(
            ATTENTION_DECODE,
            DecodeParams {
                row_first,
                rows,
                heads,
                kv_heads,
                blocks_max,
                blocks,
                pairs,
                adjacent,
                positions,
                spans,
                scale
            }
        );
        assert_params!(
            ATTENTION_COMBINE,
            CombineParams {
                row_first,
                rows,
                heads,
                spans
            }
        );
        assert_params!(
            ATTENTION_PREFILL,
            PrefillParams {
                tiles,
                heads,
                kv_heads,
                blocks_max,
                blocks,
                pairs,
                adjacent,
                positions,
                scale
            }
        );
    }

    /// As shared/spans.wgsl computes it.
    fn span_of(positions: usize) -> usize {
        positions.div_ceil(SPANS_MAX).max(SPAN_MIN).next_power_of_two()
    }

    #[test]
    fn spans_cover_every_context_and_no_shorter_one_has_more_than_is_planned_for() {
        let mut most = 0;
        for positions in 1..5000 {
            let (span, spans) = (span_of(positions), positions.div_ceil(span_of(positions)));
            assert!(span * spans >= positions && span * (spans - 1) < positions);
            assert!(spans <= SPANS_MAX);
            most = most.max(spans);
            assert!(most <= spans_max(positions), "{positions}");
        }
    }

    #[test]
    fn groups_are_cut_into_parts_that_a_workgroup_can_do() {
        for group in 1..100 {
            let heads = Heads {
                queries: 2 * group,
                keys: 2,
                numbers: 64,
            };
            let of_workgroup = group_of(heads);
            assert!(of_workgroup <= GROUP_MAX);
            assert!(of_workgroup * group.div_ceil(of_workgroup) >= group);
        }
    }
}
