//! The nearest lists of many queries, on the CPU: centroids are read once and compared with all of them.
//!
//! Scores are those by which [`super::rank`] orders lists, so they are the lists that a scan of each query would read.

use crate::backend::KeepWaiting;
use crate::comparison::{Comparison, Nearest, Rows};
use crate::error::Result;
use crate::exact::NEIGHBOUR_BYTES;
use crate::metric::Element;
use crate::quantize::decode;

use super::super::centroids;
use super::super::layout::Meta;
use super::super::store::PageStore;

/// Bytes of centroids that are read before they are compared.
const CENTROID_BYTES: usize = 1 << 20;
/// Bytes that the candidates of the queries of one pass may take.
const CANDIDATES_BYTES: usize = 64 << 20;

/// The `probes` nearest lists of each of `queries`, nearest first.
///
/// # Errors
/// `CorruptIndex`, `OutOfMemory`, `Cancelled`.
pub(super) fn nearest_lists_of_each<S: PageStore>(
    store: &S,
    meta: &Meta,
    queries: &[&[f32]],
    probes: u32,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Vec<u32>>> {
    if probes == meta.lists {
        return Ok(vec![(0..meta.lists).collect(); queries.len()]);
    }
    let together = CANDIDATES_BYTES / (probes as usize * NEIGHBOUR_BYTES);
    let mut lists = Vec::with_capacity(queries.len());
    for queries in queries.chunks(together.max(1)) {
        let nearest = nearest_centroids(store, meta, queries, probes as usize, keep_waiting)?;
        lists.extend(nearest.into_iter().map(|nearest| {
            let sorted = nearest.rows.into_sorted_vec().into_iter();
            let numbers = sorted.map(|row| u32::try_from(row.id).expect("a list"));
            numbers.collect::<Vec<_>>()
        }));
    }
    Ok(lists)
}

fn nearest_centroids<'q, S: PageStore>(
    store: &S,
    meta: &Meta,
    queries: &[&'q [f32]],
    probes: usize,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<Vec<Nearest<'q>>> {
    let mut nearest: Vec<Nearest<'q>> = queries.iter().map(|query| Nearest::new(query, probes)).collect();
    let members: Vec<usize> = (0..queries.len()).collect();
    let dims = meta.dims as usize;
    let mut comparison = Comparison::new(meta.metric.of_lists(), true, dims);
    comparison.take(&members, &nearest)?;
    let (mut rows, mut scratch) = (Rows::default(), Vec::new());
    let together = (CENTROID_BYTES / (dims * size_of::<f32>())).max(1);
    for first in (0..meta.lists).step_by(together) {
        store.pause()?;
        rows.clear();
        for list in (first..meta.lists).take(together) {
            centroids::with_one(store, meta, list, &mut scratch, |centroid| {
                decode(Element::F32, centroid, &mut rows.values)
            })??;
            rows.push(u64::from(list), 0.0, 0.0);
        }
        comparison.compare(&rows, &members, &mut nearest, keep_waiting)?;
    }
    Ok(nearest)
}
