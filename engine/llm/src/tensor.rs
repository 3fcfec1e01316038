//! Tensors as model files hold them: element types and shapes.

mod dtype;
mod shape;
mod view;

pub use dtype::{DType, UnknownType};
pub use shape::{MAX_TENSOR_DIMS, Shape};
pub use view::TensorView;
