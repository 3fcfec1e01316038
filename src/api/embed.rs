//! `vectorgpu.embed`: texts into vectors.

use pgrx::JsonB;
use pgrx::prelude::*;
use vectorgpu_core::Result;

use crate::error::OrRaise;
use crate::models::{self, parse};
use crate::types::vector::VectorBuilder;

/// `vectorgpu.embed(text, text, jsonb)`: the embedding of a text; NULL for NULL.
#[pg_extern(sql = false)]
fn embed(content: Option<&str>, model: Option<&str>, options: Option<JsonB>) -> Option<VectorBuilder> {
    let content = content?;
    let vectors = embeddings(&[content], model, options).or_raise();
    vectors.into_iter().next()
}

/// `vectorgpu.embed(text[], text, jsonb)`: the embeddings of several texts; NULL for each that is NULL.
#[pg_extern(sql = false)]
fn embed_many(
    contents: Option<Vec<Option<String>>>,
    model: Option<&str>,
    options: Option<JsonB>,
) -> Option<Vec<Option<VectorBuilder>>> {
    let contents = contents?;
    let present: Vec<&str> = contents.iter().flatten().map(String::as_str).collect();
    let mut vectors = embeddings(&present, model, options).or_raise().into_iter();
    Some(
        contents
            .iter()
            .map(|content| content.as_ref().and_then(|_| vectors.next()))
            .collect(),
    )
}

fn embeddings(texts: &[&str], model: Option<&str>, options: Option<JsonB>) -> Result<Vec<VectorBuilder>> {
    let options = parse(options)?;
    let model = models::embedding_model(model)?;
    let numbers = model.embed(texts, &options)?;
    Ok(numbers
        .chunks_exact(model.dims())
        .map(VectorBuilder::from_elements)
        .collect())
}
