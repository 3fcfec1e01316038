//! A short run of the fuzzing of readers; `cargo run --release -p vectorgpu-llm --example fuzz_formats` is the long one.

mod fuzz;

#[test]
fn whatever_a_reader_accepts_is_sound_and_nothing_makes_it_panic() {
    let inputs = 5_000;
    for reader in &fuzz::READERS {
        let counts = reader.run(inputs, 20_261_129);
        // Neither is rare, so a reader that refuses or accepts everything is noticed.
        assert!(
            counts.accepted > inputs / 20 && counts.refused > inputs / 20,
            "{}: {counts:?}",
            reader.name
        );
        assert_eq!(counts.accepted + counts.refused, inputs);
    }
}
