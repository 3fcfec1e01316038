//! `vectorgpu.tokenize`, `detokenize`, `count_tokens`, `apply_template`: text as a model sees it.

use pgrx::JsonB;
use pgrx::prelude::*;

use crate::error::OrRaise;
use crate::models::{self, Kind};

/// `vectorgpu.tokenize(text, text)`: the tokens of a text that a user wrote; NULL for NULL.
#[pg_extern(sql = false)]
fn tokenize(content: Option<&str>, model: Option<&str>) -> Option<Vec<i32>> {
    let tokens = tokens(content?, model);
    Some(tokens.into_iter().map(u32::cast_signed).collect())
}

/// `vectorgpu.count_tokens(text, text)`: how many `tokenize` gives.
#[pg_extern(sql = false)]
fn count_tokens(content: Option<&str>, model: Option<&str>) -> Option<i32> {
    i32::try_from(tokens(content?, model).len()).ok()
}

/// `vectorgpu.detokenize(int4[], text)`: the text of tokens; what is no UTF-8 becomes U+FFFD, NULL elements nothing.
#[pg_extern(sql = false)]
fn detokenize(tokens: Option<Vec<Option<i32>>>, model: Option<&str>) -> Option<String> {
    let tokens: Vec<u32> = tokens?.into_iter().flatten().map(i32::cast_unsigned).collect();
    Some(
        models::model(model, Kind::Text)
            .and_then(|model| model.decode(&tokens))
            .or_raise(),
    )
}

/// `vectorgpu.apply_template(jsonb, text, text, boolean)`: the prompt that a conversation becomes.
#[pg_extern(sql = false)]
fn apply_template(
    messages: Option<JsonB>,
    model: Option<&str>,
    template: Option<&str>,
    add_generation_prompt: Option<bool>,
) -> Option<String> {
    let messages = messages?;
    Some(
        models::text_model(model)
            .and_then(|model| model.render(&messages.0, template, add_generation_prompt.unwrap_or(true)))
            .or_raise(),
    )
}

fn tokens(content: &str, model: Option<&str>) -> Vec<u32> {
    models::model(model, Kind::Text)
        .and_then(|model| model.encode(content))
        .or_raise()
}
