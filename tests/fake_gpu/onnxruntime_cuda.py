"""A simulation of ONNX Runtime's CUDA provider: sessions enqueue work on the simulated GPU, and the CPU executes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

from fake_gpu.accesses import Access, check_no_overlap
from fake_gpu.driver import FakeDriver
from fake_gpu.onnx_execution import BoundTensor, bound_run, cpu_session
from fake_gpu.scheduler import FakeGpuError, Run
from latentloop.kernels.driver.stream import Stream

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
DISABLE_SYNCHRONIZATION = "disable_synchronize_execution_providers"
TYPES = {"float32": "float", "float16": "float16", "int64": "int64", "int32": "int32", "uint8": "uint8", "bool": "bool"}

_CpuSession = onnxruntime.InferenceSession


def install(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, providers: Sequence[str] = (CUDA, CPU)) -> None:
    """Patches ``onnxruntime`` to have these providers, for the GPUs of ``driver``."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", CudaSessions(driver, providers))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))


class CudaSessions:
    """A replacement for ``onnxruntime.InferenceSession``. Sessions without a GPU provider are real sessions.

    A session with a GPU provider runs on the device ``device_id`` and the stream ``user_compute_stream``. Operator
    libraries in the session's options are ignored, because libraries for a GPU cannot run here.
    """

    def __init__(self, driver: FakeDriver, providers: Sequence[str]) -> None:
        self._driver, self._providers = driver, list(providers)

    def __call__(self, path_or_bytes: Any, sess_options: Any = None, providers: Sequence[Any] | None = None) -> Any:
        entries = [(entry, {}) if isinstance(entry, str) else entry for entry in providers or []]
        options = {name: settings for name, settings in entries if name in self._providers}  # ignores other providers
        if not options.keys() & {CUDA, TENSORRT}:
            return _CpuSession(path_or_bytes, sess_options, providers=[CPU])
        return CudaSession(self._driver, Path(path_or_bytes), options)


class CudaSession:
    def __init__(self, driver: FakeDriver, path: Path, providers: dict[str, dict[str, str]]) -> None:
        gpu_settings = [settings for name, settings in providers.items() if name != CPU]
        handles = {int(settings.get("user_compute_stream", "0")) for settings in gpu_settings}
        if 0 in handles or len(handles) > 1:
            raise FakeGpuError(
                f"{path}: nothing orders its work with the program's streams: user_compute_stream is {handles}"
            )
        self._driver, self._providers = driver, [*providers, *([] if CPU in providers else [CPU])]
        self.device, self.stream = int(gpu_settings[0].get("device_id", "0")), Stream(handles.pop())
        self.name = path.name
        self._captures = gpu_settings[0].get("enable_cuda_graph") == "1"
        self._captured: dict[str, list[BoundTensor]] = {}  # by gpu_graph_id
        self.session = cpu_session(onnx.load(path).SerializeToString())
        self._inputs = {value.name: value for value in self.session.get_inputs()}
        self._outputs = {value.name: value for value in self.session.get_outputs()}

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return list(self._inputs.values())

    def get_outputs(self) -> list[Any]:
        return list(self._outputs.values())

    def io_binding(self) -> IOBinding:
        return IOBinding(self.device)

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, NDArray[Any]], *_: Any) -> list[Any]:
        """Runs over host arrays: copies them to the GPU and back, and waits."""
        self._fail_if_capturing()
        outputs: list[Any] = self.session.run(output_names, input_feed)
        return outputs

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:
        """Enqueues a run, and waits unless the run options disable that. Raises InvalidArgument for a wrong binding.

        Raises FakeGpuError for an output that overlaps an input, unless both are the same tensor, and for memory that
        the GPU cannot use. A session that captures CUDA graphs also raises FakeGpuError if the tensors differ from
        those of an earlier run with the same ``gpu_graph_id``, because a replay would use the earlier tensors. Programs
        must not rely on a replay to wait, although it does in some versions.
        """
        self._fail_if_capturing()
        missing = self._inputs.keys() - iobinding.tensors.keys()
        if missing:
            raise InvalidArgument(f"{self.name}: inputs that are not bound: {sorted(missing)}")
        tensors = list(iobinding.tensors.values())
        if iobinding.run is None:
            for tensor in tensors:
                self._check(tensor)
            iobinding.accesses = _accesses(self.name, tensors)
            iobinding.run = bound_run(self.name, self.session, tensors)
        graph = _entry(run_options, "gpu_graph_id") or "0"
        if self._captures and graph != "-1" and self._captured.setdefault(graph, tensors) != tensors:
            raise FakeGpuError(f"{self.name}: graph {graph} was captured with other tensors")
        with self._driver.use(self.device):
            self._driver.enqueue(self.name, self.stream, iobinding.run, iobinding.accesses)
            if _entry(run_options, DISABLE_SYNCHRONIZATION) != "1":
                self._driver.synchronize(self._driver.record(self.stream))

    def _fail_if_capturing(self) -> None:
        if self._driver.is_capturing(self.stream):
            self._driver.invalidate_capture(self.stream)
            raise Fail("CUDA failure 900: operation not permitted when stream is capturing")

    def _check(self, tensor: BoundTensor) -> None:
        value = (self._outputs if tensor.is_output else self._inputs).get(tensor.name)
        if value is None:
            raise InvalidArgument(f"{self.name} has no {'output' if tensor.is_output else 'input'} {tensor.name}")
        if value.type != f"tensor({TYPES[tensor.dtype.name]})":
            raise InvalidArgument(f"{self.name}: {tensor.name} is bound as {tensor.dtype.name}, expected {value.type}")
        fits = len(value.shape) == len(tensor.shape) and all(
            expected == actual or not isinstance(expected, int)
            for expected, actual in zip(value.shape, tensor.shape, strict=True)
        )
        if not fits:
            raise InvalidArgument(
                f"{self.name}: {tensor.name} is bound as {list(tensor.shape)}, expected {value.shape}"
            )


class IOBinding:
    """Tensors at addresses of one device's memory, bound to a session's inputs and outputs."""

    def __init__(self, device: int) -> None:
        self._device = device
        self.tensors: dict[str, BoundTensor] = {}
        self.accesses: list[Access] = []
        self.run: Run | None = None  # over these tensors

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        self._bind(name, device_type, device_id, element_type, shape, buffer_ptr, False)

    def bind_output(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Binds an output to an address, which ONNX Runtime itself does not require."""
        self._bind(name, device_type, device_id, element_type, shape, buffer_ptr, True)

    def _bind(
        self, name: str, device_type: str, device: int, element_type: Any, shape: Sequence[int], pointer: int, out: bool
    ) -> None:
        if (device_type, device) != ("cuda", self._device):
            raise FakeGpuError(f"{name} is bound on {device_type}:{device}, the session is on cuda:{self._device}")
        self.tensors[name] = BoundTensor(name, pointer, np.dtype(element_type), tuple(shape), out)
        self.run = None


def _accesses(text: str, tensors: Sequence[BoundTensor]) -> list[Access]:
    """Returns a run's accesses. An input that is also an output counts once. Raises FakeGpuError for other overlaps."""
    outputs = [tensor for tensor in tensors if tensor.is_output]
    output_keys = {(tensor.pointer, tensor.dtype, tensor.shape) for tensor in outputs}
    inputs = [
        tensor
        for tensor in tensors
        if not tensor.is_output and (tensor.pointer, tensor.dtype, tensor.shape) not in output_keys
    ]
    accesses = [tensor.access() for tensor in (*inputs, *outputs)]
    check_no_overlap(text, accesses)
    return accesses


def _entry(run_options: Any, key: str) -> str | None:
    try:
        return None if run_options is None else str(run_options.get_run_config_entry(key))
    except RuntimeError:  # the options do not have this entry
        return None
