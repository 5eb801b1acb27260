"""Opening of ONNX Runtime sessions.

Importing this module raises MissingError if ONNX Runtime is missing, broken or too old.
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

from latentloop.errors import BundleError, MissingError
from latentloop.kernels.library import is_unusable, problem, warn_unusable

# Recent releases start a telemetry thread on import. That thread does not exist in a forked process, which would wait
# for it for ever when it exits.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _check_library() -> None:
    """Raises ImportError if the file of ONNX Runtime's library is truncated: loading it would end the process."""
    if "onnxruntime" in sys.modules or sys.platform != "linux":
        return
    spec = find_spec("onnxruntime")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in Path(folder, "capi").glob("onnxruntime_pybind11_state*.so"):
            if reason := problem(library):
                raise ImportError(f"{library}: {reason}")


try:
    _check_library()
    import onnxruntime

    if onnxruntime.InferenceSession and [int(n) for n in onnxruntime.__version__.split(".")[:2]] < [1, 20]:
        raise ImportError(f"it is {onnxruntime.__version__}, expected 1.20 or later")
    _REQUIRED = onnxruntime.SessionOptions, onnxruntime.get_available_providers  # missing in a partial installation
except KeyboardInterrupt:
    raise
except BaseException as error:  # also SystemExit, which a broken package may raise
    from latentloop.environment.packages import package_error

    raise package_error("onnxruntime", error) from error

_sessions: WeakSet[onnxruntime.InferenceSession] = WeakSet()


def _leak_sessions() -> None:
    """Keeps sessions alive in a forked process: their threads do not exist there, and destruction waits for them."""
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


os.register_at_fork(after_in_child=_leak_sessions)


def check_provider(provider: str) -> None:
    """Raises MissingError if the installed ONNX Runtime lacks the execution provider."""
    if provider not in onnxruntime.get_available_providers():
        raise MissingError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {provider}: pip uninstall -y onnxruntime && "
            "pip install onnxruntime-gpu cuda-bindings"
        )


def session_options(operators: Path | None) -> onnxruntime.SessionOptions:
    """Returns options with a library's operators. Warns once per process if the library cannot be loaded; graphs then
    run without it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no log: exceptions contain the same messages
    if operators is None or is_unusable(operators):
        return options
    reason = registration_problem(operators, options)
    if reason is None:
        return options
    warn_unusable(operators, reason)
    return session_options(None)


def registration_problem(operators: Path, options: onnxruntime.SessionOptions | None = None) -> str | None:
    """Adds a library's operators to the options, by default to new ones. Returns None, or why it cannot be loaded."""
    options = options or onnxruntime.SessionOptions()
    reason = problem(operators)
    if reason is None:
        try:
            options.register_custom_ops_library(str(operators))
        except AttributeError:  # a part of ONNX Runtime is missing
            raise
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            return str(error).rpartition(" with error: ")[2]
    return reason


def open_session(
    path: Path, weights: Path | None, options: onnxruntime.SessionOptions, providers: Sequence[Any]
) -> onnxruntime.InferenceSession:
    """Returns the session of an ONNX file. ``weights``, in the same folder, has its external data. Raises BundleError.

    ONNX Runtime maps the weights from their file. From release 1.24 on it rejects a file that is a link to another
    folder, so such a file is mapped here.
    """
    try:
        model: Path | bytes = path
        if weights and weights.is_symlink() and hasattr(options, "add_external_initializers_from_files_in_memory"):
            model, mapped = path.read_bytes(), np.memmap(weights, np.uint8, "r")
            options.add_external_initializers_from_files_in_memory([weights.name], [mapped], [mapped.size])
            # Other external data is looked up in this folder only, not in the working directory.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(weights.parent)
            )
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        from latentloop.environment.packages import broken_onnxruntime

        if broken := broken_onnxruntime(error):
            raise broken from error
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    _sessions.add(session)
    return session
