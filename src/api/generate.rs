//! `vectorgpu.generate` and its relatives: prompts in, text out.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::json;
use vectorgpu_core::{Error, ErrorKind, Result};
use vectorgpu_llm::generate::Piece;

use crate::error::OrRaise;
use crate::models::{self, Prompt, TextRequest, Writing};

/// `vectorgpu.generate(text, text, int4, float8, int8, text[], jsonb)`: what a model answers to a prompt. NULL for a NULL prompt.
#[pg_extern(sql = false)]
fn generate(
    prompt: Option<&str>,
    model: Option<&str>,
    max_tokens: Option<i32>,
    temperature: Option<f64>,
    seed: Option<i64>,
    stop: Option<Vec<Option<String>>>,
    options: Option<JsonB>,
) -> Option<String> {
    let answer_to = |prompt| {
        let request = TextRequest::new(max_tokens, temperature, seed, stop, options)?;
        answer(Prompt::Text(prompt), model, &request)
    };
    prompt.map(|prompt| answer_to(prompt).or_raise())
}

/// `vectorgpu.generate_many(text[], ...)`: what a model answers to each prompt; NULL for one that is NULL.
#[pg_extern(sql = false)]
fn generate_many(
    prompts: Option<Vec<Option<String>>>,
    model: Option<&str>,
    max_tokens: Option<i32>,
    temperature: Option<f64>,
    seed: Option<i64>,
    stop: Option<Vec<Option<String>>>,
    options: Option<JsonB>,
) -> Option<Vec<Option<String>>> {
    let answers_to = |prompts: Vec<Option<String>>| {
        let present: Vec<Prompt<'_>> = prompts
            .iter()
            .flatten()
            .map(|prompt| Prompt::Text(prompt))
            .collect();
        let mut texts = if present.is_empty() {
            Vec::new().into_iter()
        } else {
            let request = TextRequest::new(max_tokens, temperature, seed, stop, options)?;
            answers(&present, model, &request)?.into_iter()
        };
        Ok(prompts
            .iter()
            .map(|prompt| prompt.as_ref().and_then(|_| texts.next()))
            .collect())
    };
    prompts.map(|prompts| answers_to(prompts).or_raise())
}

/// `vectorgpu.chat(jsonb, ...)`: what a model answers to a conversation.
#[pg_extern(sql = false)]
fn chat(
    messages: Option<JsonB>,
    model: Option<&str>,
    max_tokens: Option<i32>,
    temperature: Option<f64>,
    seed: Option<i64>,
    stop: Option<Vec<Option<String>>>,
    options: Option<JsonB>,
) -> Option<String> {
    let answer_to = |messages: JsonB| {
        let request = TextRequest::new(max_tokens, temperature, seed, stop, options)?;
        answer(Prompt::Messages(&messages.0), model, &request)
    };
    messages.map(|messages| answer_to(messages).or_raise())
}

/// `vectorgpu.generate_stream(text, ...)`: the text of `generate`, a piece for each row. A piece is written when its row is asked for.
#[pg_extern(sql = false)]
fn generate_stream(
    prompt: Option<&str>,
    model: Option<&str>,
    max_tokens: Option<i32>,
    temperature: Option<f64>,
    seed: Option<i64>,
    stop: Option<Vec<Option<String>>>,
    options: Option<JsonB>,
) -> SetOfIterator<'static, String> {
    let begin = |prompt| {
        let request = TextRequest::new(max_tokens, temperature, seed, stop, options)?;
        Writing::begin(models::text_model(model)?, &[Prompt::Text(prompt)], &request)
    };
    let writing = prompt.map(|prompt| begin(prompt).or_raise());
    let texts = pieces(writing).map(|piece| piece.or_raise().text);
    SetOfIterator::new(texts.filter(|text| !text.is_empty()))
}

/// `vectorgpu.generate_tokens(text, ...)`: the tokens of `generate`, with their log-probabilities.
#[pg_extern(sql = false)]
fn generate_tokens(
    prompt: Option<&str>,
    model: Option<&str>,
    max_tokens: Option<i32>,
    temperature: Option<f64>,
    seed: Option<i64>,
    stop: Option<Vec<Option<String>>>,
    options: Option<JsonB>,
) -> TableIterator<
    'static,
    (
        name!(number, i32),
        name!(token, i32),
        name!(piece, String),
        name!(logprob, f32),
        name!(top_logprobs, Option<JsonB>),
    ),
> {
    let begin = |prompt| {
        let request =
            TextRequest::new(max_tokens, temperature, seed, stop, options)?.with_log_probabilities();
        Writing::begin(models::text_model(model)?, &[Prompt::Text(prompt)], &request)
    };
    let writing = prompt.map(|prompt| begin(prompt).or_raise());
    TableIterator::new((1..).zip(pieces(writing)).map(|(number, piece)| {
        let piece = piece.or_raise();
        let likeliest = (!piece.chosen.likeliest.is_empty()).then(|| {
            let entries = piece.chosen.likeliest.iter();
            let entries = entries.map(|(token, logprob)| json!({"token": token, "logprob": logprob}));
            JsonB(entries.collect())
        });
        (
            number,
            piece.chosen.token.cast_signed(),
            piece.text,
            piece.chosen.log_probability,
            likeliest,
        )
    }))
}

/// What a model answers to one prompt.
fn answer(prompt: Prompt<'_>, model: Option<&str>, request: &TextRequest) -> Result<String> {
    Ok(answers(&[prompt], model, request)?.remove(0))
}

/// What a model answers to each of `prompts`.
fn answers(prompts: &[Prompt<'_>], model: Option<&str>, request: &TextRequest) -> Result<Vec<String>> {
    let mut writing = Writing::begin(models::text_model(model)?, prompts, request)?;
    let mut texts = vec![String::new(); prompts.len()];
    while !writing.is_done() {
        for piece in writing.step()? {
            let text = texts
                .get_mut(piece.of_text)
                .ok_or_else(|| Error::new(ErrorKind::Internal, "a piece of a text that nobody asked for"))?;
            text.push_str(&piece.text);
        }
    }
    Ok(texts)
}

/// The pieces of one text as they are asked for; none for a NULL prompt.
fn pieces(mut writing: Option<Writing>) -> impl Iterator<Item = Result<Piece>> + 'static {
    std::iter::from_fn(move || {
        let writing = writing.as_mut()?;
        while !writing.is_done() {
            match writing.step() {
                // One text has one piece a step, or none while its prompt is read.
                Ok(mut pieces) if !pieces.is_empty() => return Some(Ok(pieces.remove(0))),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    })
}
