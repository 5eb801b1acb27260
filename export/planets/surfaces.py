"""The surface of each class of planet: colours, heights and emission at points of the unit sphere.

Points [P, 3] are in the planet's frame, with its axis along y. Colours are linear light in [0, 1].
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latentloop.export.planets.fields import Array, cells, craters, mix, noise, smoothstep, stretched, unit


@dataclass
class Surface:
    """Surface properties: ``colour`` [P, 3], ``height`` [P] in planet radii for bump mapping, ``emission`` [P, 3] or
    None, ``gloss`` [P] (specular reflection) or None; ``air`` [3] and ``thickness``: the atmosphere's colour and
    strength.
    """

    colour: Array
    height: Array
    air: Array
    thickness: float
    emission: Array | None = None
    gloss: Array | None = None


def ocean(rng: np.random.Generator, p: Array) -> Surface:
    """Seas, continents, ice at the poles, clouds."""
    ground = noise(rng, p, rng.uniform(0.75, 1.0))
    sea = rng.uniform(0.0, 0.5)
    land = smoothstep(sea - 0.04, sea + 0.04, ground)
    cold = np.abs(p[:, 1]) + 0.06 * ground
    green, tan = hsv(rng.uniform(0.24, 0.36), 0.75, 0.42), hsv(rng.uniform(0.08, 0.12), 0.6, 0.62)
    dry = smoothstep(sea + 0.2, sea + 1.1, ground + 0.5 * noise(rng, p, 1.5))
    deep = mix(hsv(rng.uniform(0.58, 0.63), 0.92, 0.42), hsv(0.52, 0.75, 0.7), smoothstep(sea - 0.55, sea, ground))
    colour = mix(deep, mix(green, tan, dry), land)
    ice = smoothstep(0.86, 0.9, cold)
    bands = stretched(_distort(rng, p, 0.2, 0.8), 1, 1.8, 1)
    cloud = smoothstep(0.35, 1.7, noise(rng, bands, 0.9)) * rng.uniform(0.7, 1)
    colour = mix(mix(colour, hsv(0.55, 0.05, 0.97), ice), hsv(0, 0, 1), cloud)
    gloss = (1 - land) * (1 - cloud) * (1 - ice)
    return Surface(
        colour, land * np.maximum(ground - sea, 0) * 0.03 + cloud * 0.015, hsv(0.58, 0.62, 1), 1.0, gloss=gloss
    )


def lava(rng: np.random.Generator, p: Array) -> Surface:
    """Dark plates with glowing cracks between them."""
    distorted = _distort(rng, p, 0.16, 1.0)
    border_distance, cell = cells(rng, distorted, int(rng.integers(22, 36)))
    rock = noise(rng, p, 1.3)
    shade = rng.uniform(0.6, 1.4, 64).astype(np.float32)[cell] * (1 + 0.35 * rock)
    crack = 1 - smoothstep(0.015, 0.07, border_distance * (1 + 0.3 * rock))
    glow = np.exp(-border_distance / 0.06)
    hue = rng.uniform(0.0, 0.08)
    basalt = hsv(hue, 0.4, 0.36) * np.maximum(shade, 0.2)[:, None]
    hot = mix(hsv(hue, 1, 0.8), hsv(hue + 0.07, 0.7, 1), crack**2)
    emission = hot * (0.22 * glow + 0.9 * crack)[:, None]
    return Surface(basalt, 0.02 * rock - 0.04 * crack, hsv(hue + 0.01, 0.9, 1), 0.55, emission=emission)


def gas(rng: np.random.Generator, p: Array) -> Surface:
    """A few clear bands of cloud with wavy borders, and in half of the images a storm."""
    return _banded(rng, p, storm=rng.random() < 0.5)


def ringed(rng: np.random.Generator, p: Array) -> Surface:
    """A gas planet without a storm; ``scene`` adds the rings."""
    return _banded(rng, p, storm=False)


def ice(rng: np.random.Generator, p: Array) -> Surface:
    """Bright plains crossed by long blue fractures."""
    distorted = _distort(rng, p, 0.2, 0.8)
    border_distance, _ = cells(rng, distorted, int(rng.integers(9, 14)))
    plain = noise(rng, p, 1.2)
    hue = rng.uniform(0.5, 0.6)
    colour = mix(hsv(hue, 0.12, 0.97), hsv(hue, 0.42, 0.78), smoothstep(-0.4, 1.8, plain))
    fracture = (1 - smoothstep(0.01, 0.055, border_distance)) * smoothstep(-1.5, 0.5, noise(rng, p, 0.6))
    colour = mix(colour, hsv(hue + 0.03, 0.7, 0.55), fracture)
    return Surface(colour, -0.02 * fracture + 0.009 * plain, hsv(hue, 0.35, 1), 0.6, gloss=0.35 * (1 - fracture))


def desert(rng: np.random.Generator, p: Array) -> Surface:
    """Sand, darker highlands, a canyon, small polar caps of frost."""
    ground = noise(rng, stretched(_distort(rng, p, 0.2, 0.7), 1, 1.5, 1), 0.8)
    hue = rng.uniform(0.03, 0.12)
    sand, rock = hsv(hue, 0.55, 0.9), hsv(hue - 0.02, 0.72, 0.5)
    colour = mix(sand, rock, smoothstep(-0.4, 1.4, ground))
    canyon = (1 - smoothstep(0.0, 0.12, np.abs(noise(rng, p, 0.4)))) * smoothstep(-0.6, 0.2, -ground)
    colour = mix(colour, hsv(hue - 0.03, 0.8, 0.3), 0.6 * canyon)
    frost = smoothstep(0.9, 0.94, np.abs(p[:, 1]) + 0.04 * ground)
    colour = mix(colour, hsv(hue, 0.08, 0.96), frost)
    return Surface(colour, 0.014 * ground - 0.02 * canyon, hsv(hue, 0.5, 1), 0.5)


def moon(rng: np.random.Generator, p: Array) -> Surface:
    """Grey rock, dark maria, craters of many sizes, no atmosphere."""
    rough = noise(rng, p, 0.8)
    maria = smoothstep(-0.1, 0.9, rough)
    hue, tint = rng.choice([0.08, 0.6]), rng.uniform(0.02, 0.12)
    colour = mix(hsv(hue, tint, 0.78), hsv(hue, tint + 0.04, 0.42), maria)
    height = craters(rng, p, int(rng.integers(10, 16)), rng.uniform(0.45, 0.6))
    colour = colour * (1 + 2.5 * np.clip(height, -0.12, 0.12))[:, None]
    return Surface(colour, 0.32 * height + 0.006 * rough, hsv(hue, 0.1, 1), 0.0)


def toxic(rng: np.random.Generator, p: Array) -> Surface:
    """Swirling seas of two saturated colours, with a faint glow of their own."""
    swirl = noise(rng, _distort(rng, p, 0.4, 0.6), 0.75)
    hue = rng.choice([rng.uniform(0.27, 0.42), rng.uniform(0.72, 0.9)])
    second_hue = hue + rng.choice([-1, 1]) * rng.uniform(0.13, 0.24)
    colour = mix(hsv(second_hue, 0.85, 0.3), hsv(second_hue, 0.75, 0.75), smoothstep(-1.6, 0.0, swirl))
    colour = mix(colour, hsv(hue, 0.75, 0.8), smoothstep(-0.15, 0.25, swirl))
    colour = mix(colour, hsv(hue + 0.04, 0.4, 0.98), smoothstep(0.5, 1.9, swirl))
    shore = 1 - smoothstep(0.0, 0.4, np.abs(swirl))
    bright = hsv(hue + 0.05, 0.5, 1)
    return Surface(colour, 0.01 * swirl, hsv(hue, 0.7, 1), 0.9, emission=bright * (0.12 * shore)[:, None])


SURFACES: dict[str, Callable[[np.random.Generator, Array], Surface]] = {
    function.__name__: function for function in (ocean, lava, gas, ice, desert, moon, toxic, ringed)
}


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Returns a colour [3] in linear light; the hue is periodic with period 1."""
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32) ** np.float32(2.2)


def _banded(rng: np.random.Generator, p: Array, *, storm: bool) -> Surface:
    count = int(rng.integers(5, 8))
    hue, hue_shift = rng.uniform(0.0, 1.0), rng.choice([-1, 1]) * rng.uniform(0.04, 0.1)
    borders = np.sort(rng.uniform(-0.85, 0.85, count - 1)) * 0.5 + np.linspace(-0.85, 0.85, count - 1) * 0.5
    wave = noise(rng, stretched(p, 1, 2.2, 1), 0.7)
    latitude = p[:, 1] + np.float32(0.03) * wave
    colours = []
    for band in range(count):
        dark = band % 2
        saturation = rng.uniform(0.5, 0.75) if dark else rng.uniform(0.12, 0.35)
        band_hue = hue + hue_shift * dark + rng.normal(0, 0.015)
        colours.append(hsv(band_hue, saturation, rng.uniform(0.5, 0.68) if dark else rng.uniform(0.88, 1)))
    colour = np.broadcast_to(colours[0], p.shape)
    for border, next_colour in zip(borders, colours[1:], strict=True):
        colour = mix(colour, next_colour, smoothstep(border - 0.05, border + 0.05, latitude))
    colour = colour * (1 + 0.06 * noise(rng, stretched(p, 0.6, 5, 0.6), 1.0))[:, None]  # streaks along the bands
    if storm:
        east, north = rng.uniform(-0.5, 0.5), rng.uniform(-0.45, 0.45)
        distance = np.sqrt(((p[:, 0] - east) / 0.26) ** 2 + ((p[:, 1] - north) / 0.15) ** 2)
        colour = mix(colour, hsv(hue + hue_shift, 0.7, 0.95), (1 - smoothstep(0.6, 1.0, distance)) * (p[:, 2] > 0))
    return Surface(colour, np.zeros(len(p), np.float32), hsv(hue, 0.3, 1), 0.5)


def _distort(rng: np.random.Generator, p: Array, amount: float, scale: float) -> Array:
    """Moves points [P, 3] by noise and normalises them to the sphere, so straight features become curved."""
    return unit(p + np.float32(amount) * np.stack([noise(rng, p, scale) for _ in range(3)], 1))
