"""Random functions on points of the unit sphere: fractal noise, cells, craters.

Noise is read from one periodic volume whose spectrum falls as a power of the wave number (a Gaussian field, made by
FFT). A picture reads it along two spheres of its own, each turned and moved at random, and adds the two: cheaper than
summing octaves of lattice noise for every point, and no two pictures see the same sum.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

SIDE = 96  # voxels of the periodic volume along each axis
LONGEST, SHORTEST = 1.6, 18.0  # wave numbers per volume that the spectrum keeps, from and to
FALL = 2.15  # amplitude ~ wave number ** -FALL
RADIUS = 26.0  # voxels of a sphere at scale 1


@cache
def volume() -> Array:
    """The periodic noise volume [SIDE, SIDE, SIDE], mean 0, variance 1; the same in every process."""
    waves = np.fft.fftfreq(SIDE, 1 / SIDE)
    length = np.sqrt(sum(axis**2 for axis in np.meshgrid(waves, waves, waves, indexing="ij")))
    kept = (length >= LONGEST) & (length <= SHORTEST)
    amplitude = np.where(kept, np.maximum(length, 1.0) ** -FALL, 0.0)
    white = np.random.default_rng(1906).standard_normal((SIDE, SIDE, SIDE))
    found = np.fft.ifftn(np.fft.fftn(white) * amplitude).real
    even: Array = ((found - found.mean()) / found.std()).astype(np.float32)
    return even


def noise(rng: np.random.Generator, points: Array, scale: float = 1.0) -> Array:
    """Fractal noise, about standard normal: points [P, 3] on or near the unit sphere -> [P].

    ``scale`` 2 makes features half as large. Draws two placements from ``rng``.
    """
    total = np.zeros(len(points), np.float32)
    for _ in range(2):
        placed = points @ (rotation(rng) * np.float32(RADIUS * scale)) + rng.uniform(0, SIDE, 3).astype(np.float32)
        total += read(volume(), placed)
    return total * np.float32(np.sqrt(0.5))


def cells(rng: np.random.Generator, points: Array, count: int) -> tuple[Array, NDArray[np.intp]]:
    """Voronoi cells of ``count`` centres: points [P, 3] -> distances from the cells' borders [P], and which cells [P].

    The border of two cells is the plane between their centres a and b: p lies p . (a - b) / |a - b| away from it.
    """
    centres = spread(rng, count)
    near = points @ centres.T
    two = np.argpartition(-near, 1, axis=1)[:, :2]
    first, second = (np.take_along_axis(near, two[:, [side]], 1)[:, 0] for side in (0, 1))
    apart = np.linalg.norm(centres[two[:, 0]] - centres[two[:, 1]], axis=1)
    return np.abs(first - second) / apart, two[np.arange(len(two)), (second > first).astype(np.intp)]


def craters(rng: np.random.Generator, points: Array, count: int, largest: float) -> Array:
    """Heights of overlapping bowls with raised rims: points [P, 3] -> [P]; radii up to ``largest``, in radians."""
    radii = (largest * rng.uniform(0.3, 1, count) ** 2).astype(np.float32)
    away = np.arccos(np.clip(points @ on_sphere(rng, count).T, -1, 1)) / radii
    bowl = np.where(away < 1, away**2 - 1, 0) * 0.8
    rim = 0.55 * np.exp(-(((away - 1) / 0.22) ** 2))
    height: Array = ((bowl + rim) * radii).sum(1)
    return height


def on_sphere(rng: np.random.Generator, count: int) -> Array:
    """Points [count, 3], evenly distributed on the unit sphere."""
    found = rng.standard_normal((count, 3))
    unit: Array = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def spread(rng: np.random.Generator, count: int) -> Array:
    """Points [count, 3] of the unit sphere that keep some distance: each the farthest of a few random ones."""
    chosen = on_sphere(rng, 1)
    for _ in range(count - 1):
        offered = on_sphere(rng, 6)
        chosen = np.concatenate([chosen, offered[[(offered @ chosen.T).max(1).argmin()]]])
    return chosen


def rotation(rng: np.random.Generator) -> Array:
    """A rotation [3, 3], evenly distributed (Q of a Gaussian matrix, signs fixed)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    turned: Array = (q * np.sign(np.linalg.det(q))).astype(np.float32)
    return turned


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 below ``low``, 1 above ``high``, a smooth step between."""
    t = np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
    step: Array = t * t * (3 - 2 * t)
    return step


def stretched(points: Array, *factors: float) -> Array:
    """Points [P, 3] times a factor per axis: noise read there is finer along an axis with a factor over 1."""
    return points * np.array(factors, np.float32)


def mix(a: Array, b: Array, share: Array) -> Array:
    """a where ``share`` is 0, b where it is 1: [3] or [P, 3] twice, share [P] -> [P, 3]."""
    return a + (b - a) * share[:, None]


def read(field: Array, placed: Array) -> Array:
    """Trilinear interpolation in a periodic volume: placed [P, 3] in voxels -> [P]."""
    base = np.floor(placed)
    t = placed - base
    low = base.astype(np.int32) % SIDE
    high = (low + 1) % SIDE
    flat = field.ravel()
    x, y, z = ((low[:, axis], high[:, axis]) for axis in range(3))
    wx, wy, wz = ((1 - t[:, axis], t[:, axis]) for axis in range(3))
    total = np.zeros(len(placed), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            rows, weight = (x[i] * SIDE + y[j]) * SIDE, wx[i] * wy[j]
            for k in (0, 1):
                total += flat[rows + z[k]] * (weight * wz[k])
    return total
