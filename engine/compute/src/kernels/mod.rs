//! Typed calls of the kernels, a file for each family. They plan and record; they never touch wgpu.

pub(crate) mod kmeans;
mod plan;
pub(crate) mod search;

/// Every pipeline that the calls can ask for.
#[cfg(test)]
pub(crate) fn variants() -> Vec<(&'static crate::shader::Kernel, crate::pipeline::Variant)> {
    let score = search::variants()
        .into_iter()
        .map(|variant| (&crate::shader::SCORE, variant));
    let assign = kmeans::variants()
        .into_iter()
        .map(|variant| (&crate::shader::KMEANS_ASSIGN, variant));
    score.chain(assign).collect()
}
