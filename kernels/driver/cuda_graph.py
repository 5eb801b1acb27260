"""CUDA graphs through cuda-python: captured work of a stream that is enqueued again as one unit."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from latentloop.kernels.driver.driver import DriverError
from latentloop.kernels.driver.stream import Stream

Call = Callable[..., Any]  # calls a driver function by name; raises DriverError


class CapturedGraph:
    """A captured CUDA graph. ``executable`` is None until the capture has ended without an error."""

    executable: Any = None


@contextmanager
def capture_graph(cuda: Any, call: Call, stream: Stream) -> Iterator[CapturedGraph]:
    """Captures the work enqueued on the stream, as Driver.capture. ``cuda`` is cuda.bindings.driver.

    The capture is thread-local: calls of this thread without a stream, such as an allocation, fail and invalidate the
    capture. In the relaxed mode they would run once, during the capture, and never in a replay. Other threads may make
    such calls.
    """
    graph = CapturedGraph()
    call("cuStreamBeginCapture", stream.handle, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    try:
        yield graph
    except BaseException:
        with suppress(DriverError):  # the original error is more useful than that of an invalidated capture
            call("cuGraphDestroy", call("cuStreamEndCapture", stream.handle))
        raise
    template = call("cuStreamEndCapture", stream.handle)
    try:
        executable = call("cuGraphInstantiate", template, 0)
    finally:
        call("cuGraphDestroy", template)
    graph.executable = executable
    weakref.finalize(graph, destroy, cuda, call, "cuGraphExecDestroy", executable).atexit = False


def destroy(cuda: Any, call: Call, function: str, handle: Any) -> None:
    """Destroys or frees a handle with the driver function, without invalidating a capture that may be running."""
    mode = call("cuThreadExchangeStreamCaptureMode", cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED)
    try:
        call(function, handle)
    finally:
        call("cuThreadExchangeStreamCaptureMode", mode)
