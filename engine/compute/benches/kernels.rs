//! Rates of the GPU kernels beside what the device can do at best: `cargo bench -p vectorgpu-compute`.
//!
//! Times are the device's own, between timestamps around each dispatch. Prints the ceilings first (a plain read of device
//! memory; multiply-adds in registers), then Criterion's figures, then each median in TB/s or TFLOP/s (two operations
//! a multiply-add) and as a share of its ceiling, then what a dispatch and an upload cost. Takes the best GPU, or what
//! `VECTORGPU_ADAPTER` names; software Vulkan gets little data. `-- --test` runs every case once.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

mod workloads;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use vectorgpu_compute::{Engine, EngineBuilder, Profiling};
use vectorgpu_core::Result;
use workloads::{Ceilings, MAKERS, Scale, Workload, ceilings, noise, to_float, warm_up};

fn main() {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let measuring = given("--bench") && !given("--test") && !given("--list");
    let builder = EngineBuilder::new()
        .allow_software(true)
        .device_from_env()
        .vram_limit(24 << 30)
        .checked_shaders(false);
    match builder.open() {
        Ok(engine) => run(&builder, &engine, measuring).expect("the GPU carries the work out"),
        Err(error) => println!("SKIPPED the GPU kernels: {error}"),
    }
}

fn run(builder: &EngineBuilder, engine: &Engine, measuring: bool) -> Result<()> {
    let small = engine.adapter().software || !measuring;
    let scale = if small { Scale::SMALL } else { Scale::LARGE };
    engine.set_profiling(Profiling::Kernels);
    println!(
        "device: {} ({})",
        engine.adapter().name,
        engine.adapter().driver_info
    );
    warm_up(engine, Duration::from_millis(if small { 1 } else { 1500 }))?;
    let ceilings = ceilings(engine, scale)?;
    println!(
        "ceiling: plain read of device memory {:.2} TB/s; multiply-add {:.1} TFLOP/s f32",
        ceilings.bytes_per_second / 1e12,
        ceilings.multiply_adds_per_second * 2.0 / 1e12
    );
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (_, make) in MAKERS {
        let made = make(engine, scale)?;
        for workload in &made {
            measure(&mut criterion, engine, workload, &ceilings, measuring)?;
        }
        drop(made);
        engine.trim();
    }
    criterion.final_summary();
    if measuring {
        dispatch_cost(engine)?;
        upload_rate(builder, scale)?;
    }
    Ok(())
}

fn measure(
    criterion: &mut Criterion,
    engine: &Engine,
    workload: &Workload,
    ceilings: &Ceilings,
    measuring: bool,
) -> Result<()> {
    let times = RefCell::new(Vec::new());
    let mut group = criterion.benchmark_group("gpu");
    group.throughput(if workload.multiply_adds > 0 {
        Throughput::Elements(workload.multiply_adds)
    } else {
        Throughput::Bytes(workload.bytes)
    });
    // A first run compiles the kernel and teaches the engine how much fits a submission. Filling its memory left the
    // device idle.
    for _ in 0..3 {
        workload.run(engine)?;
    }
    if measuring && !engine.adapter().software {
        warm_up(engine, Duration::from_millis(500))?;
    }
    group.bench_function(&workload.name, |bencher| {
        bencher.iter_custom(|iterations| {
            let total: Duration = (0..iterations)
                .map(|_| workload.run(engine).expect("the GPU carries the work out"))
                .sum();
            times
                .borrow_mut()
                .push(total / u32::try_from(iterations).unwrap_or(u32::MAX));
            total
        });
    });
    group.finish();
    if measuring && !times.borrow().is_empty() {
        print_rates(workload, ceilings, &mut times.borrow_mut());
    }
    Ok(())
}

fn print_rates(workload: &Workload, ceilings: &Ceilings, times: &mut [Duration]) {
    times.sort_unstable();
    let seconds = times[times.len() / 2].as_secs_f64();
    let amount = |count: u64| to_float(usize::try_from(count).unwrap_or(usize::MAX));
    if workload.multiply_adds > 0 {
        let rate = amount(workload.multiply_adds) / seconds;
        let share = rate / ceilings.multiply_adds_per_second * 100.0;
        println!(
            "rate: {}: {:.3} ms, {:.1} TFLOP/s, {share:.0} % of f32 multiply-adds in registers",
            workload.name,
            seconds * 1e3,
            rate * 2.0 / 1e12
        );
    } else {
        let rate = amount(workload.bytes) / seconds;
        let share = rate / ceilings.bytes_per_second * 100.0;
        println!(
            "rate: {}: {:.3} ms, {:.3} TB/s, {share:.0} % of a plain read",
            workload.name,
            seconds * 1e3,
            rate / 1e12
        );
    }
}

/// What a small kernel costs within a step of a thousand, by the device's clock and by the host's: one after the other
/// over the same memory, and each on the result of the one before.
fn dispatch_cost(engine: &Engine) -> Result<()> {
    const DISPATCHES: usize = 1000;
    engine.set_profiling(Profiling::Passes);
    let go_on = &mut || true;
    let one = engine.upload("vectorgpu.measure", &[1.0_f32; 64], go_on)?;
    let sums = [
        engine.array("vectorgpu.measure", 64, go_on)?,
        engine.array("vectorgpu.measure", 64, go_on)?,
    ];
    for chained in [false, true] {
        let (mut recording, mut submitted, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        let mut device = Vec::new();
        for _ in 0..30 {
            engine.reset_profile();
            let mut step = engine.step();
            let started = Instant::now();
            for dispatch in 0..DISPATCHES {
                if chained {
                    step.add(&sums[dispatch % 2], 1.0, &one, &sums[1 - dispatch % 2])?;
                } else {
                    step.add(&one, 1.0, &one, &sums[0])?;
                }
            }
            recording.push(started.elapsed());
            let pending = step.submit(go_on)?;
            submitted.push(started.elapsed());
            pending.wait(go_on)?;
            whole.push(started.elapsed());
            device.push(engine.profile().iter().map(|time| time.total).sum());
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e6 / to_float(DISPATCHES)
        };
        println!(
            "dispatch: {:.2} us each on the device in a step of {DISPATCHES}, {}; on the host {:.2} us recorded, {:.2} us \
             submitted, {:.2} us done",
            median(&mut device),
            if chained {
                "each on the result of the one before"
            } else {
                "over the same memory"
            },
            median(&mut recording),
            median(&mut submitted),
            median(&mut whole),
        );
    }
    engine.set_profiling(Profiling::Kernels);
    Ok(())
}

/// Bytes a second from the host's memory to the device's, from one thread, through staging rings of several sizes, and
/// of a plain copy within the host's memory, which no upload from one thread can pass by much.
fn upload_rate(builder: &EngineBuilder, scale: Scale) -> Result<()> {
    let go_on = &mut || true;
    let bytes = noise(scale.scan_bytes.min(1 << 30));
    let mut target = vec![1_u8; 32 << 20];
    let mut seconds = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        for piece in bytes.chunks(target.len()) {
            std::hint::black_box(&mut target)[..piece.len()].copy_from_slice(piece);
        }
        seconds.push(started.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: &[f64]| to_float(bytes.len()) / seconds[seconds.len() / 2] / 1e9;
    println!(
        "ceiling: copy within the host's memory {:.2} GB/s, one thread",
        rate(&seconds)
    );
    for staging_bytes in [24 << 20, 96 << 20, 384 << 20] {
        let engine = builder.clone().staging(staging_bytes).open()?;
        let array = engine.array::<u8>("vectorgpu.measure", bytes.len(), go_on)?;
        let mut seconds = Vec::new();
        for _ in 0..7 {
            let started = Instant::now();
            engine.write(&array, &bytes, go_on)?;
            engine.step().submit(go_on)?.wait(go_on)?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        println!(
            "upload: {:.2} GB/s of {} bytes from one thread, {} MiB of staging",
            rate(&seconds),
            bytes.len(),
            staging_bytes >> 20
        );
    }
    Ok(())
}
