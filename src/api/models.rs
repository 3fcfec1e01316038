//! `vectorgpu.read_model`, `forget_model`, `session_models`: models into this session, out of it, and what it holds. What registers
//! them is SQL's.

use pgrx::JsonB;
use pgrx::prelude::*;

use crate::error::OrRaise;
use crate::models::{self, LoadOptions, Model, parse, stored};

/// `vectorgpu.read_model(text, text, jsonb)`: reads, checks and holds a model; what it is, one row.
#[pg_extern(sql = false)]
fn read_model(
    name: &str,
    path: &str,
    options: JsonB,
) -> TableIterator<
    'static,
    (
        name!(kind, String),
        name!(architecture, String),
        name!(parameters, i64),
        name!(bytes, i64),
        name!(files, JsonB),
    ),
> {
    let given = options.0.clone();
    let facts = parse::<LoadOptions>(Some(options))
        .and_then(|_| models::read_new(name, path, given))
        .or_raise();
    TableIterator::once((
        facts.kind.name().to_owned(),
        facts.architecture,
        facts.parameters.cast_signed(),
        facts.bytes.cast_signed(),
        JsonB(stored(&facts.files)),
    ))
}

/// `vectorgpu.forget_model(text)`: frees what this session holds of a model.
#[pg_extern(sql = false)]
fn forget_model(name: &str) {
    models::forget(name);
}

/// `vectorgpu.session_models()`: what this session holds of each model that it has read.
#[pg_extern(sql = false)]
#[expect(
    clippy::type_complexity,
    reason = "a row type is spelled out where pgrx wants it"
)]
fn session_models() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(device, String),
        name!(layers, i32),
        name!(gpu_layers, i32),
        name!(context, i32),
        name!(dims, i32),
        name!(mapped, bool),
        name!(cpu_bytes, i64),
        name!(gpu_bytes, i64),
    ),
> {
    let int4 = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    TableIterator::new(models::holdings().into_iter().map(move |holding| {
        let (layers, context, dims) = match &holding.model {
            Model::Text(model) => (model.layers(), model.context(), model.dims()),
            Model::Embedding(model) => (model.layers(), model.context(), model.dims()),
        };
        let placement = holding.model.placement();
        (
            holding.name,
            placement.device,
            int4(layers),
            int4(placement.gpu_layers),
            int4(context),
            int4(dims),
            holding.mapped,
            placement.cpu_bytes.cast_signed(),
            placement.gpu_bytes.cast_signed(),
        )
    }))
}
