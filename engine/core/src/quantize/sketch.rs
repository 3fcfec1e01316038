//! What an index keeps of a sparse vector: a projection, by which rows are clustered, and a sketch, which bounds distances.
//!
//! **Projection.** `[projection_dims]` f32: each element is added, or subtracted, at a place that a hash of its index names (feature
//! hashing: K. Weinberger et al., ICML 2009), so inner products are kept on average. It only says which list a row is in.
//!
//! **Sketch.** [`SKETCH_BYTES`] bytes. An element that is not zero has a key, its index and its sign; two hashes of the key name two
//! bytes, each of which is at least the element's magnitude, in units of the row's scale. So the smaller of the two bytes that
//! a query's element would have is an upper bound of the row's magnitude there, mostly 0 where the row has nothing. From that
//! follow bounds of distances ([`query`]) that always hold, whatever the hashes do. Source of the idea of sketches that bound products:
//! S. Bruch et al., "An Approximate Algorithm for Maximum Inner Product Search over Streaming Sparse Vectors", 2023; two hashes
//! of one array, as in a Bloom filter, are what makes the bounds of some hundred elements in 1,024 bytes tight.
//!
//! Must not know pages. Hashes are the same on every machine and in every version: indexes hold what they gave.

use super::rounded_up;
use crate::error::{Error, ErrorKind, Result};
use crate::random::{WEYL, mixed};
use crate::sparse::{Sparse, distance};

pub mod query;

/// Bytes of a row's sketch.
pub const SKETCH_BYTES: usize = 1024;
/// Most dimensions of a projection: with a quarter of them, eight times as many lists had to be read for the same rows of a simulated
/// collection of texts.
pub const MAX_PROJECTION_DIMS: usize = 1024;

/// Hashes begin from these, so that projections and sketches have nothing to do with each other.
const PROJECTION_SEED: u64 = 0x7072_6f6a_6563_7421;
const SKETCH_SEED: u64 = 0x736b_6574_6368_2121;

/// Dimensions of the projection of a vector of `dims` dimensions: the vector itself where that is short.
pub const fn projection_dims(dims: usize) -> usize {
    if dims < MAX_PROJECTION_DIMS {
        dims
    } else {
        MAX_PROJECTION_DIMS
    }
}

/// Appends the projection of `vector` to `out`. Finite for finite elements.
///
/// # Errors
/// `OutOfMemory`; `DataException` for an index outside the dimensions, which only a damaged value has.
pub fn project(vector: Sparse<'_>, out: &mut Vec<f32>) -> Result<()> {
    let dims = projection_dims(vector.dims);
    out.try_reserve(dims)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory for a row"))?;
    let start = out.len();
    out.resize(start + dims, 0.0);
    let places = &mut out[start..];
    for (&index, &value) in vector.indices.iter().zip(vector.values) {
        let (place, signed) = if vector.dims == dims {
            (usize::try_from(index).unwrap_or(dims), value)
        } else {
            let hash = mix(PROJECTION_SEED, u64::from(index.cast_unsigned()));
            let place = usize::try_from(hash % dims as u64).expect("below the dimensions");
            (place, if hash >> 63 == 0 { value } else { -value })
        };
        let place = places
            .get_mut(place)
            .ok_or_else(|| Error::new(ErrorKind::DataException, "sparsevec index out of bounds"))?;
        *place = (*place + signed).clamp(f32::MIN, f32::MAX);
    }
    Ok(())
}

/// What is stored with a sketch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SketchFactors {
    /// What bytes are multiplied with.
    pub scale: f32,
    /// Elements that are not zero.
    pub count: f32,
    /// `|x|^2` as the cosine operator computes it.
    pub norm_sq: f32,
    /// At most the sum of `|x_i|`.
    pub magnitude: f32,
}

impl SketchFactors {
    /// Number of factors.
    pub const RUNS: usize = 4;

    /// The factors, in the order in which pages hold them.
    pub const fn runs(self) -> [f32; Self::RUNS] {
        [self.scale, self.count, self.norm_sq, self.magnitude]
    }

    /// The factors that [`Self::runs`] gave.
    pub const fn from_runs([scale, count, norm_sq, magnitude]: [f32; Self::RUNS]) -> Self {
        Self {
            scale,
            count,
            norm_sq,
            magnitude,
        }
    }
}

/// Appends the sketch of `vector` to `out`.
///
/// # Errors
/// `OutOfMemory`.
pub fn encode(vector: Sparse<'_>, out: &mut Vec<u8>) -> Result<SketchFactors> {
    out.try_reserve(SKETCH_BYTES)
        .map_err(|_| Error::new(ErrorKind::OutOfMemory, "out of memory while encoding a row"))?;
    let start = out.len();
    out.resize(start + SKETCH_BYTES, 0);
    let bytes = &mut out[start..];
    let largest = vector.values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    // Rounded up, so that 255 of it are no less than the largest element.
    let scale = rounded_up(f64::from(largest) / 255.0 * (1.0 + 1e-15));
    for (&index, &value) in vector.indices.iter().zip(vector.values) {
        let byte = byte_of(value, scale);
        for place in places(vector.dims, index, value) {
            bytes[place] = bytes[place].max(byte);
        }
    }
    let magnitude: f64 = vector.values.iter().map(|x| f64::from(x.abs())).sum();
    Ok(SketchFactors {
        scale,
        count: u16::try_from(vector.values.len()).map_or(f32::INFINITY, f32::from),
        norm_sq: distance::norm_squared(vector),
        magnitude: rounded_down(magnitude * (1.0 - 1e-11)),
    })
}

/// The smallest number of scales that is no less than the magnitude of `value`.
fn byte_of(value: f32, scale: f32) -> u8 {
    let (magnitude, scale) = (f64::from(value.abs()), f64::from(scale));
    if scale <= 0.0 {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is at least 0"
    )]
    let byte = (magnitude / scale).ceil() as u8;
    // The quotient may have been rounded down to a whole number; products of a byte and an f32 are exact in f64.
    if f64::from(byte) * scale < magnitude {
        byte.saturating_add(1)
    } else {
        byte
    }
}

/// The two bytes of an element: of a short vector, one place that it shares with no other.
#[inline]
fn places(dims: usize, index: i32, value: f32) -> [usize; 2] {
    let key = 2 * u64::from(index.cast_unsigned()) + u64::from(value.is_sign_negative());
    let hash = if 2 * dims <= SKETCH_BYTES {
        key | key << 32
    } else {
        mix(SKETCH_SEED, key)
    };
    let place = |bits: u64| usize::try_from(bits % SKETCH_BYTES as u64).expect("below the number of bytes");
    [place(hash), place(hash >> 32)]
}

/// A number that `key` determines, another one for each `seed`.
fn mix(seed: u64, key: u64) -> u64 {
    mixed(seed.wrapping_add(key.wrapping_mul(WEYL)))
}

/// The largest f32 that is not above `value`, which is not negative.
fn rounded_down(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "corrected downwards")]
    let rounded = value as f32;
    if f64::from(rounded) > value {
        rounded.next_down()
    } else {
        rounded
    }
}

#[cfg(test)]
mod tests;
