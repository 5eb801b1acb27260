"""Checks of the shapes of vectors and of a codebook, for arrays of any library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

MAX_DIMENSIONS = 512
MAX_CODEWORDS = 65536

Layout = Literal["rows", "channels_first"]


def check_layout(layout: Layout) -> None:
    """Raises ValueError for the name of an unknown layout."""
    if layout not in ("rows", "channels_first"):
        raise ValueError(f"layout is {layout!r}, expected 'rows' or 'channels_first'")


def check_codebook(shape: Sequence[int]) -> None:
    """Raises ValueError if the shape is not [K, D], or too large."""
    if len(shape) != 2 or not (0 < shape[0] <= MAX_CODEWORDS and 0 < shape[1] <= MAX_DIMENSIONS):
        raise ValueError(
            f"codebook has shape {list(shape)}, expected [K, D] with K from 1 to {MAX_CODEWORDS} and D from 1 to "
            f"{MAX_DIMENSIONS}"
        )


def check_vectors(shape: tuple[int, ...], codebook: tuple[int, ...], layout: Layout) -> tuple[tuple[int, ...], int]:
    """Returns z's shape without D, and the number of positions per image of [B, D, ...]; 0 positions for [..., D].

    Raises ValueError unless z has vectors of the D of ``codebook``, [K, D].
    """
    channels_first, dimensions = layout == "channels_first", codebook[1]
    axis = 1 if channels_first else len(shape) - 1
    if not 0 <= axis < len(shape) or shape[axis] != dimensions:
        expected = f"[B, {dimensions}, ...]" if channels_first else f"[..., {dimensions}]"
        raise ValueError(f"z has shape {list(shape)}, expected {expected} for a codebook {list(codebook)}")
    return shape[:axis] + shape[axis + 1 :], math.prod(shape[2:]) if channels_first else 0
