//! Prints, after each token of a text, the likeliest next token and how much likelier it is than the second:
//! `cargo run --release -p vectorgpu-llm --example next_tokens FILE < TEXT`. The first line are the text's tokens.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::io::{Read, stdin};
use std::path::Path;

use vectorgpu_llm::cache::{BlockTable, KvCache};
use vectorgpu_llm::format::ModelFile;
use vectorgpu_llm::model::llama::{Llama, Pass};
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

/// Tokens that are read at once.
const CHUNK: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file")?;
    let file = ModelFile::open(Path::new(&path))?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    let model = Llama::read(&file)?;
    let threads = Threads::new(2, || Box::new(()))?;
    let (mut text, mut tokens) = (String::new(), Vec::new());
    stdin().read_to_string(&mut text)?;
    tokenizer.encode(&text, Trust::User, &mut tokens)?;
    println!("{tokens:?}");
    let blocks = u32::try_from(tokens.len())? / 16 + 2;
    let mut cache = KvCache::new(model.cache_shape(), blocks)?;
    let (mut table, mut logits) = (BlockTable::default(), Vec::new());
    for chunk in tokens.chunks(CHUNK) {
        threads.run(&mut || true, |team| {
            let cache = &mut cache;
            model.forward(chunk, &mut table, &mut Pass { cache, team }, &mut logits, true)
        })?;
        for logits in logits.chunks_exact(model.vocabulary()) {
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
    Ok(())
}
