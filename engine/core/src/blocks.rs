//! Quantised weights of language models, block by block: which types there are, and what their bytes stand for.
//!
//! Layouts are those of the ggml library (ggml-common.h). A row is unpacked into [`Numbers`]: an unsigned byte for each element, and for
//! each [`GROUP`] of them a scale and a minimum, so that an element is `scale * number - minimum`. Products with other numbers then
//! do not depend on the type (`cpu::blocks`).

mod unpack;

pub(crate) use unpack::unpack;

use crate::error::{Error, ErrorKind, Result};

/// Elements that have a scale and a minimum in [`Numbers`].
pub const GROUP: usize = 16;

/// A type of quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// 32 elements of 4 bits with a scale.
    Q4_0,
    /// 32 elements of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 elements of 5 bits with a scale.
    Q5_0,
    /// 32 elements of 5 bits with a scale and a minimum.
    Q5_1,
    /// 32 elements of 8 bits with a scale.
    Q8_0,
    /// 256 elements of 2 bits; 16 scales and minima.
    Q2K,
    /// 256 elements of 3 bits; 16 scales.
    Q3K,
    /// 256 elements of 4 bits; 8 scales and minima.
    Q4K,
    /// 256 elements of 5 bits; 8 scales and minima.
    Q5K,
    /// 256 elements of 6 bits; 16 scales.
    Q6K,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 10] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The name that the ggml library has for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements of a block.
    pub const fn elements(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// A row of weights: element `i` is `scales[i / 16] * numbers[i] - minima[i / 16]`.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    pub(crate) numbers: Vec<u8>,
    pub(crate) scales: Vec<f32>,
    pub(crate) minima: Vec<f32>,
}

impl Numbers {
    /// Room for rows of `elements` elements, a multiple of 32.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn with_room(elements: usize) -> Result<Self> {
        debug_assert!(elements.is_multiple_of(32), "whole blocks");
        let mut numbers = Self::default();
        let reserved = numbers
            .numbers
            .try_reserve_exact(elements)
            .and_then(|()| numbers.scales.try_reserve_exact(elements / GROUP))
            .and_then(|()| numbers.minima.try_reserve_exact(elements / GROUP));
        reserved.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for a row of weights")
                .with_detail(error.to_string())
        })?;
        numbers.numbers.resize(elements, 0);
        numbers.scales.resize(elements / GROUP, 0.0);
        numbers.minima.resize(elements / GROUP, 0.0);
        Ok(numbers)
    }

    /// The number of each element.
    pub fn numbers(&self) -> &[u8] {
        &self.numbers
    }

    /// Writes the elements to `out`, as many as that has.
    pub fn values(&self, out: &mut [f32]) {
        let groups = self
            .numbers
            .chunks(GROUP)
            .zip(self.scales.iter().zip(&self.minima));
        for ((numbers, (scale, minimum)), out) in groups.zip(out.chunks_mut(GROUP)) {
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = scale * f32::from(*number) - minimum;
            }
        }
    }
}

/// Tokens' numbers as bytes, to be multiplied with [`Numbers`]: element `i` of a token is about `scales[i / 16] * numbers[i]`.
///
/// Groups of 32 elements have a scale of their own; it stands twice, since weights have one for each 16.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    /// `[tokens, elements]`.
    pub(crate) numbers: Vec<i8>,
    /// `[tokens, elements / 16]`.
    pub(crate) scales: Vec<f32>,
    /// `[tokens, elements / 16]`: the sums of the groups' numbers, times their scales.
    pub(crate) sums: Vec<f32>,
    elements: usize,
}

impl Activations {
    /// Rounds `x`, `[tokens, elements]`, memory kept; `elements` is a multiple of 32.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn round(&mut self, x: &[f32], elements: usize) -> Result<()> {
        debug_assert!(
            elements.is_multiple_of(32) && x.len().is_multiple_of(elements),
            "whole groups"
        );
        let groups = x.len() / GROUP;
        let reserved = self
            .numbers
            .try_reserve(x.len())
            .and_then(|()| self.scales.try_reserve(groups))
            .and_then(|()| self.sums.try_reserve(groups));
        reserved.map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for activations").with_detail(error.to_string())
        })?;
        self.elements = elements;
        self.numbers.resize(x.len(), 0);
        self.scales.resize(groups, 0.0);
        self.sums.resize(groups, 0.0);
        let numbers = self.numbers.chunks_mut(32);
        let factors = self.scales.chunks_mut(2).zip(self.sums.chunks_mut(2));
        for ((x, numbers), (scales, sums)) in x.chunks(32).zip(numbers).zip(factors) {
            round_group(x, numbers, scales, sums);
        }
        Ok(())
    }

    /// Writes what a token's numbers stand for to `out`, as many as that has.
    ///
    /// # Panics
    /// When there is no such token.
    pub fn values(&self, token: usize, out: &mut [f32]) {
        let numbers = &self.numbers[token * self.elements..][..self.elements];
        let scales = &self.scales[token * self.elements / GROUP..];
        for ((out, numbers), scale) in out.chunks_mut(GROUP).zip(numbers.chunks(GROUP)).zip(scales) {
            for (out, number) in out.iter_mut().zip(numbers) {
                *out = scale * f32::from(*number);
            }
        }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.numbers.len().checked_div(self.elements).unwrap_or(0)
    }

    /// Elements of a token.
    pub fn elements(&self) -> usize {
        self.elements
    }
}

/// Rounds 32 elements to whole multiples of a 127th of the largest.
#[expect(clippy::cast_possible_truncation, reason = "rounded to within a byte first")]
fn round_group(x: &[f32], numbers: &mut [i8], scales: &mut [f32], sums: &mut [f32]) {
    let largest = x.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
    for (number, x) in numbers.iter_mut().zip(x) {
        *number = (x * inverse).round() as i8;
    }
    for (sum, numbers) in sums.iter_mut().zip(numbers.chunks(GROUP)) {
        let whole: i32 = numbers.iter().map(|number| i32::from(*number)).sum();
        *sum = scale * whole as f32;
    }
    scales.fill(scale);
}
