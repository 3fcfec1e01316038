//! Tensors as model files hold them: element types and shapes.

mod bytes;
mod dtype;
mod shape;
mod view;

pub use bytes::TensorBytes;
pub use dtype::{DType, UnknownType};
pub use shape::{MAX_TENSOR_DIMS, Shape};
pub use view::TensorView;
