//! `vectorgpu.search`: the nearest rows of many queries, through an index.

use pgrx::pg_sys;
use pgrx::prelude::*;
use vectorgpu_core::Result;
use vectorgpu_core::limits::{MAX_LISTS, MAX_RESULTS};

use super::{return_found, within};
use crate::am::{self, ManySearch, OrderedScan};
use crate::error::OrRaise;
use crate::pg::relation::OpenIndex;
use crate::pg::result_rows::ResultRows;
use crate::pg::setting::SettingScope;
use crate::types::array::ArrayArgument;
use crate::types::vector::Vector;

/// Queries that are searched at once.
const AT_ONCE: usize = 4096;
/// Most rows of each that are found so; a scan of its own finds more.
const AT_ONCE_ROWS_MAX: usize = 56;

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
    let open = OpenIndex::open(index, am::NAME, pg_sys::AccessShareLock.cast_signed())?;
    open.check_row_security()?;
    let settings = SettingScope::open();
    if probes > 0 {
        settings.set(c"vectorgpu.probes", probes.cast_signed());
    }
    let k = k as usize;
    let mut scan = OrderedScan::begin(&open)?;
    let mut many = ManySearch::begin(&open)?.filter(|_| queries.len() > 1 && k <= AT_ONCE_ROWS_MAX);
    let mut found = Vec::new();
    let mut number = 0;
    for queries in queries.chunks(AT_ONCE) {
        let elements: Vec<&[f32]> = queries.iter().map(Vector::elements).collect();
        let at_once = match &mut many {
            Some(many) => many.nearest(&elements, k)?,
            None => Vec::new(),
        };
        for (place, query) in queries.iter().enumerate() {
            let at_once = at_once.get(place).and_then(Option::as_ref);
            if !at_once.is_some_and(|rows| scan.nearest_among(query, rows, k, &mut found)) {
                scan.nearest(query, k, &mut found);
            }
            number += 1;
            return_found(rows, number, &found);
        }
    }
    Ok(())
}
