//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

pub(crate) mod assign;
pub(crate) mod codes;
pub(crate) mod kmeans;
mod linear;
mod measure;
mod plan;
mod quantize;
pub(crate) mod search;
mod top_k;
mod vector;

/// Every kernel.
pub(crate) fn all() -> Vec<&'static crate::shader::Kernel> {
    [
        assign::KERNELS,
        codes::KERNELS,
        kmeans::KERNELS,
        linear::KERNELS,
        measure::KERNELS,
        quantize::KERNELS,
        search::KERNELS,
        top_k::KERNELS,
        vector::KERNELS,
    ]
    .concat()
}

/// Every pipeline that the calls can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::shader::Variant)> {
    [
        assign::variants(),
        codes::variants(),
        kmeans::variants(),
        linear::variants(),
        measure::variants(),
        quantize::variants(),
        search::variants(),
        top_k::variants(),
        vector::variants(),
    ]
    .concat()
}
