//! CPU twins of the kernels: the same inputs as the shaders' bindings, accumulated in f64.
//!
//! They are the oracle of the kernels' tests and the means to find out which kernel is wrong; not a fast path.

mod add;
mod argmax;
mod kmeans_assign;
mod kmeans_update;
mod scan;
mod score;
mod select;
mod sort;

pub use add::add;
pub use argmax::argmax;
pub use kmeans_assign::kmeans_assign;
pub use kmeans_update::kmeans_update;
pub use scan::scan;
pub use score::score;
pub use select::select;
pub use sort::sort;
