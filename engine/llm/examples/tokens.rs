//! Prints the tokens of each text of standard input, by the tokenizer of a GGUF file, a line a text. Texts are separated by zero bytes:
//! `printf 'one\0two' | cargo run --release -p vectorgpu-llm --example tokens FILE`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::fs::File;
use std::io::{BufReader, Read, stdin};

use vectorgpu_llm::format::gguf::Gguf;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file")?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let metadata = Gguf::read_metadata(BufReader::new(file), length)?;
    let tokenizer = Tokenizer::from_gguf(&metadata)?;
    let mut texts = String::new();
    stdin().read_to_string(&mut texts)?;
    for text in texts.split('\0') {
        let mut tokens = Vec::new();
        tokenizer.encode(text, Trust::User, &mut tokens)?;
        println!("{tokens:?}");
    }
    Ok(())
}
