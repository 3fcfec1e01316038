//! Prints, after each token of a text, the likeliest next token and how much likelier it is than the second, in nats:
//! `cargo run --release -p vectorgpu-llm --example next_tokens MODEL [HOW] < TOKENS`. The model is a GGUF file, or a folder of safetensors files. A
//! line of standard input are a text's tokens, with spaces between them; an empty line follows what is said of each text. HOW is the
//! type of activations on the CPU (int8, int16), or `gpu`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::io::stdin;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use vectorgpu_compute::{Engine, EngineBuilder};
use vectorgpu_llm::batch::{Part, Wants};
use vectorgpu_llm::cache::BlockTable;
use vectorgpu_llm::decoder::{Decoder, OnCpu, OnGpu};
use vectorgpu_llm::format::{Files, Folder, ModelFile, SafeTensors};
use vectorgpu_llm::gpu::GpuShape;
use vectorgpu_llm::gpu::plan::Plan;
use vectorgpu_llm::linear::ActivationType;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;

/// Device memory to use, at most.
const MEMORY_BYTES: u64 = 64 << 30;
/// Tokens that are read at once.
const CHUNK: usize = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file or a folder")?;
    let how = std::env::args().nth(2).unwrap_or_else(|| "int8".to_owned());
    let model = model(Path::new(&path))?;
    let (model, engine) = match how.as_str() {
        "gpu" => (
            model,
            Some(Rc::new(
                EngineBuilder::new()
                    .allow_software(true)
                    .vram_limit(MEMORY_BYTES)
                    .open()?,
            )),
        ),
        activations => (model.with_activations(ActivationType::named(activations)?), None),
    };
    let (model, threads) = (Arc::new(model), Arc::new(Threads::new(2, || Box::new(()))?));
    for line in stdin().lines() {
        let tokens: Vec<u32> = line?
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let mut decoder = decoder(&model, &threads, engine.as_ref(), tokens.len())?;
        let (mut table, mut logits) = (BlockTable::default(), Vec::new());
        for chunk in tokens.chunks(CHUNK) {
            decoder.pool().reserve(&mut table, chunk.len())?;
            let part = Part {
                tokens: chunk,
                table: &table,
                wants: Wants::Every,
            };
            decoder.forward(&[part], &mut || true, &mut logits)?;
            table.advance(chunk.len());
            for logits in logits.chunks_exact(decoder.vocabulary()) {
                let mut best = [(f32::NEG_INFINITY, 0u32); 2];
                for (token, logit) in (0..).zip(logits) {
                    if *logit > best[0].0 {
                        best = [(*logit, token), best[0]];
                    } else if *logit > best[1].0 {
                        best[1] = (*logit, token);
                    }
                }
                println!("{} {:.4}", best[0].1, best[0].0 - best[1].0);
            }
        }
        println!();
    }
    Ok(())
}

/// The model on the engine, or on the CPU, with room for a text of `most` tokens.
fn decoder(
    model: &Arc<Llama>,
    threads: &Arc<Threads>,
    engine: Option<&Rc<Engine>>,
    most: usize,
) -> Result<Box<dyn Decoder>, Failure> {
    let (model, threads) = (Arc::clone(model), Arc::clone(threads));
    let Some(engine) = engine else {
        return Ok(Box::new(OnCpu::new(model, threads, most, most)?));
    };
    let shape = GpuShape::of(&model, most, most, CHUNK);
    let plan = Plan::new(&shape.sizes(&model)?, MEMORY_BYTES - engine.memory().used_bytes);
    Ok(Box::new(OnGpu::new(
        engine,
        model,
        threads,
        shape,
        plan,
        &mut || true,
    )?))
}

fn model(path: &Path) -> Result<Llama, Failure> {
    if path.is_file() {
        return Ok(Llama::read(&ModelFile::open(path)?)?);
    }
    let path = path.canonicalize()?;
    let around = Folder::open(path.parent().ok_or("a folder without another one around it")?)?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or("a name that is not UTF-8")?;
    Ok(Llama::read(&SafeTensors::read(Files::any(&around), name)?)?)
}
