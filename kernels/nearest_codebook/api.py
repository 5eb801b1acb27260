"""The nearest codeword of each vector, for arrays in host memory or on a GPU."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.codebook import Codebook, Nearest
from latentloop.kernels.nearest_codebook.on_cpu import nearest_on_cpu
from latentloop.kernels.nearest_codebook.shapes import Layout

_ON_GPU = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged


@overload
def nearest_codebook(
    z: NDArray[np.float32],
    codebook: NDArray[np.float32] | Codebook,
    *,
    layout: Layout = ...,
    distance: bool = ...,
    codeword: bool = ...,
    threads: int | None = ...,
) -> Nearest: ...
@overload
def nearest_codebook(
    z: Any,
    codebook: Any,
    *,
    layout: Layout = ...,
    distance: bool = ...,
    codeword: bool = ...,
    threads: int | None = ...,
    stream: Any = ...,
) -> Any: ...
def nearest_codebook(
    z: Any,
    codebook: Any,
    *,
    layout: Layout = "rows",
    distance: bool = False,
    codeword: bool = False,
    threads: int | None = None,
    stream: Any = None,
) -> Any:
    """Finds the codeword nearest to each vector by squared Euclidean distance, and returns it as ``Nearest``.

    ``z`` is [..., D], or [B, D, ...] with the layout "channels_first", as an encoder outputs it. ``codebook`` is
    [K, D] with K up to 65536 and D up to 512, or a ``Codebook``, which is prepared once for many searches. Of equally
    near codewords the one with the lowest index is returned. A vector that is not finite has the index -1; a codeword
    that is not finite is never the nearest. Scores are float32 sums in the order of D, so a vector's index depends
    only on that vector and the codebook.

    Arrays in host memory are float32, of NumPy or of a library whose arrays NumPy can read without a copy, such as
    PyTorch. Arrays that are not contiguous are copied. The search uses ``threads`` threads (default: one per
    processor), and besides inputs and outputs only memory proportional to D and K.

    Arrays on a GPU have ``__dlpack__`` or ``__cuda_array_interface__``, and are float32, float16 or bfloat16. The
    search is enqueued on ``stream``; the result is that of
    ``latentloop.kernels.nearest_codebook.on_gpu.nearest_on_gpu``.

    Raises ValueError for invalid shapes, TypeError for other dtypes, and MemoryError.
    """
    if not isinstance(z, np.ndarray) and _is_on_gpu(z):
        if isinstance(codebook, Codebook):
            raise TypeError("codebook is a Codebook, which is in host memory, z on a GPU: pass an array on that GPU")
        if threads is not None:
            raise ValueError(f"threads is {threads}, expected None: z is on a GPU")
        from latentloop.kernels.nearest_codebook.on_gpu import nearest_on_gpu

        return nearest_on_gpu(z, codebook, layout=layout, distance=distance, codeword=codeword, stream=stream)
    if stream is not None:
        raise ValueError("stream must be None, because z is not on a GPU")
    return nearest_on_cpu(z, codebook, layout=layout, distance=distance, codeword=codeword, threads=threads)


def _is_on_gpu(array: Any) -> bool:
    """Returns whether the array is in GPU memory."""
    device = getattr(array, "__dlpack_device__", None)
    if device is not None:
        return device()[0] in _ON_GPU
    return hasattr(array, "__cuda_array_interface__")
