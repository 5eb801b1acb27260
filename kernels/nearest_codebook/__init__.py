"""The nearest codeword of each vector: the encoder's hot spot. So far the plain reference."""

from latentloop.kernels.nearest_codebook.reference import Nearest, nearest_codebook

__all__ = ["Nearest", "nearest_codebook"]
