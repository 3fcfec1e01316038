//! The fault run: the layer that makes Vulkan calls fail, the work that they fail under, and what has to hold.

pub(crate) mod layer;
pub(crate) mod point;
pub(crate) mod workload;
