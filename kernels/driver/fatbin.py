"""Kernels compiled ahead of time."""

from __future__ import annotations

from pathlib import Path

from latentloop.kernels.driver.driver import MissingGpuError


def read_image(image: Path) -> bytes:
    """The file's bytes. Raises MissingGpuError where it is not there: the package was built without nvcc."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise MissingGpuError(
            f"{image}: {error.strerror}: the GPU's kernels are compiled where nvcc and CMake are there at "
            "installation: install both, and then LatentLoop from its source again"
        ) from error
