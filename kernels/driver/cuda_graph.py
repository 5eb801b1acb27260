"""Work of a stream, recorded once and enqueued again as one piece: CUDA graphs through cuda-python."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from latentloop.kernels.driver.driver import DriverError
from latentloop.kernels.driver.stream import Stream

Call = Callable[..., Any]  # a function of the driver by name; raises DriverError


class Captured:
    """What a capture recorded, once it is over."""

    executable: Any = None


@contextmanager
def recorded(cuda: Any, call: Call, stream: Stream) -> Iterator[Captured]:
    """Captures what the stream gets; see Driver.capture. ``cuda`` is cuda.bindings.driver.

    Calls that no stream orders, such as an allocation, fail in this thread and end the capture, where a relaxed one
    would do them once and forget them. Other threads are free to make them.
    """
    captured = Captured()
    call("cuStreamBeginCapture", stream.handle, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    try:
        yield captured
    except BaseException:
        with suppress(DriverError):  # the body's own error says more than that its capture is no longer valid
            call("cuGraphDestroy", call("cuStreamEndCapture", stream.handle))
        raise
    graph = call("cuStreamEndCapture", stream.handle)
    try:
        executable = call("cuGraphInstantiate", graph, 0)
    finally:
        call("cuGraphDestroy", graph)
    captured.executable = executable
    weakref.finalize(captured, released, cuda, call, "cuGraphExecDestroy", executable).atexit = False


def released(cuda: Any, call: Call, function: str, handle: Any) -> None:
    """Gives something back by that function, even where this happens to be in the middle of a capture."""
    mode = call("cuThreadExchangeStreamCaptureMode", cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
    try:
        call(function, handle)
    finally:
        call("cuThreadExchangeStreamCaptureMode", mode)
