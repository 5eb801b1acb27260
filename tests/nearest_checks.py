"""Checks of the results of a search for the nearest codeword, and difficult inputs."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import pytest
from made_once import made_once
from nearest_grid import NATIVE, Floats, Search, SearchResult, Values, compile_native, narrow, widen
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.reference import nearest_reference

EPS = float(np.finfo(np.float32).eps)
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """nearest_oracle.cpp: h_k and the index by float32 FMA chains, exactly as arguments.h defines them."""

    library: ctypes.CDLL

    @classmethod
    def build(cls, folders: pytest.TempPathFactory) -> Oracle:
        flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC"]
        source = NATIVE / "nearest_oracle.cpp"
        library = made_once(folders, "oracle.so", lambda path: compile_native([source], path, flags))
        return cls(ctypes.CDLL(str(library)))

    def search(self, z: Values, codebook: Values) -> tuple[Floats, NDArray[np.int64]]:
        """Returns half_norms [K] and index [N] for arrays in the representation of ``narrow``."""
        wide_z, wide_codebook = (np.ascontiguousarray(widen(values)) for values in (z, codebook))
        half_norms, index = np.empty(len(codebook), np.float32), np.empty(len(z), np.int64)
        arrays: list[Values] = [wide_z, wide_codebook, half_norms, index]
        addresses = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        sizes = [ctypes.c_int64(size) for size in (len(z), len(codebook), z.shape[1])]
        self.library.latentloop_nearest_oracle(*addresses[:2], *sizes, *addresses[2:])
        return half_norms, index


def check(search: Search, result: SearchResult, oracle: Oracle) -> None:
    """Checks that half norms and indices are bit-identical to the oracle's, and that the other outputs are correct."""
    half_norms, index = oracle.search(search.z, search.codebook)
    np.testing.assert_array_equal(result.half_norms, half_norms)
    np.testing.assert_array_equal(result.index, index)
    invalid = index < 0
    if search.invalid:
        assert result.invalid.item() == invalid.sum()
    z, codeword = widen(search.z).astype(np.float64), widen(search.codebook)[index].astype(np.float64)
    if search.codeword:
        np.testing.assert_array_equal(result.codeword[~invalid], search.codebook[index[~invalid]])
        assert np.isnan(widen(result.codeword[invalid])).all()
    if search.distance:
        assert np.isnan(result.distance[invalid]).all()
        check_distance(result.distance[~invalid], np.square(z[~invalid] - codeword[~invalid]).sum(1), z.shape[1])


def check_distance(distance: NDArray[np.float32], exact: Float64s, dimensions: int) -> None:
    """Checks distances. Per dimension, the difference, its square and the sum are rounded at most once, by eps / 2."""
    most = ((dimensions + 2) * EPS / 2) * 1.001
    overflows = exact * (1 + most) > LARGEST
    error = np.abs(distance[~overflows] - exact[~overflows])
    assert (error <= exact[~overflows] * most + dimensions * SMALLEST).all()
    assert (distance[overflows] >= LARGEST * (1 - most)).all()


def check_float64(search: Search, result: SearchResult) -> None:
    """Checks that the index is that of float64 unless the two distances are within the error bound of arguments.h."""
    z, codebook = widen(search.z).astype(np.float64), widen(search.codebook).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        reference = nearest_reference(z, codebook)
        sizes = np.sqrt(np.square(codebook).sum(1))
        sizes[~(np.square(sizes) / 2 <= LARGEST)] = 0  # never the nearest
        z_norms = np.sqrt(np.square(z).sum(1))
        no_overflow = (sizes.max() ** 2 / 2 + z_norms * sizes.max() < LARGEST / 2) & (z_norms**2 < LARGEST / 2)
    index, expected = result.index[no_overflow], reference.index[no_overflow]
    np.testing.assert_array_equal(index < 0, expected < 0)
    valid = index >= 0
    index, expected = index[valid], expected[valid]
    z_norms, z = z_norms[no_overflow][valid], z[no_overflow][valid]
    a, b = sizes[index], sizes[expected]
    d = z.shape[1]
    # Underflow: D + 1 results of each score have an error of half the smallest subnormal number.
    underflow = 2 * (d + 1) * SMALLEST
    allowed = (d / 2 + 2) * EPS * (a**2 + 2 * z_norms * a + b**2 + 2 * z_norms * b) + underflow
    excess = np.square(z - codebook[index]).sum(1) - reference.distance[no_overflow][valid]
    assert (excess <= allowed).all()


# ---- Difficult inputs.

INPUT_KINDS = [
    "few values",  # many ties
    "repeated codewords",
    "vectors are codewords",
    "codewords one unit apart",
    "far from zero",  # the differences of scores are tiny
    "tiny",  # subnormal numbers, products that underflow
    "huge",  # norms near overflow
    "mixed magnitudes",
    "equal distances",  # rounding alone decides
    "special vectors",
    "special codewords",
]
SPECIAL = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, 1e-45])


def difficult_inputs(
    random: np.random.Generator, kind: str, n: int, k: int, d: int, input_kinds: Set[str]
) -> list[Float64s]:
    """Returns random z [N, D] and codebook [K, D] with these properties."""
    z, codebook = random.standard_normal((n, d)), random.standard_normal((k, d))
    if "few values" in input_kinds:
        z, codebook = np.round(z), np.round(codebook)
    if "repeated codewords" in input_kinds:
        codebook = codebook[random.integers(0, max(1, k // 3), k)]
    if "codewords one unit apart" in input_kinds:
        codebook = codebook[:1] * (1 + random.integers(-2, 3, (k, d)) * (EPS if kind == "f32" else 2.0**-8))
    if "vectors are codewords" in input_kinds:
        z = codebook[random.integers(0, k, n)]
    if "far from zero" in input_kinds:
        middle = 100 * random.standard_normal(d)
        z, codebook = z + middle, codebook + middle
    if "mixed magnitudes" in input_kinds:
        sizes = np.exp2(random.integers(-12, 12, d))
        z, codebook = z * sizes, codebook * sizes[random.permutation(d)]
    if "equal distances" in input_kinds:
        sizes = np.exp2(random.integers(-5, 6, d) if kind == "f16" else random.integers(-12, 13, d))
        middles, apart = (
            random.integers(-4, 5, (k, d)),
            random.integers(0, 2, d),
        )  # apart: codewords differ
        nearest, pairs = random.integers(0, k, n) // 2, random.permutation(k) // 2
        z = (middles[nearest] + (1 - apart) * random.integers(-3, 4, (n, d))) * sizes
        codebook = (middles[pairs] + apart * random.choice([-1, 1], (k, d))) * sizes
    if "tiny" in input_kinds:
        small = 1e-7 if kind == "f16" else 1e-22 if random.integers(2) else 1e-38
        z, codebook = z * small, codebook * small
    if "huge" in input_kinds:
        large = 2e4 if kind == "f16" else 2e19 / np.sqrt(d) if random.integers(2) else 1e18
        z, codebook = z * large, codebook * large
    for name, values in (("special vectors", z), ("special codewords", codebook)):
        if name in input_kinds:
            for _ in range(1 + len(values) // 4):
                values[random.integers(0, len(values) or 1) :][:1, random.integers(0, d)] = random.choice(SPECIAL)
    return [z, codebook]


def truncated_products(kind: str, dimensions: int) -> tuple[Values, Values]:
    """Returns 16-bit z [1, D] and codebook [2, D] for which a tensor core's truncation errors add up.

    All products except one are just below the last place of the scores. A tensor core truncates them all in the same
    direction, and prefers codeword 0, which is farther.
    """
    almost_one = 1 - 2.0 ** (-11 if kind == "f16" else -8)
    whole = math.isqrt(int((dimensions - 2) * almost_one**2))
    z, codebook = np.full((1, dimensions), almost_one), np.zeros((2, dimensions))
    z[0, :2], codebook[:, 0] = (0, whole), 2.0**12
    codebook[0, 1], codebook[1, 2:] = whole, almost_one
    return narrow(z, kind), narrow(codebook, kind)
