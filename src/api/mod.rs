//! SQL functions beyond pgvector's surface; they live in the schema `vectorgpu`.

mod device;
mod embed;
mod estimates;
mod exact_search;
mod generate;
mod index;
mod kmeans;
mod knn_join;
mod models;
mod prewarm;
mod row_progress;
mod scan;
mod search;
mod searcher;
mod stats;
mod tokens;
mod vector_column;

use vectorgpu_core::exact::Neighbour;
use vectorgpu_core::ivf::layout::Tid;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::pg::result_rows::{Column, ResultRows};

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

/// Returns what a search found for query `number`: (query, rank, tid, distance).
fn return_found(rows: &mut ResultRows, number: i32, found: &[Neighbour]) {
    for (rank, row) in (1..).zip(found) {
        let tid = Tid(row.id);
        rows.push([
            Column::Int4(number),
            Column::Int4(rank),
            Column::Tid((tid.block(), tid.offset())),
            Column::Float8(row.distance),
        ]);
    }
}
