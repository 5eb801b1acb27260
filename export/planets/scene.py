"""One picture: where the planet is, from where it is lit, its rings and the stars behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.export.planets.fields import Array, smoothstep
from latentloop.export.planets.surfaces import SURFACES, Surface, hsv

SIZE = 64  # pixels along a side
FINER = 2  # rendered at this many times the size, then averaged
STARS = (4, 9)


@dataclass(frozen=True)
class Rings:
    """``normal`` [3] of their plane; inner and outer radius and the gap's, in planet radii; ``colour`` [3]."""

    normal: Array
    inner: float
    outer: float
    gap: float
    colour: Array

    def at(self, radius: Array) -> Array:
        """Opacity [P] at distances [P] from the planet's centre, in planet radii."""
        edge = 0.05
        inside = smoothstep(self.inner - edge, self.inner + edge, radius) * (
            1 - smoothstep(self.outer - edge, self.outer + edge, radius)
        )
        gap = 1 - smoothstep(0.03, 0.07, np.abs(radius - self.gap))
        opacity: Array = inside * (1 - 0.85 * gap) * (0.95 - 0.25 * (radius > self.gap))
        return opacity


@dataclass(frozen=True)
class Scene:
    """A planet in the picture's middle, ``radius`` in pixels; unit vectors x right, y up, z towards the viewer.

    ``light`` [3] points to the light; ``axes`` [3, 3] turns points to the planet's own frame.
    """

    radius: float
    light: Array
    axes: Array
    rings: Rings | None


def draw_planet(kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One image [SIZE, SIZE, 3] uint8 of a class of ``SURFACES``."""
    scene = arrange(kind, rng)
    side = SIZE * FINER
    place = ((np.arange(side, dtype=np.float32) + 0.5) / FINER - SIZE / 2) / scene.radius
    x: Array = np.broadcast_to(place, (side, side))
    y: Array = np.broadcast_to(-place[:, None], (side, side))
    squared = x * x + y * y
    disc = squared < 1
    normals = np.stack([x[disc], y[disc], np.sqrt(1 - squared[disc])], 1)
    points = normals @ scene.axes
    surface = SURFACES[kind](rng, points)
    picture = np.zeros((side, side, 3), np.float32)
    picture[disc] = _lit(scene, surface, normals, disc)
    _add_halo(picture, scene, surface, x, y, squared)
    if scene.rings is not None:
        add_rings(picture, scene, scene.rings, x, y, squared)
    averaged = picture.reshape(SIZE, FINER, SIZE, FINER, 3).mean((1, 3))
    covered = squared.reshape(SIZE, FINER, SIZE, FINER).min((1, 3)) < 1.35
    _add_stars(averaged, covered | (averaged.max(2) > 0.02), rng)
    return np.round(255 * _developed(averaged)).astype(np.uint8)


def arrange(kind: str, rng: np.random.Generator) -> Scene:
    """Size, light, tilt and rings of a class's picture: the first numbers drawn from ``rng``."""
    ringed = kind == "ringed"
    radius = rng.uniform(14.5, 16.5) if ringed else rng.uniform(21, 25.5)
    turn, rise = rng.uniform(0.3, np.pi - 0.3), rng.uniform(0.45, 0.8)  # rise: how far before the planet the light is
    across = np.sqrt(1 - rise**2)
    light = np.array([across * np.cos(turn), across * np.sin(turn), rise], np.float32)
    if ringed:
        roll, lean = rng.uniform(-0.4, 0.4), rng.uniform(0.26, 0.36) * rng.choice([-1, 1])
    else:
        roll, lean = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
    axes = _spin(rng.uniform(0, 2 * np.pi)) @ _lean(lean) @ _roll(roll)
    rings = None
    if ringed:
        inner, outer = rng.uniform(1.32, 1.38), rng.uniform(1.82, 1.9)
        rings = Rings(
            axes[1],
            inner,
            outer,
            inner + (outer - inner) * rng.uniform(0.55, 0.7),
            hsv(rng.choice([0.1, 0.6]), rng.uniform(0.05, 0.3), 0.95),
        )
    return Scene(radius, light, axes.T.copy(), rings)


def _lit(scene: Scene, surface: Surface, normals: Array, disc: NDArray[np.bool_]) -> Array:
    """Reflected, mirrored and emitted light [P, 3] of the disc's pixels."""
    bent = _bent(normals, surface.height, disc, scene.radius)
    facing = bent @ scene.light
    light = 1.15 * np.clip((facing + 0.1) / 1.1, 0, 1) ** 1.15
    if scene.rings is not None:
        light = light * _ring_shadow(scene, scene.rings, normals)
    colour = surface.colour * (0.03 + 1.1 * light)[:, None]
    if surface.gloss is not None:
        half = scene.light + np.array((0, 0, 1), np.float32)
        half = half / np.linalg.norm(half)
        colour = colour + (0.7 * surface.gloss * np.clip(bent @ half, 0, 1) ** 40)[:, None]
    rim = (1 - normals[:, 2]) ** 2.5 * (0.12 + 0.88 * smoothstep(-0.4, 0.6, normals @ scene.light))
    colour = colour + surface.air * (0.9 * surface.thickness * rim)[:, None]
    found: Array = colour if surface.emission is None else colour + surface.emission
    return found


def _bent(normals: Array, height: Array, disc: NDArray[np.bool_], radius: float) -> Array:
    """Normals [P, 3] leant against the slope of the heights [P]."""
    grid = np.zeros(disc.shape, np.float32)
    grid[disc] = height
    down, right = np.gradient(grid, 1 / (radius * FINER))
    inside = smoothstep(0.25, 0.6, normals[:, 2])  # towards the edge pixels have few neighbours to slope to
    slope = np.stack([right[disc], -down[disc], np.zeros(len(normals), np.float32)], 1) * inside[:, None]
    leant = normals - np.clip(slope, -0.9, 0.9)
    bent: Array = leant / np.linalg.norm(leant, axis=1, keepdims=True)
    return bent


def _add_halo(picture: Array, scene: Scene, surface: Surface, x: Array, y: Array, squared: Array) -> None:
    """The atmosphere's glow outside of the disc, on the lit side."""
    if surface.thickness == 0:
        return
    away = np.sqrt(np.maximum(squared, 1))
    lit = 0.1 + 0.9 * smoothstep(-0.3, 0.6, (x * scene.light[0] + y * scene.light[1]) / away + scene.light[2] * 0.3)
    glow = (squared >= 1) * np.exp(-(away - 1) / 0.045) * lit * 0.45 * surface.thickness
    picture += glow[:, :, None] * surface.air


def add_rings(picture: Array, scene: Scene, rings: Rings, x: Array, y: Array, squared: Array) -> None:
    """Rings before and behind the planet, with the planet's shadow on them."""
    normal = rings.normal
    z = -(normal[0] * x + normal[1] * y) / normal[2]
    opacity = rings.at(np.sqrt(squared + z * z))
    hidden = (squared < 1) & (z < np.sqrt(np.maximum(1 - squared, 0)))
    opacity = np.where(hidden, 0, opacity)
    along = x * scene.light[0] + y * scene.light[1] + z * scene.light[2]
    off = np.sqrt(np.maximum(squared + z * z - along * along, 0))
    shadow = (along < 0) * (1 - smoothstep(0.93, 1.05, off))
    light = 0.75 * (1 - 0.93 * shadow)
    picture[:] = picture + (rings.colour * light[:, :, None] - picture) * opacity[:, :, None]


def _ring_shadow(scene: Scene, rings: Rings, normals: Array) -> Array:
    """How much light [P] passes the rings on its way to the planet's points."""
    slope = float(rings.normal @ scene.light)
    if abs(slope) < 1e-3:
        return np.ones(len(normals), np.float32)
    travel = -(normals @ rings.normal) / np.float32(slope)
    crossed = normals + travel[:, None] * scene.light
    return 1 - 0.75 * rings.at(np.linalg.norm(crossed, axis=1)) * (travel > 0)


def _add_stars(picture: Array, covered: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """A few single pixels of light where the sky is empty."""
    for row, column in rng.integers(1, SIZE - 1, (int(rng.integers(*STARS)), 2)):
        if not covered[row, column]:
            picture[row, column] = rng.choice([0.25, 0.6, 1.0]) * hsv(rng.choice([0.1, 0.6]), 0.15, 1)


def _developed(light: Array) -> Array:
    """Linear light to display values in [0, 1]: a soft shoulder for what is over-exposed, then gamma 2.2."""
    light = np.maximum(light, 0)
    soft = np.where(light < 0.8, light, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2))
    return np.clip(soft, 0, 1) ** np.float32(1 / 2.2)


def _spin(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def _lean(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)


def _roll(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
