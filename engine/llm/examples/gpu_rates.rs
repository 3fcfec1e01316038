//! How fast a model of made-up weights writes on a GPU, and reads prompts; weights are made up a layer at a time:
//! `cargo run --release -p vectorgpu-llm --example gpu_rates SHAPE TYPE TEXTS,.. [TOKENS [PROMPT [kernels]]]`.
//!
//! SHAPE is `smollm2-135m`, `qwen2-0.5b` or `llama-8b`; TYPE `f16`, `q8_0` or `q4_0`; TEXTS so many texts are written side by side, of TOKENS
//! tokens each after a prompt of PROMPT; with `kernels` or `passes`, device time of each kernel, or of whole passes, follows.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::rc::Rc;
use std::time::{Duration, Instant};

use half::f16;
use vectorgpu_compute::{BLOCK_TOKENS, Engine, EngineBuilder, Heads, Profiling, WeightType};
use vectorgpu_core::blocks::BlockType;
use vectorgpu_core::random::Random;
use vectorgpu_llm::batch::{Part, Wants};
use vectorgpu_llm::cache::{BlockPool, BlockTable};
use vectorgpu_llm::gpu::{Ahead, AheadText, Ends, GpuModel, GpuShape, LayerWeights, LinearRows, Next};

type Failure = Box<dyn std::error::Error>;

/// Device memory to use, at most.
const MEMORY_BYTES: u64 = 100 << 30;
/// Rows of a pass over prompts.
const ROWS: usize = 512;

/// What is known of a model but its weights.
struct Model {
    shape: GpuShape,
    layers: usize,
    tied: bool,
}

fn model(name: &str, texts: usize, context: usize) -> Result<Model, Failure> {
    let (width, inner_width, heads, vocabulary, layers, tied) = match name {
        "smollm2-135m" => (576, 1536, (9, 3, 64), 49_152, 30, true),
        "qwen2-0.5b" => (896, 4864, (14, 2, 64), 151_936, 24, true),
        "llama-8b" => (4096, 14_336, (32, 8, 128), 128_256, 32, false),
        _ => return Err(format!("{name} is no shape").into()),
    };
    let shape = GpuShape {
        width,
        inner_width,
        heads: Heads {
            queries: heads.0,
            keys: heads.1,
            numbers: heads.2,
        },
        epsilon: 1e-5,
        vocabulary,
        blocks: texts * context.div_ceil(BLOCK_TOKENS),
        context,
        rows: ROWS,
        pairs: heads.2 / 2,
        adjacent: true,
    };
    Ok(Model { shape, layers, tied })
}

/// Rows of weights, from a store of random bytes of their type that is as large as the largest matrix.
struct MadeUp {
    of_type: WeightType,
    bytes: Vec<u8>,
}

impl MadeUp {
    fn new(name: &str, elements: usize) -> Result<Self, Failure> {
        let mut random = Random::new(1);
        let mut bytes = Vec::new();
        let of_type = match name {
            "f16" => {
                // Magnitudes from 1/128 to 1/64.
                let number = |low: u8, high: u8| [low, high & 0x83 | 0x20];
                for _ in 0..elements / 4 {
                    let random = random.bits().to_le_bytes();
                    let pairs = random.chunks_exact(2);
                    bytes.extend(pairs.flat_map(|pair| number(pair[0], pair[1])));
                }
                WeightType::F16
            }
            "q8_0" | "q4_0" => {
                let (of_type, numbers, scale) = if name == "q8_0" {
                    (BlockType::Q8_0, 32, 2e-4)
                } else {
                    (BlockType::Q4_0, 16, 2e-3)
                };
                for _ in 0..elements / 32 {
                    bytes.extend(f16::from_f32(scale).to_le_bytes());
                    bytes.extend((0..numbers / 8).flat_map(|_| random.bits().to_le_bytes()));
                }
                WeightType::Blocks(of_type)
            }
            _ => return Err(format!("{name} is no type").into()),
        };
        Ok(Self { of_type, bytes })
    }

    fn rows(&self, outputs: usize, inputs: usize) -> Result<LinearRows<'_>, Failure> {
        let bytes = outputs * self.of_type.row_bytes(inputs)?;
        Ok(LinearRows::plain(self.of_type, outputs, &self.bytes[..bytes]))
    }
}

fn send(engine: &Rc<Engine>, model: &Model, of_type: &str) -> Result<GpuModel, Failure> {
    let shape = model.shape;
    let largest = shape.vocabulary.max(shape.inner_width) * shape.width;
    let made_up = MadeUp::new(of_type, largest)?;
    let turn = |place: usize| {
        let angle =
            (place / shape.pairs) as f32 * 1e4f32.powf(-((place % shape.pairs) as f32) / shape.pairs as f32);
        [angle.cos(), angle.sin()]
    };
    let turns: Vec<[f32; 2]> = (0..shape.context * shape.pairs).map(turn).collect();
    let norm = vec![1.0; shape.width];
    let attended = shape.heads.queries * shape.heads.numbers;
    let kv_width = shape.heads.keys * shape.heads.numbers;
    let layer = LayerWeights {
        attention_norm: &norm,
        attention: [
            made_up.rows(attended, shape.width)?,
            made_up.rows(kv_width, shape.width)?,
            made_up.rows(kv_width, shape.width)?,
        ],
        attention_output: made_up.rows(shape.width, attended)?,
        norm: &norm,
        gate: made_up.rows(shape.inner_width, shape.width)?,
        up: made_up.rows(shape.inner_width, shape.width)?,
        down: made_up.rows(shape.width, shape.inner_width)?,
    };
    let mut device = GpuModel::new(engine, shape, &turns, &mut || true)?;
    for _ in 0..model.layers {
        device.push_layer(&layer, &mut || true)?;
    }
    let ends = Ends {
        embeddings: made_up.rows(shape.vocabulary, shape.width)?,
        norm: &norm,
        output: match model.tied {
            true => None,
            false => Some(made_up.rows(shape.vocabulary, shape.width)?),
        },
    };
    device.set_ends(&ends, &mut || true)?;
    Ok(device)
}

fn texts(
    count: usize,
    prompt: usize,
    tokens: usize,
    pool: &mut BlockPool,
) -> Result<Vec<AheadText>, Failure> {
    let text = |number: usize| {
        let mut table = BlockTable::default();
        pool.reserve(&mut table, prompt + tokens)?;
        Ok(AheadText {
            unread: (0..prompt)
                .map(|i| u32::try_from((number * 31 + i * 7) % 1000).unwrap_or(0))
                .collect(),
            table,
            next: Next::Likeliest,
        })
    };
    (0..count).map(text).collect()
}

/// Time of each step of texts that the device writes by itself, after some to warm up.
fn written_ahead(
    device: &mut GpuModel,
    texts: Vec<AheadText>,
    tokens: usize,
) -> Result<(Duration, usize), Failure> {
    let mut ahead = Ahead::begin(device, texts, &mut || true)?;
    let warm = tokens / 4;
    for _ in 0..warm {
        ahead.step(device, &mut || true)?;
    }
    let started = Instant::now();
    let mut steps = 0;
    while steps < tokens - warm && ahead.step(device, &mut || true)?.is_some() {
        steps += 1;
    }
    Ok((started.elapsed(), steps))
}

/// Time of a pass over a prompt of `rows` tokens.
fn prompt_read(device: &mut GpuModel, rows: usize, pool: &mut BlockPool) -> Result<Duration, Failure> {
    let mut table = BlockTable::default();
    pool.reserve(&mut table, rows)?;
    let tokens: Vec<u32> = (0..1000).cycle().take(rows).collect();
    let part = Part {
        tokens: &tokens,
        table: &table,
        wants: Wants::Last,
    };
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        device.forward(&[part], &mut || true, &mut Vec::new())?;
        best = best.min(started.elapsed());
    }
    pool.release(table);
    Ok(best)
}

fn print_kernels(engine: &Engine, steps: usize) {
    let mut times = engine.profile();
    times.sort_by_key(|time| std::cmp::Reverse(time.total));
    for time in times {
        println!(
            "    {}: {:.1} dispatches a step, {:.2?} each, {:.2?} a step",
            time.kernel,
            time.dispatches as f64 / steps as f64,
            time.total / u32::try_from(time.dispatches).unwrap_or(1),
            time.total / u32::try_from(steps).unwrap_or(1)
        );
    }
    engine.reset_profile();
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, shape, of_type, counts, rest @ ..] = &arguments[..] else {
        return Err("name a shape, a type of weights, and how many texts".into());
    };
    let counts: Vec<usize> = counts.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let tokens: usize = rest.first().map_or(Ok(128), |tokens| tokens.parse())?;
    let prompt: usize = rest.get(1).map_or(Ok(64), |prompt| prompt.parse())?;
    let builder = EngineBuilder::new().allow_software(true).vram_limit(MEMORY_BYTES);
    let engine = Rc::new(builder.open()?);
    let most = counts.iter().copied().max().unwrap_or(1);
    let model = model(shape, most, (prompt + tokens).max(ROWS))?;
    let started = Instant::now();
    let mut device = send(&engine, &model, of_type)?;
    println!(
        "{}: {shape} {of_type} sent in {:.1?}",
        engine.adapter().name,
        started.elapsed()
    );
    let blocks = u32::try_from(model.shape.blocks)?;
    let read = prompt_read(&mut device, ROWS, &mut BlockPool::new(blocks))?;
    println!(
        "  a prompt of {ROWS} tokens in {read:.2?}: {:.0} tokens/s",
        ROWS as f64 / read.as_secs_f64()
    );
    for count in counts {
        let all = texts(count, prompt, tokens, &mut BlockPool::new(blocks))?;
        let before = engine.counters();
        let (elapsed, steps) = written_ahead(&mut device, all, tokens)?;
        let after = engine.counters();
        println!(
            "  {count} texts: {:.0} tokens/s, {:.3?} a step; {:.0} dispatches, {:.0} of them with kept bind groups, and {:.2} submissions a step",
            (count * steps) as f64 / elapsed.as_secs_f64(),
            elapsed / u32::try_from(steps)?,
            (after.dispatches - before.dispatches) as f64 / tokens as f64,
            (after.bind_group_hits - before.bind_group_hits) as f64 / tokens as f64,
            (after.submissions - before.submissions) as f64 / tokens as f64,
        );
        let profiling = match rest.get(2).map(String::as_str) {
            Some("kernels") => Profiling::Kernels,
            Some("passes") => Profiling::Passes,
            _ => Profiling::Off,
        };
        if profiling != Profiling::Off {
            engine.set_profiling(profiling);
            let all = texts(count, prompt, tokens, &mut BlockPool::new(blocks))?;
            let (_, steps) = written_ahead(&mut device, all, tokens.min(40))?;
            print_kernels(&engine, steps + tokens.min(40) / 4);
            engine.set_profiling(Profiling::Off);
        }
    }
    println!("  {} MB of device memory", engine.memory().used_bytes >> 20);
    Ok(())
}
