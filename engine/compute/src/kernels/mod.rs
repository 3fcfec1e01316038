//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

pub(crate) mod kmeans;
mod measure;
mod plan;
pub(crate) mod search;
mod vector;

/// Every kernel.
pub(crate) fn all() -> Vec<&'static crate::shader::Kernel> {
    [
        search::KERNELS,
        kmeans::KERNELS,
        vector::KERNELS,
        measure::KERNELS,
    ]
    .concat()
}

/// Every pipeline that the calls can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::shader::Variant)> {
    [
        search::variants(),
        kmeans::variants(),
        vector::variants(),
        measure::variants(),
    ]
    .concat()
}
