//! `vectorgpu.last_scan`.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::am;

/// `vectorgpu.last_scan()`: what the session's last finished ivf scan did; no row when there was none.
#[pg_extern(sql = false)]
fn last_scan() -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
        name!(device, String),
        name!(lists_probed, i64),
        name!(rows_scored, i64),
        name!(rows_compared, i64),
        name!(restarts, i64),
    ),
> {
    TableIterator::new(am::last_scan().into_iter().map(|last| {
        (
            last.index,
            last.device,
            last.counts.lists.cast_signed(),
            last.counts.rows.cast_signed(),
            last.counts.compared.cast_signed(),
            last.counts.restarts.cast_signed(),
        )
    }))
}
