"""Searches through cuda-python with the fake libcuda.so.1; run by tests/test_cuda_python.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gpu_arrays import InterfaceArray
from numpy.typing import NDArray

from latentloop.kernels.driver.driver import DriverError
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.nearest_codebook import launcher, nearest_codebook
from latentloop.kernels.nearest_codebook.on_gpu import GpuCodebook, nearest_on_gpu


def main() -> None:
    launcher.FATBIN = Path(__file__)  # the fake driver does not read it
    driver = CudaPython()
    call: Any = driver._call

    def put(values: NDArray[Any], stream: int | None = None) -> InterfaceArray:
        with driver.use(0):
            pointer = int(call("cuMemAlloc", values.nbytes))
            call("cuMemcpyHtoD", pointer, values.ctypes.data, values.nbytes)
        return InterfaceArray(values.shape, values.dtype.str, pointer, stream)

    with driver.use(0):
        new_stream = call("cuStreamCreate", 0)
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float16):
        z, codebook = rng.normal(size=(300, 24)).astype(dtype), rng.normal(size=(77, 24)).astype(dtype)
        expected = nearest_codebook(z.astype(np.float32), codebook.astype(np.float32)).index
        prepared = GpuCodebook(put(codebook), driver=driver)
        for stream in (None, 2, new_stream, int(new_stream)):
            for words in (prepared, put(codebook)):
                result = nearest_on_gpu(put(z, stream=1), words, stream=stream, codeword=True, driver=driver)
                np.testing.assert_array_equal(result.index.numpy(), expected)
                assert result.codeword is not None
                np.testing.assert_array_equal(result.codeword.numpy(), codebook[expected])
                assert result.invalid == 0
    assert driver.device_of(put(z).pointer) == 0
    with driver.use(0):
        assert driver.multiprocessors() == 3
        with driver.use(0):  # already current
            pass
    assert int(call("cuCtxGetCurrent")) == 0, "a context was left current"
    for invalid in (
        lambda: nearest_on_gpu(put(z), prepared, stream=0xBAD0),
        lambda: driver.device_of(z.ctypes.data),
    ):
        try:
            invalid()
        except (DriverError, ValueError) as error:
            print(error)


if __name__ == "__main__":
    main()
