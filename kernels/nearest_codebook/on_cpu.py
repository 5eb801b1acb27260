"""The search on the CPU: by the compiled kernel, or in NumPy where none was built."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.codebook import (
    MOST_CODEWORDS,
    Codebook,
    Nearest,
    address,
    as_float32,
    check,
    library,
)

_BLOCK = MOST_CODEWORDS  # scores held at once without the library: they stay in the second cache

_MOST_THREADS = 1024

Float32 = NDArray[np.float32]


def nearest_on_cpu(
    z: Any, codebook: Any, *, channels_first: bool, distance: bool, codeword: bool, threads: int | None
) -> Nearest:
    """``nearest_codebook`` for arrays in host memory. Raises ValueError, TypeError, MemoryError."""
    book = codebook if isinstance(codebook, Codebook) else Codebook(codebook)
    vectors = as_float32("z", z)
    if not (vectors.flags.c_contiguous and vectors.flags.aligned):
        vectors = np.require(vectors, requirements=["C", "A"])
    axis = 1 if channels_first else vectors.ndim - 1
    if not 0 <= axis < vectors.ndim or vectors.shape[axis] != book.dimensions:
        expected = f"[B, {book.dimensions}, ...]" if channels_first else f"[..., {book.dimensions}]"
        raise ValueError(f"z is {list(vectors.shape)}, expected {expected} for a codebook {list(book.values.shape)}")
    if threads is not None and not 1 <= operator.index(threads) <= _MOST_THREADS:
        raise ValueError(f"threads is {threads}, expected 1 to {_MOST_THREADS}")
    shape = vectors.shape[:axis] + vectors.shape[axis + 1 :]
    index = np.empty(shape, np.int64)
    distances = np.empty(shape, np.float32) if distance else None
    codewords = np.empty(vectors.shape, np.float32) if codeword else None
    positions = math.prod(vectors.shape[2:]) if channels_first else 0
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
    """Fills the outputs, a block of vectors at a time."""
    images = (-1, book.dimensions, positions) if positions else (1, -1, book.dimensions)
    parts, indices = z.reshape(images), index.reshape(-1, positions or index.size)
    distances = None if distance is None else distance.reshape(indices.shape)
    codewords = None if codeword is None else codeword.reshape(images)
    step = max(1, _BLOCK // book.codewords)
    for image, part in enumerate(parts):
        for begin in range(0, indices.shape[1], step):
            block = slice(begin, begin + step)
            vectors = part[:, block].T if positions else part[block]
            found = _search(book, vectors)
            indices[image, block] = found
            if distances is None and codewords is None:
                continue
            chosen = np.where((found < 0)[:, None], np.float32(np.nan), book.values[found])
            if distances is not None:
                with np.errstate(invalid="ignore", over="ignore"):
                    distances[image, block] = np.square(vectors - chosen).sum(1)
            if codewords is not None and positions:
                codewords[image, :, block] = chosen.T
            elif codewords is not None:
                codewords[image, block] = chosen


def _search(book: Codebook, vectors: Float32) -> NDArray[np.int64]:
    """The index of each of vectors [n, D]. Sums run in the order of d whatever n: a matrix product's may not."""
    norm = np.zeros(len(vectors), np.float32)
    score = np.repeat(book.half_norms[None], len(vectors), 0)
    product = np.empty_like(score)
    with np.errstate(invalid="ignore", over="ignore"):
        for d in range(book.dimensions):
            value = vectors[:, d]
            norm += value * value
            score += np.multiply(value[:, None], book.values[:, d], out=product)
    score[np.isnan(score)] = -np.inf
    found = score.argmax(1)  # the first of equal ones
    is_there = np.isfinite(norm) & (score[np.arange(len(score)), found] > -np.inf)
    return np.where(is_there, found, -1)
