"""Graphs on the CPU through ONNX Runtime, bound in place to NumPy memory; and how every session is opened.

Importing this raises MissingError where ONNX Runtime is not there, broken or too old.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import BundleError
from latentloop.kernels.library import is_unusable, problem, warn_unusable

# From some release on it starts a thread for telemetry when it is imported. A forked process, where that thread is
# not, would wait for it for ever when it ends.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _check_whole() -> None:
    """Raises ImportError where ONNX Runtime's library was cut short: to load it would end the process."""
    if "onnxruntime" in sys.modules or sys.platform != "linux":
        return
    spec = find_spec("onnxruntime")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in Path(folder, "capi").glob("onnxruntime_pybind11_state*.so"):
            if reason := problem(library):
                raise ImportError(f"{library}: {reason}")


try:
    _check_whole()
    import onnxruntime

    if onnxruntime.InferenceSession and [int(n) for n in onnxruntime.__version__.split(".")[:2]] < [1, 20]:
        raise ImportError(f"it is {onnxruntime.__version__}, expected 1.20 or later")
    _PARTS = onnxruntime.SessionOptions, onnxruntime.get_available_providers  # half an installation may lack them
except KeyboardInterrupt:
    raise
except BaseException as error:  # SystemExit too
    from latentloop.environment.packages import unusable

    raise unusable("onnxruntime", error) from error

Array = NDArray[Any]

_sessions: WeakSet[onnxruntime.InferenceSession] = WeakSet()


def _keep_sessions() -> None:
    """In a forked process, where their threads are not: the end of a session would wait for them."""
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


os.register_at_fork(after_in_child=_keep_sessions)


def session_options(operators: Path | None) -> onnxruntime.SessionOptions:
    """Options that log nothing, with a library's operators; where it cannot be loaded a warning says so, once."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would log is in the exception
    if operators is None or is_unusable(operators):
        return options
    reason = registration_problem(operators, options)
    if reason is None:
        return options
    warn_unusable(operators, reason)
    return session_options(None)


def registration_problem(operators: Path, options: onnxruntime.SessionOptions | None = None) -> str | None:
    """Adds a library's operators to the options; what is wrong with it, or None."""
    options = options or onnxruntime.SessionOptions()
    reason = problem(operators)
    if reason is None:
        try:
            options.register_custom_ops_library(str(operators))
        except AttributeError:  # not this library's fault
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common root of their own
            return str(error).rpartition(" with error: ")[2]
    return reason


def open_session(
    path: Path, weights: Path | None, options: onnxruntime.SessionOptions, providers: Sequence[Any]
) -> onnxruntime.InferenceSession:
    """The session of an ONNX file, whose external data lie in ``weights`` beside it. Raises BundleError.

    They are mapped from there. Releases from 1.24 on refuse weights that a link leads elsewhere: those are handed over.
    """
    try:
        model: Path | bytes = path
        if weights and weights.is_symlink() and hasattr(options, "add_external_initializers_from_files_in_memory"):
            model, mapped = path.read_bytes(), np.memmap(weights, np.uint8, "r")
            options.add_external_initializers_from_files_in_memory([weights.name], [mapped], [mapped.size])
            # Where external data of any other name would be looked for: nowhere else.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(weights.parent)
            )
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions have no common root of their own
        from latentloop.environment.packages import broken_onnxruntime

        if broken := broken_onnxruntime(error):
            raise broken from error
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    _sessions.add(session)
    return session
