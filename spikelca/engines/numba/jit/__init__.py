"""Compilation, SIMD intrinsics, memory layout and threads of the kernels."""
