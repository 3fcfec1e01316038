//! Finds the constants of the kernels that suit this machine's GPU: `make autotune`, or
//! `cargo run --release -p vectorgpu-compute --example autotune [-- --write]`.
//!
//! Tries each candidate of each tunable constant on the kernel's workload, the others staying at what was best so far,
//! and prints the table's lines for the GPU's vendor. With `--write` the lines replace that vendor's in
//! `shaders/workgroups.txt`; lines of other vendors stay. A kernel that several workloads use keeps what is best for
//! the last of them. Takes the best GPU, or what `VECTORGPU_ADAPTER` names.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use vectorgpu_compute::{Engine, EngineBuilder, Profiling, TunableConstant, tunable_constants};
use vectorgpu_core::{Error, Result};
use workloads::{MAKERS, Scale, Workload, warm_up};

/// A setting must be so much faster than the default to be worth a line.
const WORTHWHILE: f64 = 0.97;

/// The best values so far, by kernel and constant.
type Settings = BTreeMap<(&'static str, &'static str), u32>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = EngineBuilder::new()
        .allow_software(true)
        .device_from_env()
        .vram_limit(24 << 30)
        .checked_shaders(false)
        .open()?;
    engine.set_profiling(Profiling::Kernels);
    let vendor = engine.adapter().tuning_vendor.name();
    println!("# {} ({vendor})", engine.adapter().name);
    let mut best = Settings::new();
    for (kernels, make) in MAKERS {
        let scale = if engine.adapter().software {
            Scale::SMALL
        } else {
            Scale::LARGE
        };
        let made = make(&engine, scale)?;
        let of_these = |tunable: &TunableConstant| kernels.contains(&measured_by(tunable.kernel));
        for tunable in tunable_constants().into_iter().filter(of_these) {
            tune(&engine, &made, tunable, &mut best)?;
        }
        drop(made);
        engine.trim();
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

/// Tries the candidates of one constant on the workloads among `made` that its kernel takes part in; notes the fastest
/// in `best` if it clearly beats the default, and leaves the engine with it.
fn tune(
    engine: &Engine,
    made: &[Workload],
    tunable: TunableConstant,
    best: &mut Settings,
) -> Result<(), Error> {
    let mut seconds = Vec::new();
    for &value in tunable.candidates {
        engine.tune(tunable.kernel, tunable.constant, value);
        warm_up(
            engine,
            Duration::from_millis(if engine.adapter().software { 1 } else { 300 }),
        )?;
        let mut sum = 0.0;
        for workload in made
            .iter()
            .filter(|workload| workload.kernel == measured_by(tunable.kernel))
        {
            sum += workload.median(engine, 7)?.as_secs_f64();
        }
        println!(
            "# {} {}={value}: {:.3} ms",
            tunable.kernel,
            tunable.constant,
            sum * 1e3
        );
        seconds.push((value, sum));
    }
    let default = seconds.iter().find(|(value, _)| *value == tunable.default);
    let fastest = seconds.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let chosen = match (default, fastest) {
        (Some(default), Some(fastest)) if fastest.1 < default.1 * WORTHWHILE => {
            best.insert((tunable.kernel, tunable.constant), fastest.0);
            fastest.0
        }
        _ => tunable.default,
    };
    engine.tune(tunable.kernel, tunable.constant, chosen);
    Ok(())
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
