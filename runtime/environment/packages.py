"""Packages that are missing, broken or too old: one sentence with the pip line."""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType

from latentloop.errors import MissingError

_LONGEST = 60  # seconds that an import may take
_IMPORTED = 73  # the exit status of a process that came to its end: an import may end one with any other
_DISTRIBUTIONS = {"PIL": "pillow", "cuda": "cuda-bindings"}  # where the module has another name
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")  # packages that own one import name


def require(purpose: str, *packages: str, extra: str = "export") -> None:
    """Imports ``packages``; raises MissingError, "<purpose> needs …", where one is not there, and says so of one that
    is broken.
    """
    for package in packages:
        try:
            import_package(package)
        except Exception as error:
            if not is_missing(package, error):
                raise unusable(package, error) from error
            needed = " and ".join(packages)
            raise MissingError(f'{purpose} needs {needed}: pip install "latentloop[{extra}]"') from error


def import_package(name: str) -> ModuleType:
    """The module. Raises whatever its import does, and ImportError for a folder that is left of an installation."""
    module = import_module(name)
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise ImportError(f"{', '.join(module.__path__)} has no __init__.py")
    return module


def why_broken(modules: Iterable[str]) -> dict[str, str]:
    """Which of these modules cannot be imported, with the reason. Each is tried in a process of its own, as an import
    may end one.
    """
    start = f"import sys; sys.path[:] = {sys.path}; from latentloop.environment.packages import import_package"
    started = {}
    for module in modules:
        if sys.modules.get(module) is None:
            code = f"{start}; import_package({module!r}); sys.exit({_IMPORTED})"
            command = [sys.executable, "-c", code]
            started[module] = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
            )
    reasons = {}
    for module, process in started.items():
        try:
            said = process.communicate(timeout=_LONGEST)[1].strip().splitlines()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            reasons[module] = f"its import takes more than {_LONGEST} s"
            continue
        if process.returncode < 0:
            reasons[module] = f"its import ends the process by {signal.Signals(-process.returncode).name}"
        elif process.returncode != _IMPORTED:
            last = said[-1] if said else f"its import ends the process with the status {process.returncode}"
            reasons[module] = last.removeprefix("latentloop.errors.MissingError: ")
    return reasons


@contextmanager
def refused(reasons: Mapping[str, str]) -> Iterator[None]:
    """While it lasts, the import of these packages raises ImportError with these reasons: the real one may end the
    process.
    """
    finder = _Refusing(reasons)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Refusing:
    """A finder of modules that finds none, and raises for some."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self._reasons = reasons

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises ImportError for a module of a package that is refused."""
        top = name.partition(".")[0]
        if top in self._reasons:
            raise ImportError(self._reasons[top], name=name)


def is_missing(package: str, error: BaseException) -> bool:
    """Whether the import failed because the package is not installed, rather than broken."""
    return isinstance(error, ModuleNotFoundError) and f"{package}.".startswith(f"{error.name}.")


def broken_import(error: Exception) -> MissingError | None:
    """What to say of an error that the import of another project's package ended with; None for any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    loading = [frame.f_globals.get("__name__", "") for frame in frames if frame.f_code.co_name == "<module>"]
    others = [name for name in loading if name.partition(".")[0] not in ("latentloop", "__main__", "importlib")]
    if isinstance(error, ImportError) and error.name:
        others.append(error.name)
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):  # an empty folder is imported so far
        others.append(error.obj.__name__)
    package = others[0].partition(".")[0] if others else "latentloop"
    return None if package == "latentloop" else unusable(package, error)


def broken_onnxruntime(error: Exception) -> MissingError | None:
    """What to say of an error that means that ONNX Runtime lacks a part of itself; None for any other error."""
    if isinstance(error, AttributeError):
        owner = error.obj if isinstance(error.obj, ModuleType | type) else type(error.obj)
        name = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
    else:
        name = getattr(error, "name", None) or "" if isinstance(error, ImportError) else ""
    return unusable("onnxruntime", error) if name.partition(".")[0] == "onnxruntime" else None


def unusable(package: str, error: BaseException) -> MissingError:
    """What to say of a package that cannot be imported, or not be used."""
    top = package.partition(".")[0]
    names = sorted(set(metadata.packages_distributions().get(top, [])))
    if not names and is_missing(package, error):
        return MissingError(f"{package} is not installed: pip install {_DISTRIBUTIONS.get(top, package)}")
    if top == "onnxruntime":
        wanted = names[0] if len(names) == 1 else top
        remedy = f"pip uninstall -y {' '.join(dict.fromkeys((*_ONNXRUNTIME, *names)))} && pip install {wanted}"
    else:
        remedy = f"pip install --force-reinstall {' '.join(names or [top])}"
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if other := _other_place(top, names):
        remedy = f"{other} is imported, which no installed package brought: rename or remove it, or {remedy}"
    return MissingError(f"the installation of {' and '.join(names or [top])} is broken ({reason}): {remedy}")


def _other_place(top: str, names: list[str]) -> Path | None:
    """What is imported under a name, where none of the packages of these names brought it."""
    try:
        spec = util.find_spec(top)
        if spec is None:
            return None
        found = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ""))
        installed = [Path(str(metadata.distribution(name).locate_file(top))) for name in names]
        return None if any(place.is_dir() and found.samefile(place) for place in installed) else found
    except (ImportError, ValueError, OSError):
        return None
