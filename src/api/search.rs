//! `vectorgpu.search`: the nearest rows of many queries, through an index.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::limits::{MAX_LISTS, MAX_RESULTS};

use super::searcher::{self, Searcher};
use super::{return_found, within};
use crate::am;
use crate::error::OrRaise;
use crate::pg::result_rows::ResultRows;
use crate::types::array::ArrayArgument;

/// `vectorgpu.search(regclass, vector[], int4, int4)`: for each query the `k` nearest rows that the statement's snapshot
/// sees, as ORDER BY with LIMIT finds them; `probes` of 0 leaves that to the session and the index.
#[pg_extern(sql = false)]
fn search(index: pg_sys::Oid, queries: ArrayArgument<'_>, k: i32, probes: i32, mut rows: ResultRows) {
    search_all(index, &queries, k, probes, &mut rows).or_raise();
}

fn search_all(
    index: pg_sys::Oid,
    queries: &ArrayArgument<'_>,
    k: i32,
    probes: i32,
    rows: &mut ResultRows,
) -> Result<()> {
    let k = within("k", k, 1, MAX_RESULTS)?;
    let probes = within("probes", probes, 0, MAX_LISTS)?;
    #[expect(unsafe_code, reason = "an array says its element type only at run time")]
    // SAFETY: the only SQL function over this one takes vector[].
    let queries = unsafe { queries.vectors() }?;
    let open = searcher::open_index(index)?;
    let elements = am::indexed_by(open.index())?.elements;
    let rounded = queries.iter().map(|query| elements.rounded(query));
    let rounded = rounded.collect::<Result<Vec<_>>>()?;
    let queries: Vec<&[f32]> = rounded.iter().map(|query| &**query).collect();
    let mut number = 0;
    let mut searcher = Searcher::begin(&open, k as usize, probes, queries.len() as f64)?;
    searcher.nearest_of_each(&queries, &mut |found| {
        number += 1;
        return_found(rows, number, found);
    })
}
