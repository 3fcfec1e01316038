//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

pub(crate) mod codes;
pub(crate) mod kmeans;
mod plan;
mod quantize;
pub(crate) mod search;
mod vector;

/// Every pipeline that the calls can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::shader::Variant)> {
    [
        search::variants(),
        codes::variants(),
        kmeans::variants(),
        quantize::variants(),
        vector::variants(),
    ]
    .concat()
}
