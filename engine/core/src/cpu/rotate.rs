//! The butterflies of `quantize::rotation`. Written out for x86-64: of a loop over short runs the compiler makes gathers.
//!
//! Invariant: each operation is rounded once and none is fused, so every machine computes the same rotation.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "loads from and stores to arrays of a register's length"
    )
)]

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

/// Elements of which a word holds the signs.
const WORD: usize = 32;
/// Elements that the first three steps of a transform take together.
const GROUP: usize = 8;

/// Turns `x` in place: for each round of `signs` (whole words of 32 elements), flips signs and transforms the first, in
/// every other round the last `2^k` elements, `2^k` the largest power of two that fits; where that is not all, such a round
/// then turns the two halves into each other.
#[inline(always)]
pub(super) fn rotate(x: &mut [f32], signs: &[u32]) {
    let turn = |x: &mut [f32], round: &[u32], block: Range<usize>| {
        x.chunks_mut(WORD).zip(round).for_each(|(x, word)| flip(x, *word));
        hadamard(&mut x[block]);
    };
    rounds(x, signs, turn, halves);
}

/// The rounds of [`rotate`]: `turn` flips the signs of all elements and transforms those of a block, `halves` is [`halves`]. It asks for
/// no instruction set, so that those compiled for different ones can inline it.
#[inline(always)]
fn rounds(
    x: &mut [f32],
    signs: &[u32],
    turn: impl Fn(&mut [f32], &[u32], Range<usize>),
    halves: impl Fn(&mut [f32]),
) {
    let words = x.len().div_ceil(WORD);
    if words == 0 {
        return;
    }
    let block = 1usize << x.len().ilog2();
    for (number, round) in signs.chunks_exact(words).enumerate() {
        if number % 2 == 0 || block == x.len() {
            turn(x, round, 0..block);
        } else {
            turn(x, round, x.len() - block..x.len());
            halves(x);
        }
    }
}

/// Flips the signs whose bits are set.
#[inline(always)]
fn flip(x: &mut [f32], word: u32) {
    for (i, x) in (0u32..).zip(x) {
        *x = f32::from_bits(x.to_bits() ^ (word >> i << 31));
    }
}

/// The Walsh-Hadamard transform of `2^k` elements, scaled to keep lengths.
#[inline(always)]
fn hadamard(x: &mut [f32]) {
    let scale = 1.0 / (x.len() as f32).sqrt();
    let mut width = 1;
    if x.len() >= GROUP {
        for group in x.as_chunks_mut::<GROUP>().0 {
            *group = small(*group, scale);
        }
        width = GROUP;
    } else {
        x.iter_mut().for_each(|x| *x *= scale);
    }
    while width < x.len() {
        for pair in x.chunks_exact_mut(2 * width) {
            let (low, high) = pair.split_at_mut(width);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        width *= 2;
    }
}

/// The steps of widths 1, 2 and 4.
#[inline(always)]
fn small(x: [f32; GROUP], scale: f32) -> [f32; GROUP] {
    let mut x = x.map(|x| x * scale);
    for width in [1, 2, 4] {
        let old = x;
        for (i, x) in x.iter_mut().enumerate() {
            let other = old[i ^ width];
            *x = if i & width == 0 {
                old[i] + other
            } else {
                other - old[i]
            };
        }
    }
    x
}

/// Turns each element of the first half and its mirror image in the second by 45 degrees. Halves side by side would undo a
/// step of a transform where they are nearly as long as it.
#[inline(always)]
fn halves(x: &mut [f32]) {
    let (low, high) = x.split_at_mut(x.len() / 2);
    // The middle of an odd number stays; whole groups from the outside in, then what is left between.
    let at = high.len() - low.len();
    let high = &mut high[at..];
    let (low, low_rest) = low.as_chunks_mut::<GROUP>();
    let (high_rest, high) = high.as_rchunks_mut::<GROUP>();
    for (low, high) in low.iter_mut().zip(high.iter_mut().rev()) {
        let mut mirrored = *high;
        mirrored.reverse();
        turn(low, &mut mirrored);
        mirrored.reverse();
        *high = mirrored;
    }
    for (low, high) in low_rest.iter_mut().zip(high_rest.iter_mut().rev()) {
        turn(std::slice::from_mut(low), std::slice::from_mut(high));
    }
}

#[inline(always)]
fn turn(low: &mut [f32], high: &mut [f32]) {
    const COS: f32 = std::f32::consts::FRAC_1_SQRT_2;
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = ((*a + *b) * COS, (*a - *b) * COS);
    }
}
