//! Which token comes next: from logits to one of them.
//!
//! Bias and penalties come first, then the steps that leave tokens out and the temperature, in the order of llama.cpp's documented chain or
//! another one, then a draw. A step that is off changes nothing. Must not know models or text.

mod candidates;

use std::collections::{HashMap, VecDeque};

use vectorgpu_core::random::Random;
use vectorgpu_core::{Error, ErrorKind, Result};

use candidates::Candidates;

/// Most tokens of which a step can be asked how likely they were.
const MAX_LIKELIEST: usize = 100;

/// A step between penalties and draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `top_k`.
    TopK,
    /// `typical_p`.
    TypicalP,
    /// `top_p`.
    TopP,
    /// `min_p`.
    MinP,
    /// `temperature`, and its range.
    Temperature,
}

impl Step {
    /// All of them, in their usual order.
    pub const USUAL: [Self; 5] = [
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Temperature,
    ];

    /// The one that llama.cpp names so.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "top_k" => Ok(Self::TopK),
            "typ_p" | "typical_p" => Ok(Self::TypicalP),
            "top_p" => Ok(Self::TopP),
            "min_p" => Ok(Self::MinP),
            "temperature" => Ok(Self::Temperature),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("there is no step \"{name}\" of choosing a token"),
            )
            .with_hint("Steps are top_k, typ_p, top_p, min_p and temperature.")),
        }
    }
}

/// How tokens are chosen. The default is greedy.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingOptions {
    /// What logits are divided by; 0 takes the likeliest token.
    pub temperature: f32,
    /// The temperature varies so much up and down with the entropy of the candidates; 0 is off.
    pub dynatemp_range: f32,
    /// How the share of the largest entropy counts then.
    pub dynatemp_exponent: f32,
    /// The likeliest so many; 0 is off.
    pub top_k: usize,
    /// The likeliest that together have this probability; 1 is off.
    pub top_p: f32,
    /// Those of at least this share of the likeliest one's probability; 0 is off.
    pub min_p: f32,
    /// Those whose information is nearest to the entropy, together of this probability; 1 is off.
    pub typical_p: f32,
    /// Divides what occurred in the last tokens; 1 is off.
    pub repeat_penalty: f32,
    /// Subtracted for each occurrence; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted once from what occurred; 0 is off.
    pub presence_penalty: f32,
    /// How many last tokens count.
    pub repeat_last_n: usize,
    /// Added to logits; minus infinity forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// Of the draws.
    pub seed: u64,
    /// The steps, in their order; one that is not among them is off.
    pub steps: Vec<Step>,
    /// Whether to say how likely the chosen tokens were, which takes a look at all others.
    pub log_probabilities: bool,
    /// Of how many of the likeliest tokens to say how likely they were.
    pub likeliest: usize,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last_n: 64,
            logit_bias: Vec::new(),
            seed: 0,
            steps: Step::USUAL.to_vec(),
            log_probabilities: false,
            likeliest: 0,
        }
    }
}

impl SamplingOptions {
    /// Checks that every number is one that its step can work with.
    ///
    /// # Errors
    /// `InvalidArgument` that names the first one that is not.
    pub fn check(&self) -> Result<()> {
        let within = |name: &str, value: f32, low: f32, high: f32| {
            if value.is_finite() && (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{name} must be between {low} and {high}, not {value}"),
            ))
        };
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("dynatemp_range", self.dynatemp_range, 0.0, 100.0)?;
        within("dynatemp_exponent", self.dynatemp_exponent, 0.0, 100.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("typical_p", self.typical_p, 0.0, 1.0)?;
        within("repeat_penalty", self.repeat_penalty, 0.01, 100.0)?;
        within("frequency_penalty", self.frequency_penalty, -100.0, 100.0)?;
        within("presence_penalty", self.presence_penalty, -100.0, 100.0)?;
        if self.likeliest > MAX_LIKELIEST {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{} likeliest tokens; {MAX_LIKELIEST} are the most",
                    self.likeliest
                ),
            ));
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            Some((token, _)) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the bias of token {token} is not a number"),
            )),
            None => Ok(()),
        }
    }
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The token.
    pub token: u32,
    /// The logarithm of its probability before any step; not a number where nobody asked.
    pub log_probability: f32,
    /// As many of the likeliest as were wanted, with the same, the likeliest first.
    pub likeliest: Vec<(u32, f32)>,
}

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    options: SamplingOptions,
    random: Random,
    recent: VecDeque<u32>,
    counts: HashMap<u32, u32>,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler for a sequence whose last tokens are `prompt`.
    ///
    /// # Errors
    /// As [`SamplingOptions::check`].
    pub fn new(options: SamplingOptions, prompt: &[u32]) -> Result<Self> {
        options.check()?;
        let mut sampler = Self {
            random: Random::new(options.seed),
            options,
            recent: VecDeque::new(),
            counts: HashMap::new(),
            candidates: Candidates::default(),
        };
        let from = prompt.len().saturating_sub(sampler.options.repeat_last_n);
        prompt[from..].iter().for_each(|token| sampler.note(*token));
        Ok(sampler)
    }

    /// Chooses one of the tokens that `logits` are of, and notes it.
    ///
    /// # Errors
    /// `DataException` when no logit is a number.
    pub fn choose(&mut self, logits: &[f32]) -> Result<Chosen> {
        let options = &self.options;
        let candidates = &mut self.candidates;
        candidates.fill(logits)?;
        let says = options.log_probabilities || options.likeliest > 0;
        let log_sum = if says { candidates.log_sum() } else { f32::NAN };
        let mut likeliest = candidates.likeliest_of(options.likeliest);
        likeliest.iter_mut().for_each(|(_, logit)| *logit -= log_sum);
        for (token, bias) in &options.logit_bias {
            candidates.add(*token, *bias);
        }
        for (token, count) in &self.counts {
            candidates.change(*token, |logit| {
                let repeated = if logit <= 0.0 {
                    logit * options.repeat_penalty
                } else {
                    logit / options.repeat_penalty
                };
                repeated - *count as f32 * options.frequency_penalty - options.presence_penalty
            });
        }
        let token = if options.temperature <= 0.0 {
            candidates.likeliest()?
        } else {
            narrow(candidates, options)?;
            candidates.draw(&mut self.random)
        };
        self.note(token);
        Ok(Chosen {
            token,
            log_probability: logits[token as usize] - log_sum,
            likeliest,
        })
    }

    fn note(&mut self, token: u32) {
        if self.options.repeat_last_n == 0 {
            return;
        }
        if self.recent.len() == self.options.repeat_last_n
            && let Some(oldest) = self.recent.pop_front()
            && let Some(count) = self.counts.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&oldest);
            }
        }
        self.recent.push_back(token);
        *self.counts.entry(token).or_default() += 1;
    }
}

/// Takes the steps between penalties and draw.
fn narrow(candidates: &mut Candidates, options: &SamplingOptions) -> Result<()> {
    // All steps want the likeliest first, which leaving out all others gives for less.
    if options.steps.first() != Some(&Step::TopK) {
        candidates.keep_top_k(0)?;
    }
    for step in &options.steps {
        match step {
            Step::TopK => candidates.keep_top_k(options.top_k)?,
            Step::TypicalP => candidates.keep_typical(options.typical_p),
            Step::TopP => candidates.keep_top_p(options.top_p),
            Step::MinP => candidates.keep_min_p(options.min_p),
            Step::Temperature => {
                let (range, exponent) = (options.dynatemp_range, options.dynatemp_exponent);
                candidates.temper(options.temperature, range, exponent);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
