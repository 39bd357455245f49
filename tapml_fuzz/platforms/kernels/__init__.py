"""Kernels and callables of the user's own."""
