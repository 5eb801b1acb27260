"""Opening of ONNX Runtime sessions, for the CPU and for GPUs.

Importing this module raises MissingError if ONNX Runtime is missing, broken or too old.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np

from latentloop.backends.bundle_errors import out_of_memory
from latentloop.backends.codec_graphs import check_codec_graph
from latentloop.errors import BundleError, MissingError
from latentloop.kernels.library import is_unusable, problem, warn_unusable

if TYPE_CHECKING:
    from latentloop.bundles.bundle import Bundle

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

Provider = str | tuple[str, dict[str, str]]  # the name of an execution provider, with options
_sessions: WeakSet[onnxruntime.InferenceSession] = WeakSet()


class _FirstSession:
    """Lets one thread alone create the first session: ONNX Runtime (1.32) then adds the domain of the operators to a
    table without a lock. Other sessions may be created at the same time.
    """

    def __init__(self) -> None:
        self.lock, self.exists = threading.Lock(), False

    @contextmanager
    def alone(self) -> Iterator[None]:
        if self.exists:
            yield
            return
        with self.lock:
            yield
            self.exists = True


_first_session = _FirstSession()


def _after_fork() -> None:
    """Keeps sessions alive in a forked process: their threads do not exist there, and destruction waits for them."""
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    _first_session.lock = threading.Lock()  # another thread may have held the parent's


os.register_at_fork(after_in_child=_after_fork)


def check_provider(provider: str) -> None:
    """Raises MissingError if the installed ONNX Runtime lacks the execution provider."""
    if provider not in onnxruntime.get_available_providers():
        raise MissingError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {provider}: pip uninstall -y onnxruntime && "
            "pip install onnxruntime-gpu cuda-bindings"
        )


def _options(operators: Path | None) -> onnxruntime.SessionOptions:
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
    return _options(None)


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


def open_graph(
    bundle: Bundle, file: str, providers: Sequence[Provider], operators: Path | None, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Returns a new session of a bundle's graph; the other arguments are those of ``open_session``.

    Raises BundleError like ``open_session``, if the graph or its weights have changed since they were verified, and if
    an encoder, decoder or classifier does not fit the manifest.
    """
    weights = bundle.manifest.weights
    with bundle.unchanged(file, weights):
        session = open_session(bundle.path / file, providers, operators, threads, bundle.path / weights)
    check_codec_graph(bundle, file, session)
    return session


def open_session(
    path: Path,
    providers: Sequence[Provider],
    operators: Path | None,
    threads: int | None = None,
    weights: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Returns the session of an ONNX file.

    ``providers`` are execution providers, in the order of preference. ``operators`` is the library of native operators:
    without it, or if it cannot be loaded, ONNX Runtime runs the function bodies of these operators. ``threads`` limits
    the threads on the CPU. ``weights``, in the same folder, has the graph's external data.

    Raises BundleError if the file cannot be loaded, or if ONNX Runtime cannot use the first provider.
    """
    options = _options(operators)
    if threads is not None:
        options.intra_op_num_threads = threads
        # The row and step graphs have separate sessions and threads: idle threads that spin would slow the others down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = _load(path, weights, options, providers)
    first, usable = providers[0], session.get_providers()
    name = first if isinstance(first, str) else first[0]
    if name not in usable:  # ONNX Runtime falls back to the CPU without an error
        raise BundleError(f"{path}: ONNX Runtime cannot use its {name} here, only {', '.join(usable)}")
    return session


def _load(
    path: Path, weights: Path | None, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    """Returns the session of an ONNX file. Raises BundleError if it cannot be loaded.

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
        with _first_session.alone():
            session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        from latentloop.environment.packages import broken_onnxruntime

        if broken := broken_onnxruntime(error):
            raise broken from error
        if shortage := out_of_memory(error):
            raise shortage from error
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    _sessions.add(session)
    return session
