//! Continues a text, always with the likeliest token:
//! `cargo run --release -p vectorgpu-llm --example generate FILE TEXT TOKENS`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::path::Path;
use std::time::Instant;

use vectorgpu_llm::cache::{BlockTable, KvCache};
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::model::llama::{Llama, Pass};
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, text, count] = &arguments[..] else {
        return Err("name a GGUF file, a text and a number of tokens".into());
    };
    let file = ModelFile::open(Path::new(path))?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    let model = Llama::read(&file)?;
    let threads = Threads::new(2, || Box::new(()))?;
    let mut cache = KvCache::new(model.cache_shape(), 128)?;
    let mut table = BlockTable::default();
    let mut tokens = Vec::new();
    tokenizer.encode(text, Trust::Template, &mut tokens)?;
    let mut written = Vec::new();
    let mut logits = Vec::new();
    let started = Instant::now();
    for step in 0..count.parse::<usize>()? {
        let mut keep_waiting = || true;
        let mut pass = Pass {
            cache: &mut cache,
            threads: &threads,
            keep_waiting: &mut keep_waiting,
        };
        model.forward(&tokens, &mut table, &mut pass, &mut logits, false)?;
        if step == 0 {
            println!("{} tokens of prompt: {:?}", tokens.len(), started.elapsed());
        }
        let best = (0u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token);
        written.extend_from_slice(tokenizer.bytes(best));
        tokens = vec![best];
    }
    println!("{}", String::from_utf8_lossy(&written));
    println!("{:?}", started.elapsed());
    Ok(())
}
