"""Errors of graphs that do not fit their manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.errors import BundleError, LatentLoopError


@contextmanager
def fitting(bundle: Path, what: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Converts errors of the block to BundleError, for inputs have been checked by now; MissingError where ONNX Runtime
    lacks a part of itself. Types in ``passing`` are left as they are.
    """
    try:
        yield
    except (LatentLoopError, MemoryError, Warning):  # a warning that the caller has made an error
        raise
    except passing:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common root of their own
        from latentloop.environment.packages import broken_onnxruntime  # late: errors are rare

        if broken := broken_onnxruntime(error):
            raise broken from error
        raise BundleError(f"{bundle}: {what} does not fit the manifest: {error}") from error
