"""The backends ``cuda`` and ``onnxruntime-tensorrt``: a bundle's ONNX files on ONNX Runtime's execution providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latentloop.backends.gpu import availability

if TYPE_CHECKING:  # imported late for the reason given in ``availability``
    from latentloop.backends.interface import Backend
    from latentloop.backends.registry import BackendRequest
    from latentloop.kernels.driver import Driver


_PROVIDERS = {"cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}


def check(name: str) -> None:
    """Raises MissingError if there is no GPU, or if the installed ONNX Runtime lacks the execution provider."""
    availability.open_gpu()
    _check_provider(name)


def find(request: BackendRequest) -> Callable[[], Backend]:
    """Implements ``BackendModule.find``; finds the GPU and the execution provider."""
    with availability.gpu(request.name, request.number) as driver:
        precision = request.bundle.manifest.check_precision(request.precision)
        _check_provider(request.name)
    return availability.reporting_device_errors(request.number, lambda: _with_sessions(request, driver, precision))


def _check_provider(name: str) -> None:
    from latentloop.backends.onnxruntime import check_provider  # its import raises MissingError for a broken package

    check_provider(_PROVIDERS[name])


def _with_sessions(request: BackendRequest, driver: Driver, precision: str) -> Backend:
    import onnxruntime

    from latentloop.backends.gpu.backend import GpuBackend
    from latentloop.backends.gpu.onnxruntime_sessions import OnnxRuntimeGraphs

    provider = _PROVIDERS[request.name]
    graphs = OnnxRuntimeGraphs(request.bundle, provider, request.number, precision)
    reason = f"ONNX Runtime {onnxruntime.__version__}, {provider}"
    return GpuBackend(request.bundle, graphs, driver, request.number, f"{request.name}:{request.number}", reason)
