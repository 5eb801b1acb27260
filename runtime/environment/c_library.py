"""The C library, liblatentloop: where a C or C++ program finds it, its CMake package, and ONNX Runtime's library."""

from __future__ import annotations

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path

from latentloop.errors import MissingError

_REMEDY = (
    "install a C++ compiler, nlohmann-json and OpenSSL's static library (Debian: apt install g++ nlohmann-json3-dev "
    "libssl-dev) and reinstall latentloop"
)


def library() -> Path:
    """Returns the path of ``liblatentloop.so``. It is not loaded.

    Raises MissingError, with the remedy, if it was not built or cannot be a library.
    """
    from latentloop.kernels.library import problem  # late: it imports NumPy

    # Not resolved: in an editable install the file is a link, and what belongs to it lies beside the link.
    path = Path(__file__).absolute().parents[1] / "cpp" / "lib" / "liblatentloop.so"
    if not os.path.lexists(path):
        raise MissingError(f"the C library was not built: {_REMEDY}")
    if reason := problem(path):
        raise MissingError(f"{path} cannot be loaded: {reason}: reinstall latentloop")
    return path


def cmake_folder() -> Path:
    """Returns the folder of the CMake package, for CMake's variable ``latentloop_DIR`` or ``CMAKE_PREFIX_PATH``.

    Raises MissingError, with the remedy, if the library was not built.
    """
    return library().parent / "cmake" / "latentloop"


def onnxruntime_library() -> Path:
    """Returns the path of ONNX Runtime's shared library in the installed package, which is not imported.

    Raises MissingError, with the remedy, if there is none.
    """
    spec = find_spec("onnxruntime")
    if spec is None or not spec.origin:
        raise MissingError("onnxruntime is not installed: pip install onnxruntime")
    folder = Path(spec.origin).parent / "capi"
    libraries = sorted(folder.glob("libonnxruntime.so*"))
    if not libraries:
        raise MissingError(
            f"{folder} has no libonnxruntime.so: pip install --force-reinstall onnxruntime, or get ONNX Runtime's "
            "package for C and C++"
        )
    return libraries[-1]


def described() -> str:
    """Returns the library's version and path, or why it cannot be used and the remedy."""
    try:
        path = library()
    except MissingError as error:
        return str(error)
    try:
        version = ctypes.CDLL(str(path)).ll_version
        version.restype = ctypes.c_char_p
        return f"{version().decode()} ({path})"
    except (OSError, AttributeError) as error:
        return f"{path} cannot be loaded: {error}: reinstall latentloop"
