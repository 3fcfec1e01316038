//! Language models: model files, tokenizers, inference. Tokens in, tokens out.
//!
//! Must not know PostgreSQL, nor wgpu but through `vectorgpu-compute`. Everything a file says is checked before it is used: a
//! damaged or hostile one gives an error.

pub mod batch;
pub mod cache;
pub mod decoder;
pub mod embed;
pub mod format;
pub mod generate;
pub mod gpu;
pub mod linear;
pub mod model;
pub mod quant;
pub mod sample;
pub mod stream;
pub mod template;
pub mod tensor;
pub mod threads;
pub mod tokenizer;
