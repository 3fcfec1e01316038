//! `vectorgpu.last_scan`.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::am;

/// `vectorgpu.last_scan()`: what the session's last finished ivf scan did; no row when there was none.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn last_scan() -> TableIterator<
    'static,
    (
        name!(index, pg_sys::Oid),
        name!(device, String),
        name!(lists_probed, i64),
        name!(rows_scored, i64),
        name!(rows_compared, i64),
        name!(restarts, i64),
        name!(why, String),
        name!(rank_us, f64),
        name!(check_us, f64),
        name!(scan_us, f64),
        name!(lists_copied, i64),
        name!(estimated_cpu_us, f64),
        name!(estimated_gpu_us, f64),
    ),
> {
    TableIterator::new(am::last_scan().into_iter().map(|last| {
        let times = last.counts.times;
        (
            last.index,
            last.device,
            last.counts.lists.cast_signed(),
            last.counts.rows.cast_signed(),
            last.counts.compared.cast_signed(),
            last.counts.restarts.cast_signed(),
            last.why.to_owned(),
            microseconds(times.rank),
            microseconds(times.check),
            microseconds(times.scan),
            last.counts.copied.cast_signed(),
            last.estimate.cpu_s * 1e6,
            last.estimate.gpu_s * 1e6,
        )
    }))
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
