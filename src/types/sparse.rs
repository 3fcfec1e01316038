//! The type `sparsevec` as a Rust value: [`SparseVector`] reads a datum, [`SparseVectorBuilder`] makes one.
//!
//! Layout, pgvector's byte for byte: int32 length word, int32 dims, int32 number n of elements that are not zero, int32
//! zero, int32 indices `[n]` counted from 0, float4 values `[n]`.
//! Must not know what is computed with the elements. Invariant: 1 to `MAX_SPARSE_DIMS` dimensions, at most as many
//! elements and at most `MAX_NON_ZERO`, and a length to match. That indices ascend inside the vector is checked where a
//! value is made, not where it is read.

use vectorgpu_core::limits::{MAX_NON_ZERO, MAX_SPARSE_DIMS};
use vectorgpu_core::sparse::Sparse;
use vectorgpu_core::sparse::wire::Header;
use vectorgpu_core::vector_type::VectorType;
use vectorgpu_core::{Error, ErrorKind, Result};

use super::value::{Layout, Value, ValueBuilder};

/// Bytes of the three fields between the length word and the indices.
const HEADER_BYTES: usize = 12;
/// Bytes of an index and its value.
const ELEMENT_BYTES: usize = size_of::<i32>() + size_of::<f32>();

/// The layout of a sparse vector.
pub(crate) struct SparseLayout;

/// A sparse vector in PostgreSQL's memory.
pub(crate) type SparseVector<'a> = Value<'a, SparseLayout>;
/// A sparse vector being built, in the memory that becomes the datum.
pub(crate) type SparseVectorBuilder = ValueBuilder<SparseLayout>;

impl Layout for SparseLayout {
    const NAME: &'static str = VectorType::Sparsevec.name();

    #[inline]
    fn check(payload: &[u8]) -> Result<()> {
        match header(payload) {
            Some(Header {
                dims: dims @ 1..=MAX_SPARSE_DIMS,
                count: count @ 0..=MAX_NON_ZERO,
            }) if count <= dims && payload.len() == HEADER_BYTES + count * ELEMENT_BYTES => Ok(()),
            header => Err(malformed(header, payload.len())),
        }
    }
}

/// What the header says, where it says nothing negative.
#[inline]
fn header(payload: &[u8]) -> Option<Header> {
    let (fields, _) = payload.get(..HEADER_BYTES)?.as_chunks();
    let field = |at: usize| usize::try_from(i32::from_ne_bytes(fields[at])).ok();
    Some(Header {
        dims: field(0)?,
        count: field(1)?,
    })
}

#[cold]
fn malformed(header: Option<Header>, payload_bytes: usize) -> Error {
    let header = header.unwrap_or(Header { dims: 0, count: 0 });
    Error::new(
        ErrorKind::DataException,
        format!(
            "malformed sparsevec value: {payload_bytes} bytes for {} elements of {} dimensions",
            header.count, header.dims
        ),
    )
}

impl SparseVector<'_> {
    /// The vector's parts.
    #[inline]
    pub(crate) fn elements(&self) -> Sparse<'_> {
        let payload = self.payload();
        let Header { dims, count } = header(payload).expect("checked when the value was made");
        let (indices, values) = payload[HEADER_BYTES..].split_at(count * size_of::<i32>());
        Sparse {
            dims,
            indices: bytemuck::cast_slice(indices),
            values: bytemuck::cast_slice(values),
        }
    }
}

impl SparseVectorBuilder {
    /// Allocates a vector with room for elements, in the current memory context.
    ///
    /// # Panics
    /// When `header` has not been checked to be what a sparse vector has.
    pub(crate) fn with_room(header: Header) -> Self {
        assert!(
            (1..=MAX_SPARSE_DIMS).contains(&header.dims)
                && header.count <= header.dims
                && header.count <= MAX_NON_ZERO,
            "unchecked {header:?}"
        );
        let mut vector = Self::zeroed(HEADER_BYTES + header.count * ELEMENT_BYTES);
        let fields = [header.dims, header.count, 0].map(|field| {
            i32::try_from(field)
                .expect("MAX_SPARSE_DIMS fits an i32")
                .to_ne_bytes()
        });
        vector.payload_mut()[..HEADER_BYTES].copy_from_slice(fields.as_flattened());
        vector
    }

    /// Allocates a copy of `vector`.
    pub(crate) fn from_sparse(vector: Sparse<'_>) -> Self {
        let mut copy = Self::with_room(Header {
            dims: vector.dims,
            count: vector.indices.len(),
        });
        let (indices, values) = copy.parts_mut();
        indices.copy_from_slice(vector.indices);
        values.copy_from_slice(vector.values);
        copy
    }

    /// The indices and the values, to be written.
    pub(crate) fn parts_mut(&mut self) -> (&mut [i32], &mut [f32]) {
        let elements = &mut self.payload_mut()[HEADER_BYTES..];
        let (indices, values) = elements.split_at_mut(elements.len() / 2);
        (
            bytemuck::cast_slice_mut(indices),
            bytemuck::cast_slice_mut(values),
        )
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    use super::super::varlena::VarlenaBuilder;
    use super::*;

    #[pg_test]
    fn a_built_sparse_vector_has_the_documented_layout_and_reads_back() {
        let sparse = Sparse {
            dims: 1_000_000_000,
            indices: &[0, 7, 999_999_999],
            values: &[1.5, -2.0, 1e-45],
        };
        let datum = SparseVectorBuilder::from_sparse(sparse)
            .into_datum()
            .expect("not null");
        #[expect(unsafe_code, reason = "looks at the bytes of a datum")]
        // SAFETY: the datum just built, of 16 + 8 * 3 bytes.
        let bytes = unsafe { std::slice::from_raw_parts(datum.cast_mut_ptr::<u8>(), 40) };
        assert_eq!(bytes[..4], (40u32 << 2).to_le_bytes());
        let fields = [1_000_000_000, 3, 0, 0, 7, 999_999_999].map(i32::to_le_bytes);
        assert_eq!(bytes[4..28], *fields.as_flattened());
        let values = [1.5f32, -2.0, 1e-45].map(f32::to_le_bytes);
        assert_eq!(bytes[28..], *values.as_flattened());
        #[expect(unsafe_code, reason = "reads a datum")]
        // SAFETY: the datum just built.
        let vector = unsafe { SparseVector::from_datum(datum) }.expect("well-formed");
        assert_eq!(vector.elements(), sparse);
    }

    #[pg_test]
    fn a_header_that_no_sparse_vector_has_is_an_error() {
        for (payload_bytes, dims, count) in [
            (0, 0, 0),
            (11, 1, 0),
            (12, 0, 0),
            (12, -1, 0),
            (12, 1_000_000_001, 0),
            (12, 1, 1),
            (12, 1, -1),
            (20, 1, 0),
            (19, 1, 1),
            (28, 1, 2),
            (12 + 8 * 16_001, 20_000, 16_001),
        ] {
            let mut memory = VarlenaBuilder::zeroed(payload_bytes);
            if let Some(fields) = memory.payload_mut().get_mut(..8) {
                fields.copy_from_slice([dims, count].map(i32::to_ne_bytes).as_flattened());
            }
            #[expect(unsafe_code, reason = "reads a damaged datum")]
            // SAFETY: a varlena, though no sparse vector: what this function is to find out.
            let error = unsafe { SparseVector::from_datum(memory.into_datum()) }
                .err()
                .expect("refused");
            assert_eq!(error.kind(), ErrorKind::DataException);
            assert!(error.message().starts_with("malformed sparsevec value: "));
        }
    }
}
