"""Kernels that stand apart from any framework: each operation in its folder, beside its plain reference."""

from latentloop.kernels.nearest_codebook.api import nearest_codebook
from latentloop.kernels.nearest_codebook.codebook import Codebook, Nearest

__all__ = ["Codebook", "Nearest", "nearest_codebook"]
