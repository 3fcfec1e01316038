//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

mod argmax;
pub(crate) mod kmeans;
mod kmeans_update;
mod plan;
mod scan;
pub(crate) mod search;
mod select;
mod sort;
mod sort_local;
mod vector;

pub use argmax::ValueAt;
pub use sort::SortKey;

/// Every pipeline that the calls can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::shader::Variant)> {
    [
        argmax::variants(),
        search::variants(),
        kmeans::variants(),
        kmeans_update::variants(),
        scan::variants(),
        select::variants(),
        sort::variants(),
        sort_local::variants(),
        vector::variants(),
    ]
    .concat()
}
