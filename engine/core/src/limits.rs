//! Bounds that SQL, page layout and kernels share.

/// Most dimensions a vector can have, pgvector's bound.
pub const MAX_DIMS: usize = 16_000;
/// Most dimensions a bit string can have that an index orders, pgvector's bound.
pub const MAX_BIT_DIMS: usize = 64_000;
/// Most dimensions a sparse vector can have, pgvector's bound.
pub const MAX_SPARSE_DIMS: usize = 1_000_000_000;
/// Most elements of a sparse vector that are not zero, pgvector's bound.
pub const MAX_NON_ZERO: usize = 16_000;
/// Most lists an index can have.
pub const MAX_LISTS: u32 = 32_768;
/// Lists of an index whose DDL does not say.
pub const DEFAULT_LISTS: u32 = 100;
/// Most rows that a search function returns for a query.
pub const MAX_RESULTS: u32 = 10_000;
