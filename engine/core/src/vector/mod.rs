//! Text and wire formats of the vector type.
