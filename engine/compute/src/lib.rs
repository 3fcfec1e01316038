//! All of wgpu.
