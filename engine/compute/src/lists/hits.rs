//! What a search for many queries found, and the wait for it.

use vectorgpu_core::Result;
use vectorgpu_core::backend::KeepWaiting;
use vectorgpu_core::ivf::copy::{CopiesSearched, CopyHit, ManyHits, PendingMany};

use crate::kernels::lists::HIT_WORDS;
use crate::step::PendingResults;

/// The hit that a device wrote, if there is a row; `exact` when its vector was there, too.
pub(super) fn hit_of(words: [u32; HIT_WORDS], exact: bool) -> Option<CopyHit> {
    let [key, low, high, there, score, norm_sq, ..] = words;
    (there != 0).then(|| CopyHit {
        tid: u64::from(low) | u64::from(high) << 32,
        key: f32::from_bits(key),
        exact: exact.then(|| (f32::from_bits(score), f32::from_bits(norm_sq))),
    })
}

/// The larger of two keys; NaN is the largest.
pub(super) fn farther(cut: f32, key: f32) -> f32 {
    if key > cut || key.is_nan() { key } else { cut }
}

/// Hits that the device is at, of some of the queries after the other.
pub(super) struct PendingHits {
    /// With how many rows each of their queries is compared.
    pub(super) parts: Vec<(PendingResults, Vec<u64>)>,
    pub(super) wanted: usize,
    pub(super) exact: bool,
}

impl PendingHits {
    /// Waits for the hits, and sorts them out by query.
    pub(super) fn take(self, found: &mut ManyHits, keep_waiting: &mut KeepWaiting<'_>) -> Result<()> {
        for (hits, rows) in self.parts {
            take_hits(hits, &rows, self.wanted, self.exact, found, keep_waiting)?;
        }
        Ok(())
    }
}

impl PendingMany for PendingHits {
    fn finish(self: Box<Self>, keep_waiting: &mut KeepWaiting<'_>) -> Result<ManyHits> {
        let mut found = ManyHits::default();
        self.take(&mut found, keep_waiting)?;
        Ok(found)
    }
}

/// Sorts the hits out by query; `rows` says how many rows each was compared with.
fn take_hits(
    hits: PendingResults,
    rows: &[u64],
    wanted: usize,
    exact: bool,
    found: &mut ManyHits,
    keep_waiting: &mut KeepWaiting<'_>,
) -> Result<()> {
    found.hits.reserve(rows.len() * wanted);
    found.queries.reserve(rows.len());
    let (mut place, mut cut, mut count) = (0, f32::NEG_INFINITY, 0);
    hits.take(keep_waiting, &mut |hit: [u32; HIT_WORDS]| {
        if let Some(hit) = hit_of(hit, exact) {
            cut = farther(cut, hit.key);
            count += 1;
            found.hits.push(hit);
        }
        place += 1;
        if place % wanted == 0 {
            let rows = rows[place / wanted - 1];
            // Where more rows were near than the device keeps, it names none, and nothing is known of any.
            let searched = CopiesSearched {
                rows,
                cut: (count < rows).then_some(cut),
            };
            found.queries.push((found.hits.len(), searched));
            (cut, count) = (f32::NEG_INFINITY, 0);
        }
    })
}
