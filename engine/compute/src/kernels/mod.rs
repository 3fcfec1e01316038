//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

mod argmax;
pub(crate) mod assign;
pub(crate) mod attention;
pub(crate) mod candidates;
pub(crate) mod codes;
pub(crate) mod encoder;
pub(crate) mod kmeans;
pub(crate) mod kmeans_parts;
mod kmeans_update;
mod linear;
mod linear_batch;
mod linear_few;
mod linear_many;
mod linear_rows;
pub(crate) mod list_keys;
pub(crate) mod lists;
mod measure;
mod plan;
mod quantize;
mod rope;
mod rows;
mod sample;
mod scan;
pub(crate) mod search;
mod select;
mod sort;
mod sort_local;
pub(crate) mod top_k;
mod vector;
pub(crate) mod weights;

pub use argmax::ValueAt;
pub(crate) use plan::scratch;
pub use sample::Choice;
pub use sort::SortKey;

/// Every kernel.
pub(crate) fn all() -> Vec<&'static crate::shader::Kernel> {
    [
        argmax::KERNELS,
        assign::KERNELS,
        attention::KERNELS,
        candidates::KERNELS,
        codes::KERNELS,
        encoder::KERNELS,
        kmeans::KERNELS,
        kmeans_parts::KERNELS,
        kmeans_update::KERNELS,
        linear::KERNELS,
        linear_batch::KERNELS,
        linear_few::KERNELS,
        linear_many::KERNELS,
        linear_rows::KERNELS,
        list_keys::KERNELS,
        lists::KERNELS,
        measure::KERNELS,
        quantize::KERNELS,
        rope::KERNELS,
        rows::KERNELS,
        sample::KERNELS,
        scan::KERNELS,
        search::KERNELS,
        select::KERNELS,
        sort::KERNELS,
        sort_local::KERNELS,
        top_k::KERNELS,
        vector::KERNELS,
        weights::KERNELS,
    ]
    .concat()
}

/// Every pipeline that the calls can ask for, on any device.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::shader::Variant)> {
    [
        argmax::variants(),
        assign::variants(),
        attention::variants(),
        candidates::variants(),
        codes::variants(),
        encoder::variants(),
        kmeans::variants(),
        kmeans_parts::variants(),
        kmeans_update::variants(),
        linear::variants(),
        linear_batch::variants(),
        linear_few::variants(),
        linear_many::variants(),
        linear_rows::variants(),
        list_keys::variants(),
        lists::variants(),
        measure::variants(),
        quantize::variants(),
        rope::variants(),
        rows::variants(),
        sample::variants(),
        scan::variants(),
        search::variants(),
        select::variants(),
        sort::variants(),
        sort_local::variants(),
        top_k::variants(),
        vector::variants(),
        weights::variants(),
    ]
    .concat()
}
