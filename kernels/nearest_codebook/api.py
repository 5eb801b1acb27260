"""The nearest codeword of each vector, wherever the vectors are."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.codebook import Codebook, Layout, Nearest
from latentloop.kernels.nearest_codebook.on_cpu import nearest_on_cpu

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
    """The index of the codeword nearest to each vector, squared Euclidean, the lowest of equal ones, as ``Nearest``.

    ``z``: [..., D], or [B, D, ...] for the layout "channels_first", an encoder's output as it is. ``codebook``: [K, D],
    or a ``Codebook``, which is prepared only once; K up to 65536, D up to 512. A vector that is not finite has the
    index -1, and a codeword that is not finite is never the nearest. Scores are sums in float32 in the order of D, so
    a vector's index depends on that vector and the codebook alone.

    In host memory: float32, from NumPy or from what NumPy can look at without a copy, such as a PyTorch tensor; on
    ``threads`` processor threads (default: all). Arrays that are not contiguous are copied first. Beside inputs and
    outputs a search needs memory for D and K alone.

    On a GPU: anything with ``__dlpack__`` or ``__cuda_array_interface__``, float32, float16 or bfloat16, on ``stream``;
    ``from latentloop.kernels.nearest_codebook.on_gpu import nearest_on_gpu`` says what is returned then.

    Raises ValueError for shapes that do not fit, TypeError for other dtypes, MemoryError.
    """
    if layout not in ("rows", "channels_first"):
        raise ValueError(f"layout is {layout!r}, expected 'rows' or 'channels_first'")
    if not isinstance(z, np.ndarray) and _is_on_gpu(z):
        if isinstance(codebook, Codebook):
            raise TypeError("codebook is a Codebook, which is in host memory, z on a GPU: pass an array on that GPU")
        if threads is not None:
            raise ValueError(f"threads is {threads}, expected None: z is on a GPU")
        from latentloop.kernels.nearest_codebook.on_gpu import nearest_on_gpu

        return nearest_on_gpu(z, codebook, layout=layout, distance=distance, codeword=codeword, stream=stream)
    if stream is not None:
        raise ValueError("stream is given, but z is not on a GPU")
    return nearest_on_cpu(
        z,
        codebook,
        channels_first=layout == "channels_first",
        distance=distance,
        codeword=codeword,
        threads=threads,
    )


def _is_on_gpu(array: Any) -> bool:
    """Whether that is an array in a GPU's memory."""
    device = getattr(array, "__dlpack_device__", None)
    if device is not None:
        return device()[0] in _ON_GPU
    return hasattr(array, "__cuda_array_interface__")
