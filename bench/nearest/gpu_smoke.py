"""Small searches on a GPU with NumPy and cuda-python alone, fast enough for compute-sanitizer.

python3 -m latentloop.bench.nearest.gpu_smoke
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver import LEGACY, DeviceArray, DeviceMemory, Driver
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.element_types import ELEMENT_TYPES
from latentloop.kernels.nearest_codebook.on_gpu import nearest_on_gpu
from latentloop.kernels.nearest_codebook.reference import nearest_reference
from latentloop.kernels.nearest_codebook.shapes import Layout

# N, K, D: whole and partial tiles, several splits, dimensions that do not fill sixteen bytes.
SHAPES = [(1, 1, 1), (19, 700, 5), (300, 129, 64), (129, 1000, 33)]


def put(driver: Driver, values: NDArray[Any]) -> DeviceArray:
    """Returns a copy on the GPU."""
    memory = DeviceMemory(driver, 0, values.nbytes, LEGACY)
    with driver.use(0):
        driver.copy_in(memory.pointer, values, LEGACY)
    return DeviceArray(memory, values.shape, ELEMENT_TYPES[values.dtype.name])


def run(driver: Driver) -> int:
    """Checks searches against the reference; returns their number. Raises AssertionError if one is wrong."""
    rng = np.random.default_rng(0)
    searches = 0
    layouts: tuple[Layout, ...] = ("rows", "channels_first")
    for n, k, d in SHAPES:
        for dtype in (np.float32, np.float16):
            z, codebook = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d)).astype(dtype)
            expected = nearest_reference(z, codebook)
            for layout in layouts:
                vectors = z if layout == "rows" else np.ascontiguousarray(z.T[None])
                result = nearest_on_gpu(
                    put(driver, vectors),
                    put(driver, codebook),
                    layout=layout,
                    distance=True,
                    codeword=True,
                    driver=driver,
                )
                assert result.distance is not None
                distance = result.distance.numpy().ravel().astype(np.float64)
                error = np.abs(distance - expected.distance) / np.maximum(expected.distance, 1e-30)
                index = result.index.numpy().ravel()
                tied = expected.runner_up - expected.distance < 1e-4 * (1 + expected.distance)
                assert ((index == expected.index) | tied).all(), (n, k, d, dtype, layout)
                assert (error[~tied] < 1e-4).all(), (n, k, d, dtype, layout, error.max())
                assert result.invalid == 0
                searches += 1
    return searches


if __name__ == "__main__":
    print(f"{run(CudaPython())} small searches are correct")
    sys.exit()
