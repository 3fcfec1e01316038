//! Prints the vector of each line of standard input, and says how fast they came:
//! `cargo run --release -p vectorgpu-llm --example embed FILE-OR-FOLDER [THREADS] [tokens] < TEXTS`.
//! With `tokens`, the lines' tokens instead. Line ends in a text are written as \n.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example's output")]

use std::io::stdin;
use std::path::Path;
use std::time::Instant;

use vectorgpu_llm::embed::Embedder;
use vectorgpu_llm::format::{Files, Folder};
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::TooLong;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, rest @ ..] = &arguments[..] else {
        return Err("name a GGUF file, or a folder with safetensors files".into());
    };
    let path = Path::new(path).canonicalize()?;
    let folder = Folder::open(path.parent().ok_or("a folder without another one around it")?)?;
    let name = path.file_name().and_then(|name| name.to_str());
    let embedder = Embedder::read(Files::any(&folder), name.ok_or("a name that is not UTF-8")?)?;
    let texts: Vec<String> = stdin()
        .lines()
        .map(|line| line.map(|line| line.replace("\\n", "\n")))
        .collect::<Result<_, _>>()?;
    if rest.last().is_some_and(|last| last == "tokens") {
        for text in &texts {
            let tokens = embedder.tokenizer().encode(text, usize::MAX, TooLong::Refuse)?;
            println!("{tokens:?}");
        }
        return Ok(());
    }
    let threads = Threads::new(
        rest.first().map_or(Ok(2), |count| count.parse())?,
        || Box::new(()),
    )?;
    let started = Instant::now();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = embedder.embed(&texts, TooLong::Truncate, &threads, &mut || true)?;
    let seconds = started.elapsed().as_secs_f64();
    for vector in vectors.chunks_exact(embedder.model().dims()) {
        println!("{vector:?}");
    }
    eprintln!(
        "{} texts in {seconds:.3} s, {:.1}/s",
        texts.len(),
        texts.len() as f64 / seconds
    );
    Ok(())
}
