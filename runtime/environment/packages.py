"""Importing optional packages, and errors for those that are missing, broken or too old: one sentence with a remedy."""

from __future__ import annotations

import traceback
from importlib import import_module, metadata, util
from pathlib import Path
from types import ModuleType

from latentloop.errors import MissingError

_DISTRIBUTIONS = {"PIL": "pillow", "cuda": "cuda-bindings"}  # by module, if the distribution has another name
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")  # distributions that install a module of the same name


def require(purpose: str, *packages: str, extra: str = "export") -> None:
    """Imports ``packages``.

    Raises MissingError with a remedy if one is broken or not installed. ``purpose`` names what needs them.
    """
    for package in packages:
        try:
            import_package(package)
        except Exception as error:
            if not is_missing(package, error):
                raise package_error(package, error) from error
            required = " and ".join(packages)
            raise MissingError(f'{purpose} needs {required}: pip install "latentloop[{extra}]"') from error


def import_package(name: str) -> ModuleType:
    """Returns the module. Raises any error of its import, and ImportError if all that is installed is a folder."""
    module = import_module(name)
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise ImportError(f"{', '.join(module.__path__)} has no __init__.py")
    return module


def is_missing(package: str, error: BaseException) -> bool:
    """Returns whether the package's import raised ``error`` because it is not installed, rather than broken."""
    return isinstance(error, ModuleNotFoundError) and f"{package}.".startswith(f"{error.name}.")


def package_error(package: str, error: BaseException) -> MissingError:
    """Returns the MissingError for a package whose import or use raised ``error``."""
    module = package.partition(".")[0]
    distributions = sorted(set(metadata.packages_distributions().get(module, [])))
    if not distributions and is_missing(package, error):
        return MissingError(f"{package} is not installed: pip install {_DISTRIBUTIONS.get(module, package)}")
    if module == "onnxruntime":
        wanted = distributions[0] if len(distributions) == 1 else module
        remedy = f"pip uninstall -y {' '.join(dict.fromkeys((*_ONNXRUNTIME, *distributions)))} && pip install {wanted}"
    else:
        remedy = f"pip install --force-reinstall {' '.join(distributions or [module])}"
    if path := _foreign_path(module, distributions):
        remedy = f"{path} is imported, and no installed package owns it: rename or remove it, or {remedy}"
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return MissingError(f"the installation of {' and '.join(distributions or [module])} is broken ({reason}): {remedy}")


def broken_import(error: Exception) -> MissingError | None:
    """Returns the MissingError for an error of importing another project's package, None for any other error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    importing = [frame.f_globals.get("__name__", "") for frame in frames if frame.f_code.co_name == "<module>"]
    modules = [name for name in importing if name.partition(".")[0] not in ("latentloop", "__main__", "importlib")]
    if isinstance(error, ImportError) and error.name:
        modules.append(error.name)
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):  # only an empty module was installed
        modules.append(error.obj.__name__)
    package = modules[0].partition(".")[0] if modules else "latentloop"
    return None if package == "latentloop" else package_error(package, error)


def broken_onnxruntime(error: Exception) -> MissingError | None:
    """Returns the MissingError for an error which shows that a part of ONNX Runtime is missing, None for any other."""
    module = ""
    if isinstance(error, AttributeError):
        owner = error.obj if isinstance(error.obj, ModuleType | type) else type(error.obj)
        module = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
    elif isinstance(error, ImportError):
        module = error.name or ""
    return package_error("onnxruntime", error) if module.partition(".")[0] == "onnxruntime" else None


def _foreign_path(module: str, distributions: list[str]) -> Path | None:
    """Returns the path that a module is imported from if none of these distributions installed it there, else None."""
    try:
        spec = util.find_spec(module)
        if spec is None:
            return None
        path = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ""))
        installed = [Path(str(metadata.distribution(name).locate_file(module))) for name in distributions]
        return None if any(folder.is_dir() and path.samefile(folder) for folder in installed) else path
    except (ImportError, ValueError, OSError):
        return None
