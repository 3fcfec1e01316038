//! Seeded, deterministic k-means.
