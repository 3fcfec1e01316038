//! Prints how near the CPU kernels come to a plain memory read of this machine, and to its multiply-add rate.
//!
//! `cargo run --release -p vectorgpu-core --example kernel_rates -- [MiB=512] [rounds=15] [part of a table's name]`.
//! Every run of a kernel stands beside a plain read of the same memory, right before it, so that a machine shared with
//! others still gives ratios; printed are medians over the rounds, and the quartiles of the ratio. "pages" scores rows
//! that lie in 8 kB pages visited in random order, the next one prefetched.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]
use std::hint::black_box;
use std::time::{Duration, Instant};

use vectorgpu_core::backend::{Backend, NearestBy};
use vectorgpu_core::cpu::{CpuBackend, Kernels, prefetch};
use vectorgpu_core::metric::{CodeScore, Element, Score};
use vectorgpu_core::quantize::bits;

#[cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the loops of an instruction set that was detected"
    )
)]
#[path = "../benches/ceilings/mod.rs"]
mod ceilings;

const PAGE: usize = 8192;

/// One line of the report: what a row is, and how a block of rows is scored.
#[derive(Clone, Copy)]
enum Scan {
    Rows(Score, Element),
    Codes(CodeScore),
}

const SCANS: [(&str, Scan); 10] = [
    ("l2 f32", Scan::Rows(Score::SquaredL2, Element::F32)),
    ("dot f32", Scan::Rows(Score::Dot, Element::F32)),
    ("l1 f32", Scan::Rows(Score::L1, Element::F32)),
    ("l2 f16", Scan::Rows(Score::SquaredL2, Element::F16)),
    ("dot f16", Scan::Rows(Score::Dot, Element::F16)),
    ("l1 f16", Scan::Rows(Score::L1, Element::F16)),
    ("dot int8", Scan::Codes(CodeScore::DotI8)),
    ("l2 int8", Scan::Codes(CodeScore::SquaredL2I8)),
    ("hamming", Scan::Codes(CodeScore::Hamming)),
    ("and", Scan::Codes(CodeScore::AndCount)),
];

impl Scan {
    fn row_bytes(self, dims: usize) -> usize {
        match self {
            Self::Rows(_, element) => element.code_bytes(dims),
            Self::Codes(CodeScore::DotI8 | CodeScore::SquaredL2I8) => dims,
            Self::Codes(_) => bits::code_bytes(dims),
        }
    }

    /// Scores every whole row of `memory`, 1 MiB at a time, as `CpuBackend` does.
    fn run(self, kernels: &Kernels, dims: usize, memory: &[u8]) {
        let row_bytes = self.row_bytes(dims);
        let rows = (1 << 20) / row_bytes;
        let query: Vec<f32> = noise(dims);
        let code = &memory[..row_bytes];
        let (mut scores, mut counts) = (vec![0.0; rows], vec![0; rows]);
        for part in memory.chunks(rows * row_bytes) {
            let n = part.len() / row_bytes;
            let part = &part[..n * row_bytes];
            match self {
                Self::Rows(score, element) => kernels.block(score, element, &query, part, &mut scores[..n]),
                Self::Codes(score) => kernels.code_block(score, code, part, &mut counts[..n]),
            }
            black_box((&scores, &counts));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| {
        arguments
            .get(i)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (mebibytes, rounds): (usize, usize) = (number(0, 512).max(4), number(1, 15).max(1));
    let wanted = arguments.get(2).map_or("", String::as_str);
    let memory: Vec<f32> = noise(mebibytes << 18);
    let tables = || {
        Kernels::all_supported()
            .into_iter()
            .filter(|table| table.name().contains(wanted))
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for kernels in tables() {
        for threads in 1..=cores.min(2) {
            scans(kernels, bytemuck::cast_slice(&memory), threads, rounds);
        }
    }
    for kernels in tables() {
        let peak = ceilings::multiply_add_rate(kernels.name()).map_or(f64::NAN, |rate| 2.0 * rate);
        println!("{:11} peak multiply-add {peak:.1} GFLOP/s", kernels.name());
        for (dims, lists) in [(784, 245), (100, 1200), (784, 4000), (16, 1000), (2000, 500)] {
            assignment(kernels, dims, lists, peak);
        }
    }
}

fn scans(kernels: &'static Kernels, memory: &[u8], threads: usize, rounds: usize) {
    let part = memory.len() / threads;
    let parts: Vec<&[u8]> = memory.chunks_exact(part).collect();
    for (name, scan) in SCANS {
        for dims in [768, 100] {
            // The share of a page that holds rows.
            let used = (PAGE / scan.row_bytes(dims) * scan.row_bytes(dims)) as f64 / PAGE as f64;
            let (mut plain, mut straight, mut scattered, mut ratios) = (vec![], vec![], vec![], vec![]);
            for _ in 0..rounds {
                let rate = |time: Duration| (part * threads) as f64 / time.as_secs_f64() / 1e9;
                let read = rate(ceilings::on_threads(threads, &|i| ceilings::read(parts[i])));
                let scan_rate = rate(ceilings::on_threads(threads, &|i| {
                    scan.run(kernels, dims, parts[i])
                }));
                plain.push(read);
                straight.push(scan_rate);
                ratios.push(100.0 * scan_rate / read);
                let in_pages = ceilings::on_threads(threads, &|i| pages(scan, kernels, dims, parts[i]));
                scattered.push(rate(in_pages) * used);
            }
            println!(
                "{:11} {threads} thread{} {name:8} d={dims:<4} {:5.1} of {:5.1} GB/s: {:4.0} % ({:.0}..{:.0}); pages {:5.1} GB/s",
                kernels.name(),
                if threads == 1 { " " } else { "s" },
                quantile(&mut straight, 0.5),
                quantile(&mut plain, 0.5),
                quantile(&mut ratios, 0.5),
                quantile(&mut ratios, 0.25),
                quantile(&mut ratios, 0.75),
                quantile(&mut scattered, 0.5),
            );
        }
    }
}

fn pages(scan: Scan, kernels: &Kernels, dims: usize, memory: &[u8]) {
    let in_page = PAGE / scan.row_bytes(dims);
    let used = in_page * scan.row_bytes(dims);
    let pages = memory.len() / PAGE;
    let page = |i: usize| &memory[scatter(i, pages) * PAGE..][..PAGE];
    let query: Vec<f32> = noise(dims);
    let code = &memory[..scan.row_bytes(dims)];
    let (mut scores, mut counts) = (vec![0.0; in_page], vec![0; in_page]);
    for i in 0..pages {
        if i + 1 < pages {
            prefetch(page(i + 1));
        }
        let rows = &page(i)[..used];
        match scan {
            Scan::Rows(score, element) => kernels.block(score, element, &query, rows, &mut scores),
            Scan::Codes(score) => kernels.code_block(score, code, rows, &mut counts),
        }
        black_box((&scores, &counts));
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
        let mut nearest = backend
            .nearest(&centroids, dims, by, &mut || true)
            .expect("the shape fits");
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                nearest
                    .assign(&x, &mut labels, &mut || true)
                    .expect("never stopped");
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        let gflops = (rows * lists * dims * 2) as f64 / best.as_secs_f64() / 1e9;
        println!(
            "{:11} assign {by:?} d={dims} lists={lists}: {gflops:.1} GFLOP/s, {:.0} % of peak",
            kernels.name(),
            100.0 * gflops / peak
        );
    }
}

/// The value below which that share of `values` lies.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small index"
    )]
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
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
