"""Which device runs a bundle, and why."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloop.backends.interface import Backend
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.json_fields import shown
from latentloop.errors import InputError, LatentLoopError, MissingError
from latentloop.sampling import validation

if TYPE_CHECKING:  # imported late: most machines have no GPU, and each import delays the first image
    from latentloop.engines.engine_set import EngineSet
    from latentloop.kernels.driver import Driver

Make = Callable[[], Backend]
DEVICES = ("cpu", "cuda", "tensorrt", "onnxruntime-tensorrt")
BEST_FIRST = ("tensorrt", "cuda")  # of those that "auto" tries before the CPU
_PROVIDERS = {"cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}


def open_backend(bundle: Bundle, device: object, threads: int, precision: object) -> Backend:
    """The backend that ``device`` means. Raises InputError, and MissingError for what this installation cannot use."""
    kind, number = _parse(device)
    if kind == "cpu":
        return _cpu(bundle, threads, precision, "as asked for")
    if kind != "auto":
        return _find(kind, bundle, number, precision)()
    reasons = []
    try:
        open_gpu()
    except MissingError as error:
        return _on_cpu(bundle, threads, precision, str(error))
    for candidate in BEST_FIRST:
        try:
            return _find(candidate, bundle, number, precision)()
        except LatentLoopError as error:
            reasons.append(f"{candidate}: {error}")
    return _on_cpu(bundle, threads, precision, "; ".join(reasons))


def _on_cpu(bundle: Bundle, threads: int, precision: object, reason: str) -> Backend:
    """The CPU because nothing better works."""
    try:
        return _cpu(bundle, threads, precision, reason)
    except InputError as error:
        from latentloop.engines.engine_set import NARROW

        if precision not in NARROW:  # engines alone have these, so why there are none is what helps
            raise
        raise InputError(f"{error}; {reason}") from error


def usable(bundle: Bundle | None) -> dict[str, str]:
    """By device, "yes" with what would run the bundle, or "no" with what is missing."""
    found = {}
    for kind in DEVICES:
        try:
            if kind == "cpu":
                _check_onnxruntime()
            elif bundle is None:
                raise MissingError("the bundle cannot be opened")
            else:
                _find(kind, bundle, 0, "float32")
            found[kind] = "yes"
        except LatentLoopError as error:
            found[kind] = f"no: {error}"
    return found


def _check_onnxruntime() -> None:
    """Raises MissingError that says what is wrong with it."""
    import latentloop.backends.onnxruntime  # noqa: F401


def open_gpu() -> Driver:
    """What drives the GPU. Raises MissingError without one."""
    try:
        ctypes.CDLL("libcuda.so.1")  # the quickest thing to ask, and on most machines without a GPU the last
    except OSError:
        raise MissingError("no NVIDIA driver here (libcuda.so.1)") from None
    from latentloop.kernels.driver import MissingGpuError, open_driver

    try:
        return open_driver()
    except MissingGpuError as error:
        raise MissingError(f'{error}: pip install "latentloop[gpu]"') from error


def _parse(device: object) -> tuple[str, int]:
    if isinstance(device, str):
        kind, colon, number = device.partition(":")
        is_number = number.isdecimal() and len(number) < 4
        if device in ("auto", "cpu") or (kind in DEVICES[1:] and (is_number or not colon)):
            return kind, int(number or 0)
    raise InputError(
        f"device is {shown(device)}, expected auto, {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, for a GPU also with "
        "its number, as in cuda:1"
    )


def _cpu(bundle: Bundle, threads: int, precision: object, reason: str) -> Backend:
    from latentloop.backends.cpu.backend import CpuBackend

    checked = validation.check_precision(precision, bundle.manifest)
    return CpuBackend(bundle, threads, checked, reason)


def _find(kind: str, bundle: Bundle, number: int, precision: object) -> Make:
    """What makes the backend, or MissingError where something that it needs is not there; DeviceError for a GPU that
    fails.
    """
    driver = open_gpu()
    from latentloop.backends.gpu.device_context import device_errors

    with device_errors(number):
        if number >= driver.devices():
            raise MissingError(f"device {kind}:{number}: there are {driver.devices()} GPUs, counted from 0")
        if kind == "tensorrt":
            found = _tensorrt(bundle, driver, number, precision)
        else:
            found = _onnxruntime(kind, bundle, driver, number, precision)

    def make() -> Backend:
        with device_errors(number):
            return found()

    return make


def _tensorrt(bundle: Bundle, driver: Driver, number: int, precision: object) -> Make:
    from latentloop.backends.gpu.tensorrt_module import tensorrt_module
    from latentloop.engines.engine_set import FLAVOURS, architecture_of
    from latentloop.engines.finding import find_engines

    checked = validation.check_engine_precision(precision)
    with driver.use(number):
        architecture = architecture_of(driver.capability())
    reasons = []
    for flavour in FLAVOURS:
        try:
            module = tensorrt_module(flavour)
        except MissingError as error:
            reasons.append(str(error))
            continue
        if module is None:
            continue
        library = str(module.__version__)
        engines = find_engines(bundle, flavour=flavour, library=library, architecture=architecture, precision=checked)
        if isinstance(engines, str):
            command = f"latentloop build-engines {bundle.path} --precision {checked}"
            reasons.append(engines if "build-engines" in engines else f"{engines}: {command}")
            continue

        return partial(_with_engines, bundle, driver, number, module, engines)
    if reasons:
        raise MissingError("; ".join(reasons))
    raise MissingError('engines need tensorrt or tensorrt_rtx: pip install "latentloop[trt]" or "latentloop[rtx]"')


def _with_engines(bundle: Bundle, driver: Driver, number: int, module: Any, engines: EngineSet) -> Backend:
    from latentloop.backends.gpu.backend import GpuBackend
    from latentloop.backends.gpu.tensorrt_engines import Engines

    with driver.use(number):
        context = driver.context()  # in whose memory the engines lie
    graphs = bundle.kept(("engines", engines.folder, context), lambda: Engines(module, engines))
    reason = f"{engines.flavour} {engines.library}, engines for {engines.architecture}"
    return GpuBackend(bundle, graphs, driver, number, f"tensorrt:{number}", reason)


def _onnxruntime(kind: str, bundle: Bundle, driver: Driver, number: int, precision: object) -> Make:
    _check_onnxruntime()
    import onnxruntime

    checked = validation.check_precision(precision, bundle.manifest)
    provider = _PROVIDERS[kind]
    if provider not in onnxruntime.get_available_providers():
        raise MissingError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {provider}: pip uninstall -y onnxruntime && "
            "pip install onnxruntime-gpu cuda-bindings"
        )

    return partial(_with_sessions, bundle, driver, number, kind, checked)


def _with_sessions(bundle: Bundle, driver: Driver, number: int, kind: str, precision: str) -> Backend:
    import onnxruntime

    from latentloop.backends.gpu.backend import GpuBackend
    from latentloop.backends.gpu.onnxruntime_sessions import Sessions

    graphs = Sessions(bundle, _PROVIDERS[kind], number, precision)
    reason = f"ONNX Runtime {onnxruntime.__version__}, {_PROVIDERS[kind]}"
    return GpuBackend(bundle, graphs, driver, number, f"{kind}:{number}", reason)
