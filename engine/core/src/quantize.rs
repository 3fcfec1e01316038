//! Row codes of the index and their error bounds.
