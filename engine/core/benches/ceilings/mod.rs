//! What this machine can do at best: plain memory reads and multiply-adds, beside which kernels are judged.
//!
//! Included by path where it is needed (`#[path = ".../ceilings/mod.rs"] mod ceilings;`), so it knows no kernel.
//! A read is a sum over all words with the widest loads that the machine has, nothing prefetched by hand; a
//! multiply-add peak is a loop of independent fused operations in registers.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Reads all of `memory` once.
pub(crate) fn read(memory: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected.
            black_box(unsafe { sum_avx512(memory) });
            return;
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was detected.
            black_box(unsafe { sum_avx2(memory) });
            return;
        }
    }
    black_box(sum(memory));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_avx512(memory: &[u8]) -> u32 {
    use std::arch::x86_64::*;
    const REGISTERS: usize = 8;
    let mut sums = [_mm512_setzero_si512(); REGISTERS];
    for group in memory.as_chunks::<{ REGISTERS * 64 }>().0 {
        for (sum, bytes) in sums.iter_mut().zip(group.as_chunks::<64>().0) {
            // SAFETY: the array holds 64 bytes.
            *sum = _mm512_add_epi32(*sum, unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) });
        }
    }
    let total = sums
        .into_iter()
        .fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    _mm512_reduce_add_epi32(total).cast_unsigned()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(memory: &[u8]) -> u32 {
    sum(memory)
}

#[inline(always)]
fn sum(memory: &[u8]) -> u32 {
    let mut sums = [0u32; 64];
    for group in memory.as_chunks::<256>().0 {
        for (sum, word) in sums.iter_mut().zip(group.as_chunks::<4>().0) {
            *sum = sum.wrapping_add(u32::from_le_bytes(*word));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// How long `work` takes when each thread `0..threads` runs it once, from the first start to the last end.
pub(crate) fn on_threads(threads: usize, work: &(impl Fn(usize) + Sync)) -> Duration {
    if threads == 1 {
        let start = Instant::now();
        work(0);
        return start.elapsed();
    }
    let barrier = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    work(thread);
                    (start, Instant::now())
                })
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().expect("the work does not panic"))
            .collect()
    });
    let start = spans.iter().map(|span| span.0).min();
    let end = spans.iter().map(|span| span.1).max();
    start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start)
}

/// Billions of fused f32 multiply-adds a second of one thread with the instruction set of that name (`Kernels::name`),
/// the best of several runs; `None` where this module has no loop for it.
pub(crate) fn multiply_add_rate(name: &str) -> Option<f64> {
    const STEPS: usize = 10_000_000;
    let rate = |lanes: usize, work: &dyn Fn()| {
        let best = (0..5).map(|_| timed(work)).min().unwrap_or_default();
        Some((STEPS * lanes) as f64 / best.as_secs_f64() / 1e9)
    };
    match name {
        #[cfg(target_arch = "x86_64")]
        "avx512" | "avx512-vnni" | "avx512-vbmi" if is_x86_feature_detected!("avx512f") => {
            // SAFETY: the feature was detected.
            rate(16 * 16, &|| unsafe { fused_avx512(STEPS) })
        }
        #[cfg(target_arch = "x86_64")]
        "avx2" if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
            // SAFETY: the features were detected.
            rate(12 * 8, &|| unsafe { fused_avx2(STEPS) })
        }
        _ => None,
    }
}

fn timed(work: &dyn Fn()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fused_avx512(steps: usize) {
    use std::arch::x86_64::*;
    let factor = black_box(_mm512_set1_ps(0.5));
    let mut sums = [_mm512_setzero_ps(); 16];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fused_avx2(steps: usize) {
    use std::arch::x86_64::*;
    let factor = black_box(_mm256_set1_ps(0.5));
    let mut sums = [_mm256_setzero_ps(); 12];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
}
