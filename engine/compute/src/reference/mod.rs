//! CPU twins of the kernels: the same inputs as the shaders' bindings, accumulated in f64.
//!
//! They are the oracle of the kernels' tests and the means to find out which kernel is wrong; not a fast path.

mod add;
mod argmax;
mod embed;
mod kmeans_assign;
mod kmeans_update;
mod linear;
mod list_fetch;
mod list_keys;
mod list_scan;
mod matmul;
mod multiply_add;
mod normalize;
mod quantize_bits;
mod quantize_int8;
mod read;
mod rows;
mod scan;
mod score;
mod score_bits;
mod score_int8;
mod select;
mod sort;
mod to_f16;
mod top_k;

pub use add::add;
pub use argmax::argmax;
pub use embed::{embed, weights};
pub use kmeans_assign::kmeans_assign;
pub use kmeans_update::kmeans_update;
pub use linear::{gated, linear, rms_norm};
pub use list_fetch::list_fetch;
pub use list_keys::{list_keys, list_keys_of_codes};
pub use list_scan::list_scan;
pub use matmul::matmul;
pub use multiply_add::multiply_add;
pub use normalize::normalize;
pub use quantize_bits::quantize_bits;
pub use quantize_int8::quantize_int8;
pub use read::read;
pub use scan::scan;
pub use score::score;
pub use score_bits::score_bits;
pub use score_int8::score_int8;
pub use select::select;
pub use sort::sort;
pub use to_f16::to_f16;
pub use top_k::top_k;
