//! The kernels that choose tokens, and those over plain rows, against their CPU twins.

mod support;

use support::{Random, engines, filled, go_on};
use vectorgpu_compute::{Choice, Engine, Step, reference};
use vectorgpu_core::ErrorKind;

/// Sizes below, at and above a workgroup's share, and vocabularies of real models.
const VOCABULARIES: [usize; 7] = [1, 2, 255, 4096, 4097, 49_152, 151_936];

fn likeliest(engine: &Engine, logits: &[f32], rows: usize) -> Vec<u32> {
    let logits = engine.upload("vectorgpu.test", logits, &mut go_on).unwrap();
    let tokens = engine.array("vectorgpu.test", rows, &mut go_on).unwrap();
    let mut step = engine.step();
    step.likeliest(&logits, &tokens, &mut go_on).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&tokens, &mut go_on).unwrap()
}

fn sample(engine: &Engine, logits: &[f32], choices: &[Choice]) -> Vec<u32> {
    let k = choices.iter().map(|choice| choice.k).max().unwrap();
    let logits = engine.upload("vectorgpu.test", logits, &mut go_on).unwrap();
    let tokens = engine.array("vectorgpu.test", choices.len(), &mut go_on).unwrap();
    let choices = engine.upload("vectorgpu.test", choices, &mut go_on).unwrap();
    let mut step = engine.step();
    let k = usize::try_from(k).unwrap();
    step.sample(&logits, k, &choices, &tokens, &mut go_on).unwrap();
    step.run(&mut go_on).unwrap();
    engine.download(&tokens, &mut go_on).unwrap()
}

fn choice(k: u32, temperature: f32, random: f32) -> Choice {
    Choice {
        k,
        inverse_temperature: temperature.recip(),
        random,
        reserved: 0,
    }
}

#[test]
fn the_likeliest_token_is_exact_for_every_vocabulary() {
    for engine in engines("the_likeliest_token_is_exact_for_every_vocabulary") {
        let mut random = Random(31);
        for n in VOCABULARIES {
            for rows in [1, 3] {
                // Few different values, so that there are ties.
                let logits: Vec<f32> = random
                    .floats(rows * n)
                    .iter()
                    .map(|x| (x * 50.0).round())
                    .collect();
                assert_eq!(
                    likeliest(&engine, &logits, rows),
                    reference::likeliest(&logits, n)
                );
            }
        }
    }
}

#[test]
fn what_has_no_probability_is_never_chosen() {
    for engine in engines("what_has_no_probability_is_never_chosen") {
        let nothing = [f32::NAN, f32::NEG_INFINITY];
        for n in [2, 600] {
            let mut logits = nothing.repeat(n / 2);
            assert_eq!(likeliest(&engine, &logits, 1), [u32::MAX]);
            assert_eq!(sample(&engine, &logits, &[choice(2, 1.0, 0.5)]), [u32::MAX]);
            logits[n - 1] = -3e38;
            let last = u32::try_from(n - 1).unwrap();
            assert_eq!(likeliest(&engine, &logits, 1), [last]);
            assert_eq!(sample(&engine, &logits, &[choice(2, 1.0, 0.999)]), [last]);
        }
    }
}

#[test]
fn tokens_are_drawn_where_the_random_number_falls() {
    for engine in engines("tokens_are_drawn_where_the_random_number_falls") {
        let mut random = Random(32);
        for n in VOCABULARIES {
            let most = u32::try_from(Step::sample_max(n)).unwrap();
            let choices: Vec<Choice> = (0..6)
                .map(|i| {
                    let k = [1, 2, 40, 64, 7, 64][i].min(most);
                    choice(k, [1.0, 0.3, 1.5][i % 3], (random.float() + 1.0) / 2.0)
                })
                .collect();
            let logits: Vec<f32> = random.floats(6 * n).iter().map(|x| x * 6.0).collect();
            let drawn = sample(&engine, &logits, &choices);
            for ((token, choice), logits) in drawn.iter().zip(&choices).zip(logits.chunks(n)) {
                let candidates = reference::sample(logits, *choice);
                let at = candidates.iter().position(|(candidate, _)| candidate == token);
                let at = at.unwrap_or_else(|| panic!("{token} is not among the likeliest"));
                let before: f64 = candidates[..at].iter().map(|(_, share)| share).sum();
                // Shares are off by some roundings, so a number at the border may fall on either side.
                let within = before - 1e-5..=before + candidates[at].1 + 1e-5;
                assert!(within.contains(&f64::from(choice.random)), "{choice:?}: {token}");
            }
        }
    }
}

#[test]
fn drawn_tokens_come_as_often_as_their_probabilities_say() {
    for engine in engines("drawn_tokens_come_as_often_as_their_probabilities_say") {
        let mut random = Random(33);
        let row: Vec<f32> = vec![2.0, 1.0, 3.0, -1.0, 0.5];
        let choices: Vec<Choice> = (0..2000)
            .map(|_| choice(3, 1.0, (random.float() + 1.0) / 2.0))
            .collect();
        let drawn = sample(&engine, &row.repeat(choices.len()), &choices);
        for (token, share) in reference::sample(&row, choices[0]) {
            let count = drawn.iter().filter(|drawn| **drawn == token).count();
            let got = f64::from(u32::try_from(count).unwrap()) / 2000.0;
            // Five times the standard deviation of 2,000 draws.
            assert!((got - share).abs() < 0.056, "token {token}: {got} for {share}");
        }
    }
}

#[test]
fn softmax_agrees_with_its_twin() {
    for engine in engines("softmax_agrees_with_its_twin") {
        let mut random = Random(34);
        for (n, scale) in [(1, 1.0), (5, 30.0), (256, 0.125), (1000, 3.0)] {
            let scores: Vec<f32> = random.floats(3 * n).iter().map(|x| x * 10.0).collect();
            let array = engine.upload("vectorgpu.test", &scores, &mut go_on).unwrap();
            let shares = filled(&engine, 3 * n, f32::NAN);
            let mut step = engine.step();
            step.softmax(&array, n, scale, &shares).unwrap();
            step.run(&mut go_on).unwrap();
            let got = engine.download(&shares, &mut go_on).unwrap();
            for (got, want) in got.iter().zip(reference::softmax(&scores, n, scale)) {
                // An exponential is off by 3 + 2 |x| roundings, and |x| is up to 600.
                assert!(
                    (f64::from(*got) - want).abs() <= 1e-4 * want + 1e-9,
                    "{got} for {want}"
                );
            }
        }
    }
}

#[test]
fn rows_are_taken_exactly_and_those_that_are_not_there_are_zeros() {
    for engine in engines("rows_are_taken_exactly_and_those_that_are_not_there_are_zeros") {
        let rows = Random(35).floats(10 * 37);
        let chosen = [9_u32, 0, 0, 10, u32::MAX, 4];
        let source = engine.upload("vectorgpu.test", &rows, &mut go_on).unwrap();
        let numbers = engine.upload("vectorgpu.test", &chosen, &mut go_on).unwrap();
        let taken = filled(&engine, 6 * 37, f32::NAN);
        let mut step = engine.step();
        step.take_rows(&source, 37, &numbers, &taken).unwrap();
        step.run(&mut go_on).unwrap();
        let got = engine.download(&taken, &mut go_on).unwrap();
        assert_eq!(got, reference::take_rows(&rows, 37, &chosen));
    }
}

#[test]
fn choices_that_mean_nothing_are_refused() {
    for engine in engines("choices_that_mean_nothing_are_refused") {
        let logits = filled(&engine, 10, 0.0);
        let tokens = engine.array("vectorgpu.test", 3, &mut go_on).unwrap();
        let refused = engine.step().likeliest(&logits, &tokens, &mut go_on);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let tokens = engine.array("vectorgpu.test", 1, &mut go_on).unwrap();
        let choices = engine.array("vectorgpu.test", 1, &mut go_on).unwrap();
        for k in [0, 65] {
            let refused = engine.step().sample(&logits, k, &choices, &tokens, &mut go_on);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
