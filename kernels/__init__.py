"""Kernels that stand apart from any framework: each operation in its folder, beside its plain reference."""
