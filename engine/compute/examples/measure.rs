//! Measures the engine on this machine: `cargo run --release -p vectorgpu-compute --example measure [software]`.
//!
//! Prints one line per figure; best of five after one warm-up run.

#![expect(clippy::print_stdout, reason = "a measuring tool prints")]

use std::time::Instant;

use vectorgpu_compute::EngineBuilder;
use vectorgpu_core::Error;
use vectorgpu_core::backend::{Backend, NearestBy, RowBlock};
use vectorgpu_core::metric::{Score, Storage};

fn best_seconds(mut step: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    step()?;
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let started = Instant::now();
        step()?;
        best = best.min(started.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn values(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from(u16::try_from(state >> 16).unwrap_or(0)) / 32_768.0 - 1.0
        })
        .collect()
}

fn giga(count: usize) -> f64 {
    f64::from(u32::try_from(count / 1000).unwrap_or(u32::MAX)) / 1e6
}

fn main() -> Result<(), Error> {
    let software = std::env::args().any(|argument| argument == "software");
    let builder = EngineBuilder::new().allow_software(software).vram_limit(4 << 30);
    for adapter in builder.devices()? {
        println!("{adapter:?}");
    }
    let started = Instant::now();
    let engine = builder.open()?;
    println!("open {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let mut backend = engine.backend();

    for (dims, n) in [
        (784, 1),
        (784, 60),
        (784, 40_000),
        (100, 340_000),
        (1536, 20_000),
        (101, 300_000),
    ] {
        for storage in [Storage::F32, Storage::F16] {
            let codes = vec![0_u8; storage.code_bytes(dims) * n];
            let query = values(dims);
            let block = RowBlock {
                codes: &codes,
                storage,
                dims,
            };
            let mut scores = Vec::new();
            let seconds = best_seconds(|| {
                scores.clear();
                backend.score(Score::SquaredL2, &query, block, &mut scores, &mut || true)
            })?;
            let rate = giga(codes.len()) / seconds;
            println!(
                "score {storage:?} {n} x {dims}: {:.3} ms, {rate:.2} GB/s",
                seconds * 1e3
            );
        }
    }
    for (dims, n, lists) in [
        (784, 20_000, 245),
        (100, 50_000, 1200),
        (768, 100_000, 1000),
        (768, 100_000, 8192),
    ] {
        if software && n * lists > 100_000_000 {
            continue;
        }
        let rows = values(n * dims);
        let centroids = values(lists * dims);
        let mut labels = vec![0; n];
        let mut nearest = backend.nearest(&centroids, dims, NearestBy::L2)?;
        let seconds = best_seconds(|| nearest.assign(&rows, &mut labels, &mut || true))?;
        let rate = giga(n * lists) * f64::from(u32::try_from(dims).unwrap_or(0)) / seconds;
        println!(
            "kmeans_assign {n} x {dims}, {lists} lists: {:.1} ms, {rate:.1} G multiply-adds/s",
            seconds * 1e3
        );
    }
    println!("{:?}\n{:?}", engine.counters(), engine.memory());
    let started = Instant::now();
    drop((engine, backend));
    println!("close {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
