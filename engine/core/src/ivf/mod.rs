//! The IVF index on pages.
