//! How fast an open GPU is, seen from the host.
//!
//! Runs the very kernels whose times are to be estimated, on made-up rows; a first run of each compiles. Times are the best of
//! a few, because another process may get in between. Where two sizes are compared, their difference is the device's
//! share, and what is left the host's and the transfers'.

use std::time::{Duration, Instant};

use vectorgpu_core::backend::{Backend, KeepWaiting, NearestBy};
use vectorgpu_core::estimate::GpuRates;
use vectorgpu_core::ivf::copy::{CopyMark, ListCopies};
use vectorgpu_core::metric::{Metric, Storage};
use vectorgpu_core::quantize::list_row::{ListQuery, ListRows, RowCode};
use vectorgpu_core::random::Random;
use vectorgpu_core::{Error, ErrorKind, Result};

use crate::engine::Engine;
use crate::lists::{CopiedIndex, IndexCopies};

const DIMS: usize = 256;
/// Few and many centroids: with few, sending the rows is what takes time.
const CENTROIDS: [usize; 2] = [16, 2048];
/// Rows to begin with; four times as many until they take [`LONG_ENOUGH`].
const ROWS_MIN: usize = 256;
const ROWS_MAX: usize = 65_536;
const LONG_ENOUGH: Duration = Duration::from_millis(8);
/// Lists that are searched, and rows in each.
const LISTS: u32 = 8;
const LIST_ROWS: usize = 2048;
const ROUNDS: usize = 7;
/// A device takes at least this share of a search's time to read: a shorter one is lost in the noise.
const READING_SHARE_MIN: f64 = 0.1;
/// Whatever cannot be measured because the device is too fast for it.
const SECONDS_MIN: f64 = 1e-7;
/// Searches of copies that the device cannot do.
const NEVER_S: f64 = 1e6;

impl Engine {
    /// Measures the GPU. Takes a few dozen searches and assignments, and the compilation of their kernels.
    ///
    /// # Errors
    /// `OutOfMemory` where the memory limit leaves too little room, `Cancelled`, `DeviceLost`.
    pub fn measure(&self, keep_waiting: &mut KeepWaiting<'_>) -> Result<GpuRates> {
        let (upload_bytes_per_s, multiply_adds_per_s) = assignment(self, keep_waiting)?;
        let copies = match copies(self, keep_waiting) {
            // Such a device searches no copies.
            Err(error) if error.kind() == ErrorKind::Unsupported => CopyRates {
                search_s: NEVER_S,
                scan_bytes_per_s: upload_bytes_per_s,
                copy_bytes_per_s: upload_bytes_per_s,
            },
            measured => measured?,
        };
        Ok(GpuRates {
            start_s: self.opened_in().as_secs_f64().max(SECONDS_MIN),
            search_s: copies.search_s,
            scan_bytes_per_s: copies.scan_bytes_per_s,
            copy_bytes_per_s: copies.copy_bytes_per_s,
            upload_bytes_per_s,
            multiply_adds_per_s,
        })
    }
}

/// Bytes a second to the device, and multiply-adds a second there.
fn assignment(engine: &Engine, keep_waiting: &mut KeepWaiting<'_>) -> Result<(f64, f64)> {
    let mut backend = engine.backend();
    let mut random = Random::new(2);
    let mut prepared = Vec::new();
    for centroids in CENTROIDS {
        let centroids = floats(&mut random, centroids * DIMS);
        prepared.push(backend.nearest(&centroids, DIMS, NearestBy::L2, keep_waiting)?);
    }
    let mut rows = ROWS_MIN;
    loop {
        let vectors = floats(&mut random, rows * DIMS);
        let mut labels = vec![0; rows];
        let mut times = [0.0; 2];
        for (nearest, time) in prepared.iter_mut().zip(&mut times) {
            *time = best(&mut || nearest.assign(&vectors, &mut labels, keep_waiting))?;
        }
        let [few, many] = times;
        if many >= LONG_ENOUGH.as_secs_f64() || rows >= ROWS_MAX {
            let elements = (rows * DIMS) as f64;
            let more = (CENTROIDS[1] - CENTROIDS[0]) as f64;
            return Ok((
                elements * 4.0 / few,
                elements * more / (many - few).max(SECONDS_MIN),
            ));
        }
        rows *= 4;
    }
}

struct CopyRates {
    search_s: f64,
    scan_bytes_per_s: f64,
    copy_bytes_per_s: f64,
}

/// Rates of making copies of lists and of searching them.
fn copies(engine: &Engine, keep_waiting: &mut KeepWaiting<'_>) -> Result<CopyRates> {
    let cache = engine.list_cache();
    let rows = LIST_ROWS * LISTS as usize;
    let index = CopiedIndex {
        number: 1,
        metric: Metric::L2,
        storage: Storage::F32,
        dims: DIMS,
        rows: rows as u64,
        label: "vectorgpu.lists.measured",
    };
    let mut copies = IndexCopies::open(&cache, index, Box::new(|_| false), keep_waiting)?;
    let vectors = floats(&mut Random::new(3), LIST_ROWS * DIMS);
    let mut batch = ListRows::new(Metric::L2, Storage::F32, DIMS);
    let mut copying = f64::INFINITY;
    for list in 0..LISTS {
        let started = Instant::now();
        batch.clear();
        for (vector, tid) in vectors.chunks_exact(DIMS).zip(1..) {
            batch.push(tid, RowCode::F32(bytemuck::cast_slice(vector)), 0.0);
        }
        copies.begin(list, LIST_ROWS as u64, keep_waiting)?;
        copies.append(list, &batch, keep_waiting)?;
        copies.finish(list, CopyMark::default());
        copying = copying.min(started.elapsed().as_secs_f64());
    }
    let query = ListQuery::new(Metric::L2, &vectors[..DIMS])
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a query of numbers below 1 has no bounds"))?;
    let lists: Vec<u32> = (0..LISTS).collect();
    let mut hits = Vec::new();
    let mut search = |lists: &[u32]| {
        best(&mut || {
            hits.clear();
            copies.nearest(&query, lists, 16, None, &mut hits, keep_waiting)?;
            Ok(())
        })
    };
    let (one, all) = (search(&lists[..1])?, search(&lists)?);
    let list_bytes = (LIST_ROWS * DIMS) as f64;
    let reading = (all - one).max(all * READING_SHARE_MIN);
    Ok(CopyRates {
        search_s: one,
        scan_bytes_per_s: list_bytes * 2.0 * f64::from(LISTS - 1) / reading,
        copy_bytes_per_s: list_bytes * 4.0 / copying.max(SECONDS_MIN),
    })
}

/// The shortest of some runs in seconds, after one that does not count.
fn best(run: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        run()?;
        best = best.min(started.elapsed());
    }
    Ok(best.as_secs_f64().max(SECONDS_MIN))
}

fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.float()).collect()
}
