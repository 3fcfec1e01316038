//! Prompts from messages: the template that a model was trained with, or another one, says how a conversation is written as one text.
//!
//! A template is code from a file of strangers. It runs with a bounded amount of work and memory, on a thread whose stack its deepest
//! recursion fits, and can reach nothing but the messages. Invariant: no mark (`Tokenizer::marks`) in a prompt has any character of a
//! message in it (`disguise`), so what a user writes never ends the user's turn.

mod built_in;
mod disguise;
mod json;
mod literals;
mod machine;
mod time;

use std::any::Any;

use vectorgpu_core::{Error, ErrorKind, Result};

use crate::format::gguf::Metadata;
use crate::tokenizer::{Tokenizer, Trust};
use disguise::Disguise;
use machine::Machine;

/// Longest template; the longest known ones have some 30 KiB.
const MAX_TEMPLATE_BYTES: usize = 128 << 10;
/// Longest conversation.
const MAX_CONTENT_BYTES: usize = 16 << 20;
/// Most messages.
const MAX_MESSAGES: usize = 1 << 16;

/// Who speaks. There are no others: templates make marks of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the model.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
    /// What a tool answered.
    Tool,
}

impl Role {
    /// The role of this name.
    ///
    /// # Errors
    /// `InvalidArgument` for another one.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "system" => Ok(Self::System),
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "tool" => Ok(Self::Tool),
            _ => Err(
                Error::new(ErrorKind::InvalidArgument, format!("there is no role \"{name}\""))
                    .with_hint("Roles are system, user, assistant and tool."),
            ),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// What a prompt needs besides messages.
#[derive(Debug, Clone, Copy)]
pub struct PromptOptions {
    /// The prompt ends with the beginning of the model's turn.
    pub add_generation_prompt: bool,
    /// Seconds since 1970, for templates that say which day it is.
    pub now: i64,
}

/// The tokenizer's part of a prompt.
#[derive(Debug, Clone, Default)]
pub struct Names<'a> {
    /// Names of marks.
    pub marks: Vec<&'a str>,
    /// How a text begins; empty where it has no mark for that.
    pub begin: &'a str,
    /// How it ends.
    pub end: &'a str,
}

impl<'a> Names<'a> {
    /// Those of a tokenizer.
    pub fn of(tokenizer: &'a Tokenizer) -> Self {
        Self {
            marks: tokenizer.marks().map(|(name, _)| name).collect(),
            begin: tokenizer.begin_name(),
            end: tokenizer.end_name(),
        }
    }
}

/// A part of a prompt: a mark that the template wrote, or text without marks, whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `Template` for a mark, `User` for text.
    pub trust: Trust,
    /// Its text.
    pub text: String,
}

/// A prompt template.
#[derive(Debug)]
pub struct PromptTemplate {
    machine: Machine,
    literals: Vec<String>,
}

impl PromptTemplate {
    /// A template of this source, in the language of Jinja. What `guard` returns is kept while its thread starts, which inherits the
    /// caller's signal mask.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no template, `LimitExceeded` for one of more than 128 KiB, `OutOfMemory` without a thread.
    pub fn new(source: &str, guard: impl FnOnce() -> Box<dyn Any>) -> Result<Self> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "a prompt template of {} bytes, more than {MAX_TEMPLATE_BYTES}",
                    source.len()
                ),
            ));
        }
        let machine = Machine::new(source)?;
        machine.check(guard)?;
        Ok(Self {
            literals: literals::of(source),
            machine,
        })
    }

    /// A template that comes with this release: `chatml`, `llama2`, `llama3` or `zephyr`.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn built_in(name: &str, guard: impl FnOnce() -> Box<dyn Any>) -> Result<Self> {
        let source = built_in::source(name).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("there is no prompt template \"{name}\""),
            )
            .with_hint("Templates are chatml, llama2, llama3 and zephyr.")
        })?;
        Self::new(source, guard)
    }

    /// The source of the template in a GGUF file's metadata, if it has one.
    ///
    /// # Errors
    /// `CorruptFile` for one that is no text.
    pub fn source_in_gguf(metadata: &Metadata) -> Result<Option<&str>> {
        metadata.text("tokenizer.chat_template")
    }

    /// The source of the template in the text of a `tokenizer_config.json`, if it has one; of several, the default one.
    ///
    /// # Errors
    /// `CorruptFile` for what is no JSON, or a template that is no text.
    pub fn source_in_config(config: &str) -> Result<Option<String>> {
        let corrupt = || {
            Error::new(
                ErrorKind::CorruptFile,
                "the tokenizer's configuration has no sound template",
            )
        };
        let config: serde_json::Value =
            serde_json::from_str(config).map_err(|error| corrupt().with_detail(error.to_string()))?;
        match config.get("chat_template") {
            None | Some(serde_json::Value::Null) => Ok(None),
            Some(serde_json::Value::String(source)) => Ok(Some(source.clone())),
            Some(serde_json::Value::Array(several)) => {
                let default = several.iter().find(|one| one["name"] == "default");
                let source = default.and_then(|one| one["template"].as_str());
                source.map(|source| Some(source.to_owned())).ok_or_else(corrupt)
            }
            Some(_) => Err(corrupt()),
        }
    }

    /// Writes `messages` as a prompt, in parts.
    ///
    /// # Errors
    /// `InvalidArgument` when the template refuses the messages, `LimitExceeded` for too many of them and for a template that does too
    /// much, `OutOfMemory`.
    pub fn runs(
        &self,
        messages: &[Message],
        names: &Names<'_>,
        options: PromptOptions,
        guard: impl FnOnce() -> Box<dyn Any>,
    ) -> Result<Vec<Run>> {
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        if bytes > MAX_CONTENT_BYTES || messages.len() > MAX_MESSAGES {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{} messages of {bytes} bytes; {MAX_MESSAGES} of {MAX_CONTENT_BYTES} are the most",
                    messages.len()
                ),
            ));
        }
        let contents: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        let disguise = Disguise::new(names, &self.literals, self.machine.source(), &contents)?;
        let disguised = messages.iter().map(|message| Message {
            role: message.role,
            content: disguise.put_on(&message.content),
        });
        let disguised: Vec<Message> = disguised.collect();
        match self.machine.render(&disguised, names, options, guard) {
            Ok(text) => Ok(disguise.runs(&text)),
            Err(error) => Err(undisguised(&error, &disguise)),
        }
    }

    /// Writes `messages` as the tokens of a prompt, with the token with which every text begins once, if one does.
    ///
    /// # Errors
    /// As [`Self::runs`] and [`Tokenizer::encode`].
    pub fn tokens(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
        options: PromptOptions,
        guard: impl FnOnce() -> Box<dyn Any>,
    ) -> Result<Vec<u32>> {
        let runs = self.runs(messages, &Names::of(tokenizer), options, guard)?;
        let mut tokens: Vec<u32> = tokenizer.begin_token().into_iter().collect();
        let writes_begin = tokenizer.begin_token().is_some()
            && runs
                .first()
                .is_some_and(|run| run.trust == Trust::Template && run.text == tokenizer.begin_name());
        for run in runs.iter().skip(usize::from(writes_begin)) {
            tokenizer.encode(&run.text, run.trust, &mut tokens)?;
        }
        Ok(tokens)
    }
}

/// An error whose texts have the messages' own characters.
fn undisguised(error: &Error, disguise: &Disguise) -> Error {
    let mut plain = Error::new(error.kind(), disguise.take_off(error.message()));
    if let Some(detail) = error.detail() {
        plain = plain.with_detail(disguise.take_off(detail));
    }
    plain
}

#[cfg(test)]
mod tests;
