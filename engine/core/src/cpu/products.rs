//! Products of many rows with many vectors, for those who can do with their rounding: a register-tiled matrix product.
//!
//! The product of a pair is one chain of multiply-adds in the order of the elements, so it lies within the any-order rounding
//! bound of an f32 sum. Vectors are packed once into panels `[dims, tile_width]`; `nearest.rs` explains the tiling.

use super::{Kernels, kernels};
use crate::error::{Error, ErrorKind, Result};

/// Rows that are taken through all panels together.
pub(super) const CHUNK_ROWS: usize = 96;
/// Most elements of a row that one call of the tile kernel sums.
const DEPTH_MAX: usize = 512;

/// Elements of a vector that are packed before the next vector's.
const PACKED_TOGETHER: usize = 64;

/// Vectors packed for [`Panels::multiply`]; memory is kept.
pub struct Panels {
    kernels: &'static Kernels,
    dims: usize,
    /// `[panels, dims, width]`, zero beyond the last vector.
    packed: Vec<f32>,
    /// `[CHUNK_ROWS, width]`.
    dots: Vec<f32>,
}

/// Products of some rows with the vectors of a panel.
#[derive(Debug, Clone, Copy)]
pub struct Products<'a> {
    /// The first of the rows.
    pub first_row: usize,
    /// The first of the vectors.
    pub first_vector: usize,
    /// `[rows, width]`; beyond the last vector, 0.
    pub dots: &'a [f32],
}

impl Default for Panels {
    fn default() -> Self {
        Self::with_kernels(kernels())
    }
}

impl Panels {
    /// No vectors yet, for products by `kernels`.
    pub fn with_kernels(kernels: &'static Kernels) -> Self {
        Self {
            kernels,
            dims: 1,
            packed: Vec::new(),
            dots: Vec::new(),
        }
    }

    /// Vectors of a panel.
    pub fn width(&self) -> usize {
        self.kernels.tile_width
    }

    /// Takes other vectors, of `dims` elements each, at least one element.
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Panics
    /// When a vector is of other dimensions.
    pub fn pack(&mut self, dims: usize, vectors: &[&[f32]]) -> Result<()> {
        let width = self.width();
        self.dims = dims;
        self.packed.clear();
        let floats = vectors.len().next_multiple_of(width) * dims;
        self.packed.try_reserve(floats).map_err(|error| {
            Error::new(ErrorKind::OutOfMemory, "no memory for a product of vectors")
                .with_detail(error.to_string())
        })?;
        self.packed.resize(floats, 0.0);
        assert!(vectors.iter().all(|vector| vector.len() == dims), "vector length");
        // A few elements of each vector at a time: what is written stays in the cache.
        let panels = self.packed.chunks_exact_mut(dims * width);
        for (panel, vectors) in panels.zip(vectors.chunks(width)) {
            for from in (0..dims).step_by(PACKED_TOGETHER) {
                let until = dims.min(from + PACKED_TOGETHER);
                let slots = &mut panel[from * width..until * width];
                for (i, vector) in vectors.iter().enumerate() {
                    let slots = slots[i..].iter_mut().step_by(width);
                    slots.zip(&vector[from..until]).for_each(|(slot, x)| *slot = *x);
                }
            }
        }
        Ok(())
    }

    /// Hands the products of `rows`, `[n, dims]` row-major, with all vectors to `take`; `after` is told of multiply-adds done.
    ///
    /// # Errors
    /// What `take` and `after` report.
    pub fn multiply(
        &mut self,
        rows: &[f32],
        after: &mut dyn FnMut(usize) -> Result<()>,
        take: &mut dyn FnMut(Products<'_>) -> Result<()>,
    ) -> Result<()> {
        for (chunk, rows) in rows.chunks(CHUNK_ROWS * self.dims).enumerate() {
            self.multiply_chunk(rows, after, &mut |first_vector, dots| {
                take(Products {
                    first_row: chunk * CHUNK_ROWS,
                    first_vector,
                    dots,
                })
            })?;
        }
        Ok(())
    }

    /// The same for at most [`CHUNK_ROWS`] rows: `take` gets the first vector of each panel and the products with it.
    pub(super) fn multiply_chunk(
        &mut self,
        rows: &[f32],
        after: &mut dyn FnMut(usize) -> Result<()>,
        take: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let (width, dims) = (self.width(), self.dims);
        let count = rows.len() / dims;
        let depth = dims.div_ceil(dims.div_ceil(DEPTH_MAX));
        self.dots.resize(count * width, 0.0);
        for (number, panel) in self.packed.chunks_exact(dims * width).enumerate() {
            for (i, part) in panel.chunks(depth * width).enumerate() {
                self.kernels
                    .tile(&rows[i * depth..], dims, part, &mut self.dots, i == 0);
                after(count * part.len())?;
            }
            take(number * width, &self.dots)?;
        }
        Ok(())
    }

    /// The element `at` of the vector `number`.
    pub(super) fn element(&self, number: usize, at: usize) -> f32 {
        let (width, dims) = (self.width(), self.dims);
        self.packed[number / width * width * dims + at * width + number % width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SHAPES: &[(usize, usize, usize)] = if cfg!(miri) {
        &[(1, 1, 1), (3, 97, 2)]
    } else {
        &[(1, 1, 1), (3, 97, 5), (64, 7, 33), (600, 3, 70)]
    };

    #[test]
    fn products_are_those_of_the_pairs() {
        for kernels in Kernels::all_supported() {
            for (dims, rows, vectors) in SHAPES.iter().copied() {
                let mut random = Random::new(4);
                let mut floats =
                    |count: usize| -> Vec<f32> { (0..count).map(|_| random.float() - 0.5).collect() };
                let (a, b) = (floats(rows * dims), floats(vectors * dims));
                let mut panels = Panels::with_kernels(kernels);
                // What was packed before leaves nothing behind.
                panels.pack(dims, &[&b[..dims]; 200]).unwrap();
                panels
                    .pack(dims, &b.chunks_exact(dims).collect::<Vec<_>>())
                    .unwrap();
                let width = panels.width();
                let mut seen = vec![0; rows * vectors];
                let taken = panels.multiply(&a, &mut |_| Ok(()), &mut |products| {
                    for (row, dots) in (products.first_row..).zip(products.dots.chunks_exact(width)) {
                        for (vector, dot) in (products.first_vector..).zip(dots) {
                            if vector >= vectors {
                                assert_eq!(*dot, 0.0);
                                continue;
                            }
                            seen[row * vectors + vector] += 1;
                            let pairs = a[row * dims..][..dims].iter().zip(&b[vector * dims..][..dims]);
                            let exact: f64 = pairs.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                            assert!((f64::from(*dot) - exact).abs() < 1e-4, "{dims} {row} {vector}");
                        }
                    }
                    Ok(())
                });
                taken.unwrap();
                assert!(seen.iter().all(|count| *count == 1));
            }
        }
    }
}
