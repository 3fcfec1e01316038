//! A reader of what comes from outside against seeded inputs: changed valid ones and random bytes. The fuzzing of other crates includes this
//! file; who does says how long random inputs (`RANDOM_BYTES`) and cuts (`CUT_BYTES`) may be.

use std::panic::catch_unwind;

use vectorgpu_core::random::Random;

use super::{CUT_BYTES, RANDOM_BYTES};

/// What a reader made of an input: whether it accepted it. `Err` says what is wrong with that.
pub(crate) type Outcome = Result<bool, String>;

/// A reader under test.
pub(crate) struct Target {
    /// What it reads.
    pub(crate) name: &'static str,
    /// Makes an input that is valid.
    pub(super) valid: fn(&mut Random) -> Vec<u8>,
    /// What changes put in.
    pub(super) tokens: &'static [&'static [u8]],
    /// Reads an input.
    pub(super) check: fn(&[u8]) -> Outcome,
}

/// How many inputs a reader accepted and refused.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Inputs that were accepted.
    pub(crate) accepted: u64,
    /// Inputs that were refused with an error.
    pub(crate) refused: u64,
}

impl Target {
    /// Runs `count` inputs of the stream of `seed`.
    ///
    /// # Panics
    /// When an input makes the reader panic, or break a promise; the message quotes the input.
    pub(crate) fn run(&self, count: u64, seed: u64) -> Counts {
        let mut random = Random::new(seed);
        let mut counts = Counts::default();
        for number in 0..count {
            let input = self.input(&mut random);
            let outcome =
                catch_unwind(|| (self.check)(&input)).unwrap_or_else(|_| Err("panicked".to_owned()));
            match outcome {
                Ok(true) => counts.accepted += 1,
                Ok(false) => counts.refused += 1,
                Err(finding) => panic!(
                    "{}, seed {seed}, input {number}: {finding}: b\"{}\"",
                    self.name,
                    input.escape_ascii()
                ),
            }
        }
        counts
    }

    /// An input: one in eight is valid, one in eight random, the others are valid ones with one to four changes.
    fn input(&self, random: &mut Random) -> Vec<u8> {
        match random.below(8) {
            0 => (self.valid)(random),
            1 => (0..random.below(RANDOM_BYTES))
                .map(|_| random.bits().to_le_bytes()[0])
                .collect(),
            _ => {
                let mut input = (self.valid)(random);
                for _ in 0..=random.below(4) {
                    self.change(&mut input, random);
                }
                input
            }
        }
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(CUT_BYTES)).min(input.len());
        let token = self.tokens[random.below(self.tokens.len())];
        match random.below(7) {
            0 => drop(input.splice(at..at, token.iter().copied())),
            1 => drop(input.splice(at..(at + token.len()).min(input.len()), token.iter().copied())),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                drop(input.splice(at..at, again));
            }
            4 => input.truncate(at),
            5 => {
                let other = (self.valid)(random);
                let from = random.below(other.len());
                drop(input.splice(at.., other[from..].iter().copied()));
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
}
