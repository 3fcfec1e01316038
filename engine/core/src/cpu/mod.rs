//! SIMD CPU kernels with run-time dispatch, and the CPU backend.
