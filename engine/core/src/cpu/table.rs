//! The table of kernels of one instruction set, and the safe calls around it.
//!
//! Invariant: a `&'static Kernels` is only handed out (by `Kernels::all_supported`) on a machine that has the
//! instruction set its functions were compiled for; every method checks the lengths that its function relies on.
#![expect(
    unsafe_code,
    reason = "calls functions compiled for an instruction set that was detected at run time"
)]

use super::ahead::Ahead;
use super::blocks::{BlockKernels, TokenRow, WeightRow};
use super::bounds::{BoundLanes, BoundRows, BoundTerms, Near};
use super::encode::ResidualProducts;
use super::halves::HalfKernels;
use super::nearest::LaneBest;
use super::screen::{ScreenRows, ScreenTerms};
use crate::blocks::{Activations, BlockType, GROUP, Numbers};
use crate::metric::{CodeScore, Element, Score};
use crate::quantize::bits;

/// `fn(query, row)`: the row holds exactly `query.len()` encoded elements.
pub(super) type RowKernel = unsafe fn(&[f32], &[u8]) -> f32;
/// `fn(query, rows, scores)`: the rows hold exactly `scores.len() * query.len()` encoded elements.
pub(super) type BlockKernel = unsafe fn(&[f32], &[u8], &mut [f32]);
/// `fn(query, row)`: equally long codes.
pub(super) type CodeRowKernel = unsafe fn(&[u8], &[u8]) -> i32;
/// `fn(query, rows, scores)`: the rows hold exactly `scores.len() * query.len()` bytes.
pub(super) type CodeBlockKernel = unsafe fn(&[u8], &[u8], &mut [i32]);
/// `fn(queries, rows, scores)`: equally long queries; the rows hold exactly `scores.len() * queries[0].len()` bytes.
pub(super) type CodePairKernel = unsafe fn([&[u8]; 2], &[u8], &mut [[i32; 2]]);
/// `fn(tables, block, sums, ahead)`: see [`Kernels::lookup_block`].
pub(super) type LookupKernel = unsafe fn(&[u8], &[u8], &mut [u32; LOOKUP_ROWS], Ahead);
/// `fn(queries, code)`: see [`Kernels::dot_nibbles`].
pub(super) type NibbleKernel = unsafe fn([&[u8]; 2], &[u8]) -> [i32; 2];
/// `fn(w, c, digits)`: see [`Kernels::encode_residual`].
pub(super) type ResidualKernel = unsafe fn(&[f32], &[f32], &mut [u8]) -> ResidualProducts;
/// `fn(terms, rows)`: see [`Kernels::screen_block`].
pub(super) type ScreenKernel = unsafe fn(&ScreenTerms, &ScreenRows<'_>) -> u16;
/// `fn(terms, rows, cut, bounds)`: see [`Kernels::bound_block`].
pub(super) type BoundKernel = unsafe fn(&BoundTerms, &BoundRows<'_>, f32, &mut BoundLanes) -> Near;
/// `fn(rows, stride, panel, dots, first)`: adds to `dots` (`[r, tile_width]`) the products of `r` rows, each
/// `panel.len() / tile_width` elements long and `stride` elements apart, with a panel (`[k, tile_width]`) of
/// centroids; `first` ignores what `dots` held.
pub(super) type TileKernel = unsafe fn(&[f32], usize, &[f32], &mut [f32], bool);
/// `fn(dots, bias, scale, first_label, best)`: see [`super::nearest::fold_lanes`].
pub(super) type FoldKernel = unsafe fn(&[f32], &[f32], f32, u32, &mut [LaneBest]);

/// The kernels of one instruction set.
///
/// ```
/// use vectorgpu_core::cpu::Kernels;
/// use vectorgpu_core::metric::{Score, Element};
///
/// let query = [1.0f32, 2.0, 3.0];
/// let rows = [[1.0f32, 2.0, 3.0], [0.0, 0.0, 1.0]];
/// let rows: &[u8] = bytemuck::cast_slice(&rows);
/// for kernels in Kernels::all_supported() {
///     let mut scores = [0.0; 2];
///     kernels.block(Score::Dot, Element::F32, &query, rows, &mut scores);
///     assert_eq!(scores, [14.0, 3.0], "{}", kernels.name());
/// }
/// ```
pub struct Kernels {
    pub(super) name: &'static str,
    pub(super) squared_l2_f32: RowKernel,
    pub(super) dot_f32: RowKernel,
    pub(super) l1_f32: RowKernel,
    pub(super) squared_l2_f16: RowKernel,
    pub(super) dot_f16: RowKernel,
    pub(super) cosine_parts_f32: unsafe fn(&[f32], &[u8]) -> CosineParts,
    pub(super) squared_l2_f32_block: BlockKernel,
    pub(super) dot_f32_block: BlockKernel,
    pub(super) squared_l2_f16_block: BlockKernel,
    pub(super) dot_f16_block: BlockKernel,
    pub(super) l1_f32_block: BlockKernel,
    pub(super) l1_f16_block: BlockKernel,
    pub(super) blocks: BlockKernels,
    pub(super) codes: CodeKernels,
    pub(super) halves: HalfKernels,
    pub(super) rotate: unsafe fn(&mut [f32], &[u32]),
    pub(super) bound_block: BoundKernel,
    pub(super) screen_block: ScreenKernel,
    pub(super) encode_i8: unsafe fn(&[f32], &mut [u8]) -> f32,
    pub(super) decode_i8: unsafe fn(&[u8], f32, &mut [f32]),
    pub(super) encode_bits: unsafe fn(&[f32], &mut [u8]),
    pub(super) encode_residual: ResidualKernel,
    pub(super) square: unsafe fn(&[f32]) -> f64,
    pub(super) add: unsafe fn(&mut [f64], &[f32], f64),
    pub(super) scale: unsafe fn(&mut [f32], f64),
    pub(super) subtract: unsafe fn(&mut [f32], &[f32], f32),
    pub(super) encode_f16: unsafe fn(&[f32], &mut [u8]),
    pub(super) decode_f16: unsafe fn(&[u8], &mut [f32]),
    pub(super) tile_width: usize,
    pub(super) tile: TileKernel,
    pub(super) fold: FoldKernel,
}

/// The kernels of one instruction set for int8 and 1-bit codes.
#[derive(Clone, Copy)]
pub(super) struct CodeKernels {
    pub(super) dot_i8: CodeRowKernel,
    pub(super) squared_l2_i8: CodeRowKernel,
    pub(super) hamming: CodeRowKernel,
    pub(super) and_count: CodeRowKernel,
    pub(super) dot_i8_block: CodeBlockKernel,
    pub(super) dot_i8_pair_block: CodePairKernel,
    pub(super) squared_l2_i8_block: CodeBlockKernel,
    pub(super) hamming_block: CodeBlockKernel,
    pub(super) and_count_block: CodeBlockKernel,
    pub(super) lookup_block: LookupKernel,
    pub(super) dot_nibbles: NibbleKernel,
}

/// Rows of a block of 1-bit codes that is scored by looking up sums: a register of 16 bytes.
pub const LOOKUP_ROWS: usize = 16;
/// Bits of each of the two parts of a number that is looked up: so few that four of them add up within a byte.
pub const LOOKUP_BITS: u32 = 6;
/// Bytes of tables for each byte of a row's code: two nibbles, 16 sums in two bytes each.
pub const LOOKUP_BYTES: usize = 64;
/// Bytes of a row's code whose tables lie together.
pub const LOOKUP_QUAD: usize = 4;
/// Lines that are asked for with each of those.
pub const LOOKUP_LINES: usize = 1;

/// The first 16 numbers of a run: where they lie, or, where there are fewer, in `copy`, what was there behind them.
pub fn lanes<'a, T: Copy>(run: &'a [T], copy: &'a mut [T; LOOKUP_ROWS]) -> &'a [T; LOOKUP_ROWS] {
    if let Some(lanes) = run.first_chunk() {
        return lanes;
    }
    copy[..run.len()].copy_from_slice(run);
    copy
}

/// Bytes of a query for [`Kernels::dot_nibbles`] come in runs of so many.
pub const NIBBLE_STEP: usize = 64;

/// The three sums of a cosine, each bit for bit what [`Kernels::row`] returns for `Score::Dot` on the same inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineParts {
    /// `sum(a_i * b_i)`.
    pub dot: f32,
    /// `sum(a_i * a_i)`.
    pub norm_sq_a: f32,
    /// `sum(b_i * b_i)`.
    pub norm_sq_b: f32,
}

impl Kernels {
    /// Names the instruction set: "avx512-vbmi" (with VNNI and VPOPCNTDQ too), "avx512-vnni", "avx512", "avx2",
    /// "neon" or "scalar".
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Computes the score of `query` against one encoded row, of any alignment, in f32.
    ///
    /// # Panics
    /// When `row` is not `query.len()` elements long.
    pub fn row(&self, score: Score, element: Element, query: &[f32], row: &[u8]) -> f32 {
        assert_eq!(row.len(), element.code_bytes(query.len()), "row length");
        let kernel = match (score, element) {
            (Score::SquaredL2, Element::F32) => self.squared_l2_f32,
            (Score::Dot, Element::F32) => self.dot_f32,
            (Score::SquaredL2, Element::F16) => self.squared_l2_f16,
            (Score::Dot, Element::F16) => self.dot_f16,
            (Score::L1, Element::F32) => self.l1_f32,
            (Score::L1, Element::F16) => {
                let mut scores = [0.0];
                self.block(score, element, query, row, &mut scores);
                return scores[0];
            }
        };
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { kernel(query, row) }
    }

    /// Computes the scores of `query` against `scores.len()` consecutive rows, bit for bit those of [`Self::row`].
    ///
    /// # Panics
    /// When `rows` is not `scores.len()` rows long.
    pub fn block(&self, score: Score, element: Element, query: &[f32], rows: &[u8], scores: &mut [f32]) {
        let bytes = element.code_bytes(query.len()).checked_mul(scores.len());
        assert_eq!(Some(rows.len()), bytes, "block length");
        let kernel = match (score, element) {
            (Score::SquaredL2, Element::F32) => self.squared_l2_f32_block,
            (Score::Dot, Element::F32) => self.dot_f32_block,
            (Score::SquaredL2, Element::F16) => self.squared_l2_f16_block,
            (Score::Dot, Element::F16) => self.dot_f16_block,
            (Score::L1, Element::F32) => self.l1_f32_block,
            (Score::L1, Element::F16) => self.l1_f16_block,
        };
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { kernel(query, rows, scores) }
    }

    /// Computes the score of two quantised codes, of any alignment: int8 codes a byte an element, 1-bit codes eight
    /// elements a byte. Exact for codes of up to 33,000 bytes, more than `MAX_DIMS`; longer sums wrap.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn code_row(&self, score: CodeScore, query: &[u8], row: &[u8]) -> i32 {
        assert_eq!(row.len(), query.len(), "code length");
        let kernel = match score {
            CodeScore::DotI8 => self.codes.dot_i8,
            CodeScore::SquaredL2I8 => self.codes.squared_l2_i8,
            CodeScore::Hamming => self.codes.hamming,
            CodeScore::AndCount => self.codes.and_count,
        };
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { kernel(query, row) }
    }

    /// Computes the scores of `query` against `scores.len()` consecutive codes, those of [`Self::code_row`].
    ///
    /// # Panics
    /// When `rows` is not `scores.len()` codes long.
    pub fn code_block(&self, score: CodeScore, query: &[u8], rows: &[u8], scores: &mut [i32]) {
        let bytes = query.len().checked_mul(scores.len());
        assert_eq!(Some(rows.len()), bytes, "block length");
        let kernel = match score {
            CodeScore::DotI8 => self.codes.dot_i8_block,
            CodeScore::SquaredL2I8 => self.codes.squared_l2_i8_block,
            CodeScore::Hamming => self.codes.hamming_block,
            CodeScore::AndCount => self.codes.and_count_block,
        };
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { kernel(query, rows, scores) }
    }

    /// Computes the int8 products of two queries with `scores.len()` consecutive codes, reading those once: for each
    /// code what [`Self::code_row`] says of both. No element of a query is -128.
    ///
    /// # Panics
    /// When the queries differ in length or `rows` is not `scores.len()` codes long.
    pub fn dot_i8_pairs(&self, queries: [&[u8]; 2], rows: &[u8], scores: &mut [[i32; 2]]) {
        assert_eq!(queries[0].len(), queries[1].len(), "query length");
        let bytes = queries[0].len().checked_mul(scores.len());
        assert_eq!(Some(rows.len()), bytes, "block length");
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.codes.dot_i8_pair_block)(queries, rows, scores) }
    }

    /// Sums, for each of 16 rows, one 12-bit number for each nibble of its code.
    ///
    /// Byte `k` of row `r` is `block[16 k + r]`, so that a register holds the same byte of every row. The tables of four
    /// bytes lie together, in parts of 64 bytes: the numbers' low [`LOOKUP_BITS`] bits for the low nibbles, the high ones,
    /// and the same for the high nibbles; a part holds 16 bytes, one for each value of a nibble, for each of the four.
    /// What the sums are where a byte of `tables` has more bits is not said.
    /// Source of the idea: F. Andre, A.-M. Kermarrec and N. Le Scouarnec, "Cache locality is not enough", VLDB 2015.
    ///
    /// Asks for `ahead` meanwhile, up to [`LOOKUP_LINES`] lines for each four bytes of a code.
    ///
    /// # Panics
    /// When the block does not hold whole quads of code bytes, at most 16,384 of them a row, or `tables` not theirs.
    pub fn lookup_block(&self, tables: &[u8], block: &[u8], sums: &mut [u32; LOOKUP_ROWS], ahead: Ahead) {
        let bytes = block.len() / LOOKUP_ROWS;
        assert!(
            block.len().is_multiple_of(LOOKUP_ROWS * LOOKUP_QUAD) && bytes <= 16_384,
            "block length"
        );
        assert_eq!(tables.len(), bytes * LOOKUP_BYTES, "length of tables");
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.codes.lookup_block)(tables, block, sums, ahead) }
    }

    /// Computes the products of two int8 queries with the nibbles, 0 to 15, of a code: the first half of a query is for the
    /// low nibbles of the bytes, the second for the high ones. Exact for `MAX_DIMS` nibbles.
    ///
    /// # Panics
    /// When a half is not `code.len()` long, rounded up to whole runs of [`NIBBLE_STEP`].
    pub fn dot_nibbles(&self, queries: [&[u8]; 2], code: &[u8]) -> [i32; 2] {
        let bytes = 2 * code.len().next_multiple_of(NIBBLE_STEP);
        assert!(queries.iter().all(|query| query.len() == bytes), "query length");
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.codes.dot_nibbles)(queries, code) }
    }

    /// Unpacks a row of blocks.
    ///
    /// # Panics
    /// When `row` is not as many elements as `numbers` has room for.
    pub fn unpack_blocks(&self, of_type: BlockType, row: &[u8], numbers: &mut Numbers) {
        let Numbers {
            numbers,
            scales,
            minima,
        } = numbers;
        let blocks = numbers.len() / of_type.elements();
        let fits = numbers.len() == blocks * of_type.elements() && row.len() == blocks * of_type.bytes();
        assert!(
            fits && scales.len() * GROUP == numbers.len() && minima.len() == scales.len(),
            "row length"
        );
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.blocks.unpack)(of_type, row, numbers, scales, minima) }
    }

    /// Computes the products of a row of blocks with each of `products.len()` tokens; `numbers` is memory for the row.
    ///
    /// # Panics
    /// When row, memory and activations are not equally long, or not of so many tokens.
    pub fn multiply_row(
        &self,
        of_type: BlockType,
        row: &[u8],
        activations: &Activations,
        numbers: &mut Numbers,
        products: &mut [f32],
    ) {
        let elements = activations.elements();
        let is_whole = elements.is_multiple_of(of_type.elements())
            && row.len() == elements / of_type.elements() * of_type.bytes()
            && activations.numbers.len() == elements
            && activations.scales.len() == elements / GROUP
            && activations.sums.len() == elements / GROUP;
        if let [product] = products
            && is_whole
        {
            let token = TokenRow {
                numbers: &activations.numbers,
                scales: &activations.scales,
                sums: &activations.sums,
            };
            // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
            if let Some(fused) = unsafe { (self.blocks.fused)(of_type, row, token) } {
                *product = fused;
                return;
            }
        }
        self.unpack_blocks(of_type, row, numbers);
        self.multiply_blocks(numbers, activations, products);
    }

    /// Computes the products of a row of weights with each of `products.len()` tokens.
    ///
    /// # Panics
    /// When the activations are not so many tokens of as many elements.
    pub fn multiply_blocks(&self, weights: &Numbers, activations: &Activations, products: &mut [f32]) {
        let elements = weights.numbers.len();
        let groups = elements / GROUP;
        assert!(
            elements == activations.elements()
                && elements.is_multiple_of(2 * GROUP)
                && products.len() == activations.tokens()
                && weights.scales.len() == groups
                && weights.minima.len() == groups
                && activations.scales.len() == groups * products.len()
                && activations.sums.len() == groups * products.len(),
            "lengths"
        );
        let row = WeightRow {
            numbers: &weights.numbers,
            scales: &weights.scales,
            minima: &weights.minima,
        };
        for (token, product) in products.iter_mut().enumerate() {
            let token_row = TokenRow {
                numbers: &activations.numbers[token * elements..][..elements],
                scales: &activations.scales[token * groups..][..groups],
                sums: &activations.sums[token * groups..][..groups],
            };
            // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
            *product = unsafe { (self.blocks.product)(row, token_row) };
        }
    }

    /// Turns `x` as `quantize::rotation` describes, a round for each run of `x.len().div_ceil(32)` words of signs.
    pub fn rotate(&self, x: &mut [f32], signs: &[u32]) {
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.rotate)(x, signs) }
    }

    /// Computes the bounds of the 16 rows of a block, as `quantize::rabitq` describes them, minus infinity where the
    /// numbers leave f32, and tells which lie below `cut`.
    pub fn bound_block(
        &self,
        terms: &BoundTerms,
        rows: &BoundRows<'_>,
        cut: f32,
        bounds: &mut BoundLanes,
    ) -> Near {
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.bound_block)(terms, rows, cut, bounds) }
    }

    /// Tells which of 16 int8 rows may be near, as `quantize::int8_query` describes it: a bit for each.
    pub fn screen_block(&self, terms: &ScreenTerms, rows: &ScreenRows<'_>) -> u16 {
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.screen_block)(terms, rows) }
    }

    /// Computes the three sums of a cosine in one pass.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn cosine_parts(&self, a: &[f32], b: &[f32]) -> CosineParts {
        assert_eq!(a.len(), b.len(), "vector length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.cosine_parts_f32)(a, bytemuck::cast_slice(b)) }
    }

    /// Writes the int8 codes of `x`, as `quantize::int8` defines them, and returns their scale: 0 for a vector that
    /// counts as zero, NaN (and codes 0) for one that holds NaN or an infinity.
    ///
    /// # Panics
    /// When `codes` is not `x.len()` bytes long.
    pub fn encode_i8(&self, x: &[f32], codes: &mut [u8]) -> f32 {
        assert_eq!(codes.len(), x.len(), "code length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.encode_i8)(x, codes) }
    }

    /// Writes what int8 codes and their scale stand for, as `quantize::int8` defines it.
    ///
    /// # Panics
    /// When `x` is not as long as `codes`.
    pub fn decode_i8(&self, codes: &[u8], scale: f32, x: &mut [f32]) {
        assert_eq!(codes.len(), x.len(), "code length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.decode_i8)(codes, scale, x) }
    }

    /// Writes the 1-bit code of `x`, as `quantize::bits` defines it.
    ///
    /// # Panics
    /// When `codes` is not `bits::code_bytes(x.len())` bytes long.
    pub fn encode_bits(&self, x: &[f32], codes: &mut [u8]) {
        assert_eq!(codes.len(), bits::code_bytes(x.len()), "code length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.encode_bits)(x, codes) }
    }

    /// Writes the 4-bit digits of `w`, a rotated residual, a byte each, as `quantize::rabitq::fine` defines them, and returns
    /// the products from which the factors of its codes follow; `c` is the rotated centroid.
    ///
    /// # Panics
    /// When `c` or `digits` is not as long as `w`.
    pub fn encode_residual(&self, w: &[f32], c: &[f32], digits: &mut [u8]) -> ResidualProducts {
        assert!(w.len() == c.len() && w.len() == digits.len(), "vector length");
        // SAFETY: the machine has this instruction set (all_supported), and the lengths were checked above.
        unsafe { (self.encode_residual)(w, c, digits) }
    }

    /// `|a|^2`, summed in f64.
    pub fn square(&self, a: &[f32]) -> f64 {
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.square)(a) }
    }

    /// Adds `weight * a_i` to each of `sums`, `[n]` as `a` is, in f64.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, sums: &mut [f64], a: &[f32], weight: f64) {
        assert_eq!(sums.len(), a.len(), "vector length");
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.add)(sums, a, weight) }
    }

    /// Multiplies each element by `factor`, in f64.
    pub fn scale(&self, x: &mut [f32], factor: f64) {
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.scale)(x, factor) }
    }

    /// Takes `weight * a_i` from each of `x`, `[n]` as `a` is; two roundings to f32.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn subtract(&self, x: &mut [f32], a: &[f32], weight: f32) {
        assert_eq!(x.len(), a.len(), "vector length");
        // SAFETY: the machine has this instruction set (all_supported).
        unsafe { (self.subtract)(x, a, weight) }
    }

    /// Rounds to f16 (ties to even), little-endian; finite and infinite values beyond ±65504 become ±65504, NaN stays.
    ///
    /// # Panics
    /// When `codes` is not `2 * x.len()` bytes long.
    pub fn encode_f16(&self, x: &[f32], codes: &mut [u8]) {
        assert_eq!(codes.len(), Element::F16.code_bytes(x.len()), "code length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.encode_f16)(x, codes) }
    }

    /// Widens little-endian f16 codes to f32, exactly.
    ///
    /// # Panics
    /// When `codes` is not `2 * x.len()` bytes long.
    pub fn decode_f16(&self, codes: &[u8], x: &mut [f32]) {
        assert_eq!(codes.len(), Element::F16.code_bytes(x.len()), "code length");
        // SAFETY: the machine has this instruction set (all_supported), and the length was checked above.
        unsafe { (self.decode_f16)(codes, x) }
    }

    /// Adds the products of some rows with a panel of centroids to `dots`; see [`TileKernel`].
    pub(super) fn tile(&self, rows: &[f32], stride: usize, panel: &[f32], dots: &mut [f32], first: bool) {
        let depth = panel.len() / self.tile_width;
        let count = dots.len() / self.tile_width;
        assert!(
            panel.len() == depth * self.tile_width && dots.len() == count * self.tile_width && count > 0,
            "tile shape"
        );
        assert!(
            depth <= stride && rows.len() >= (count - 1) * stride + depth,
            "tile rows"
        );
        // SAFETY: the machine has this instruction set (all_supported), and the shapes were checked above.
        unsafe { (self.tile)(rows, stride, panel, dots, first) }
    }

    /// Folds a panel's products into the best labels so far; see [`super::nearest::fold_lanes`].
    pub(super) fn fold(
        &self,
        dots: &[f32],
        bias: &[f32],
        scale: f32,
        first_label: u32,
        best: &mut [LaneBest],
    ) {
        assert!(
            bias.len() == self.tile_width && dots.len() == best.len() * self.tile_width,
            "fold shape"
        );
        // SAFETY: the machine has this instruction set (all_supported), and the shapes were checked above.
        unsafe { (self.fold)(dots, bias, scale, first_label, best) }
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
