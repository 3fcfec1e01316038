//! Prints, after each token of a text, the likeliest next token and how much likelier it is than the second:
//! `cargo run --release -p vectorgpu-llm --example next_tokens FILE [FOLDER] < TEXT`. The first line are the text's tokens. With a folder, the
//! model is that of the folder's safetensors files, and only the tokenizer is the GGUF file's.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::io::{Read, stdin};
use std::path::Path;
use std::sync::Arc;

use vectorgpu_llm::batch::{Part, Wants};
use vectorgpu_llm::cache::BlockTable;
use vectorgpu_llm::decoder::{Decoder, OnCpu};
use vectorgpu_llm::format::{Files, Folder, ModelFile, SafeTensors};
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

/// Tokens that are read at once.
const CHUNK: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file")?;
    let file = ModelFile::open(Path::new(&path))?;
    let tokenizer = Tokenizer::from_gguf(file.metadata())?;
    let model = match std::env::args().nth(2) {
        None => Llama::read(&file)?,
        Some(folder) => {
            let path = Path::new(&folder).canonicalize()?;
            let around = Folder::open(path.parent().ok_or("a folder without another one around it")?)?;
            let name = path.file_name().and_then(|name| name.to_str());
            Llama::read(&SafeTensors::read(
                Files::any(&around),
                name.ok_or("a name that is not UTF-8")?,
            )?)?
        }
    };
    let threads = Threads::new(2, || Box::new(()))?;
    let (mut text, mut tokens) = (String::new(), Vec::new());
    stdin().read_to_string(&mut text)?;
    tokenizer.encode(&text, Trust::User, &mut tokens)?;
    println!("{tokens:?}");
    let mut decoder = OnCpu::new(Arc::new(model), Arc::new(threads), tokens.len(), tokens.len())?;
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
    Ok(())
}
