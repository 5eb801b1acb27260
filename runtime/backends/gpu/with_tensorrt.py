"""The backend ``tensorrt``: a bundle's engines on TensorRT or TensorRT for RTX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latentloop.backends.gpu import availability
from latentloop.errors import MissingError

if TYPE_CHECKING:  # imported late for the reason given in ``availability``
    from latentloop.backends.interface import Backend
    from latentloop.backends.registry import BackendRequest
    from latentloop.bundles.bundle import Bundle
    from latentloop.engines.engine_set import EngineSet
    from latentloop.kernels.driver import Driver


def check(name: str) -> None:
    """Raises MissingError if there is no GPU."""
    availability.open_gpu()


def find(request: BackendRequest) -> Callable[[], Backend]:
    """Implements ``BackendModule.find``; finds the GPU, TensorRT, and the bundle's engines for both."""
    with availability.gpu(request.name, request.number) as driver:
        from latentloop.engines.engine_set import architecture_of, check_precision

        precision = check_precision(request.precision)
        with driver.use(request.number):
            architecture = architecture_of(driver.capability())
        module, engines = _find_engines(request.bundle, architecture, precision)
    return availability.reporting_device_errors(
        request.number, lambda: _with_engines(request.bundle, driver, request.number, module, engines)
    )


def _find_engines(bundle: Bundle, architecture: str, precision: str) -> tuple[Any, EngineSet]:
    """Returns the first installed TensorRT module for which the bundle has engines, and these engines.

    Raises MissingError with the reasons if there is none.
    """
    from latentloop.backends.gpu.tensorrt_module import tensorrt_module
    from latentloop.engines.engine_set import FLAVOURS
    from latentloop.engines.finding import find_engines

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
        engines = find_engines(bundle, flavour=flavour, library=library, architecture=architecture, precision=precision)
        if not isinstance(engines, str):
            return module, engines
        command = f"latentloop build-engines {bundle.path} --precision {precision}"
        reasons.append(engines if "build-engines" in engines else f"{engines}: {command}")
    if reasons:
        raise MissingError("; ".join(reasons))
    raise MissingError('engines need tensorrt or tensorrt_rtx: pip install "latentloop[trt]" or "latentloop[rtx]"')


def _with_engines(bundle: Bundle, driver: Driver, number: int, module: Any, engines: EngineSet) -> Backend:
    from latentloop.backends.gpu.backend import GpuBackend
    from latentloop.backends.gpu.tensorrt_engines import TensorRtGraphs

    with driver.use(number):
        context = driver.context()  # engines are loaded into a context, and cached per context
    graphs = bundle.cached(("engines", engines.folder, context), lambda: TensorRtGraphs(module, engines))
    reason = f"{engines.flavour} {engines.library}, engines for {engines.architecture}"
    return GpuBackend(bundle, graphs, driver, number, f"tensorrt:{number}", reason)
