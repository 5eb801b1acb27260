"""``latentloop info``: versions, devices and the bundle, and the reason for everything that cannot be used."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop._version import __version__
from latentloop.cli import messages, options
from latentloop.environment import c_library, machine
from latentloop.environment.import_checks import blocked_imports, import_failures
from latentloop.errors import InputError, LatentLoopError, MissingError, printable

if TYPE_CHECKING:
    from latentloop.bundles.bundle import Bundle

HELP = "show versions, devices and the bundle: what a bug report needs"
EPILOG = """examples:
  latentloop info
  latentloop info my-bundle --json
  latentloop info hf://owner/name@revision
  cmake -S . -B build -Dlatentloop_DIR="$(latentloop info --cmake-dir)"
"""
_SLOWER = "graphs run in standard ONNX operators, more slowly"
_PACKAGES = {  # the module that LatentLoop imports from each package
    "numpy": "numpy.typing",
    "onnxruntime": "latentloop.backends.onnxruntime",
    "onnxruntime-gpu": "latentloop.backends.onnxruntime",
    "pillow": "PIL.Image",
    "tqdm": "tqdm.std",
    "torch": "torch.nn",
    "onnx": "onnx.helper",
    "safetensors": "safetensors.numpy",
    "tensorrt": "tensorrt",
    "tensorrt-rtx-cu13": "tensorrt_rtx",
    "cuda-bindings": "cuda.bindings.driver",
    "pycuda": "pycuda.driver",
    "huggingface_hub": "huggingface_hub",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_bundle(parser, argument=True)
    parser.add_argument("--json", action="store_true", help="print as JSON")
    for_c = parser.add_argument_group("for C and C++ programs, print only").add_mutually_exclusive_group()
    for_c.add_argument("--cmake-dir", action="store_true", help="the folder of the CMake package, for latentloop_DIR")
    for_c.add_argument("--onnxruntime", action="store_true", help="the path of ONNX Runtime's library")


def run(arguments: argparse.Namespace) -> int:
    """Prints the report and returns the exit status.

    Raises BundleError if ``--bundle`` cannot be opened, and MissingError if the path to print does not exist.
    """
    if arguments.cmake_dir or arguments.onnxruntime:
        if arguments.json or options.bundle_path(arguments) is not None:
            raise InputError("--cmake-dir and --onnxruntime print a path only: leave out --json and the bundle")
        messages.print_line(str(c_library.cmake_folder() if arguments.cmake_dir else c_library.onnxruntime_library()))
        return 0
    versions = {name: machine.package_version(name) for name in _PACKAGES}
    modules = {name: module for name, module in _PACKAGES.items() if versions[name]}
    for name, module in _PACKAGES.items():
        if module not in modules.values() and _is_installed(_import_name(module)):  # under another distribution name
            modules[name] = module
    reasons = import_failures(modules.values())
    broken = {name: reasons[module] for name, module in modules.items() if module in reasons}
    with blocked_imports({_import_name(module): reason for module, reason in reasons.items()}):
        report = _report(arguments, versions, broken)
    if arguments.json:
        messages.print_json(report)
    else:
        _print(report)
    return 0


def _import_name(module: str) -> str:
    """Returns the package whose import ``module`` tests: "onnxruntime" for "latentloop.backends.onnxruntime"."""
    return module.split(".")[-1 if module.startswith("latentloop.") else 0]


def _is_installed(package: str) -> bool:
    """Returns whether a package of that import name exists. A folder without ``__init__.py`` does not count."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _report(arguments: argparse.Namespace, versions: dict[str, str | None], broken: dict[str, str]) -> dict[str, Any]:
    """Returns everything that is printed. Does not import ``broken`` packages, which could end the process."""
    is_default = options.bundle_path(arguments) is None
    bundle, error = _open(arguments, broken.get("numpy"))
    described = {"error": error} if bundle is None else _describe(bundle)
    report: dict[str, Any] = {
        "latentloop": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "packages": versions,
        "broken": broken,
        "platform": platform.platform(),
        "processor": machine.processor(),
        **_onnxruntime(bundle, broken.get("numpy") or broken.get("onnxruntime") or broken.get("onnxruntime-gpu")),
        "operators": broken.get("numpy") or _text_or_error(_operators),
        "gpu_kernels": broken.get("numpy") or _text_or_error(_gpu_kernels),
        "c_library": broken.get("numpy") or _text_or_error(c_library.described),
        "bundle": {"default": is_default, **described},
    }
    if report["packages"]["onnxruntime"] and report["packages"]["onnxruntime-gpu"]:
        report["warning"] = (
            "onnxruntime and onnxruntime-gpu are both installed and share one import name, so either may be loaded: "
            "uninstall both, then install the one you want"
        )
    return report


def _onnxruntime(bundle: Bundle | None, broken: str | None) -> dict[str, Any]:
    """Returns threads, providers and devices that can run the bundle, or why ONNX Runtime cannot be loaded."""
    report: dict[str, Any] = {"threads": machine.available_threads(), "providers": []}
    if broken is not None:
        return {**report, "devices": {"cpu": f"no: {broken}"}}
    try:
        from latentloop.backends.registry import usable

        report["devices"] = usable(bundle)
        import onnxruntime

        report["providers"] = onnxruntime.get_available_providers()
    except Exception as error:  # this command must also report on a broken installation
        report.setdefault("devices", {"cpu": f"no: {error}"})
    return report


def _text_or_error(describe: Callable[[], str]) -> str:
    """Returns the text of ``describe``, or its error, so that one failure does not hide the rest of the report."""
    try:
        return describe()
    except Exception as error:
        return f"not known: {type(error).__name__}: {error}"


def _operators() -> str:
    """Returns whether the native operators were built, and which instruction set they use on this machine."""
    from latentloop.kernels.library import instruction_set, operators, problem  # late, so that --help is fast

    library = operators()
    if library is None:
        return f"not built: {_SLOWER}; install a C++ compiler and reinstall"
    reason, name = problem(library), "instruction set not known"
    if reason is None:
        try:
            with suppress(AttributeError):  # a library of another release, which graphs can use
                name = instruction_set(library)
        except OSError as error:
            reason = str(error)
    reason = reason or _registration_problem(library)
    if reason is None:
        return f"{name} ({library})"
    return f"{library} cannot be loaded: {reason}; {_SLOWER}; reinstall latentloop"


def _registration_problem(library: Path) -> str | None:
    """Returns why ONNX Runtime cannot load an operator library; None if it can, or if it is not installed itself."""
    try:
        from latentloop.backends.onnxruntime import registration_problem
    except MissingError:
        return None
    return registration_problem(library)


def _gpu_kernels() -> str:
    """Returns whether the nearest-codebook kernel was compiled for GPUs, and which package calls the driver here."""
    from latentloop.kernels.driver import MissingGpuError, open_driver
    from latentloop.kernels.nearest_codebook.launcher import FATBIN

    if not FATBIN.is_file():
        return "not built: install nvcc and CMake, and reinstall from the source"
    try:
        return f"nearest codebook, by {open_driver().name} ({FATBIN})"
    except MissingGpuError as error:
        return f"nearest codebook, built but not usable: {error}"


def _open(arguments: argparse.Namespace, broken: str | None) -> tuple[Bundle | None, str]:
    """Returns the bundle, or None and why the default one cannot be opened. ``broken`` is NumPy's import error."""
    if broken is not None:
        return None, broken
    try:
        return options.open_selected(arguments), ""
    except Exception as error:
        if options.bundle_path(arguments) is not None and isinstance(error, LatentLoopError):
            raise
        return None, str(error)


def _describe(bundle: Bundle) -> dict[str, Any]:
    from latentloop.bundles.memory import described  # late, so that --help is fast
    from latentloop.io.file_names import MANIFEST

    manifest = bundle.manifest
    return {
        "path": str(bundle.path),
        "address": bundle.address,
        "commit": bundle.commit,
        "image": list(manifest.image),
        "levels": [
            {
                "name": level.name,
                "grid": [level.height, level.width],
                "codebook_size": level.codebook_size,
                "prior": level.prior is not None,
            }
            for level in manifest.levels
        ],
        "classes": list(manifest.classes),
        "classifier": manifest.classifier is not None,
        "precisions": list(manifest.precisions),
        "memory": {precision: described(bundle, precision) for precision in manifest.precisions},
        "checkpoints": _checkpoints(manifest.provenance),
        "bytes": (bundle.path / MANIFEST).stat().st_size + sum(record.size for record in manifest.files.values()),
        "exporter": manifest.exporter,
        "licence": manifest.licence,
    }


def _checkpoints(provenance: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns each checkpoint's file, SHA-256 and variant of residual blocks, as far as the manifest records them."""
    models = provenance.get("models")
    checkpoints = {}
    for name, model in models.items() if isinstance(models, dict) else ():
        if isinstance(model, dict):
            configuration = model.get("configuration")
            inplace = isinstance(configuration, dict) and configuration.get("inplace") is True
            recorded = {key: value for key in ("file", "sha256") if isinstance(value := model.get(key), str)}
            checkpoints[str(name)] = {"file": None, "sha256": None, **recorded, "inplace": inplace}
    return checkpoints


def _print(report: dict[str, Any]) -> None:
    packages, processor, bundle = report["packages"], report["processor"], report["bundle"]
    rows = [
        ("latentloop", report["latentloop"]),
        ("python", report["python"]),
        *((name, _package(version, report["broken"].get(name))) for name, version in packages.items()),
        ("platform", report["platform"]),
        ("processor", f"{processor['name']} ({', '.join(processor['instructions']) or 'no known extensions'})"),
        ("threads", report["threads"]),
        ("providers", ", ".join(report["providers"])),
        *((f"device {name}", text) for name, text in report["devices"].items()),
        ("operators", report["operators"]),
        ("GPU kernels", report["gpu_kernels"]),
        ("C library", report["c_library"]),
    ]
    if "error" in bundle:
        rows.append(("default bundle", f"not usable: {bundle['error']}"))
    else:
        height, width, channels = bundle["image"]
        classes = f"{len(bundle['classes'])}: {', '.join(bundle['classes'][:20])}" if bundle["classes"] else "none"
        rows += [
            ("default bundle" if bundle["default"] else "bundle", bundle["address"] or bundle["path"]),
            *([("  commit", bundle["commit"]), ("  folder", bundle["path"])] if bundle["address"] else []),
            ("  images", f"{height} x {width}, {'grey' if channels == 1 else 'RGB'}"),
            *((f"  {level['name']}", _level(level)) for level in bundle["levels"]),
            ("  classes", classes),
            ("  classifier", "yes" if bundle["classifier"] else "none"),
            ("  precisions", ", ".join(bundle["precisions"])),
            *((f"  memory, {precision}", _needed(each)) for precision, each in bundle["memory"].items()),
            *((f"  {name}'s file", _checkpoint(each)) for name, each in bundle["checkpoints"].items()),
            ("  size", f"{bundle['bytes'] / 1e6:.1f} MB, exported by {bundle['exporter']}"),
        ]
    if "warning" in report:
        rows.append(("warning", report["warning"]))
    shown = [(printable(name), printable(value)) for name, value in rows]
    column = max(len(name) for name, _ in shown)
    for name, value in shown:
        messages.print_line(f"{name:<{column}} {value}")


def _needed(memory: dict[str, Any]) -> str:
    each = memory["bytes_per_further_image"]
    more = f"{each / 1e6:.0f} MB" if each >= 999_500 else f"{each / 1e3:.0f} kB"
    use = "sample" if memory["levels"] else "encode or decode"  # a VQ-VAE without priors
    text = f"about {memory['bytes'] / 1e9:.1f} GB to {use} an image on a CPU, {more} for each more at once"
    return f"{text}; the priors are loaded one after the other" if memory["one_level_at_a_time"] else text


def _package(version: str | None, broken: str | None) -> str:
    text = "not installed" if version is None else version
    return f"{text}, broken: {broken}" if broken else text


def _level(level: dict[str, Any]) -> str:
    height, width = level["grid"]
    return f"{height} x {width} codes of {level['codebook_size']}, {'a prior' if level['prior'] else 'no prior'}"


def _checkpoint(described: dict[str, Any]) -> str:
    variant = ", the older forward (in place)" if described["inplace"] else ""
    return f"{described['file'] or 'name not recorded'}, SHA-256 {described['sha256'] or 'not recorded'}{variant}"
