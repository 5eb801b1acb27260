"""Charts and pictures inside a page of HTML: SVG, and PNG in data URIs."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentloop.evaluation.level_figures import LevelEvaluation
from latentloop.images.writing import Images, png_bytes

LARGEST = 256  # pixels of the longer side of a picture; larger ones are reduced
SMALLEST = 96  # pixels on the page; smaller ones are enlarged
MOST_POINTS = 512  # of a curve
MAP_WIDTH = 224  # pixels on the page
COLOURS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])  # low to high


def picture(image: Images, description: str) -> str:
    """Returns an image uint8 [H, W, C] as an element. ``description`` is escaped already."""
    height, width = image.shape[:2]
    if max(height, width) > LARGEST:
        reduced = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
        reduced.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        image = np.asarray(reduced).reshape(reduced.height, reduced.width, image.shape[2])
    scale = max(1, SMALLEST // max(image.shape[:2]))
    return _element(image, description, image.shape[1] * scale, image.shape[0] * scale)


def usage_chart(level: LevelEvaluation, description: str) -> str:
    """Returns a histogram of the codes' frequencies as SVG, the most frequent code at the left. The dashed line is the
    frequency of every code if all were used equally.
    """
    width, height = 448, 120
    shares = np.sort(level.counts)[::-1] / level.counts.sum()
    size = len(shares)
    points = np.arange(size) if size <= MOST_POINTS else np.arange(MOST_POINTS) * size // MOST_POINTS
    edges = np.append(points, size) * width / size
    heights = height - shares[points] / shares[0] * height
    steps = " ".join(f"V{y:.1f}H{x:.1f}" for y, x in zip(heights, edges[1:], strict=True))
    even = height - height / size / shares[0]
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{description}">'
        f'<path d="M0 {height} {steps} V{height} Z" fill="#3b528b"/>'
        f'<line x1="0" x2="{width}" y1="{even:.1f}" y2="{even:.1f}" stroke="#d0602e" stroke-dasharray="4 3"/>'
        f'<line x1="0" x2="{width}" y1="{height}" y2="{height}" stroke="#888"/></svg>'
    )


def heat_map(values: NDArray[np.float64], description: str) -> str:
    """Returns values [h, w] as a picture, from the lowest (dark) to the highest (light)."""
    low, high = values.min(), values.max()
    height = round(MAP_WIDTH * values.shape[0] / values.shape[1])
    return _element(coloured((values - low) / ((high - low) or 1)), description, MAP_WIDTH, height)


def colour_scale() -> str:
    """Returns the colours of a heat map, from low to high."""
    return _element(coloured(np.linspace(0, 1, 64)[None]), "low to high", MAP_WIDTH, 10)


def coloured(values: NDArray[np.float64]) -> Images:
    """Values [h, w] from 0 to 1 -> colours uint8 [h, w, 3]."""
    stops = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(values, stops, COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def _element(image: Images, description: str, width: int, height: int) -> str:
    data = base64.b64encode(png_bytes(image)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" width="{width}" height="{height}" alt="{description}" '
        f'title="{description}">'
    )
