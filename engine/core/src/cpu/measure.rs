//! How fast this core is.

use std::time::{Duration, Instant};

use super::CpuBackend;
use crate::backend::{Backend, KeepWaiting, NearestBy};
use crate::error::Result;
use crate::estimate::CpuRates;
use crate::random::Random;

const ROWS: usize = 256;
const CENTROIDS: usize = 256;
const DIMS: usize = 256;
/// The best of so many counts, because another process may get in between.
const ROUNDS: usize = 7;

/// Measures one core, in some milliseconds.
///
/// # Errors
/// `Cancelled`.
pub fn measure(keep_waiting: &mut KeepWaiting<'_>) -> Result<CpuRates> {
    let mut random = Random::new(1);
    let mut floats = |count: usize| -> Vec<f32> { (0..count).map(|_| random.float()).collect() };
    let (rows, centroids) = (floats(ROWS * DIMS), floats(CENTROIDS * DIMS));
    let mut nearest = CpuBackend::new().nearest(&centroids, DIMS, NearestBy::L2, keep_waiting)?;
    let mut labels = vec![0; ROWS];
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        nearest.assign(&rows, &mut labels, keep_waiting)?;
        best = best.min(started.elapsed());
    }
    let seconds = best.as_secs_f64().max(1e-9);
    Ok(CpuRates {
        multiply_adds_per_s: (ROWS * CENTROIDS * DIMS) as f64 / seconds,
    })
}
