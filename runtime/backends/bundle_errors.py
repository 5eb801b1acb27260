"""Errors of running graphs: conversion of other libraries' errors to LatentLoop's, and the check of drawn codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import Codes
from latentloop.errors import BundleError, InputError, LatentLoopError

# Messages of ONNX Runtime's allocators and threads, of C++ and of CUDA.
_OUT_OF_MEMORY = re.compile(
    "failed to allocate|bad_alloc|bad allocation|out ?of ?memory|cannot allocate|pthread_create failed", re.IGNORECASE
)


@contextmanager
def bundle_errors(bundle: Path, part: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Converts errors of the block to BundleError, or to MissingError for a part of ONNX Runtime that is missing, or to
    InputError if memory is not sufficient.

    All arguments have been checked before, so a graph that fails does not fit its manifest. Errors of the types in
    ``passing`` are not converted. ``part`` names the part of the bundle that is running, for the message.
    """
    try:
        yield
    except (LatentLoopError, Warning):  # warnings are raised if the caller has turned them into errors
        raise
    except passing:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        from latentloop.environment.packages import broken_onnxruntime  # imported late: errors are rare

        if broken := broken_onnxruntime(error):
            raise broken from error
        if shortage := out_of_memory(error):
            raise shortage from error
        raise BundleError(f"{bundle}: {part} does not fit the manifest: {error}") from error


def out_of_memory(error: Exception) -> InputError | None:
    """Returns the InputError for an error which shows that memory is not sufficient, None for any other."""
    if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
        return None
    reason = " ".join(str(error).split())[-200:]
    return InputError(f"out of memory: use a smaller batch size, fewer images at once, or fewer threads ({reason})")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Converts MemoryError in the block, or in a decorated function, to InputError."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(error) or error from error


def check_drawn(bundle: Path, level: Level, codes: Codes) -> None:
    """Raises BundleError if logits were not finite. The draw then returns code K, which does not exist, because no
    cumulative sum reaches u.
    """
    if (codes >= level.codebook_size).any():
        raise logits_error(bundle, level)


def logits_error(bundle: Path, level: Level) -> BundleError:
    """Returns the error for logits that are not finite."""
    return BundleError(f"{bundle}: {level.name} has logits that are not finite numbers")
