//! What callers ask of a model, as SQL says it: arguments and a JSON object of options.
//!
//! Names and meanings of the sampling options are llama.cpp's. An option that is unknown, or of another type, is an error that names it.

use pgrx::JsonB;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::generate::GenerateOptions;
use vectorgpu_llm::sample::{SamplingOptions, Step};

/// Tokens that are written where a caller does not say how many.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Stop strings, at most: each is looked for after every token.
const MAX_STOPS: usize = 64;
/// The likeliest others that can be asked for, as in other servers.
const MAX_TOP_LOGPROBS: usize = 20;

/// How a model is held, from `load_model`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoadOptions {
    /// Most tokens of a text; the model's own limit or 8,192, whichever is less.
    pub(crate) context: Option<usize>,
    /// Tokens that texts may have together; 4 times the context.
    pub(crate) cache_tokens: Option<usize>,
    /// Texts that `generate_many` writes side by side.
    pub(crate) parallel: Option<usize>,
    /// Whether tensors are views of the files, which nobody may change then; true.
    pub(crate) mmap: Option<bool>,
    /// The name or the text of a prompt template, in place of the model's own.
    pub(crate) template: Option<String>,
    /// What the CPU rounds activations to: `int8`, or `int16` for near exactness at half the speed.
    pub(crate) activations: Option<String>,
}

/// What an embedding may be asked for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EmbedOptions {
    /// Whether a text that is too long is cut; else it is an error.
    pub(crate) truncate: bool,
}

/// What a text may be asked for beyond the arguments.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TextOptions {
    /// Whether the prompt is continued as it is, by no template.
    pub(crate) raw: bool,
    /// What the model is told first, as the role system.
    pub(crate) system: Option<String>,
    /// The name or the text of a prompt template.
    pub(crate) template: Option<String>,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    typical_p: f32,
    dynatemp_range: f32,
    dynatemp_exponent: f32,
    repeat_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    repeat_last_n: usize,
    logit_bias: Vec<(u32, f32)>,
    stop_token_ids: Vec<u32>,
    ignore_eos: bool,
    samplers: Option<Vec<String>>,
    /// How many of the likeliest others come with each token.
    pub(crate) top_logprobs: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            raw: false,
            system: None,
            template: None,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repeat_last_n: 64,
            logit_bias: Vec::new(),
            stop_token_ids: Vec::new(),
            ignore_eos: false,
            samplers: None,
            top_logprobs: 0,
        }
    }
}

impl TextOptions {
    /// The steps of choosing a token, in their order.
    fn steps(&self) -> Result<Vec<Step>> {
        match &self.samplers {
            Some(names) => names.iter().map(|name| Step::named(name)).collect(),
            None => Ok(Step::USUAL.to_vec()),
        }
    }
}

/// What a text is to be like, checked.
#[derive(Debug, Clone)]
pub(crate) struct TextRequest {
    /// Tokens that are wanted; `None`: as many as are usual, or as the context leaves.
    max_tokens: Option<usize>,
    generate: GenerateOptions,
    pub(crate) options: TextOptions,
}

impl TextRequest {
    /// Checks the arguments that all functions which write text have.
    ///
    /// # Errors
    /// `InvalidArgument` that names the argument or option.
    pub(crate) fn new(
        max_tokens: Option<i32>,
        temperature: Option<f64>,
        seed: Option<i64>,
        stop: Option<Vec<Option<String>>>,
        options: Option<JsonB>,
    ) -> Result<Self> {
        let options: TextOptions = parse(options)?;
        let max_tokens = max_tokens.map(|count| {
            let count = usize::try_from(count).ok().filter(|count| *count > 0);
            count.ok_or_else(|| invalid("max_tokens must be at least 1"))
        });
        let stop: Vec<String> = stop.unwrap_or_default().into_iter().flatten().collect();
        if stop.len() > MAX_STOPS {
            return Err(invalid(format!(
                "{} stop strings, more than {MAX_STOPS}",
                stop.len()
            )));
        }
        if options.top_logprobs > MAX_TOP_LOGPROBS {
            return Err(invalid(format!(
                "top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}, not {}",
                options.top_logprobs
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32; its range is checked"
        )]
        let temperature = temperature.unwrap_or(0.0) as f32;
        let sampling = SamplingOptions {
            temperature,
            dynatemp_range: options.dynatemp_range,
            dynatemp_exponent: options.dynatemp_exponent,
            top_k: options.top_k,
            top_p: options.top_p,
            min_p: options.min_p,
            typical_p: options.typical_p,
            repeat_penalty: options.repeat_penalty,
            frequency_penalty: options.frequency_penalty,
            presence_penalty: options.presence_penalty,
            repeat_last_n: options.repeat_last_n,
            logit_bias: options.logit_bias.clone(),
            seed: seed.map_or_else(random_seed, i64::cast_unsigned),
            steps: options.steps()?,
            log_probabilities: false,
            likeliest: options.top_logprobs,
        };
        sampling.check()?;
        Ok(Self {
            max_tokens: max_tokens.transpose()?,
            generate: GenerateOptions {
                max_tokens: 0,
                stop,
                stop_tokens: options.stop_token_ids.clone(),
                ignore_end: options.ignore_eos,
                sampling,
            },
            options,
        })
    }

    /// The same, with the log-probabilities of tokens.
    pub(crate) fn with_log_probabilities(mut self) -> Self {
        self.generate.sampling.log_probabilities = true;
        self
    }

    /// What to generate after a prompt of `prompt_tokens` in a model with `context`. Texts of one request differ by their `number`,
    /// which their seeds count up by.
    pub(crate) fn generate_options(
        &self,
        number: u64,
        prompt_tokens: usize,
        context: usize,
    ) -> GenerateOptions {
        let left = context.saturating_sub(prompt_tokens);
        let mut options = self.generate.clone();
        options.max_tokens = self.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.min(left).max(1));
        options.sampling.seed = options.sampling.seed.wrapping_add(number);
        options
    }
}

/// The options of a JSON object; those of an empty one for NULL.
///
/// # Errors
/// `InvalidArgument` for anything else, unknown names, and values of other types.
pub(crate) fn parse<T: DeserializeOwned>(options: Option<JsonB>) -> Result<T> {
    let options = options.map_or_else(|| Value::Object(serde_json::Map::new()), |options| options.0);
    if !options.is_object() {
        return Err(invalid("options must be a JSON object"));
    }
    serde_json::from_value(options)
        .map_err(|error| invalid("the options are not understood").with_detail(error.to_string()))
}

fn random_seed() -> u64 {
    // The process, the time, and how often: enough for two calls not to draw the same.
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
