//! Rates of the CPU kernels beside what this machine can do at best: `cargo bench -p vectorgpu-core`.
//!
//! Prints the ceilings first (a plain read of the rows' memory, and fused multiply-adds in registers, both of one
//! thread), then Criterion's figures, then each median as a share of its ceiling: of a plain read right before each
//! sample, because a machine that does other work at the same time gives no steadier ceiling. The rows lie in 256 MiB,
//! far beyond the caches. `-- --test` runs every case once, on little data, and prints no figures.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use vectorgpu_core::backend::{Backend, NearestBy};
use vectorgpu_core::cpu::{CpuBackend, Kernels, kernels};
use vectorgpu_core::metric::{CodeScore, Element, Score};
use vectorgpu_core::quantize::bits;

#[cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the loops of an instruction set that was detected"
    )
)]
mod ceilings;

const DIMS: [usize; 4] = [4, 100, 768, 1536];
/// Bytes of rows that one call of a block kernel scores, as `CpuBackend` does.
const PART: usize = 1 << 20;

fn main() {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let measuring = given("--bench") && !given("--test") && !given("--list");
    let memory = noise(if measuring { 256 << 18 } else { 1 << 18 });
    let memory: &[u8] = bytemuck::cast_slice(&memory);
    let multiply_adds = measuring.then(|| print_ceilings(memory)).flatten();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let medians = Medians {
        memory,
        cases: RefCell::default(),
    };
    scores(&mut criterion, memory, &medians);
    encoders(&mut criterion, memory, &medians);
    assignments(&mut criterion, measuring, &medians);
    criterion.final_summary();
    if measuring {
        medians.print(multiply_adds);
    }
}

/// Measures and prints what one thread can do at best; returns the billions of multiply-adds a second.
fn print_ceilings(memory: &[u8]) -> Option<f64> {
    let mut reads: Vec<Duration> = (0..9)
        .map(|_| ceilings::on_threads(1, &|_| ceilings::read(memory)))
        .collect();
    reads.sort_unstable();
    let rate = memory.len() as f64 / reads[reads.len() / 2].as_secs_f64() / 1e9;
    println!("ceiling: plain memory read {rate:.1} GB/s");
    let multiply_adds = ceilings::multiply_add_rate(kernels().name());
    match multiply_adds {
        Some(rate) => println!("ceiling: {} multiply-add {rate:.1} G/s", kernels().name()),
        None => println!("ceiling: no multiply-add loop for {}", kernels().name()),
    }
    multiply_adds
}

/// What a case did in one iteration.
#[derive(Clone, Copy)]
struct Work {
    /// Bytes of rows read from memory; 0 where the caches hold them.
    bytes: usize,
    /// Multiply-adds, or as many elements of another operation.
    terms: usize,
}

/// What was measured in one of Criterion's samples of a case.
struct Sample {
    /// Seconds an iteration.
    seconds: f64,
    /// The case's rate as a share of that of a plain read right before it.
    of_read: f64,
}

/// The samples of every case, by its name.
struct Medians<'a> {
    /// What the plain reads read.
    memory: &'a [u8],
    cases: RefCell<BTreeMap<String, (Work, Vec<Sample>)>>,
}

impl Medians<'_> {
    /// Runs a case under Criterion and keeps its samples.
    fn case(&self, criterion: &mut Criterion, group: &str, name: &str, work: Work, mut run: impl FnMut()) {
        let mut benchmarks = criterion.benchmark_group(group);
        benchmarks.throughput(if work.bytes > 0 {
            Throughput::Bytes(work.bytes as u64)
        } else {
            Throughput::Elements(work.terms as u64)
        });
        benchmarks.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                // In turns, because other programs share the memory: a read of another time is no ceiling of this one.
                let read = ceilings::on_threads(1, &|_| ceilings::read(self.memory));
                let start = Instant::now();
                for _ in 0..iterations {
                    run();
                }
                let elapsed = start.elapsed();
                let seconds = elapsed.as_secs_f64() / iterations as f64;
                let read_rate = self.memory.len() as f64 / read.as_secs_f64();
                let mut cases = self.cases.borrow_mut();
                let (_, samples) = cases
                    .entry(format!("{group}/{name}"))
                    .or_insert((work, Vec::new()));
                samples.push(Sample {
                    seconds,
                    of_read: work.bytes as f64 / seconds / read_rate,
                });
                elapsed
            });
        });
        benchmarks.finish();
    }

    fn print(&self, multiply_adds: Option<f64>) {
        println!(
            "\n{:24} {:>8} {:>8} {:>9} {:>10}",
            "median", "GB/s", "of read", "G terms/s", "of mul-add"
        );
        for (name, (work, samples)) in &mut *self.cases.borrow_mut() {
            let middle = samples.len() / 2;
            samples.sort_by(|a, b| a.of_read.total_cmp(&b.of_read));
            let of_read = samples[middle].of_read;
            samples.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let terms = work.terms as f64 / samples[middle].seconds / 1e9;
            let bytes = work.bytes as f64 / samples[middle].seconds / 1e9;
            if work.bytes > 0 {
                println!("{name:24} {bytes:8.1} {:6.0} % {terms:9.2}", 100.0 * of_read);
            } else {
                let peak =
                    multiply_adds.map_or("-".to_owned(), |peak| format!("{:.0} %", 100.0 * terms / peak));
                println!("{name:24} {:>8} {:>8} {terms:9.2} {peak:>10}", "-", "-");
            }
        }
    }
}

/// Scans of all rows, by score, element and dimensions.
fn scores(criterion: &mut Criterion, memory: &[u8], medians: &Medians<'_>) {
    type Block<'a> = &'a dyn Fn(&Kernels, &[f32], &[u8], &[u8], usize);
    let mut case = |name: &str, dims: usize, row_bytes: usize, block: Block<'_>| {
        let query = noise(dims);
        let rows = memory.len() / row_bytes;
        let (whole, in_part) = (&memory[..rows * row_bytes], PART / row_bytes);
        let work = Work {
            bytes: whole.len(),
            terms: rows * dims,
        };
        medians.case(criterion, "score", &format!("{name}/{dims}"), work, || {
            for part in whole.chunks(in_part * row_bytes) {
                block(
                    kernels(),
                    &query,
                    &whole[..row_bytes],
                    part,
                    part.len() / row_bytes,
                );
            }
        });
    };
    let scores = RefCell::new(vec![0.0f32; PART]);
    let counts = RefCell::new(vec![0i32; PART]);
    for dims in DIMS {
        for (name, score, element) in [
            ("l2 f32", Score::SquaredL2, Element::F32),
            ("dot f32", Score::Dot, Element::F32),
            ("l2 f16", Score::SquaredL2, Element::F16),
            ("dot f16", Score::Dot, Element::F16),
        ] {
            case(
                name,
                dims,
                element.code_bytes(dims),
                &|kernels, query, _, part, n| {
                    let mut scores = scores.borrow_mut();
                    kernels.block(score, element, query, part, &mut scores[..n]);
                    black_box(&scores);
                },
            );
        }
        for (name, score, row_bytes) in [
            ("dot int8", CodeScore::DotI8, dims),
            ("l2 int8", CodeScore::SquaredL2I8, dims),
            ("hamming", CodeScore::Hamming, bits::code_bytes(dims)),
            ("and-count", CodeScore::AndCount, bits::code_bytes(dims)),
        ] {
            case(name, dims, row_bytes, &|kernels, _, code, part, n| {
                let mut counts = counts.borrow_mut();
                kernels.code_block(score, code, part, &mut counts[..n]);
                black_box(&counts);
            });
        }
    }
}

/// Encoding of 768-dimensional rows from memory.
fn encoders(criterion: &mut Criterion, memory: &[u8], medians: &Medians<'_>) {
    let dims = 768;
    let rows: &[f32] = bytemuck::cast_slice(memory);
    let rows = &rows[..rows.len() / dims * dims];
    let work = Work {
        bytes: size_of_val(rows),
        terms: rows.len(),
    };
    let mut codes = vec![0u8; Element::F16.code_bytes(dims)];
    type Encode = fn(&[f32], &mut [u8]);
    let encoders: [(&str, usize, Encode); 3] = [
        ("f16/768", Element::F16.code_bytes(dims), |row, codes| {
            kernels().encode_f16(row, codes);
        }),
        ("int8/768", dims, |row, codes| {
            black_box(kernels().encode_i8(row, codes));
        }),
        ("bits/768", bits::code_bytes(dims), |row, codes| {
            kernels().encode_bits(row, codes);
        }),
    ];
    for (name, bytes, encode) in encoders {
        medians.case(criterion, "encode", name, work, || {
            for row in rows.chunks_exact(dims) {
                encode(row, &mut codes[..bytes]);
                black_box(&codes);
            }
        });
    }
}

/// Nearest-centroid assignment, whose rows and centroids the caches hold.
fn assignments(criterion: &mut Criterion, measuring: bool, medians: &Medians<'_>) {
    for (dims, lists) in [(4, 1000), (100, 1200), (768, 1000), (1536, 500)] {
        let rows = if measuring {
            500_000_000 / (dims * lists)
        } else {
            2
        };
        let (centroids, x) = (noise(lists * dims), noise(rows * dims));
        let mut labels = vec![0; rows];
        let mut backend = CpuBackend::new();
        let mut nearest = backend
            .nearest(&centroids, dims, NearestBy::L2, &mut || true)
            .expect("the shape fits");
        let work = Work {
            bytes: 0,
            terms: rows * dims * lists,
        };
        medians.case(criterion, "assign", &format!("{dims}x{lists}"), work, || {
            nearest
                .assign(&x, &mut labels, &mut || true)
                .expect("never stopped");
            black_box(&labels);
        });
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
