//! A short run of the fuzzing of parsers; `cargo run --release --example fuzz_parsers` is the long one.

mod fuzz;

#[test]
fn whatever_a_parser_accepts_comes_back_and_nothing_makes_it_panic() {
    let inputs = if cfg!(miri) { 60 } else { 50_000 };
    for parser in &fuzz::PARSERS {
        let counts = parser.run(inputs, 20_261_128);
        // Neither is rare, so a parser that refuses or accepts everything is noticed.
        assert!(
            counts.accepted > inputs / 20 && counts.refused > inputs / 20,
            "{}: {counts:?}",
            parser.name
        );
        assert_eq!(counts.accepted + counts.refused, inputs);
    }
}

#[test]
fn a_seed_determines_the_inputs() {
    let parser = &fuzz::PARSERS[0];
    assert_eq!(parser.run(20, 1), parser.run(20, 1));
    let accepted: Vec<u64> = (0..8).map(|seed| parser.run(20, seed).accepted).collect();
    assert!(accepted.iter().any(|count| *count != accepted[0]));
}
