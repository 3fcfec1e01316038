use super::*;

/// Logits of tokens with these probabilities.
fn logits(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|probability| probability.ln()).collect()
}

/// How often each token is drawn.
fn drawn(options: &SamplingOptions, logits: &[f32], times: u32) -> Vec<u32> {
    let mut counts = vec![0; logits.len()];
    for seed in 0..times {
        let options = SamplingOptions {
            seed: u64::from(seed),
            ..options.clone()
        };
        let mut sampler = Sampler::new(options, &[]).expect("sound options");
        counts[sampler.choose(logits).expect("a token").token as usize] += 1;
    }
    counts
}

fn warm() -> SamplingOptions {
    SamplingOptions {
        temperature: 1.0,
        ..SamplingOptions::default()
    }
}

fn which(options: &SamplingOptions, logits: &[f32]) -> Vec<bool> {
    drawn(options, logits, 2000)
        .iter()
        .map(|count| *count > 0)
        .collect()
}

const SHARES: [f32; 5] = [0.4, 0.3, 0.15, 0.1, 0.05];

#[test]
fn greedy_takes_the_likeliest_and_says_how_likely_it_is() {
    let options = SamplingOptions {
        log_probabilities: true,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(options, &[]).expect("sound");
    let chosen = sampler.choose(&logits(&[0.2, 0.5, 0.3])).expect("a token");
    assert_eq!(chosen.token, 1);
    assert!((chosen.log_probability - 0.5f32.ln()).abs() < 1e-5);
    assert_eq!(sampler.choose(&[1.0, 1.0, f32::NAN]).expect("a token").token, 0);
    assert!(sampler.choose(&[f32::NAN; 3]).is_err());
}

#[test]
fn draws_follow_the_probabilities_and_the_seed() {
    let counts = drawn(&warm(), &logits(&SHARES), 20_000);
    for (count, share) in counts.iter().zip(SHARES) {
        assert!(
            (f64::from(*count) / 20_000.0 - f64::from(share)).abs() < 0.015,
            "{counts:?}"
        );
    }
    let sequence = |seed| {
        let mut sampler = Sampler::new(SamplingOptions { seed, ..warm() }, &[]).expect("sound");
        (0..30)
            .map(|_| sampler.choose(&logits(&SHARES)).expect("a token").token)
            .collect::<Vec<_>>()
    };
    assert_eq!(sequence(5), sequence(5));
    assert_ne!(sequence(5), sequence(6));
}

#[test]
fn each_step_leaves_out_what_it_should() {
    let given = logits(&SHARES);
    let with = |change: fn(&mut SamplingOptions)| {
        let mut options = warm();
        change(&mut options);
        which(&options, &given)
    };
    assert_eq!(with(|_| ()), [true; 5]);
    assert_eq!(
        with(|options| options.top_k = 2),
        [true, true, false, false, false]
    );
    assert_eq!(
        with(|options| options.top_p = 0.6),
        [true, true, false, false, false]
    );
    assert_eq!(
        with(|options| options.top_p = 0.0),
        [true, false, false, false, false]
    );
    assert_eq!(
        with(|options| options.min_p = 0.3),
        [true, true, true, false, false]
    );
    // The entropy is 1.39: the information of the second (1.20) is nearest, that of the third (1.90) and the first (.92) follow.
    assert_eq!(
        with(|options| options.typical_p = 0.2),
        [false, true, false, false, false]
    );
    assert_eq!(
        with(|options| options.logit_bias = vec![(0, f32::NEG_INFINITY)]),
        [false, true, true, true, true]
    );
    assert_eq!(
        with(|options| options.temperature = 0.001),
        [true, false, false, false, false]
    );
}

#[test]
fn penalties_count_the_last_tokens() {
    let options = SamplingOptions {
        repeat_penalty: 2.0,
        repeat_last_n: 2,
        ..SamplingOptions::default()
    };
    // Both logits are positive: 3 / 2 < 2.
    let mut sampler = Sampler::new(options, &[0, 0]).expect("sound");
    let given = [3.0, 2.0, 0.1];
    let tokens: Vec<u32> = (0..4)
        .map(|_| sampler.choose(&given).expect("a token").token)
        .collect();
    // 1 counts for two tokens, in which 3 / 2 is more than 2 / 2.
    assert_eq!(tokens, [1, 0, 0, 1]);
    let options = SamplingOptions {
        frequency_penalty: 0.4,
        presence_penalty: 0.3,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(options, &[0, 0]).expect("sound");
    assert_eq!(
        sampler.choose(&[3.0, 2.0, 0.0]).expect("a token").token,
        1,
        "3 - 2 * .4 - .3 < 2"
    );
}

#[test]
fn a_dynamic_temperature_is_low_where_the_model_is_sure() {
    let options = SamplingOptions {
        temperature: 1.0,
        dynatemp_range: 1.0,
        ..SamplingOptions::default()
    };
    let sure = drawn(&options, &logits(&[0.9, 0.05, 0.05]), 3000);
    let unsure = drawn(&options, &logits(&[0.36, 0.32, 0.32]), 3000);
    assert!(sure[0] > 2800 && unsure[0] < 1300, "{sure:?} {unsure:?}");
}

#[test]
fn the_likeliest_are_told_with_the_models_own_probabilities() {
    let options = SamplingOptions {
        logit_bias: vec![(4, 100.0)],
        log_probabilities: true,
        likeliest: 3,
        temperature: 2.0,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(options, &[]).expect("sound");
    let chosen = sampler
        .choose(&logits(&[0.1, 0.3, 0.15, 0.4, 0.05]))
        .expect("a token");
    assert_eq!(chosen.token, 4);
    assert!((chosen.log_probability - 0.05f32.ln()).abs() < 1e-5);
    let tokens: Vec<u32> = chosen.likeliest.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [3, 1, 2]);
    for ((_, told), share) in chosen.likeliest.iter().zip([0.4f32, 0.3, 0.15]) {
        assert!((told - share.ln()).abs() < 1e-5);
    }
    let few = SamplingOptions {
        likeliest: 9,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(few, &[]).expect("sound");
    let given = [1.0, f32::NEG_INFINITY, 1.0, f32::NAN, 2.0];
    let chosen = sampler.choose(&given).expect("a token");
    let tokens: Vec<u32> = chosen.likeliest.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [4, 0, 2]);
}

#[test]
fn steps_are_taken_in_the_order_that_is_asked_for() {
    let with = |steps: &[Step]| {
        let options = SamplingOptions {
            temperature: 4.0,
            top_k: 4,
            top_p: 0.6,
            steps: steps.to_vec(),
            ..warm()
        };
        which(&options, &logits(&SHARES))
    };
    // Made more alike first, three tokens are needed for the probability that two of them have before.
    assert_eq!(
        with(&[Step::TopK, Step::TopP, Step::Temperature]),
        [true, true, false, false, false]
    );
    assert_eq!(
        with(&[Step::Temperature, Step::TopP]),
        [true, true, true, false, false]
    );
    assert_eq!(with(&[Step::TopK]), [true, true, true, true, false]);
    assert_eq!(with(&[]), [true; 5]);
    for (name, step) in ["top_k", "typ_p", "top_p", "min_p", "temperature"]
        .into_iter()
        .zip(Step::USUAL)
    {
        assert_eq!(Step::named(name), Ok(step));
    }
    assert!(Step::named("dry").is_err());
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let wrong: [fn(&mut SamplingOptions); 6] = [
        |options| options.likeliest = 101,
        |options| options.temperature = f32::NAN,
        |options| options.top_p = 1.5,
        |options| options.min_p = -0.1,
        |options| options.repeat_penalty = 0.0,
        |options| options.logit_bias = vec![(3, f32::NAN)],
    ];
    for change in wrong {
        let mut options = SamplingOptions::default();
        change(&mut options);
        let error = Sampler::new(options, &[]).map(|_| ()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
