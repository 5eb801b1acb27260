"""Reads image files from bytes through ``read_images``, and compares pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentloop.errors import InputError
from latentloop.images import read_images


def read(folder: Path, name: str, content: bytes, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Returns the pixels of a file with this content, int64 [H, W, C]."""
    path = folder / name
    path.write_bytes(content)
    pixels: np.ndarray = read_images([path], (*size, channels))[0].astype(np.int64)
    return pixels


def refusal(folder: Path, name: str, content: bytes, size: tuple[int, int] = (4, 6)) -> str:
    """Returns the text of the error that reading the file raises; it must name the file."""
    with pytest.raises(InputError) as caught:
        read(folder, name, content, size)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    return text


def assert_pixels(pixels: np.ndarray, expected: np.ndarray, *, within: int = 0) -> None:
    """Asserts that pixels [H, W, C] equal those expected, [H, W] or [H, W, C], up to ``within``."""
    expected = expected if expected.ndim == 3 else expected[:, :, None]
    assert pixels.shape[:2] == expected.shape[:2]
    assert np.abs(pixels - expected).max() <= within


def to_8_bits(values: np.ndarray, maximum: int) -> np.ndarray:
    """Scales 0 to ``maximum`` to 0 to 255, rounded to the nearest integer."""
    rounded: np.ndarray = np.floor(values * 255 / maximum + 0.5).astype(np.int64)
    return rounded


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns colour [H, W, C] with alpha [H, W], both 0 to 255, laid on white."""
    return to_8_bits(colour * alpha[..., None] + 255 * (255 - alpha[..., None]), 255 * 255)
