//! Fuzzes the readers of model files:
//! `cargo run --release -p vectorgpu-llm --example fuzz_formats -- [INPUTS] [SEED]`, 1,000,000 inputs for each by default.
#![expect(clippy::print_stdout, reason = "a program that reports to its user")]

use std::time::Instant;

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let inputs = numbers
        .next()
        .map_or(1_000_000, |inputs| inputs.expect("a number of inputs"));
    let seed = numbers.next().map_or(1, |seed| seed.expect("a seed"));
    for reader in &fuzz::READERS {
        let started = Instant::now();
        let counts = reader.run(inputs, seed);
        println!(
            "{}: {inputs} inputs, {} accepted and sound, {} refused, {:.0} inputs/s",
            reader.name,
            counts.accepted,
            counts.refused,
            inputs as f64 / started.elapsed().as_secs_f64()
        );
    }
}
