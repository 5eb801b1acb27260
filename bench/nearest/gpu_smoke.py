"""Small searches on a GPU with NumPy and cuda-python alone: quick, also under compute-sanitizer.

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

# N, K, D: whole tiles and less, several splits, dimensions that do not fill sixteen bytes.
SHAPES = [(1, 1, 1), (19, 700, 5), (300, 129, 64), (129, 1000, 33)]


@dataclass(frozen=True)
class OnGpu:
    """A copy on the GPU, as the CUDA array interface describes it."""

    pointer: int
    shape: tuple[int, ...]
    typestr: str

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.typestr, "data": (self.pointer, False), "version": 3}


class CopyingDriver(CudaPython):
    """With copies to the GPU, which searches do not need."""

    def put(self, values: NDArray[Any]) -> OnGpu:
        """A copy that stays until the process ends."""
        with self.use(0):
            pointer = int(self._call("cuMemAlloc", values.nbytes))
            self._call("cuMemcpyHtoD", pointer, values.ctypes.data, values.nbytes)
        return OnGpu(pointer, values.shape, values.dtype.str)


def run(driver: CopyingDriver) -> int:
    """How many searches ran; AssertionError where one is wrong."""
    rng = np.random.default_rng(0)
    searches = 0
    layouts: tuple[Layout, ...] = ("rows", "channels_first")
    for n, k, d in SHAPES:
        for dtype in (np.float32, np.float16):
            z, codebook = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d)).astype(dtype)
            expected = nearest_reference(z, codebook)
            for layout in layouts:
                laid_out = z if layout == "rows" else np.ascontiguousarray(z.T[None])
                found = nearest_on_gpu(
                    driver.put(laid_out),
                    driver.put(codebook),
                    layout=layout,
                    distance=True,
                    codeword=True,
                    driver=driver,
                )
                assert found.distance is not None
                distance = found.distance.numpy().ravel().astype(np.float64)
                error = np.abs(distance - expected.distance) / np.maximum(expected.distance, 1e-30)
                index = found.index.numpy().ravel()
                near = expected.runner_up - expected.distance < 1e-4 * (1 + expected.distance)
                assert ((index == expected.index) | near).all(), (n, k, d, dtype, layout)
                assert (error[~near] < 1e-4).all(), (n, k, d, dtype, layout, error.max())
                assert found.invalid == 0
                searches += 1
    return searches


if __name__ == "__main__":
    print(f"{run(CopyingDriver())} small searches are right")
    sys.exit()
