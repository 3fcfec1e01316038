//! The vectorgpu extension.
