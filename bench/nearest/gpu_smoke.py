"""Small searches on a GPU with NumPy and cuda-python alone, fast enough for compute-sanitizer.

python3 -m latentloop.bench.nearest.gpu_smoke
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.nearest_codebook.codebook import Layout
from latentloop.kernels.nearest_codebook.on_gpu import nearest_on_gpu
from latentloop.kernels.nearest_codebook.reference import nearest_reference

# N, K, D: whole and partial tiles, several splits, dimensions that do not fill sixteen bytes.
SHAPES = [(1, 1, 1), (19, 700, 5), (300, 129, 64), (129, 1000, 33)]


@dataclass(frozen=True)
class OnGpu:
    """An array on the GPU with the CUDA array interface."""

    pointer: int
    shape: tuple[int, ...]
    typestr: str

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.typestr, "data": (self.pointer, False), "version": 3}


class CopyingDriver(CudaPython):
    """A driver that also copies arrays to the GPU."""

    def put(self, values: NDArray[Any]) -> OnGpu:
        """Returns a copy on the GPU, which is never freed."""
        with self.use(0):
            pointer = int(self._call("cuMemAlloc", values.nbytes))
            self._call("cuMemcpyHtoD", pointer, values.ctypes.data, values.nbytes)
        return OnGpu(pointer, values.shape, values.dtype.str)


def run(driver: CopyingDriver) -> int:
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
                    driver.put(vectors),
                    driver.put(codebook),
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
    print(f"{run(CopyingDriver())} small searches are correct")
    sys.exit()
