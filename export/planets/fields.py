"""Random functions on points of the unit sphere: fractal noise, cells, craters.

Noise is sampled from one periodic volume, a Gaussian field made by FFT, whose spectrum falls as a power of the wave
number. An image samples it on two spheres with a random rotation and offset each and adds the two. This is cheaper than
a sum of octaves of lattice noise at every point, and every image gets a different sum.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

SIDE = 96  # voxels of the periodic volume along each axis
MIN_WAVES, MAX_WAVES = 1.6, 18.0  # range of the spectrum, in waves per side of the volume
EXPONENT = 2.15  # amplitude ~ wave number ** -EXPONENT
RADIUS = 26.0  # of a sphere at scale 1, in voxels


@cache
def volume() -> Array:
    """Returns the periodic noise volume [SIDE, SIDE, SIDE], mean 0, variance 1; the same in every process."""
    waves = np.fft.fftfreq(SIDE, 1 / SIDE)
    length = np.sqrt(sum(axis**2 for axis in np.meshgrid(waves, waves, waves, indexing="ij")))
    in_range = (length >= MIN_WAVES) & (length <= MAX_WAVES)
    amplitude = np.where(in_range, np.maximum(length, 1.0) ** -EXPONENT, 0.0)
    white = np.random.default_rng(1906).standard_normal((SIDE, SIDE, SIDE))
    filtered = np.fft.ifftn(np.fft.fftn(white) * amplitude).real
    normalised: Array = ((filtered - filtered.mean()) / filtered.std()).astype(np.float32)
    return normalised


def noise(rng: np.random.Generator, points: Array, scale: float = 1.0) -> Array:
    """Returns fractal noise, about standard normal: points [P, 3] on or near the unit sphere -> [P].

    ``scale`` 2 makes features half as large.
    """
    total = np.zeros(len(points), np.float32)
    for _ in range(2):
        positions = points @ (rotation(rng) * np.float32(RADIUS * scale)) + rng.uniform(0, SIDE, 3).astype(np.float32)
        total += interpolate(volume(), positions)
    return total * np.float32(np.sqrt(0.5))


def cells(rng: np.random.Generator, points: Array, count: int) -> tuple[Array, NDArray[np.intp]]:
    """Voronoi cells of ``count`` random centres: points [P, 3] -> distance to the cell's border [P], index of the
    cell [P].

    The border of two cells is the plane between their centres a and b, at the distance p . (a - b) / |a - b| from p.
    """
    centres = spread(rng, count)
    cosines = points @ centres.T
    nearest_two = np.argpartition(-cosines, 1, axis=1)[:, :2]
    first, second = (np.take_along_axis(cosines, nearest_two[:, [side]], 1)[:, 0] for side in (0, 1))
    distance = np.linalg.norm(centres[nearest_two[:, 0]] - centres[nearest_two[:, 1]], axis=1)
    nearest = nearest_two[np.arange(len(nearest_two)), (second > first).astype(np.intp)]
    return np.abs(first - second) / distance, nearest


def craters(rng: np.random.Generator, points: Array, count: int, largest: float) -> Array:
    """Returns heights of overlapping bowls with raised rims: points [P, 3] -> [P]; radii up to ``largest`` radians."""
    radii = (largest * rng.uniform(0.3, 1, count) ** 2).astype(np.float32)
    distance = np.arccos(np.clip(points @ on_sphere(rng, count).T, -1, 1)) / radii
    bowl = np.where(distance < 1, distance**2 - 1, 0) * 0.8
    rim = 0.55 * np.exp(-(((distance - 1) / 0.22) ** 2))
    height: Array = ((bowl + rim) * radii).sum(1)
    return height


def on_sphere(rng: np.random.Generator, count: int) -> Array:
    """Returns random points [count, 3], uniformly distributed on the unit sphere."""
    return unit(rng.standard_normal((count, 3))).astype(np.float32)


def spread(rng: np.random.Generator, count: int) -> Array:
    """Returns points [count, 3] of the unit sphere at some distance from each other: each is the farthest of six random
    candidates.
    """
    chosen = on_sphere(rng, 1)
    for _ in range(count - 1):
        candidates = on_sphere(rng, 6)
        chosen = np.concatenate([chosen, candidates[[(candidates @ chosen.T).max(1).argmin()]]])
    return chosen


def rotation(rng: np.random.Generator) -> Array:
    """Returns a random rotation [3, 3], uniformly distributed (Q of a Gaussian matrix, with its signs corrected)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    proper: Array = (q * np.sign(np.linalg.det(q))).astype(np.float32)
    return proper


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Returns 0 below ``low``, 1 above ``high``, and a smooth step between them."""
    t = np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
    step: Array = t * t * (3 - 2 * t)
    return step


def unit(vectors: Array) -> Array:
    """Returns vectors [P, 3] normalised to length 1."""
    normalised: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normalised


def stretched(points: Array, *factors: float) -> Array:
    """Multiplies points [P, 3] by a factor per axis. Noise becomes finer along an axis with a factor over 1."""
    return points * np.array(factors, np.float32)


def mix(a: Array, b: Array, share: Array) -> Array:
    """Linear interpolation from a (``share`` 0) to b (``share`` 1): a and b [3] or [P, 3], share [P] -> [P, 3]."""
    return a + (b - a) * share[:, None]


def interpolate(field: Array, positions: Array) -> Array:
    """Trilinear interpolation in a periodic volume: positions [P, 3] in voxels -> [P]."""
    base = np.floor(positions)
    t = positions - base
    low = base.astype(np.int32) % SIDE
    high = (low + 1) % SIDE
    flat = field.ravel()
    x, y, z = ((low[:, axis], high[:, axis]) for axis in range(3))
    wx, wy, wz = ((1 - t[:, axis], t[:, axis]) for axis in range(3))
    total = np.zeros(len(positions), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            rows, weight = (x[i] * SIDE + y[j]) * SIDE, wx[i] * wy[j]
            for k in (0, 1):
                total += flat[rows + z[k]] * (weight * wz[k])
    return total
