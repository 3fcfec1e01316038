//! Prints what a GGUF file says and holds: `cargo run --release -p vectorgpu-llm --example model_file FILE`.
#![expect(clippy::print_stdout, reason = "an example's output")]

use std::fs::File;
use std::io::BufReader;

use vectorgpu_llm::format::gguf::{Array, Gguf, Value};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a GGUF file")?;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let header = Gguf::read(BufReader::new(file), length)?;
    println!("version {}, data from byte {}", header.version, header.data_start);
    let mut keys: Vec<&str> = header.metadata.keys().collect();
    keys.sort_unstable();
    for key in keys {
        match header.metadata.get(key) {
            Some(Value::Array(array)) => println!("{key}: {}", described(array)),
            Some(Value::String(text)) => println!("{key}: {:.200}", String::from_utf8_lossy(text)),
            Some(value) => println!("{key}: {value:?}"),
            None => {}
        }
    }
    for tensor in &header.tensors {
        println!(
            "{} {} {:?}",
            tensor.name,
            tensor.dtype.name(),
            tensor.shape.dims()
        );
    }
    Ok(())
}

fn described(array: &Array) -> String {
    match array {
        Array::Integers(numbers) => format!("{} whole numbers", numbers.len()),
        Array::Floats(numbers) => format!("{} numbers", numbers.len()),
        Array::Bools(values) => format!("{} truth values", values.len()),
        Array::Strings(strings) => format!("{} strings", strings.len()),
    }
}
