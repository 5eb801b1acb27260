"""What every search for the nearest codeword must find, and values that make one go wrong."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nearest_grid import NATIVE, Floats, Found, Search, Values, compile_native, narrow, widen
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.reference import nearest_reference

EPS = float(np.finfo(np.float32).eps)
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)

Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """nearest_oracle.cpp: h and the index by float32 FMA chains, one after another."""

    library: ctypes.CDLL

    @classmethod
    def build(cls, folder: Path) -> Oracle:
        flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC"]
        return cls(ctypes.CDLL(str(compile_native([NATIVE / "nearest_oracle.cpp"], folder / "oracle.so", flags))))

    def search(self, z: Values, codebook: Values) -> tuple[Floats, NDArray[np.int64]]:
        """half_norms [K] and index [N] for what ``narrow`` gave."""
        wide_z, wide_codebook = (np.ascontiguousarray(widen(values)) for values in (z, codebook))
        half_norms, index = np.empty(len(codebook), np.float32), np.empty(len(z), np.int64)
        arrays: list[Values] = [wide_z, wide_codebook, half_norms, index]
        addresses = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        sizes = [ctypes.c_int64(size) for size in (len(z), len(codebook), z.shape[1])]
        self.library.latentloop_nearest_oracle(*addresses[:2], *sizes, *addresses[2:])
        return half_norms, index


def check(search: Search, found: Found, oracle: Oracle) -> None:
    """Half norms and indices bit for bit, and what follows from an index."""
    half_norms, index = oracle.search(search.z, search.codebook)
    np.testing.assert_array_equal(found.half_norms, half_norms)
    np.testing.assert_array_equal(found.index, index)
    none = index < 0
    if search.invalid:
        assert found.invalid.item() == none.sum()
    z, codeword = widen(search.z).astype(np.float64), widen(search.codebook)[index].astype(np.float64)
    if search.codeword:
        np.testing.assert_array_equal(found.codeword[~none], search.codebook[index[~none]])
        assert np.isnan(widen(found.codeword[none])).all()
    if search.distance:
        assert np.isnan(found.distance[none]).all()
        check_distance(found.distance[~none], np.square(z[~none] - codeword[~none]).sum(1), z.shape[1])


def check_distance(found: NDArray[np.float32], exact: Float64s, dimensions: int) -> None:
    """A difference is rounded once, its square and the sum at most once a dimension, by eps / 2."""
    most = ((dimensions + 2) * EPS / 2) * 1.001
    overflows = exact * (1 + most) > LARGEST
    error = np.abs(found[~overflows] - exact[~overflows])
    assert (error <= exact[~overflows] * most + dimensions * SMALLEST).all()
    assert (found[overflows] >= LARGEST * (1 - most)).all()


def check_float64(search: Search, found: Found) -> None:
    """The index is that of float64 wherever the two distances differ by more than arguments.h says they may."""
    z, codebook = widen(search.z).astype(np.float64), widen(search.codebook).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        reference = nearest_reference(z, codebook)
        sizes = np.sqrt(np.square(codebook).sum(1))
        sizes[~(np.square(sizes) / 2 <= LARGEST)] = 0  # never the nearest
        of_z = np.sqrt(np.square(z).sum(1))
        clear = (sizes.max() ** 2 / 2 + of_z * sizes.max() < LARGEST / 2) & (of_z**2 < LARGEST / 2)  # no overflow
    index, expected = found.index[clear], reference.index[clear]
    np.testing.assert_array_equal(index < 0, expected < 0)
    some = index >= 0
    index, expected, of_z, z = index[some], expected[some], of_z[clear][some], z[clear][some]
    a, b = sizes[index], sizes[expected]
    d = z.shape[1]
    # A result below the normal numbers is off by half the smallest: D + 1 of them in each score, half a distance.
    underflow = 2 * (d + 1) * SMALLEST
    allowed = (d / 2 + 2) * EPS * (a**2 + 2 * of_z * a + b**2 + 2 * of_z * b) + underflow
    excess = np.square(z - codebook[index]).sum(1) - reference.distance[clear][some]
    assert (excess <= allowed).all()


# ---- What may be odd about the values of a search.

ODDITIES = [
    "few values",  # many ties
    "repeated codewords",
    "vectors are codewords",
    "codewords one unit apart",
    "far from zero",  # the scores' differences drown
    "tiny",  # denormals, products that vanish
    "huge",  # norms near overflow
    "every size",
    "two at one distance",  # where rounding alone decides
    "special vectors",
    "special codewords",
]
SPECIAL = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, 1e-45])


def odd_values(random: np.random.Generator, kind: str, n: int, k: int, d: int, oddities: Set[str]) -> list[Float64s]:
    """z [N, D] and codebook [K, D]."""
    z, codebook = random.standard_normal((n, d)), random.standard_normal((k, d))
    if "few values" in oddities:
        z, codebook = np.round(z), np.round(codebook)
    if "repeated codewords" in oddities:
        codebook = codebook[random.integers(0, max(1, k // 3), k)]
    if "codewords one unit apart" in oddities:
        codebook = codebook[:1] * (1 + random.integers(-2, 3, (k, d)) * (EPS if kind == "f32" else 2.0**-8))
    if "vectors are codewords" in oddities:
        z = codebook[random.integers(0, k, n)]
    if "far from zero" in oddities:
        middle = 100 * random.standard_normal(d)
        z, codebook = z + middle, codebook + middle
    if "every size" in oddities:
        sizes = np.exp2(random.integers(-12, 12, d))
        z, codebook = z * sizes, codebook * sizes[random.permutation(d)]
    if "two at one distance" in oddities:
        sizes = np.exp2(random.integers(-5, 6, d) if kind == "f16" else random.integers(-12, 13, d))
        middles, apart = random.integers(-4, 5, (k, d)), random.integers(0, 2, d)  # codewords differ, or vectors
        nearest, pairs = random.integers(0, k, n) // 2, random.permutation(k) // 2
        z = (middles[nearest] + (1 - apart) * random.integers(-3, 4, (n, d))) * sizes
        codebook = (middles[pairs] + apart * random.choice([-1, 1], (k, d))) * sizes
    if "tiny" in oddities:
        small = 1e-7 if kind == "f16" else 1e-22 if random.integers(2) else 1e-38
        z, codebook = z * small, codebook * small
    if "huge" in oddities:
        large = 2e4 if kind == "f16" else 2e19 / np.sqrt(d) if random.integers(2) else 1e18
        z, codebook = z * large, codebook * large
    for name, values in (("special vectors", z), ("special codewords", codebook)):
        if name in oddities:
            for _ in range(1 + len(values) // 4):
                values[random.integers(0, len(values) or 1) :][:1, random.integers(0, d)] = random.choice(SPECIAL)
    return [z, codebook]


def cut_away(kind: str, dimensions: int) -> tuple[Values, Values]:
    """z [1, D] and codebook [2, D] of 16 bits whose products, but for one, are each just below the last place of the
    scores: a tensor core that cuts them errs one way every time, and prefers codeword 0, which is farther.
    """
    almost_one = 1 - 2.0 ** (-11 if kind == "f16" else -8)
    whole = math.isqrt(int((dimensions - 2) * almost_one**2))
    z, codebook = np.full((1, dimensions), almost_one), np.zeros((2, dimensions))
    z[0, :2], codebook[:, 0] = (0, whole), 2.0**12
    codebook[0, 1], codebook[1, 2:] = whole, almost_one
    return narrow(z, kind), narrow(codebook, kind)
