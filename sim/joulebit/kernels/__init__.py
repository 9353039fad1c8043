"""Compiled kernels of the numba engine."""
