//! Finds the constants of the kernels that suit this machine's GPU: `make autotune`, or
//! `cargo run --release -p vectorgpu-compute --example autotune [-- --write]`.
//!
//! Tries each candidate of each tunable constant on the kernel's workload, the others staying at what was best so far,
//! and prints the table's lines for the GPU's vendor. With `--write` the lines replace that vendor's in
//! `shaders/workgroups.txt`; lines of other vendors stay. Takes the best GPU, or what `VECTORGPU_ADAPTER` names.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use vectorgpu_compute::{Engine, EngineBuilder, TunableConstant, tunable_constants};
use vectorgpu_core::{Error, Result};
use workloads::{MAKERS, Scale, warm_up};

/// A setting must be so much faster than the default to be worth a line.
const WORTHWHILE: f64 = 0.97;

/// The best values so far, by kernel and constant.
type Settings = BTreeMap<(&'static str, &'static str), u32>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = EngineBuilder::new()
        .allow_software(true)
        .device_from_env()
        .vram_limit(24 << 30)
        .checked_shaders(false);
    let engine = open(&builder, &Settings::new())?;
    let vendor = engine.adapter().tuning_vendor.name();
    println!("# {} ({vendor})", engine.adapter().name);
    let scale = if engine.adapter().software {
        Scale::SMALL
    } else {
        Scale::LARGE
    };
    drop(engine);
    let mut best = Settings::new();
    for tunable in tunable_constants() {
        tune(&builder, scale, tunable, &mut best)?;
    }
    let lines = lines(vendor, &best);
    lines.iter().for_each(|line| println!("{line}"));
    if std::env::args().any(|argument| argument == "--write") {
        let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shaders/workgroups.txt");
        std::fs::write(
            &table,
            replaced(&std::fs::read_to_string(&table)?, vendor, &lines),
        )?;
    }
    Ok(())
}

fn open(builder: &EngineBuilder, settings: &Settings) -> Result<Engine, Error> {
    let tuned = settings
        .iter()
        .fold(builder.clone(), |builder, (&(kernel, constant), &value)| {
            builder.tune(kernel, constant, value)
        });
    let engine = tuned.open()?;
    engine.set_profiling(true);
    Ok(engine)
}

/// Tries the candidates of one constant, and keeps the fastest in `best` if it clearly beats the default.
fn tune(
    builder: &EngineBuilder,
    scale: Scale,
    tunable: TunableConstant,
    best: &mut Settings,
) -> Result<(), Error> {
    let mut fastest: Option<(f64, u32)> = None;
    let mut default_seconds = None;
    for &value in tunable.candidates {
        let mut settings = best.clone();
        settings.insert((tunable.kernel, tunable.constant), value);
        let Some(seconds) = measure(&open(builder, &settings)?, scale, tunable.kernel)? else {
            return Ok(());
        };
        println!(
            "# {} {}={value}: {:.3} ms",
            tunable.kernel,
            tunable.constant,
            seconds * 1e3
        );
        if value == tunable.default {
            default_seconds = Some(seconds);
        }
        if fastest.is_none_or(|(least, _)| seconds < least) {
            fastest = Some((seconds, value));
        }
    }
    if let (Some((seconds, value)), Some(default)) = (fastest, default_seconds)
        && value != tunable.default
        && seconds < default * WORTHWHILE
    {
        best.insert((tunable.kernel, tunable.constant), value);
    }
    Ok(())
}

/// Seconds of all workloads of `kernel`; nothing where there is none.
fn measure(engine: &Engine, scale: Scale, kernel: &str) -> Result<Option<f64>, Error> {
    warm_up(
        engine,
        Duration::from_millis(if engine.adapter().software { 1 } else { 300 }),
    )?;
    let mut seconds = None;
    for (_, make) in MAKERS
        .iter()
        .filter(|(kernels, _)| kernels.contains(&measured_by(kernel)))
    {
        let made = make(engine, scale)?;
        for workload in made
            .iter()
            .filter(|workload| workload.kernel == measured_by(kernel))
        {
            let time = workload.median(engine, 7)?.as_secs_f64();
            *seconds.get_or_insert(0.0) += time;
        }
    }
    Ok(seconds)
}

/// The kernel under whose name the workloads of `kernel` go: one call may choose between two kernels.
fn measured_by(kernel: &str) -> &str {
    match kernel {
        "score_subgroup" => "score",
        "matmul_cooperative" => "matmul",
        "sort_local" | "sort_count" => "sort_scatter",
        "select_count" | "select_mark" | "select_gather" | "scan" => "select",
        other => other,
    }
}

fn lines(vendor: &str, best: &Settings) -> Vec<String> {
    let mut by_kernel: BTreeMap<&str, String> = BTreeMap::new();
    for ((kernel, constant), value) in best {
        let line = by_kernel
            .entry(kernel)
            .or_insert_with(|| format!("{kernel} {vendor}"));
        line.push_str(&format!(" {constant}={value}"));
    }
    by_kernel.into_values().collect()
}

/// The table with the vendor's lines replaced.
fn replaced(table: &str, vendor: &str, lines: &[String]) -> String {
    let is_ours = |line: &str| line.split(' ').nth(1) == Some(vendor) && !line.starts_with('#');
    let kept = table.lines().filter(|line| !is_ours(line)).map(str::to_owned);
    let mut text: String = kept.chain(lines.iter().cloned()).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}
