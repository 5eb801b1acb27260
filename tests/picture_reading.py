"""Bytes to pixels through ``read_images``, and what they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentloop.errors import InputError
from latentloop.images import read_images


def read(folder: Path, name: str, content: bytes, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """The pixels, int64 [H, W, C]."""
    path = folder / name
    path.write_bytes(content)
    pixels: np.ndarray = read_images([path], (*size, channels))[0].astype(np.int64)
    return pixels


def refusal(folder: Path, name: str, content: bytes, size: tuple[int, int] = (4, 6)) -> str:
    """The error that the file gives, which names it."""
    with pytest.raises(InputError) as caught:
        read(folder, name, content, size)
    text = str(caught.value)
    assert name in text
    assert "\n" not in text
    return text


def same(found: np.ndarray, expected: np.ndarray, *, within: int = 0) -> None:
    """That pixels [H, W, C] are those of [H, W] or [H, W, C]."""
    expected = expected if expected.ndim == 3 else expected[:, :, None]
    assert found.shape[:2] == expected.shape[:2]
    assert np.abs(found - expected).max() <= within


def eight(values: np.ndarray, top: int) -> np.ndarray:
    """0 to ``top`` as 0 to 255, to the nearest."""
    rounded: np.ndarray = np.floor(values * 255 / top + 0.5).astype(np.int64)
    return rounded


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colour [H, W, C] under alpha [H, W], both 0 to 255, over white."""
    return eight(colour * alpha[..., None] + 255 * (255 - alpha[..., None]), 255 * 255)
