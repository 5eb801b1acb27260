"""Reading precompiled kernels."""

from __future__ import annotations

from pathlib import Path

from latentloop.kernels.driver.driver import MissingGpuError


def read_fatbin(fatbin: Path) -> bytes:
    """Returns the file's bytes. Raises MissingGpuError if it does not exist: the package was built without nvcc."""
    try:
        return fatbin.read_bytes()
    except OSError as error:
        raise MissingGpuError(
            f"{fatbin}: {error.strerror}: the installation compiles the GPU kernels only if it finds nvcc and CMake: "
            "install both, then reinstall LatentLoop from source"
        ) from error
