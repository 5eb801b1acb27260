"""CUDA streams of all libraries."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

# The attributes of stream objects that hold the handle: of PyTorch; of CuPy; of pycuda and Numba. In lookup order.
_ATTRIBUTES = ("cuda_stream", "ptr", "handle")


@dataclass(frozen=True)
class Stream:
    """A stream by its handle: 1 is the legacy default stream, 2 the per-thread default stream.

    ``owner`` is the stream object of the library that created it; this reference keeps it alive. Without an owner, the
    caller must keep the stream alive until all objects created on it are gone.
    """

    handle: int
    owner: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.handle == self.handle

    def __hash__(self) -> int:
        return hash(self.handle)


LEGACY = Stream(1)


def as_stream(stream: Any) -> Stream:
    """Converts to a Stream: None or 0 (the legacy default stream), a handle as an integer, a Stream, or a stream object
    of cuda-python, cuda-core, PyTorch, CuPy, pycuda or Numba. Raises TypeError for other objects.
    """
    if isinstance(stream, Stream):
        return stream
    if stream is None:
        return LEGACY
    handle = _handle(stream)
    return Stream(handle, None if isinstance(stream, int) else stream) if handle else LEGACY


def _handle(stream: Any) -> int:
    if hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        version, handle = protocol() if callable(protocol) else protocol
        if version != 0:
            raise TypeError(f"stream: version {version} of the __cuda_stream__ protocol, expected 0")
        return int(handle)
    value = next((getattr(stream, name) for name in _ATTRIBUTES if hasattr(stream, name)), stream)
    value = getattr(value, "value", value)  # Numba's is a ctypes pointer
    try:
        handle = operator.index(0 if value is None else value)
    except TypeError:
        raise TypeError(
            f"stream is {type(stream).__name__}, expected None, a handle as an integer, or a stream object of PyTorch, "
            "CuPy, pycuda, cuda-python or cuda-core"
        ) from None
    if handle < 0:
        raise TypeError(f"stream is {handle}, expected a handle that is not negative")
    return handle
