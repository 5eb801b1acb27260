"""Drawing of an image: geometry and light of the planet, its rings, the stars behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.export.planets.fields import Array, smoothstep, unit
from latentloop.export.planets.surfaces import SURFACES, Surface, hsv

SIZE = 64  # pixels along a side, unless another size is asked for; lengths below are in pixels of this size
SUPERSAMPLING = 2  # the image is rendered at so many times its height and width, then averaged
STARS = (4, 9)  # number of stars: from, and below


@dataclass(frozen=True)
class Rings:
    """``normal`` [3] of the rings' plane; radii of inner edge, outer edge and gap, in planet radii; ``colour`` [3]."""

    normal: Array
    inner: float
    outer: float
    gap: float
    colour: Array

    def opacity(self, radius: Array) -> Array:
        """Returns the opacity [P] at distances [P] from the planet's centre, in planet radii."""
        edge = 0.05
        inside = smoothstep(self.inner - edge, self.inner + edge, radius) * (
            1 - smoothstep(self.outer - edge, self.outer + edge, radius)
        )
        gap = 1 - smoothstep(0.03, 0.07, np.abs(radius - self.gap))
        opacity: Array = inside * (1 - 0.85 * gap) * (0.95 - 0.25 * (radius > self.gap))
        return opacity


@dataclass(frozen=True)
class Scene:
    """A planet in the centre of the image. Axes: x to the right, y up, z towards the viewer.

    ``radius`` is in pixels of an image of ``SIZE``; ``light`` [3] is the unit vector towards the light; ``axes`` [3, 3]
    rotates points to the planet's frame.
    """

    radius: float
    light: Array
    axes: Array
    rings: Rings | None


def draw_planet(kind: str, rng: np.random.Generator, size: int = SIZE) -> NDArray[np.uint8]:
    """Returns an image [size, size, 3] uint8 of a class of ``SURFACES``: the same planet for every size."""
    scene = arrange(kind, rng)
    side, radius = size * SUPERSAMPLING, scene.radius * size / SIZE
    coordinates = ((np.arange(side, dtype=np.float32) + 0.5) / SUPERSAMPLING - size / 2) / radius
    x: Array = np.broadcast_to(coordinates, (side, side))
    y: Array = np.broadcast_to(-coordinates[:, None], (side, side))
    squared_radius = x * x + y * y
    disc = squared_radius < 1
    normals = np.stack([x[disc], y[disc], np.sqrt(1 - squared_radius[disc])], 1)
    points = normals @ scene.axes
    surface = SURFACES[kind](rng, points)
    image = np.zeros((side, side, 3), np.float32)
    image[disc] = _shade(scene, surface, normals, disc, radius)
    _add_halo(image, scene, surface, x, y, squared_radius)
    if scene.rings is not None:
        add_rings(image, scene, scene.rings, x, y, squared_radius)
    averaged = image.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean((1, 3))
    near_planet = squared_radius.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING).min((1, 3)) < 1.35
    _add_stars(averaged, near_planet | (averaged.max(2) > 0.02), rng)
    return np.round(255 * _tone_map(averaged)).astype(np.uint8)


def arrange(kind: str, rng: np.random.Generator) -> Scene:
    """Draws size, light, tilt and rings of an image of a class. ``rng`` must be new, as in ``draw_planet``."""
    ringed = kind == "ringed"
    radius = rng.uniform(14.5, 16.5) if ringed else rng.uniform(21, 25.5)
    azimuth, light_z = rng.uniform(0.3, np.pi - 0.3), rng.uniform(0.45, 0.8)
    light_xy = np.sqrt(1 - light_z**2)
    light = np.array([light_xy * np.cos(azimuth), light_xy * np.sin(azimuth), light_z], np.float32)
    if ringed:
        roll, pitch = rng.uniform(-0.4, 0.4), rng.uniform(0.26, 0.36) * rng.choice([-1, 1])
    else:
        roll, pitch = rng.uniform(-0.6, 0.6), rng.uniform(-0.5, 0.5)
    axes = _rotation("y", rng.uniform(0, 2 * np.pi)) @ _rotation("x", pitch) @ _rotation("z", roll)
    rings = None
    if ringed:
        inner, outer = rng.uniform(1.32, 1.38), rng.uniform(1.82, 1.9)
        gap = inner + (outer - inner) * rng.uniform(0.55, 0.7)
        rings = Rings(axes[1], inner, outer, gap, hsv(rng.choice([0.1, 0.6]), rng.uniform(0.05, 0.3), 0.95))
    return Scene(radius, light, axes.T.copy(), rings)


def _shade(scene: Scene, surface: Surface, normals: Array, disc: NDArray[np.bool_], radius: float) -> Array:
    """Returns the light [P, 3] of the disc's pixels: diffuse, specular, atmosphere, emission.

    ``radius`` of the disc is in pixels of the image.
    """
    tilted = _tilt_normals(normals, surface.height, disc, radius)
    cosine = tilted @ scene.light
    light = 1.15 * np.clip((cosine + 0.1) / 1.1, 0, 1) ** 1.15
    if scene.rings is not None:
        light = light * _ring_shadow(scene, scene.rings, normals)
    colour = surface.colour * (0.03 + 1.1 * light)[:, None]
    if surface.gloss is not None:
        halfway = scene.light + np.array((0, 0, 1), np.float32)
        halfway = halfway / np.linalg.norm(halfway)
        colour = colour + (0.7 * surface.gloss * np.clip(tilted @ halfway, 0, 1) ** 40)[:, None]
    rim = (1 - normals[:, 2]) ** 2.5 * (0.12 + 0.88 * smoothstep(-0.4, 0.6, normals @ scene.light))
    colour = colour + surface.air * (0.9 * surface.thickness * rim)[:, None]
    shaded: Array = colour if surface.emission is None else colour + surface.emission
    return shaded


def _tilt_normals(normals: Array, height: Array, disc: NDArray[np.bool_], radius: float) -> Array:
    """Returns the normals [P, 3] tilted against the slope of the heights [P] (bump mapping)."""
    grid = np.zeros(disc.shape, np.float32)
    grid[disc] = height
    down, right = np.gradient(grid, 1 / (radius * SUPERSAMPLING))
    weight = smoothstep(0.25, 0.6, normals[:, 2])  # no slopes near the edge of the disc, where neighbours are missing
    slope = np.stack([right[disc], -down[disc], np.zeros(len(normals), np.float32)], 1) * weight[:, None]
    return unit(normals - np.clip(slope, -0.9, 0.9))


def _add_halo(image: Array, scene: Scene, surface: Surface, x: Array, y: Array, squared_radius: Array) -> None:
    """Adds the glow of the atmosphere around the disc, on the lit side."""
    if surface.thickness == 0:
        return
    radius = np.sqrt(np.maximum(squared_radius, 1))
    cosine = (x * scene.light[0] + y * scene.light[1]) / radius + scene.light[2] * 0.3
    light = 0.1 + 0.9 * smoothstep(-0.3, 0.6, cosine)
    glow = (squared_radius >= 1) * np.exp(-(radius - 1) / 0.045) * light * 0.45 * surface.thickness
    image += glow[:, :, None] * surface.air


def add_rings(image: Array, scene: Scene, rings: Rings, x: Array, y: Array, squared_radius: Array) -> None:
    """Draws the rings in front of and behind the planet, with the planet's shadow on them.

    ``image`` [H, W, 3] is changed in place; ``x``, ``y`` [H, W] are coordinates in planet radii.
    """
    normal = rings.normal
    z = -(normal[0] * x + normal[1] * y) / normal[2]
    opacity = rings.opacity(np.sqrt(squared_radius + z * z))
    is_behind = (squared_radius < 1) & (z < np.sqrt(np.maximum(1 - squared_radius, 0)))
    opacity = np.where(is_behind, 0, opacity)
    towards_light = x * scene.light[0] + y * scene.light[1] + z * scene.light[2]
    from_axis = np.sqrt(np.maximum(squared_radius + z * z - towards_light * towards_light, 0))
    shadow = (towards_light < 0) * (1 - smoothstep(0.93, 1.05, from_axis))
    light = 0.75 * (1 - 0.93 * shadow)
    image[:] = image + (rings.colour * light[:, :, None] - image) * opacity[:, :, None]


def _ring_shadow(scene: Scene, rings: Rings, normals: Array) -> Array:
    """Returns the share of light [P] that passes through the rings to points of the planet."""
    cosine = float(rings.normal @ scene.light)
    if abs(cosine) < 1e-3:
        return np.ones(len(normals), np.float32)
    distance = -(normals @ rings.normal) / np.float32(cosine)  # towards the light, from the point to the rings' plane
    crossing = normals + distance[:, None] * scene.light
    return 1 - 0.75 * rings.opacity(np.linalg.norm(crossing, axis=1)) * (distance > 0)


def _add_stars(image: Array, covered: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Draws stars, each a pixel of an image of ``SIZE``, where ``covered`` [H, W] is False."""
    size = len(image)
    for star in rng.integers(1, SIZE - 1, (int(rng.integers(*STARS)), 2)):
        rows, columns = (slice(at * size // SIZE, max((at + 1) * size // SIZE, at * size // SIZE + 1)) for at in star)
        if not covered[rows, columns].any():
            image[rows, columns] = rng.choice([0.25, 0.6, 1.0]) * hsv(rng.choice([0.1, 0.6]), 0.15, 1)


def _tone_map(light: Array) -> Array:
    """Converts linear light to display values in [0, 1]: compression of values above 0.8, then gamma 2.2."""
    light = np.maximum(light, 0)
    compressed = np.where(light < 0.8, light, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2))
    return np.clip(compressed, 0, 1) ** np.float32(1 / 2.2)


def _rotation(axis: str, angle: float) -> Array:
    """Returns the rotation [3, 3] about an axis, x, y or z."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3, dtype=np.float32)
    rotation[first, first] = rotation[second, second] = np.cos(angle)
    rotation[second, first] = np.sin(angle)
    rotation[first, second] = -np.sin(angle)
    return rotation
