//! `vectorgpu.exact_search`: the nearest rows of many queries, without an index.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::estimate::ExactWork;
use vectorgpu_core::exact::{COPIES_K_MAX, ExactSearch, NEIGHBOUR_BYTES, block_rows};
use vectorgpu_core::limits::MAX_RESULTS;
use vectorgpu_core::metric::Metric;

use super::vector_column::VectorColumn;
use super::{return_found, within};
use crate::error::OrRaise;
use crate::gpu::policy::ExactPlace;
use crate::pg::interrupt;
use crate::pg::result_rows::ResultRows;
use crate::pg::setting::work_mem_bytes;
use crate::types::array::ArrayArgument;

/// `vectorgpu.exact_search(regclass, text, vector[], int4, text)`: for each query the `k` nearest of all rows that the
/// statement's snapshot sees. Reads the table once for as many queries as fit their results into `work_mem`. Compares on a
/// GPU where `vectorgpu.device` says so and `k` is at most [`COPIES_K_MAX`]; what is found is the same.
#[pg_extern(sql = false)]
fn exact_search(
    relation: pg_sys::Oid,
    column_name: &str,
    queries: ArrayArgument<'_>,
    k: i32,
    metric: &str,
    mut rows: ResultRows,
) {
    search_all(relation, column_name, &queries, k, metric, &mut rows).or_raise();
}

fn search_all(
    relation: pg_sys::Oid,
    column_name: &str,
    queries: &ArrayArgument<'_>,
    k: i32,
    metric: &str,
    rows: &mut ResultRows,
) -> Result<()> {
    let k = within("k", k, 1, MAX_RESULTS)? as usize;
    let metric = Metric::from_name(metric)?;
    let column = VectorColumn::open(relation, column_name, queries.element_type())?;
    #[expect(unsafe_code, reason = "an array says its element type only at run time")]
    // SAFETY: the only SQL function over this one takes vector[].
    let queries = unsafe { queries.vectors() }?;
    let rounded = queries.iter().map(|query| column.elements().rounded(query));
    let rounded = rounded.collect::<Result<Vec<_>>>()?;
    let queries: Vec<&[f32]> = rounded.iter().map(|query| &**query).collect();
    let Some(first) = queries.first() else {
        return Ok(());
    };
    let mut work = ExactWork {
        rows: column.rows_about(first.len()),
        dims: first.len(),
        queries: queries.len() as f64,
    };
    let mut place = if k <= COPIES_K_MAX {
        ExactPlace::choose(metric, &work)?
    } else {
        ExactPlace::on_cpu()
    };
    let together = (work_mem_bytes() / (k * NEIGHBOUR_BYTES)).max(1);
    let mut number = 0;
    for queries in queries.chunks(together) {
        let dims = queries[0].len();
        let elements = queries.iter().copied();
        let mut search = ExactSearch::new(metric, dims, k, elements)?;
        if let Some(copies) = place.copies() {
            let rows = block_rows(dims, copies.block_rows()?);
            search.use_copies(copies, rows);
        }
        let mut count = 0_u64;
        column.for_each(&mut |tid, vector| {
            count += 1;
            search.push(tid.0, vector, &mut interrupt::keep_waiting)
        })?;
        let found = search.finish(&mut interrupt::keep_waiting)?;
        (work.rows, work.queries) = (count as f64, queries.len() as f64);
        place.close(&work, found.elapsed);
        for found in found.nearest {
            number += 1;
            return_found(rows, number, &found);
        }
    }
    Ok(())
}
