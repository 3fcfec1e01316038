//! Prints the tokens of each line of standard input, by the tokenizer of a GGUF file:
//! `cargo run --release -p vectorgpu-llm --example tokens FILE < TEXT`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::fs::File;
use std::io::{BufReader, stdin};

use vectorgpu_llm::format::gguf::Gguf;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file")?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let header = Gguf::read(BufReader::new(file), length)?;
    let tokenizer = Tokenizer::from_gguf(&header.metadata)?;
    for line in stdin().lines() {
        let mut tokens = Vec::new();
        // Line ends in the text are written as \n.
        tokenizer.encode(&line?.replace("\\n", "\n"), Trust::User, &mut tokens)?;
        println!("{tokens:?}");
    }
    Ok(())
}
