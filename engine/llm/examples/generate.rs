//! Continues a text, always with the likeliest token, and says how fast:
//! `cargo run --release -p vectorgpu-llm --example generate FILE TEXT TOKENS [THREADS]`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use vectorgpu_llm::decoder::{Decoder, OnCpu};
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::generate::{GenerateOptions, Generation};
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, text, count, rest @ ..] = &arguments[..] else {
        return Err("name a GGUF file, a text and a number of tokens".into());
    };
    let file = ModelFile::open(Path::new(path))?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    let model = Llama::read(&file)?;
    let threads = Threads::new(
        rest.first().map_or(Ok(2), |count| count.parse())?,
        || Box::new(()),
    )?;
    let mut prompt: Vec<u32> = tokenizer.begin_token().into_iter().collect();
    tokenizer.encode(text, Trust::Template, &mut prompt)?;
    let prompt_tokens = prompt.len();
    let options = GenerateOptions {
        max_tokens: count.parse()?,
        ..GenerateOptions::default()
    };
    let most = prompt_tokens + options.max_tokens;
    let mut decoder = OnCpu::new(Arc::new(model), Arc::new(threads), most, most)?;
    let mut generation = Generation::new(1);
    generation.add(prompt, &options, decoder.context())?;
    let (started, mut first, mut written) = (Instant::now(), None, String::new());
    let mut count = 0usize;
    while !generation.is_done() {
        for piece in generation.step(&mut decoder, &tokenizer, &mut || true)? {
            first.get_or_insert_with(|| started.elapsed());
            written.push_str(&piece.text);
            count += 1;
        }
    }
    let first = first.unwrap_or_default();
    println!("{written}");
    let after = count.saturating_sub(1) as f64;
    println!(
        "{prompt_tokens} tokens read in {first:.3?}, {:.1}/s; {:.1}/s written",
        prompt_tokens as f64 / first.as_secs_f64(),
        after / (started.elapsed() - first).as_secs_f64()
    );
    Ok(())
}
