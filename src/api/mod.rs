//! SQL functions beyond pgvector's surface; they live in the schema `vectorgpu`.

mod device;
mod exact_search;
mod index;
mod kmeans;
mod scan;
mod search;
mod stats;

use vectorgpu_core::{Error, ErrorKind, Result};

/// `value`, if it lies between `least` and `most`.
fn within(name: &str, value: i32, least: u32, most: u32) -> Result<u32> {
    let inside = u32::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value));
    inside.ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{name} must be between {least} and {most}, not {value}"),
        )
    })
}
