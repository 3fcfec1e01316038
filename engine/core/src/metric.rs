//! Metrics, storage formats and the raw scores that kernels compute.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_BIT_DIMS, MAX_DIMS};
use crate::quantize::sketch::{MAX_PROJECTION_DIMS, SKETCH_BYTES};
use crate::quantize::{bits, rabitq};

/// The operator an index orders by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metric {
    /// Euclidean distance, `<->`.
    L2 = 1,
    /// Negative inner product, `<#>`.
    InnerProduct = 2,
    /// Cosine distance, `<=>`.
    Cosine = 3,
    /// Taxicab distance, `<+>`.
    L1 = 4,
    /// The number of bits that differ, `<~>`.
    Hamming = 5,
    /// Jaccard distance of bit strings, `<%>`.
    Jaccard = 6,
}

/// The numbers of a row that kernels read as floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    F32,
    /// IEEE 754 binary16, little-endian.
    F16,
}

/// How a row's vector is stored in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Storage {
    /// The vector itself, f32.
    F32 = 1,
    /// Rounded to f16, with a rounding bound for each row.
    F16 = 2,
    /// Rounded to int8 with one scale for each row (`quantize::int8`), and a rounding bound.
    Int8 = 3,
    /// The vector itself, f32, behind a 1-bit code (`quantize::rabitq`) that tells which vectors have to be read.
    Rabitq = 4,
    /// The bits that a vector of zeros and ones consists of: for the metrics of bit strings, and exact.
    Bits = 5,
    /// A sketch of a sparse vector (`quantize::sketch`), which bounds distances.
    Sketch = 6,
}

/// From so many dimensions on an int8 row takes less than two thirds of an f32 row's bytes.
const INT8_DIMS_MIN: usize = 16;
/// From so many dimensions on a scan of 1-bit codes is faster than one of int8 codes (measured from 196 to 784); of fewer,
/// too many rows have to be compared exactly.
const RABITQ_DIMS_MIN: usize = 384;
/// With fewer rows, reading the int8 codes takes a small part of a query's time, and a quarter of the space.
const RABITQ_ROWS_MIN: f64 = 10_000.0;

/// The raw number a kernel computes for a (query, row) pair, in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// `sum((q_i - x_i)^2)`.
    SquaredL2,
    /// `sum(q_i * x_i)`.
    Dot,
    /// `sum(|q_i - x_i|)`.
    L1,
}

/// The raw integer a kernel computes for a pair of quantised codes (`quantize::int8`, `quantize::bits`): exact, in
/// whatever order it is summed, for codes of up to 33,000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodeScore {
    /// `sum(a_i * b_i)` of int8 codes. No element of a query is -128, which no encoder writes: with it the sum may be
    /// another one.
    DotI8,
    /// `sum((a_i - b_i)^2)` of int8 codes, which is a distance only where both have the same scale.
    SquaredL2I8,
    /// The number of bits in which two 1-bit codes differ.
    Hamming,
    /// The number of bits that are set in both of two 1-bit codes.
    AndCount,
}

impl Metric {
    /// Reads the code that the metapage holds.
    ///
    /// # Errors
    /// `CorruptIndex` for a code that no version wrote.
    pub fn from_code(code: u8) -> Result<Self> {
        match code {
            1 => Ok(Self::L2),
            2 => Ok(Self::InnerProduct),
            3 => Ok(Self::Cosine),
            4 => Ok(Self::L1),
            5 => Ok(Self::Hamming),
            6 => Ok(Self::Jaccard),
            _ => Err(Error::corrupt(format!("unknown metric code {code}"))),
        }
    }

    /// The code that the metapage holds.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The raw score from which this metric's distance follows; that of a bit string's zeros and ones as floats.
    pub const fn score(self) -> Score {
        match self {
            Self::L2 | Self::Hamming => Score::SquaredL2,
            Self::InnerProduct | Self::Cosine | Self::Jaccard => Score::Dot,
            Self::L1 => Score::L1,
        }
    }

    /// The metric by which lists are formed and ranked. Rows that are near by the taxicab distance are so by the Euclidean one, for
    /// which k-means is made: few lists are ranked otherwise. Cosine does not depend on the query's length, and no centroid
    /// has another than 1. Of bit strings as zeros and ones the squared Euclidean distance is the number of bits that differ; and where
    /// their cosine is larger, so, by and large, is the share of common bits that Jaccard distance means.
    pub const fn of_lists(self) -> Self {
        match self {
            Self::L2 | Self::L1 | Self::Hamming => Self::L2,
            Self::InnerProduct | Self::Cosine | Self::Jaccard => Self::InnerProduct,
        }
    }

    /// Whether rows in `storage` can be ordered by this metric: other codes than floats have no bounds for `L1`, and bit strings are
    /// stored as they are.
    pub const fn allows(self, storage: Storage) -> bool {
        match self {
            Self::L2 | Self::InnerProduct | Self::Cosine => !matches!(storage, Storage::Bits),
            Self::L1 => matches!(storage, Storage::F32 | Storage::F16 | Storage::Sketch),
            Self::Hamming | Self::Jaccard => matches!(storage, Storage::Bits),
        }
    }

    /// What this metric measures, in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::L2 => "Euclidean distance",
            Self::InnerProduct => "inner product",
            Self::Cosine => "cosine distance",
            Self::L1 => "taxicab distance",
            Self::Hamming => "Hamming distance",
            Self::Jaccard => "Jaccard distance",
        }
    }

    /// Whether products of vectors tell how far they are: what searches of copies on a device, and of many queries at once, rest
    /// on.
    pub const fn has_products(self) -> bool {
        matches!(self, Self::L2 | Self::InnerProduct | Self::Cosine)
    }

    /// Whether k-means works on the unit sphere for this metric, as pgvector does for `<#>` and `<=>`; `|x|^2` is stored with rows then.
    pub const fn is_spherical(self) -> bool {
        matches!(self, Self::InnerProduct | Self::Cosine | Self::Jaccard)
    }

    /// The name used in SQL output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::InnerProduct => "inner_product",
            Self::Cosine => "cosine",
            Self::L1 => "l1",
            Self::Hamming => "hamming",
            Self::Jaccard => "jaccard",
        }
    }

    /// The metric of vectors of this name.
    ///
    /// # Errors
    /// `InvalidArgument` for any other.
    pub fn from_name(name: &str) -> Result<Self> {
        let all = [Self::L2, Self::InnerProduct, Self::Cosine, Self::L1];
        let found = all.into_iter().find(|metric| metric.name() == name);
        found.ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, format!("unknown metric \"{name}\""))
                .with_hint("Use one of l2, inner_product, cosine and l1.")
        })
    }
}

impl Element {
    /// Bytes of a row.
    pub const fn code_bytes(self, dims: usize) -> usize {
        match self {
            Self::F32 => dims * 4,
            Self::F16 => dims * 2,
        }
    }
}

impl Storage {
    /// Every storage.
    pub const ALL: [Self; 6] = [
        Self::F32,
        Self::F16,
        Self::Int8,
        Self::Rabitq,
        Self::Bits,
        Self::Sketch,
    ];
    /// Those of vectors whose elements are all stored.
    pub const DENSE: [Self; 5] = [Self::F32, Self::F16, Self::Int8, Self::Rabitq, Self::Bits];

    /// The storage that suits `rows` rows of `dims` dimensions. Reading fewer bytes is what makes a scan fast, and the
    /// order stays exact: 1-bit codes where there are bytes to save and they tell enough rows apart, else int8 wherever
    /// its scale and bounds do not outweigh what its codes save.
    ///
    /// For a metric that codes say nothing about, half the bytes; bit strings as they are.
    pub fn suited(metric: Metric, dims: usize, rows: f64) -> Self {
        if metric.allows(Self::Bits) {
            Self::Bits
        } else if dims < INT8_DIMS_MIN {
            Self::F32
        } else if !metric.allows(Self::Int8) {
            Self::F16
        } else if dims < RABITQ_DIMS_MIN || rows < RABITQ_ROWS_MIN {
            Self::Int8
        } else {
            Self::Rabitq
        }
    }

    /// Reads the code that the metapage holds.
    ///
    /// # Errors
    /// `CorruptIndex` for a code that this version cannot read.
    pub fn from_code(code: u8) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|storage| storage.code() == code);
        known.ok_or_else(|| Error::corrupt(format!("unknown storage code {code}")))
    }

    /// The code that the metapage holds.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The floats that a row's code consists of, where every row is scored by them.
    pub const fn element(self) -> Option<Element> {
        match self {
            Self::F32 => Some(Element::F32),
            Self::F16 => Some(Element::F16),
            Self::Int8 | Self::Rabitq | Self::Bits | Self::Sketch => None,
        }
    }

    /// Bytes of one row's 1-bit code, by which a scan passes most rows over; 0 where there is none.
    pub const fn filter_bytes(self, dims: usize) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Int8 | Self::Bits | Self::Sketch => 0,
            Self::Rabitq => rabitq::code_bytes(dims),
        }
    }

    /// Bytes in front of a row's vector that bound its distance more closely than its 1-bit code; 0 where there is none.
    pub const fn fine_bytes(self, dims: usize) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Int8 | Self::Bits | Self::Sketch => 0,
            Self::Rabitq => rabitq::fine::bytes(dims),
        }
    }

    /// Whether a row's score by the CPU's kernels is the operator's value, rather than a bound of it.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::F32 | Self::Rabitq | Self::Bits)
    }

    /// Most dimensions of a row, or of the projection of one.
    pub const fn dims_max(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Int8 | Self::Rabitq => MAX_DIMS,
            Self::Bits => MAX_BIT_DIMS,
            Self::Sketch => MAX_PROJECTION_DIMS,
        }
    }

    /// Bytes of one row's code.
    pub const fn code_bytes(self, dims: usize) -> usize {
        match self {
            Self::Bits => bits::code_bytes(dims),
            Self::Sketch => SKETCH_BYTES,
            Self::F32 => dims * 4,
            Self::Rabitq => self.fine_bytes(dims) + dims * 4,
            Self::F16 => dims * 2,
            Self::Int8 => dims,
        }
    }

    /// The name used in DDL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Rabitq => "rabitq",
            Self::Bits => "bits",
            Self::Sketch => "sketch",
        }
    }
}
