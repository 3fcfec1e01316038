//! A row or a query as an index takes it.

use crate::sparse::Sparse;

/// The numbers by which it finds its list, and what else is stored of it or asked for.
#[derive(Debug, Clone, Copy)]
pub struct IndexValue<'a> {
    /// The vector; of a sparse one its projection (`quantize::sketch`).
    pub vector: &'a [f32],
    /// The sparse vector that was projected.
    pub sparse: Option<Sparse<'a>>,
}

impl<'a> From<&'a [f32]> for IndexValue<'a> {
    fn from(vector: &'a [f32]) -> Self {
        Self { vector, sparse: None }
    }
}
