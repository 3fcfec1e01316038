//! The arithmetic of `shaders/shared/list_key.wgsl`, operation by operation in f32: its CPU twin.

use crate::metric::Metric;

/// What nothing can be said of gets the least key; what overflowed is as far as the largest number.
const KEY_MAX: f32 = f32::MAX;
const KEY_SLACK: f32 = 1.0 / 1_048_576.0;

/// The bound that a key stands for: nothing where it is the least one.
pub fn bound_of(key: f32) -> f64 {
    if key <= -KEY_MAX {
        f64::NEG_INFINITY
    } else {
        f64::from(key)
    }
}

/// The key that stands for a bound that [`bound_of`] gave.
#[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
pub fn key_of(bound: f64) -> f32 {
    if bound == f64::NEG_INFINITY {
        -KEY_MAX
    } else {
        bound as f32
    }
}

/// The key of a row for L2, from the directly summed `|q - x'|^2`, whose relative error is `rounding`.
pub fn key_of_square(square: f32, rounding: f32, row: [f32; 4]) -> f32 {
    if square >= 0.0 {
        root_key(square.min(KEY_MAX) * (1.0 - rounding), row)
    } else {
        -KEY_MAX
    }
}

/// The key of a row from `q'.x'`, both with their scales.
pub fn key_of_dot(metric: Metric, dot: f32, row: [f32; 4], query: [f32; 4]) -> f32 {
    match metric {
        Metric::L2 => {
            let squares = query[3] + row[2];
            let error = 2.0 * row[3] * query[2] + query[1] * (squares + 2.0 * dot.abs());
            let square = squares - 2.0 * dot - error;
            if square.abs() <= KEY_MAX {
                root_key(square, row)
            } else {
                -KEY_MAX
            }
        }
        Metric::InnerProduct => {
            let error = query[1] * row[1] + row[2] + row[3] * query[2];
            finite_key(-(dot + error) - KEY_SLACK * (dot.abs() + error))
        }
        Metric::Cosine if row[3] == 0.0 => f32::NAN,
        Metric::Cosine => {
            let upper = dot * row[3] + query[1] * row[1] + row[2] + (1.0 + row[1]) * query[2];
            let similarity = upper * query[3];
            if similarity.abs() <= KEY_MAX {
                (1.0 - similarity.min(1.0) - KEY_SLACK * (1.0 + similarity.abs())).max(0.0)
            } else {
                -KEY_MAX
            }
        }
        Metric::L1 | Metric::Hamming | Metric::Jaccard => -KEY_MAX,
    }
}

fn root_key(square: f32, row: [f32; 4]) -> f32 {
    let root = square.clamp(0.0, KEY_MAX).sqrt();
    finite_key((root * (1.0 - KEY_SLACK) - row[1]).max(0.0))
}

fn finite_key(key: f32) -> f32 {
    if key.abs() <= KEY_MAX { key } else { -KEY_MAX }
}
