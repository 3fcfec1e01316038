//! Prints what the CPU kernels reach on this machine, beside its plain memory-read and multiply-add rates.
//!
//! `cargo run --release -p vectorgpu-core --example kernel_rates [MiB of rows, default 512]`. One thread; the best of
//! several runs. "pages" scores rows that lie in 8 kB pages visited in random order, the next one prefetched.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "measures the peak of an instruction set")
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use vectorgpu_core::backend::{Backend, NearestBy};
use vectorgpu_core::cpu::{CpuBackend, Kernels, prefetch};
use vectorgpu_core::metric::{Score, Storage};

const RUNS: usize = 5;
const PAGE: usize = 8192;

fn main() {
    let mebibytes: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(512);
    let memory: Vec<f32> = noise(mebibytes.max(1) << 18);
    println!(
        "memory read                            {:7.1} GB/s",
        rate(memory.len() * 4, || read(&memory))
    );
    println!(
        "memory read, 8 kB pages at random      {:7.1} GB/s",
        rate(memory.len() * 4, || read_pages(&memory))
    );
    for kernels in Kernels::all_supported() {
        scores(kernels, &memory);
    }
    for kernels in Kernels::all_supported() {
        let peak = peak_gflops(kernels.name());
        println!(
            "{:6} peak multiply-add                 {:7.1} GFLOP/s",
            kernels.name(),
            peak
        );
        for (dims, lists) in [(784, 245), (100, 1200), (784, 4000), (16, 1000), (2000, 500)] {
            assignment(kernels, dims, lists, peak);
        }
    }
}

fn scores(kernels: &'static Kernels, memory: &[f32]) {
    let bytes: &[u8] = bytemuck::cast_slice(memory);
    for dims in [784, 100] {
        let query = noise(dims);
        for (name, score, storage) in [
            ("l2 f32", Score::SquaredL2, Storage::F32),
            ("dot f32", Score::Dot, Storage::F32),
            ("l2 f16", Score::SquaredL2, Storage::F16),
            ("dot f16", Score::Dot, Storage::F16),
        ] {
            let row_bytes = storage.code_bytes(dims);
            let rows = bytes.len() / row_bytes;
            let mut out = vec![0.0; rows];
            let whole = &bytes[..rows * row_bytes];
            let straight = rate(whole.len(), || {
                kernels.block(score, storage, &query, whole, &mut out)
            });
            let in_page = PAGE / row_bytes;
            let pages = bytes.len() / PAGE;
            let scattered = rate(pages * in_page * row_bytes, || {
                let page = |i: usize| &bytes[scatter(i, pages) * PAGE..][..in_page * row_bytes];
                for i in 0..pages {
                    if i + 1 < pages {
                        prefetch(page(i + 1));
                    }
                    kernels.block(score, storage, &query, page(i), &mut out[..in_page]);
                }
            });
            let cached = &whole[..(200_000 / row_bytes) * row_bytes];
            let hot = rate(cached.len() * 500, || {
                for _ in 0..500 {
                    kernels.block(
                        score,
                        storage,
                        &query,
                        black_box(cached),
                        &mut out[..cached.len() / row_bytes],
                    );
                }
            });
            println!(
                "{:6} {name:8} d={dims:<4} {straight:6.1} GB/s, pages {scattered:6.1} GB/s, cached {hot:6.1} GB/s",
                kernels.name()
            );
        }
    }
}

fn assignment(kernels: &'static Kernels, dims: usize, lists: usize, peak: f64) {
    let rows = (4_000_000_000 / (dims * lists * 2)).clamp(96, 20_000);
    let rows = if kernels.name() == "scalar" {
        rows / 10
    } else {
        rows
    };
    let (centroids, x) = (noise(lists * dims), noise(rows * dims));
    let mut labels = vec![0; rows];
    for by in [NearestBy::L2, NearestBy::Dot] {
        let mut backend = CpuBackend::with_kernels(kernels);
        let mut nearest = backend.nearest(&centroids, dims, by).expect("the shape fits");
        let gflops = rate(rows * lists * dims * 2, || {
            nearest
                .assign(&x, &mut labels, &mut || true)
                .expect("never stopped")
        });
        println!(
            "{:6} assign {by:?} d={dims} lists={lists}: {gflops:.1} GFLOP/s, {:.0} % of peak",
            kernels.name(),
            100.0 * gflops / peak
        );
    }
}

fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u64;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A permutation of `0..count` whose steps are far apart.
fn scatter(i: usize, count: usize) -> usize {
    // A prime larger than any count here, so coprime to it.
    i.wrapping_mul(2_147_483_647) % count
}

fn read(memory: &[f32]) {
    black_box(sum(memory));
}

fn read_pages(memory: &[f32]) {
    let pages = memory.len() * 4 / PAGE;
    for i in 0..pages {
        black_box(sum(&memory[scatter(i, pages) * PAGE / 4..][..PAGE / 4]));
    }
}

fn sum(memory: &[f32]) -> u32 {
    let words: &[[u32; 32]] = bytemuck::cast_slice(&memory[..memory.len() / 32 * 32]);
    let mut sums = [0u32; 32];
    for word in words {
        for (sum, x) in sums.iter_mut().zip(word) {
            *sum = sum.wrapping_add(*x);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// Billions of units a second: `units` in the best of `RUNS` runs.
fn rate(units: usize, mut work: impl FnMut()) -> f64 {
    let best = (0..RUNS).map(|_| timed(&mut work)).min().unwrap_or_default();
    units as f64 / best.as_secs_f64() / 1e9
}

fn timed(work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[cfg(target_arch = "x86_64")]
fn peak_gflops(name: &str) -> f64 {
    const STEPS: usize = 20_000_000;
    match name {
        // SAFETY: the table of this name is only listed on a machine that supports it.
        "avx512" => rate(STEPS * 16 * 16 * 2, || unsafe { peak_avx512(STEPS) }),
        // SAFETY: the table of this name is only listed on a machine that supports it.
        "avx2" => rate(STEPS * 12 * 8 * 2, || unsafe { peak_avx2(STEPS) }),
        _ => f64::NAN,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn peak_gflops(_name: &str) -> f64 {
    f64::NAN
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn peak_avx512(steps: usize) {
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
fn peak_avx2(steps: usize) {
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
