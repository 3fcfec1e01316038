//! Prints, after each token of a text, the likeliest next token and how much likelier it is than the second, in nats:
//! `cargo run --release -p vectorgpu-llm --example next_tokens MODEL [int16] < TOKENS`. The model is a GGUF file, or a folder of safetensors files. A
//! line of standard input are a text's tokens, with spaces between them; an empty line follows what is said of each text.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::io::stdin;
use std::path::Path;
use std::sync::Arc;

use vectorgpu_llm::batch::{Part, Wants};
use vectorgpu_llm::cache::BlockTable;
use vectorgpu_llm::decoder::{Decoder, OnCpu};
use vectorgpu_llm::format::{Files, Folder, ModelFile, SafeTensors};
use vectorgpu_llm::linear::ActivationType;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;

/// Tokens that are read at once.
const CHUNK: usize = 64;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file or a folder")?;
    let activation_type = std::env::args().nth(2);
    let activation_type = ActivationType::named(activation_type.as_deref().unwrap_or("int8"))?;
    let model = Arc::new(model(Path::new(&path))?.with_activations(activation_type));
    let threads = Arc::new(Threads::new(2, || Box::new(()))?);
    for line in stdin().lines() {
        let tokens: Vec<u32> = line?
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let mut decoder = OnCpu::new(
            Arc::clone(&model),
            Arc::clone(&threads),
            tokens.len(),
            tokens.len(),
        )?;
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
