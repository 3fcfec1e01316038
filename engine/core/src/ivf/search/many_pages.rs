//! Many queries at once through the pages: every list is read once, and its rows compared with all queries that probe it.
//!
//! Centroids are compared in the same way, so lists are those that a scan would choose. A query whose lists VACUUM changed
//! meanwhile is left to a scan of its own.

use std::time::Instant;

use crate::backend::KeepWaiting;
use crate::comparison::{Comparison, Nearest, Rows};
use crate::error::Result;
use crate::metric::Element;
use crate::quantize::list_row::{ListQueryBounds, RowCode};
use crate::quantize::{decode, int8};
use crate::vector::check_equal_dims;

use super::super::copy::{RowSink, read_rows};
use super::super::layout::{Meta, Shape, Tid};
use super::super::store::PageStore;
use super::many::{FoundForEach, FoundOfMany, rows_to_ask};
use super::rank_together::nearest_lists_of_each;
use super::{Found, NO_BLOCK, list_head_block};

/// Bytes that the lists of the queries of one pass may take.
const LISTS_BYTES: usize = 64 << 20;

/// As [`super::many::nearest_of_many`], through the pages alone.
///
/// # Errors
/// `DataException` for a query of other dimensions than the index's; `CorruptIndex`, `Cancelled`.
pub fn nearest_of_many_in_pages<S: PageStore>(
    store: &S,
    meta: &Meta,
    queries: &[&[f32]],
    probes: u32,
    k: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<FoundForEach> {
    for query in queries {
        check_equal_dims(meta.dims as usize, query.len())?;
    }
    let probes = probes.clamp(1, meta.lists);
    // A list is a candidate while it is ranked, and then has a number in a table.
    let query_bytes = probes as usize * 2 * size_of::<usize>();
    let mut found = FoundForEach::default();
    for queries in queries.chunks((LISTS_BYTES / query_bytes).max(1)) {
        pass(store, meta, queries, probes, k, &mut found, keep_waiting)?;
    }
    Ok(found)
}

/// Some of the queries.
fn pass<S: PageStore>(
    store: &S,
    meta: &Meta,
    queries: &[&[f32]],
    probes: u32,
    k: usize,
    found: &mut FoundForEach,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    let counts = &mut found.counts;
    let started = Instant::now();
    let mut certain: Vec<bool> = queries
        .iter()
        .map(|query| ListQueryBounds::new(meta.metric, query).is_some())
        .collect();
    let by_list = choose_lists(store, meta, queries, &certain, probes, keep_waiting)?;
    counts.times.rank += started.elapsed();
    let started = Instant::now();
    let is_exact = meta.storage.is_exact();
    let wanted = rows_to_ask(k, is_exact);
    let mut nearest: Vec<Nearest<'_>> = queries.iter().map(|query| Nearest::new(query, wanted)).collect();
    let mut comparison = Comparison::new(meta.metric, is_exact, meta.dims as usize);
    let (shape, mut rows) = (meta.shape(), ListValues::default());
    for (list, members) in (0..).zip(&by_list) {
        if members.is_empty() {
            continue;
        }
        store.pause()?;
        counts.lists += members.len() as u64;
        comparison.take(members, &nearest)?;
        let take = &mut |rows: &ListValues| {
            counts.rows += (rows.0.ids.len() * members.len()) as u64;
            comparison.compare(&rows.0, members, &mut nearest, keep_waiting)
        };
        if !read_list(store, meta, &shape, list, &mut rows, take)? {
            members.iter().for_each(|member| certain[*member] = false);
        }
    }
    counts.times.scan += started.elapsed();
    let results = nearest.into_iter().zip(certain);
    found
        .queries
        .extend(results.map(|(nearest, certain)| certain.then(|| found_of(nearest, is_exact))));
    Ok(())
}

/// Hands the rows of `list` to `take`; `false` when VACUUM changed it meanwhile.
fn read_list<S: PageStore>(
    store: &S,
    meta: &Meta,
    shape: &Shape,
    list: u32,
    rows: &mut ListValues,
    take: &mut dyn FnMut(&ListValues) -> Result<()>,
) -> Result<bool> {
    let head = list_head_block(store, meta, list)?;
    if head == NO_BLOCK {
        return Ok(true);
    }
    meta.check_group_block(head, NO_BLOCK)?;
    Ok(read_rows(store, meta, shape, list, head, None, rows, take)?.is_some())
}

/// By list, the numbers of the queries that have it among their `probes` nearest ones: those that a scan would take. Queries
/// that are not `wanted` have none.
fn choose_lists<S: PageStore>(
    store: &S,
    meta: &Meta,
    queries: &[&[f32]],
    wanted: &[bool],
    probes: u32,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Vec<usize>>> {
    let members: Vec<usize> = (0..queries.len()).filter(|number| wanted[*number]).collect();
    let asked: Vec<&[f32]> = members.iter().map(|member| queries[*member]).collect();
    let chosen = nearest_lists_of_each(store, meta, &asked, probes, keep_waiting)?;
    let mut by_list = vec![Vec::new(); meta.lists as usize];
    for (member, lists) in members.into_iter().zip(chosen) {
        lists.iter().for_each(|list| by_list[*list as usize].push(member));
    }
    Ok(by_list)
}

fn found_of(nearest: Nearest<'_>, exact: bool) -> FoundOfMany {
    let bound = nearest.bound();
    let rows = nearest.rows.into_sorted_vec().into_iter();
    let rows = rows.map(|row| Found {
        tid: Tid(row.id),
        distance: row.distance,
        exact,
    });
    FoundOfMany::certain(rows, bound)
}

/// Rows of a list, decoded.
#[derive(Default)]
struct ListValues(Rows);

impl RowSink for ListValues {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn push(&mut self, tid: u64, code: RowCode<'_>, norm_sq: f32) -> Result<()> {
        let values = &mut self.0.values;
        let residual = match code {
            RowCode::F32(bytes) => {
                decode(Element::F32, bytes, values)?;
                0.0
            }
            RowCode::F16(bytes, residual) => {
                decode(Element::F16, bytes, values)?;
                residual
            }
            RowCode::Int8(codes, scale, residual) => {
                int8::decode(codes, scale, values)?;
                residual
            }
        };
        self.0.push(tid, norm_sq, residual);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.values.len() * size_of::<f32>()
    }
}
