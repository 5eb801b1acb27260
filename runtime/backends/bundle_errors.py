"""Conversion of the errors of ONNX Runtime and other libraries to LatentLoop's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.errors import BundleError, LatentLoopError


@contextmanager
def bundle_errors(bundle: Path, part: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Converts errors of the block to BundleError, or to MissingError for a part of ONNX Runtime that is missing.

    All arguments have been checked before, so a graph that fails does not fit its manifest. Errors of the types in
    ``passing`` are not converted. ``part`` names the part of the bundle that is running, for the message.
    """
    try:
        yield
    except (LatentLoopError, MemoryError, Warning):  # warnings are raised if the caller has turned them into errors
        raise
    except passing:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        from latentloop.environment.packages import broken_onnxruntime  # imported late: errors are rare

        if broken := broken_onnxruntime(error):
            raise broken from error
        raise BundleError(f"{bundle}: {part} does not fit the manifest: {error}") from error
