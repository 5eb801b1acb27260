"""Resizing along one axis as a matrix, which a graph multiplies with: exact on every machine but for rounding.

The filters are PyTorch's (``interpolate`` with ``align_corners=False``). With ``antialias`` they are also Pillow's: the
filter is stretched when an image is reduced, taps outside the image are left out, and the cubic's parameter is -0.5.
Without it, taps outside repeat the border, and the parameter is -0.75. ``nearest`` takes the pixel under the centre
(Pillow's; PyTorch's ``nearest-exact``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def resizing_matrix(size: int, to: int, kind: str, *, antialias: bool) -> Matrix:
    """Returns the matrix [to, size] that resizes a column of ``size`` pixels with the filter ``kind``."""
    centres = (np.arange(to) + 0.5) * (size / to)  # of the results, in pixels of the image
    if kind == "nearest":
        matrix = np.zeros((to, size))
        matrix[np.arange(to), np.minimum(centres.astype(np.int64), size - 1)] = 1
        return matrix
    stretch = max(1.0, size / to) if antialias else 1.0
    reach = int(np.ceil(2 * stretch)) + 1
    taps = np.floor(centres).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)  # [to, taps]
    distances = np.abs(taps + 0.5 - centres[:, None]) / stretch
    weights = _linear(distances) if kind == "bilinear" else _cubic(distances, -0.5 if antialias else -0.75)
    if antialias:
        weights[(taps < 0) | (taps >= size)] = 0
    matrix = np.zeros((to, size))
    rows = np.broadcast_to(np.arange(to)[:, None], taps.shape)
    np.add.at(matrix, (rows, taps.clip(0, size - 1)), weights)
    return np.asarray(matrix / matrix.sum(1, keepdims=True))


def _linear(distances: Matrix) -> Matrix:
    return np.maximum(0.0, 1 - distances)


def _cubic(distances: Matrix, a: float) -> Matrix:
    x = distances
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
