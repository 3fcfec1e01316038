//! A text model of this session, and texts that it is writing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use vectorgpu_compute::Engine;
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::decoder::Decoder;
use vectorgpu_llm::format::TensorSource;
use vectorgpu_llm::generate::{Generation, Piece};
use vectorgpu_llm::linear::ActivationType;
use vectorgpu_llm::model::llama::Llama;
use vectorgpu_llm::template::{Names, PromptOptions, PromptTemplate};
use vectorgpu_llm::threads::Threads;
use vectorgpu_llm::tokenizer::{Tokenizer, Trust};

use super::place::{self, Placement, Room};
use super::{LoadOptions, TextRequest, messages};
use crate::gpu::threads::block_signals;
use crate::guc;
use crate::pg::interrupt::keep_waiting;

/// Most tokens of a text where `load_model` was told none: memory for more is only worth it to those who ask.
const DEFAULT_CONTEXT: usize = 8192;
/// Texts of that length which the cache has room for, where it was told nothing.
const DEFAULT_TEXTS: usize = 4;
/// Texts that are written side by side where it was told nothing.
const DEFAULT_PARALLEL: usize = 64;

/// A model that writes text.
pub(crate) struct TextModel {
    tokenizer: Tokenizer,
    template: Option<PromptTemplate>,
    decoder: RefCell<Box<dyn Decoder>>,
    placement: Placement,
    layers: usize,
    dims: usize,
    context: usize,
    parallel: usize,
}

/// What a text follows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Prompt<'a> {
    /// What a user says.
    Text(&'a str),
    /// A conversation: an array of objects with `role` and `content`.
    Messages(&'a Value),
}

/// Texts that are being written. What they take of the model's cache goes back when this is dropped.
pub(crate) struct Writing {
    model: Rc<TextModel>,
    generation: Generation,
}

impl TextModel {
    pub(super) fn read(
        source: &dyn TensorSource,
        options: &LoadOptions,
        threads: Arc<Threads>,
        engine: Option<&Rc<Engine>>,
    ) -> Result<Self> {
        let description = source.description();
        let tokenizer = Tokenizer::from_gguf(description)?;
        let template = match options.template.as_deref() {
            Some(template) => Some(template_of(template)?),
            None => PromptTemplate::source_in_gguf(description)?
                .map(|source| PromptTemplate::new(source, block_signals))
                .transpose()?,
        };
        let activations = options.activations.as_deref().unwrap_or("int8");
        let model = Llama::read(source)?.with_activations(ActivationType::named(activations)?);
        let model = Arc::new(model);
        if tokenizer.vocabulary().len() > model.vocabulary() {
            return Err(Error::new(
                ErrorKind::CorruptFile,
                format!(
                    "the tokenizer has {} tokens and the model {}",
                    tokenizer.vocabulary().len(),
                    model.vocabulary()
                ),
            ));
        }
        let parameters = model.parameters().clone();
        let context = match options.context {
            None => parameters.context.min(DEFAULT_CONTEXT),
            Some(context) if (1..=parameters.context).contains(&context) => context,
            Some(context) => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!(
                        "context must be between 1 and {}, not {context}",
                        parameters.context
                    ),
                ));
            }
        };
        let cache_tokens = options
            .cache_tokens
            .unwrap_or(context.saturating_mul(DEFAULT_TEXTS));
        let room = Room {
            context,
            cache_tokens: cache_tokens.max(context),
        };
        let (decoder, placement) = place::decoder(&model, threads, room, engine)?;
        Ok(Self {
            tokenizer,
            template,
            decoder: RefCell::new(decoder),
            placement,
            layers: parameters.layers,
            dims: parameters.width,
            context,
            parallel: options.parallel.unwrap_or(DEFAULT_PARALLEL),
        })
    }

    /// Where it is computed.
    pub(crate) fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Layers.
    pub(crate) fn layers(&self) -> usize {
        self.layers
    }

    /// Numbers of a token between layers.
    pub(crate) fn dims(&self) -> usize {
        self.dims
    }

    /// Most tokens of a text.
    pub(crate) fn context(&self) -> usize {
        self.context
    }

    /// Its tokenizer.
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The text that a conversation becomes, by `template`, which is a name or a text, or by the model's own.
    ///
    /// # Errors
    /// `InvalidArgument` for messages that are none, a template that fails on them, or where there is no template.
    pub(crate) fn render(
        &self,
        messages: &Value,
        template: Option<&str>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let messages = messages::list(messages)?;
        let given = template.map(template_of).transpose()?;
        let options = PromptOptions {
            add_generation_prompt,
            now: now(),
        };
        let runs = self.template(given.as_ref())?.runs(
            &messages,
            &Names::of(&self.tokenizer),
            options,
            block_signals,
        )?;
        Ok(runs.into_iter().map(|run| run.text).collect())
    }

    /// The template that was given, or the model's own.
    fn template<'a>(&'a self, given: Option<&'a PromptTemplate>) -> Result<&'a PromptTemplate> {
        given.or(self.template.as_ref()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the model has no prompt template")
                .with_hint("Name one in the option template, or set the option raw.")
        })
    }

    /// The tokens that a text follows.
    fn prompt_tokens(&self, prompt: Prompt<'_>, request: &TextRequest) -> Result<Vec<u32>> {
        let options = &request.options;
        let messages = match prompt {
            Prompt::Messages(messages) => messages::list(messages)?,
            Prompt::Text(text) if options.raw || (self.template.is_none() && options.template.is_none()) => {
                check_size(text.len())?;
                return self.raw_tokens(text, options.system.as_deref());
            }
            Prompt::Text(text) => messages::of_user(options.system.as_deref(), text),
        };
        check_size(messages.iter().map(|message| message.content.len()).sum())?;
        let given = options.template.as_deref().map(template_of).transpose()?;
        let options = PromptOptions {
            add_generation_prompt: true,
            now: now(),
        };
        self.template(given.as_ref())?
            .tokens(&messages, &self.tokenizer, options, block_signals)
    }

    fn raw_tokens(&self, text: &str, system: Option<&str>) -> Result<Vec<u32>> {
        if system.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the option system needs a prompt template",
            ));
        }
        let mut tokens: Vec<u32> = self.tokenizer.begin_token().into_iter().collect();
        self.tokenizer.encode(text, Trust::User, &mut tokens)?;
        Ok(tokens)
    }
}

impl Writing {
    /// Begins the texts that follow `prompts`, numbered in their order.
    ///
    /// # Errors
    /// `LimitExceeded` for a prompt that is too long, in bytes or in tokens; `InvalidArgument`.
    pub(crate) fn begin(model: Rc<TextModel>, prompts: &[Prompt<'_>], request: &TextRequest) -> Result<Self> {
        let mut generation = Generation::new(model.parallel);
        for (number, prompt) in (0..).zip(prompts) {
            let tokens = model.prompt_tokens(*prompt, request)?;
            let options = request.generate_options(number, tokens.len(), model.context);
            generation.add(tokens, &options, &**model.decoder.borrow())?;
        }
        Ok(Self { model, generation })
    }

    /// Whether all texts have ended.
    pub(crate) fn is_done(&self) -> bool {
        self.generation.is_done()
    }

    /// Writes one more token of each text whose prompt is read.
    ///
    /// # Errors
    /// `LimitExceeded` when the cache has no room for a text beside those that other cursors write; `Cancelled`.
    pub(crate) fn step(&mut self) -> Result<Vec<Piece>> {
        let mut decoder = self.model.decoder.borrow_mut();
        self.generation
            .step(&mut **decoder, &self.model.tokenizer, &mut keep_waiting)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Borrowed only while a step runs, which nothing of ours can be inside of here.
        if let Ok(mut decoder) = self.model.decoder.try_borrow_mut() {
            self.generation.release(decoder.pool());
        }
    }
}

/// A template by its name, or of its text, which has a brace.
fn template_of(name_or_text: &str) -> Result<PromptTemplate> {
    if name_or_text.contains('{') {
        PromptTemplate::new(name_or_text, block_signals)
    } else {
        PromptTemplate::built_in(name_or_text, block_signals)
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

/// Checks a text's length against `vectorgpu.max_prompt_size`.
///
/// # Errors
/// `LimitExceeded`.
pub(super) fn check_size(bytes: usize) -> Result<()> {
    let most = usize::try_from(guc::MAX_PROMPT_KB.get()).unwrap_or(0) * 1024;
    if bytes <= most {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("a prompt of {bytes} bytes is longer than {most}"),
    )
    .with_hint("vectorgpu.max_prompt_size sets the limit."))
}
