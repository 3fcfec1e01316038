//! The distances that the SQL operators return.
