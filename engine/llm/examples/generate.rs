//! Continues a text, always with the likeliest token, and says how fast:
//! `cargo run --release -p vectorgpu-llm --example generate FILE TEXT TOKENS [DEVICE [THREADS]]`.
//!
//! DEVICE is `cpu`, `gpu` (all that fits; where that is all of it, the GPU chooses the tokens itself), or `gpu:N` (its first N layers).
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use vectorgpu_compute::EngineBuilder;
use vectorgpu_llm::decoder::{Decoder, OnCpu, OnGpu};
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::generate::{GenerateOptions, Generation};
use vectorgpu_llm::gpu::GpuShape;
use vectorgpu_llm::gpu::plan::Plan;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

type Failure = Box<dyn std::error::Error>;

/// Device memory to use, at most.
const MEMORY_BYTES: u64 = 64 << 30;
/// Rows of a pass on a GPU.
const ROWS: usize = 512;

/// When the first token was there, and the text.
struct Timed {
    started: Instant,
    first: Option<Instant>,
    tokens: usize,
    text: String,
}

impl Timed {
    fn begin() -> Self {
        Self {
            started: Instant::now(),
            first: None,
            tokens: 0,
            text: String::new(),
        }
    }

    fn add(&mut self, text: &str) {
        self.first.get_or_insert_with(Instant::now);
        self.tokens += 1;
        self.text.push_str(text);
    }

    fn print(&self, prompt_tokens: usize) {
        let first = self.first.unwrap_or_else(Instant::now);
        let (reading, writing) = (first - self.started, first.elapsed());
        println!("{}", self.text);
        println!(
            "{prompt_tokens} tokens read in {reading:.3?}, {:.1}/s; {:.1}/s written",
            prompt_tokens as f64 / reading.as_secs_f64(),
            self.tokens.saturating_sub(1) as f64 / writing.as_secs_f64()
        );
    }
}

fn on_gpu(model: Arc<Llama>, threads: Arc<Threads>, most: usize, device: &str) -> Result<OnGpu, Failure> {
    let builder = EngineBuilder::new().allow_software(true).vram_limit(MEMORY_BYTES);
    let engine = Rc::new(builder.open()?);
    let shape = GpuShape::of(&model, most, most, ROWS);
    let sizes = shape.sizes(&model)?;
    let plan = match device.split_once(':') {
        Some((_, layers)) => Plan {
            layers: layers.parse()?,
            ends: false,
        },
        None => Plan::new(&sizes, MEMORY_BYTES - engine.memory().used_bytes),
    };
    println!(
        "{plan:?} on {}, {} MB",
        engine.adapter().name,
        plan.bytes(&sizes) >> 20
    );
    Ok(OnGpu::new(&engine, model, threads, shape, plan, &mut || true)?)
}

fn written(
    decoder: &mut dyn Decoder,
    tokenizer: &Tokenizer,
    prompt: Vec<u32>,
    max_tokens: usize,
) -> Result<Timed, Failure> {
    let options = GenerateOptions {
        max_tokens,
        ..GenerateOptions::default()
    };
    let mut generation = Generation::new(1);
    generation.add(prompt, &options, decoder)?;
    let mut timed = Timed::begin();
    while !generation.is_done() {
        for piece in generation.step(decoder, tokenizer, &mut || true)? {
            timed.add(&piece.text);
        }
    }
    Ok(timed)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, text, count, rest @ ..] = &arguments[..] else {
        return Err("name a GGUF file, a text and a number of tokens".into());
    };
    let device = rest.first().map_or("cpu", String::as_str);
    let file = ModelFile::open(Path::new(path))?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    let model = Arc::new(Llama::read(&file)?);
    let threads = Threads::new(rest.get(1).map_or(Ok(2), |count| count.parse())?, || Box::new(()))?;
    let threads = Arc::new(threads);
    let mut prompt: Vec<u32> = tokenizer.begin_token().into_iter().collect();
    tokenizer.encode(text, Trust::Template, &mut prompt)?;
    let (prompt_tokens, max_tokens) = (prompt.len(), count.parse()?);
    let most = prompt_tokens + max_tokens;
    let timed = if device == "cpu" {
        let mut decoder = OnCpu::new(model, threads, most, most)?;
        written(&mut decoder, &tokenizer, prompt, max_tokens)?
    } else {
        let mut decoder = on_gpu(model, threads, most, device)?;
        written(&mut decoder, &tokenizer, prompt, max_tokens)?
    };
    timed.print(prompt_tokens);
    Ok(())
}
