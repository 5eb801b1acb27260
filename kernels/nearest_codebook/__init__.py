"""The nearest codeword of each vector, which dominates the time of an encoder: on the CPU and on GPUs."""

from latentloop.kernels.nearest_codebook.api import nearest_codebook
from latentloop.kernels.nearest_codebook.codebook import Codebook, Nearest

__all__ = ["Codebook", "Nearest", "nearest_codebook"]
