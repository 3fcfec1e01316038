//! The tokens that may come next, and the steps that leave some of them out.
//!
//! Invariant: after [`Candidates::fill`] there is always at least one, because no step takes the last.

use vectorgpu_core::random::Random;
use vectorgpu_core::{Error, ErrorKind, Result};

/// Tokens and their logits; after [`Self::keep_top_k`] the likeliest first.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    tokens: Vec<(u32, f32)>,
    shares: Vec<f32>,
}

impl Candidates {
    /// Takes all tokens whose logit is a number.
    pub(super) fn fill(&mut self, logits: &[f32]) -> Result<()> {
        self.tokens.clear();
        // By number, so that a token stands at its own place.
        let number = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
        self.tokens
            .extend((0..).zip(logits.iter().map(|logit| number(*logit))));
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.tokens.iter().any(|(_, logit)| *logit > f32::NEG_INFINITY) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DataException,
            "the model gives no token a probability",
        ))
    }

    /// The logarithm of the sum of what the logits are logarithms of.
    pub(super) fn log_sum(&self) -> f32 {
        let largest = self.largest();
        let sum: f32 = self.tokens.iter().map(|(_, logit)| (logit - largest).exp()).sum();
        largest + sum.ln()
    }

    fn largest(&self) -> f32 {
        self.tokens
            .iter()
            .fold(f32::NEG_INFINITY, |most, (_, logit)| most.max(*logit))
    }

    /// Adds to a token's logit. Before any token was left out.
    pub(super) fn add(&mut self, token: u32, bias: f32) {
        self.change(token, |logit| logit + bias);
    }

    /// Changes a token's logit. Before any token was left out.
    pub(super) fn change(&mut self, token: u32, change: impl FnOnce(f32) -> f32) {
        if let Some((_, logit)) = self.tokens.get_mut(token as usize) {
            let changed = change(*logit);
            *logit = if changed.is_nan() {
                f32::NEG_INFINITY
            } else {
                changed
            };
        }
    }

    /// The likeliest token; of equals, the first.
    pub(super) fn likeliest(&self) -> Result<u32> {
        self.check()?;
        let first = |best: (u32, f32), next: &(u32, f32)| if next.1 > best.1 { *next } else { best };
        Ok(self.tokens.iter().fold((0, f32::NEG_INFINITY), first).0)
    }

    /// The `count` likeliest, the likeliest first; of equals, those of lower numbers. What has no probability is not among them.
    pub(super) fn likeliest_of(&self, count: usize) -> Vec<(u32, f32)> {
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(count);
        if count == 0 {
            return best;
        }
        for (token, logit) in &self.tokens {
            let least = best.last().filter(|_| best.len() == count);
            if *logit <= least.map_or(f32::NEG_INFINITY, |least| least.1) {
                continue;
            }
            best.truncate(count - 1);
            let place = best.partition_point(|better| better.1 >= *logit);
            best.insert(place, (*token, *logit));
        }
        best
    }

    /// Leaves the `k` likeliest, sorted; all of them where `k` is 0.
    pub(super) fn keep_top_k(&mut self, k: usize) -> Result<()> {
        self.check()?;
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if (1..self.tokens.len()).contains(&k) {
            self.tokens.select_nth_unstable_by(k - 1, order);
            self.tokens.truncate(k);
        }
        self.tokens.sort_unstable_by(order);
        // What has no probability is not drawn.
        let none = self
            .tokens
            .iter()
            .position(|(_, logit)| *logit == f32::NEG_INFINITY);
        self.tokens.truncate(none.unwrap_or(self.tokens.len()));
        Ok(())
    }

    /// Computes the candidates' probabilities among themselves.
    fn share(&mut self) {
        let largest = self.largest();
        self.shares.clear();
        self.shares
            .extend(self.tokens.iter().map(|(_, logit)| (logit - largest).exp()));
        let sum: f32 = self.shares.iter().sum();
        self.shares.iter_mut().for_each(|share| *share /= sum);
    }

    /// The entropy of the probabilities, in nats.
    fn entropy(&self) -> f32 {
        let information = |share: &f32| if *share > 0.0 { -share * share.ln() } else { 0.0 };
        self.shares.iter().map(information).sum()
    }

    /// Leaves those whose information is nearest to the entropy. Source: C. Meister et al., "Locally Typical Sampling", 2022.
    pub(super) fn keep_typical(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        self.share();
        let entropy = self.entropy();
        let mut order: Vec<usize> = (0..self.tokens.len()).collect();
        let off = |place: usize| (-self.shares[place].ln() - entropy).abs();
        order.sort_by(|a, b| off(*a).total_cmp(&off(*b)));
        let mut sum = 0.0;
        let mut kept = 0;
        for place in &order {
            sum += self.shares[*place];
            kept += 1;
            if sum > p {
                break;
            }
        }
        let mut places = order[..kept].to_vec();
        places.sort_unstable();
        self.tokens = places.iter().map(|place| self.tokens[*place]).collect();
    }

    /// Leaves the likeliest that together have the probability `p`. Source: A. Holtzman et al., "The Curious Case of Neural Text
    /// Degeneration", 2020.
    pub(super) fn keep_top_p(&mut self, p: f32) {
        if p >= 1.0 {
            return;
        }
        self.share();
        let mut sum = 0.0;
        let last = self.shares.iter().position(|share| {
            sum += share;
            sum >= p
        });
        self.tokens
            .truncate(last.map_or(self.tokens.len(), |last| last + 1));
    }

    /// Leaves those of at least the share `p` of the likeliest one's probability.
    pub(super) fn keep_min_p(&mut self, p: f32) {
        if p > 0.0 {
            let least = self.largest() + p.ln();
            self.tokens.retain(|(_, logit)| *logit >= least);
        }
    }

    /// Divides logits by the temperature, or, with a range, by one that grows with the entropy. Source: llama.cpp's dynamic temperature.
    pub(super) fn temper(&mut self, temperature: f32, range: f32, exponent: f32) {
        let mut divisor = temperature;
        if range > 0.0 && self.tokens.len() > 1 {
            self.share();
            let (low, high) = ((temperature - range).max(0.0), temperature + range);
            let most = (self.tokens.len() as f32).ln();
            divisor = low + (high - low) * (self.entropy() / most).powf(exponent);
        }
        // So small a one would make infinities of logits, and takes the likeliest.
        let divisor = divisor.max(1e-4);
        self.tokens.iter_mut().for_each(|(_, logit)| *logit /= divisor);
    }

    /// One of them, by their probabilities.
    pub(super) fn draw(&mut self, random: &mut Random) -> u32 {
        self.share();
        let mut left = random.float();
        for ((token, _), share) in self.tokens.iter().zip(&self.shares) {
            left -= share;
            if left < 0.0 {
                return *token;
            }
        }
        self.tokens[0].0
    }
}
