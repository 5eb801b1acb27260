"""Native kernels and their Python interfaces, independent of deep-learning frameworks."""

from latentloop.kernels.nearest_codebook.api import nearest_codebook
from latentloop.kernels.nearest_codebook.codebook import Codebook, Nearest

__all__ = ["Codebook", "Nearest", "nearest_codebook"]
