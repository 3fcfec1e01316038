//! `vectorgpu.kmeans`: clusters the vectors of a table.

use pgrx::prelude::*;
use pgrx::{IntoDatum, pg_sys};
use vectorgpu_core::backend::NearestBy;
use vectorgpu_core::crew::Crew;
use vectorgpu_core::estimate::AssignmentWork;
use vectorgpu_core::kmeans::{self, KmeansTask};
use vectorgpu_core::limits::MAX_LISTS;
use vectorgpu_core::metric::Metric;
use vectorgpu_core::sample::Reservoir;
use vectorgpu_core::vector::check_equal_dims;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::vector_column::VectorColumn;
use super::within;
use crate::error::OrRaise;
use crate::gpu::ledger::Job;
use crate::gpu::policy;
use crate::pg::interrupt;
use crate::pg::result_rows::{Column, ResultRows};
use crate::pg::setting::maintenance_work_mem_bytes;
use crate::types::vector::VectorBuilder;

/// The column of the centroids among those of the result.
const CENTROID: usize = 1;
/// Rows that find their cluster together.
const ROWS_TOGETHER: usize = 1024;

/// `vectorgpu.kmeans(regclass, text, int4, text, int8)`: `k` centroids of a column's vectors, found from a sample that fits
/// into `maintenance_work_mem`, and how many of all rows are nearest to each. Deterministic for a table that does not
/// change, up to rounding on a GPU.
#[pg_extern(sql = false)]
fn kmeans(relation: pg_sys::Oid, column_name: &str, k: i32, metric: &str, seed: i64, mut rows: ResultRows) {
    cluster(relation, column_name, k, metric, seed, &mut rows).or_raise();
}

fn cluster(
    relation: pg_sys::Oid,
    column_name: &str,
    k: i32,
    metric: &str,
    seed: i64,
    rows: &mut ResultRows,
) -> Result<()> {
    let lists = within("k", k, 1, MAX_LISTS)? as usize;
    let metric = Metric::from_name(metric)?;
    if !metric.has_products() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("kmeans has no metric \"{}\"", metric.name()),
        )
        .with_hint("Use one of l2, inner_product and cosine."));
    }
    let by = NearestBy::from(metric);
    let column = VectorColumn::open(relation, column_name, rows.type_of(CENTROID))?;
    let Some(sample) = Sample::of(&column, lists, seed.cast_unsigned())? else {
        return Ok(());
    };
    let task = KmeansTask {
        samples: &sample.vectors,
        dims: sample.dims,
        lists,
        by,
        seed: seed.cast_unsigned(),
        max_iterations: kmeans::ITERATIONS,
    };
    // The sample is sent once for all iterations, where a GPU holds it.
    let (sampled, all) = ((sample.vectors.len() / sample.dims) as f64, sample.of_rows as f64);
    let work = AssignmentWork {
        multiply_adds: (all + sampled * kmeans::ITERATIONS as f64) * (sample.dims * lists) as f64,
        bytes: (all + sampled) * sample.dims as f64 * 4.0,
    };
    let (mut backend, book) = policy::build_backend(Job::Kmeans, work)?;
    let centroids = kmeans::kmeans(
        &mut *backend,
        Crew::ALONE,
        &task,
        &mut |_| {},
        &mut interrupt::keep_waiting,
    )?;
    let mut nearest = backend.nearest(&centroids, sample.dims, by, &mut interrupt::keep_waiting)?;
    let mut counts = vec![0_i64; lists];
    let mut labels = vec![0; ROWS_TOGETHER];
    each_block(&column, sample.dims, &mut |block| {
        let labels = &mut labels[..block.len() / sample.dims];
        nearest.assign(block, labels, &mut interrupt::keep_waiting)?;
        labels.iter().for_each(|label| counts[*label as usize] += 1);
        Ok(())
    })?;
    book.close();
    for ((number, centroid), count) in (1..).zip(centroids.chunks_exact(sample.dims)).zip(counts) {
        let centroid = VectorBuilder::from_elements(centroid).into_datum();
        rows.push([
            Column::Int4(number),
            Column::Datum(centroid.expect("a vector is not null")),
            Column::Int8(count),
        ]);
    }
    Ok(())
}

/// Rows drawn from a table.
struct Sample {
    vectors: Vec<f32>,
    dims: usize,
    of_rows: u64,
}

impl Sample {
    /// Draws as many rows as `lists` clusters need; nothing from a table without vectors.
    fn of(column: &VectorColumn, lists: usize, seed: u64) -> Result<Option<Self>> {
        let allowed = maintenance_work_mem_bytes();
        let mut drawn: Option<(Self, Reservoir)> = None;
        column.for_each(&mut |_, vector| {
            let (sample, reservoir) = match &mut drawn {
                Some(drawn) => drawn,
                None => drawn.insert(Self::start(vector.len(), lists, seed, allowed)?),
            };
            check_equal_dims(sample.dims, vector.len())?;
            let Some(slot) = reservoir.offer() else {
                return Ok(());
            };
            let at = slot * sample.dims;
            if at == sample.vectors.len() {
                let room = sample.vectors.try_reserve(sample.dims);
                room.map_err(|error| {
                    Error::new(ErrorKind::OutOfMemory, "no memory for a sample")
                        .with_detail(error.to_string())
                })?;
                sample.vectors.extend_from_slice(vector);
            } else {
                sample.vectors[at..at + sample.dims].copy_from_slice(vector);
            }
            Ok(())
        })?;
        Ok(drawn.map(|(sample, reservoir)| Self {
            of_rows: reservoir.offered(),
            ..sample
        }))
    }

    fn start(dims: usize, lists: usize, seed: u64, allowed: usize) -> Result<(Self, Reservoir)> {
        let rows = kmeans::sample_rows(dims, lists, allowed);
        if kmeans::kmeans_memory_bytes(rows, dims, lists).is_none_or(|bytes| bytes > allowed) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("maintenance_work_mem is too small for {lists} clusters of {dims} dimensions"),
            ));
        }
        let sample = Self {
            vectors: Vec::new(),
            dims,
            of_rows: 0,
        };
        Ok((sample, Reservoir::new(rows, seed)))
    }
}

/// Hands all vectors of a column to `take`, many at a time: `[n, dims]` row-major.
fn each_block(column: &VectorColumn, dims: usize, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
    let mut block = Vec::with_capacity(ROWS_TOGETHER * dims);
    column.for_each(&mut |_, vector| {
        check_equal_dims(dims, vector.len())?;
        block.extend_from_slice(vector);
        if block.len() == ROWS_TOGETHER * dims {
            take(&block)?;
            block.clear();
        }
        Ok(())
    })?;
    if block.is_empty() { Ok(()) } else { take(&block) }
}
