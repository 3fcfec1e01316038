//! How fast linear layers run: each type of weights at the shapes of two models, and decoding with what a whole model has.
//!
//!     linear_rates [NAME...]
//!
//! NAME: only what has one of these in its name. The device's clock is read around each run of a kernel; a chain, which is
//! all layers of a model for one token without attention, is timed by the host. Data is small on software Vulkan.
#![expect(clippy::print_stdout, reason = "prints what it measured")]

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use std::time::{Duration, Instant};

use vectorgpu_compute::{
    Array, Engine, EngineBuilder, GatedWeights, LinearInput, LinearWeights, Outcome, Profiling, RmsNorm,
    Step, WeightRows, WeightType,
};
use vectorgpu_core::Result;
use vectorgpu_core::blocks::BlockType;
use workloads::{Scale, ceilings, to_float, warm_up};

const LABEL: &str = "vectorgpu.measure";

fn go_on() -> bool {
    true
}

/// What a model's layers are shaped like.
struct Model {
    name: &'static str,
    width: usize,
    inner: usize,
    keys: usize,
    layers: usize,
    vocabulary: usize,
    /// Layers that have weights of their own; the others repeat them, so that no cache holds them all.
    distinct: usize,
}

const SMOLLM2: Model = Model {
    name: "SmolLM2-135M",
    width: 576,
    inner: 1536,
    keys: 192,
    layers: 30,
    vocabulary: 49_152,
    distinct: 30,
};

const LLAMA_8B: Model = Model {
    name: "Llama-8B",
    width: 4096,
    inner: 14_336,
    keys: 1024,
    layers: 32,
    vocabulary: 128_256,
    distinct: 2,
};

/// The shape of SmolLM2, with little of everything.
const SMALL: Model = Model {
    name: "small",
    layers: 2,
    vocabulary: 512,
    distinct: 2,
    ..SMOLLM2
};

struct Layer {
    attention: LinearWeights,
    output: LinearWeights,
    gated: GatedWeights,
    down: LinearWeights,
}

/// What passes between layers.
struct State {
    x: Array<f32>,
    attended: Array<f32>,
    inner: Array<f32>,
    logits: Array<f32>,
    norm: Array<f32>,
}

fn main() -> Result<()> {
    let engine = EngineBuilder::new()
        .allow_software(true)
        .device_from_env()
        .vram_limit(24 << 30)
        .checked_shaders(false)
        .open()?;
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|part| name.contains(part.as_str()));
    let software = engine.adapter().software;
    let scale = if software { Scale::SMALL } else { Scale::LARGE };
    engine.set_profiling(Profiling::Kernels);
    let memory_rate = ceilings(&engine, scale)?.bytes_per_second;
    println!("{}: reads {:.2} TB/s", engine.adapter().name, memory_rate / 1e12);
    let models = if software {
        vec![SMALL]
    } else {
        vec![SMOLLM2, LLAMA_8B]
    };
    for model in &models {
        for weight_type in WeightType::all() {
            let name = format!("{} {}", model.name, name_of(weight_type));
            if model.width.is_multiple_of(weight_type.block_elements()) && wanted(&name) {
                shapes(&engine, model, weight_type, memory_rate)?;
                engine.trim();
            }
        }
    }
    for model in &models {
        for weight_type in [
            WeightType::F16,
            WeightType::Blocks(BlockType::Q8_0),
            WeightType::Blocks(BlockType::Q4_1),
            WeightType::Blocks(BlockType::Q4K),
        ] {
            let name = format!("chain {} {}", model.name, name_of(weight_type));
            if model.width.is_multiple_of(weight_type.block_elements()) && wanted(&name) {
                chain(&engine, model, weight_type)?;
                engine.trim();
            }
        }
    }
    Ok(())
}

fn name_of(weight_type: WeightType) -> &'static str {
    match weight_type {
        WeightType::F32 => "F32",
        WeightType::F16 => "F16",
        WeightType::BF16 => "BF16",
        WeightType::Blocks(of_type) => of_type.name(),
    }
}

/// Rows of one block, again and again.
fn bytes_of(weight_type: WeightType, outputs: usize, inputs: usize) -> Result<Vec<u8>> {
    let row = workloads::noise(weight_type.row_bytes(inputs)?);
    Ok(row.repeat(outputs))
}

fn upload(engine: &Engine, weight_type: WeightType, outputs: usize, inputs: usize) -> Result<LinearWeights> {
    let bytes = bytes_of(weight_type, outputs, inputs)?;
    let rows = WeightRows {
        weight_type,
        outputs,
        bytes: &bytes,
    };
    engine.upload_weights(LABEL, inputs, &[rows], &mut go_on)
}

fn numbers(engine: &Engine, count: usize) -> Result<Array<f32>> {
    let array = engine.array(LABEL, count, &mut go_on)?;
    engine.write(&array, &vec![0.01; count], &mut go_on)?;
    Ok(array)
}

/// Prints how long products with one matrix take, for one row, eight, and 512.
fn shapes(engine: &Engine, model: &Model, weight_type: WeightType, memory_rate: f64) -> Result<()> {
    let (width, inner) = (model.width, model.inner);
    for (outputs, inputs) in [
        (width, width),
        (inner, width),
        (width, inner),
        (model.vocabulary, width),
    ] {
        if !inputs.is_multiple_of(weight_type.block_elements()) {
            continue;
        }
        let weights = upload(engine, weight_type, outputs, inputs)?;
        if !engine.adapter().software {
            // Laying weights out left the device idle, and its clocks low.
            warm_up(engine, Duration::from_secs(1))?;
        }
        let mut line = format!("{} {outputs} x {inputs}:", name_of(weight_type));
        for rows in [1, 8, 512] {
            if rows > 8 && (engine.adapter().software || outputs == model.vocabulary) {
                continue;
            }
            let (x, out) = (numbers(engine, rows * inputs)?, numbers(engine, rows * outputs)?);
            let record = |step: &mut Step| {
                step.linear(
                    &weights,
                    LinearInput { x: &x, norm: None },
                    &out,
                    Outcome::Written,
                    &mut go_on,
                )
            };
            let time = device_time(engine, &record)?;
            let seconds = time.as_secs_f64();
            if rows > 8 {
                let work = 2.0 * to_float(rows) * to_float(outputs) * to_float(inputs);
                line += &format!(
                    " {rows} rows {:.1} us, {:.1} TFLOP/s",
                    seconds * 1e6,
                    work / seconds / 1e12
                );
            } else {
                let bytes = to_float(usize::try_from(weights.bytes()).unwrap_or(usize::MAX));
                let share = bytes / seconds / memory_rate * 100.0;
                line += &format!(" {rows} rows {:.1} us, {share:.0} %;", seconds * 1e6);
            }
        }
        println!("{line}");
    }
    Ok(())
}

/// The median time that the device needs for what `record` records.
fn device_time(engine: &Engine, record: &dyn Fn(&mut Step) -> Result<()>) -> Result<Duration> {
    engine.set_profiling(Profiling::Kernels);
    let mut times = Vec::new();
    for turn in 0..14 {
        let mut step = engine.step();
        record(&mut step)?;
        if turn == 3 && !engine.adapter().software {
            warm_up(engine, Duration::from_millis(60))?;
        }
        engine.reset_profile();
        step.run(&mut go_on)?;
        if turn >= 3 {
            times.push(engine.profile().iter().map(|kernel| kernel.total).sum());
        }
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Prints how long all layers of a model take for one token, and for eight, without attention.
fn chain(engine: &Engine, model: &Model, weight_type: WeightType) -> Result<()> {
    let (width, inner, keys) = (model.width, model.inner, model.keys);
    // A type in blocks of 256 needs rows of whole blocks.
    let matrix = |outputs, inputs: usize| upload(engine, weight_type, outputs, inputs);
    let layers = (0..model.distinct).map(|_| {
        let bytes = bytes_of(weight_type, inner, width)?;
        let rows = WeightRows {
            weight_type,
            outputs: inner,
            bytes: &bytes,
        };
        Ok(Layer {
            attention: matrix(width + 2 * keys, width)?,
            output: matrix(width, width)?,
            gated: engine.upload_gated(LABEL, width, rows, rows, &mut go_on)?,
            down: matrix(width, inner)?,
        })
    });
    let layers: Vec<Layer> = layers.collect::<Result<_>>()?;
    let head = matrix(model.vocabulary, width)?;
    engine.set_profiling(Profiling::Off);
    for rows in [1, 8] {
        let state = State {
            x: numbers(engine, rows * width)?,
            attended: numbers(engine, rows * (width + 2 * keys))?,
            inner: numbers(engine, rows * inner)?,
            logits: numbers(engine, rows * model.vocabulary)?,
            norm: numbers(engine, width)?,
        };
        let mut times = Vec::new();
        if !engine.adapter().software {
            warm_up(engine, Duration::from_millis(500))?;
        }
        for _ in 0..20 {
            let started = Instant::now();
            let mut step = engine.step();
            record_chain(&mut step, model, &layers, &head, &state)?;
            step.run(&mut go_on)?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let milliseconds = times[times.len() / 2].as_secs_f64() * 1e3;
        println!(
            "chain {} {} {rows} rows: {milliseconds:.2} ms, {:.0} tokens/s",
            model.name,
            name_of(weight_type),
            to_float(rows) * 1e3 / milliseconds
        );
    }
    Ok(())
}

fn record_chain(
    step: &mut Step,
    model: &Model,
    layers: &[Layer],
    head: &LinearWeights,
    state: &State,
) -> Result<()> {
    let norm = Some(RmsNorm {
        weights: &state.norm,
        epsilon: 1e-5,
    });
    let normed = LinearInput { x: &state.x, norm };
    let input = |x| LinearInput { x, norm: None };
    // As much of queries, keys and values as the attention that is left out would make of them.
    let rows = state.x.len() / model.width;
    let attended = state.attended.slice(0..rows * model.width)?;
    for number in 0..model.layers {
        let layer = &layers[number % layers.len()];
        step.linear(
            &layer.attention,
            normed,
            &state.attended,
            Outcome::Written,
            &mut go_on,
        )?;
        step.linear(
            &layer.output,
            input(&attended),
            &state.x,
            Outcome::Added,
            &mut go_on,
        )?;
        step.gated(&layer.gated, normed, &state.inner, &mut go_on)?;
        step.linear(
            &layer.down,
            input(&state.inner),
            &state.x,
            Outcome::Added,
            &mut go_on,
        )?;
    }
    step.linear(head, normed, &state.logits, Outcome::Written, &mut go_on)
}
