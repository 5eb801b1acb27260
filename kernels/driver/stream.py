"""A CUDA stream, whichever library made it."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

# Of a stream object's handle, in the order of asking: PyTorch's, CuPy's, pycuda's and Numba's.
_ATTRIBUTES = ("cuda_stream", "ptr", "handle")


@dataclass(frozen=True)
class Stream:
    """A stream's handle, as the driver counts: 1 is the legacy default stream, 2 the thread's own default stream.

    ``owner`` is the object that came with it, which is thereby kept alive. Who gives a bare number keeps the stream
    until everything made on it is gone.
    """

    handle: int
    owner: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.handle == self.handle

    def __hash__(self) -> int:
        return hash(self.handle)


LEGACY = Stream(1)


def as_stream(stream: Any) -> Stream:
    """A Stream of: None or 0 (the legacy default stream), a handle as an integer, a Stream, or a stream object of
    cuda-python, cuda-core, PyTorch, CuPy, pycuda or Numba. Raises TypeError for anything else.
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
    found = next((getattr(stream, name) for name in _ATTRIBUTES if hasattr(stream, name)), stream)
    found = getattr(found, "value", found)  # Numba's is a ctypes pointer
    try:
        handle = operator.index(0 if found is None else found)
    except TypeError:
        raise TypeError(
            f"stream is {type(stream).__name__}, expected None, a handle as an integer, or a stream object of PyTorch, "
            "CuPy, pycuda, cuda-python or cuda-core"
        ) from None
    if handle < 0:
        raise TypeError(f"stream is {handle}, expected a handle that is not negative")
    return handle
