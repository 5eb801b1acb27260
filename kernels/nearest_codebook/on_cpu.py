"""The search on the CPU: by the native kernel, or in NumPy if it was not built."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.codebook import (
    Codebook,
    Nearest,
    address,
    as_float32,
    check,
    library,
)
from latentloop.kernels.nearest_codebook.shapes import MAX_CODEWORDS, Layout, check_layout, check_vectors

_BLOCK = MAX_CODEWORDS  # scores that are computed at once without the library: they fit in L2
_MOST_THREADS = 1024

Float32 = NDArray[np.float32]


def nearest_on_cpu(
    z: Any, codebook: Any, *, layout: Layout, distance: bool, codeword: bool, threads: int | None
) -> Nearest:
    """``nearest_codebook`` for arrays in host memory. Raises ValueError, TypeError or MemoryError."""
    check_layout(layout)
    book = codebook if isinstance(codebook, Codebook) else Codebook(codebook)
    vectors = as_float32("z", z)
    if not (vectors.flags.c_contiguous and vectors.flags.aligned):
        vectors = np.require(vectors, requirements=["C", "A"])
    shape, positions = check_vectors(vectors.shape, book.codewords.shape, layout)
    if threads is not None and not 1 <= operator.index(threads) <= _MOST_THREADS:
        raise ValueError(f"threads is {threads}, expected 1 to {_MOST_THREADS}")
    index = np.empty(shape, np.int64)
    distances = np.empty(shape, np.float32) if distance else None
    codewords = np.empty(vectors.shape, np.float32) if codeword else None
    if index.size == 0:
        return Nearest(index, distances, codewords, 0)
    functions = library()
    if functions is None or book.handle is None:
        _search_blocks(book, vectors, positions, index, distances, codewords)
        return Nearest(index, distances, codewords, int(np.count_nonzero(index < 0)))
    invalid = functions.latentloop_nearest_codebook(
        book.handle,
        address(vectors),
        index.size,
        positions,
        threads or 0,
        address(index),
        None if distances is None else address(distances),
        None if codewords is None else address(codewords),
    )
    if invalid < 0:
        check(-invalid)
    return Nearest(index, distances, codewords, invalid)


def _search_blocks(
    book: Codebook,
    z: Float32,
    positions: int,
    index: NDArray[np.int64],
    distance: Float32 | None,
    codeword: Float32 | None,
) -> None:
    """Fills the outputs in NumPy, a block of vectors at a time. ``positions`` is 0 for rows [N, D]."""
    images = (-1, book.dimensions, positions) if positions else (1, -1, book.dimensions)
    parts, indices = z.reshape(images), index.reshape(-1, positions or index.size)
    distances = None if distance is None else distance.reshape(indices.shape)
    codewords = None if codeword is None else codeword.reshape(images)
    step = max(1, _BLOCK // book.size)
    for image, part in enumerate(parts):
        for begin in range(0, indices.shape[1], step):
            block = slice(begin, begin + step)
            vectors = part[:, block].T if positions else part[block]
            nearest = _search(book, vectors)
            indices[image, block] = nearest
            if distances is None and codewords is None:
                continue
            selected = np.where((nearest < 0)[:, None], np.float32(np.nan), book.codewords[nearest])
            if distances is not None:
                with np.errstate(invalid="ignore", over="ignore"):
                    distances[image, block] = np.square(vectors - selected).sum(1)
            if codewords is not None and positions:
                codewords[image, :, block] = selected.T
            elif codewords is not None:
                codewords[image, block] = selected


def _search(book: Codebook, vectors: Float32) -> NDArray[np.int64]:
    """Returns the index of each of vectors [n, D].

    Sums are in the order of d for every n, which a matrix product does not guarantee.
    """
    norm = np.zeros(len(vectors), np.float32)
    score = np.repeat(book.half_norms[None], len(vectors), 0)
    product = np.empty_like(score)
    with np.errstate(invalid="ignore", over="ignore"):
        for d in range(book.dimensions):
            value = vectors[:, d]
            norm += value * value
            score += np.multiply(value[:, None], book.codewords[:, d], out=product)
    score[np.isnan(score)] = -np.inf
    index = score.argmax(1)  # the first of equal scores
    is_valid = np.isfinite(norm) & (score[np.arange(len(score)), index] > -np.inf)
    return np.where(is_valid, index, -1)
