"""ONNX Runtime's sessions on a GPU, played: work is enqueued on the GPU that the host plays, and done by the CPU."""

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

from fake_gpu.driver import FakeDriver
from fake_gpu.execution import Place, run_of, session_of
from fake_gpu.memory import Range, check_apart
from fake_gpu.order import FakeGpuError, Run
from latentloop.kernels.driver.stream import Stream

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
NOT_WAITING = "disable_synchronize_execution_providers"
TYPES = {"float32": "float", "float16": "float16", "int64": "int64", "int32": "int32", "uint8": "uint8", "bool": "bool"}

_CpuSession = onnxruntime.InferenceSession


def install(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver, providers: Sequence[str] = (CUDA, CPU)) -> None:
    """From now on ``onnxruntime`` is one for GPUs, with those providers, on a machine whose GPUs ``driver`` drives."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", CudaSessions(driver, providers))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))


class CudaSessions:
    """Stands for ``onnxruntime.InferenceSession``: sessions without a provider for GPUs are real ones.

    Those with one run on the stream that ``user_compute_stream`` names, of the GPU ``device_id``. Operator libraries
    of the session's options are left out: those for a GPU could not run here.
    """

    def __init__(self, driver: FakeDriver, providers: Sequence[str]) -> None:
        self._driver, self._providers = driver, list(providers)

    def __call__(self, path_or_bytes: Any, sess_options: Any = None, providers: Sequence[Any] | None = None) -> Any:
        given = [(entry, {}) if isinstance(entry, str) else entry for entry in providers or []]
        options = {name: settings for name, settings in given if name in self._providers}  # others are passed over
        if not options.keys() & {CUDA, TENSORRT}:
            return _CpuSession(path_or_bytes, sess_options, providers=[CPU])
        return CudaSession(self._driver, Path(path_or_bytes), options)


class CudaSession:
    def __init__(self, driver: FakeDriver, path: Path, providers: dict[str, dict[str, str]]) -> None:
        given = [settings for name, settings in providers.items() if name != CPU]
        handles = {int(settings.get("user_compute_stream", "0")) for settings in given}
        if 0 in handles or len(handles) > 1:
            raise FakeGpuError(
                f"{path}: its work would be in no order with the host's: user_compute_stream is {handles}"
            )
        self._driver, self._providers = driver, [*providers, *([] if CPU in providers else [CPU])]
        self.device, self.stream = int(given[0].get("device_id", "0")), Stream(handles.pop())
        self.name = path.name
        self._captures = given[0].get("enable_cuda_graph") == "1"
        self._captured: dict[str, list[Place]] = {}  # by gpu_graph_id
        self.session = session_of(onnx.load(path).SerializeToString())
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
        """On arrays of the host: it copies them there and back, and waits."""
        self._refuse_captures()
        found: list[Any] = self.session.run(output_names, input_feed)
        return found

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:
        """Enqueues, and waits unless the options tell it not to. Raises InvalidArgument for what does not fit.

        Raises FakeGpuError for an output that overlaps an input, unless it is at the very place of one that it passes
        on, or for memory that the GPU could not use. So does a session that captures CUDA graphs for other places than
        those of the run's ``gpu_graph_id``, since a replay would use these. It must not count on replays to wait, as
        those of some versions do.
        """
        self._refuse_captures()
        missing = self._inputs.keys() - iobinding.places.keys()
        if missing:
            raise InvalidArgument(f"{self.name}: inputs that are not bound: {sorted(missing)}")
        places = list(iobinding.places.values())
        if iobinding.run is None:
            for place in places:
                self._check(place)
            iobinding.touched, iobinding.run = _touched(self.name, places), run_of(self.name, self.session, places)
        number = _entry(run_options, "gpu_graph_id") or "0"
        if self._captures and number != "-1" and self._captured.setdefault(number, places) != places:
            raise FakeGpuError(f"{self.name}: graph {number} was captured for other places than these")
        with self._driver.use(self.device):
            self._driver.enqueue(self.name, self.stream, iobinding.run, iobinding.touched)
            if _entry(run_options, NOT_WAITING) != "1":
                self._driver.synchronize(self._driver.record(self.stream))

    def _refuse_captures(self) -> None:
        if self._driver.is_capturing(self.stream):
            self._driver.spoil_capture(self.stream)
            raise Fail("CUDA failure 900: operation not permitted when stream is capturing")

    def _check(self, place: Place) -> None:
        value = (self._outputs if place.is_output else self._inputs).get(place.name)
        if value is None:
            raise InvalidArgument(f"{self.name} has no {'output' if place.is_output else 'input'} {place.name}")
        if value.type != f"tensor({TYPES[place.dtype.name]})":
            raise InvalidArgument(f"{self.name}: {place.name} is bound as {place.dtype.name}, expected {value.type}")
        fits = len(value.shape) == len(place.shape) and all(
            expected == found or not isinstance(expected, int)
            for expected, found in zip(value.shape, place.shape, strict=True)
        )
        if not fits:
            raise InvalidArgument(f"{self.name}: {place.name} is bound as {list(place.shape)}, expected {value.shape}")


class IOBinding:
    """Addresses of one device's memory."""

    def __init__(self, device: int) -> None:
        self._device = device
        self.places: dict[str, Place] = {}
        self.touched: list[Range] = []
        self.run: Run | None = None  # of these places

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        self._bind(name, device_type, device_id, element_type, shape, buffer_ptr, False)

    def bind_output(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """The real one would allocate an output that is bound without an address; this one needs it."""
        self._bind(name, device_type, device_id, element_type, shape, buffer_ptr, True)

    def _bind(
        self, name: str, device_type: str, device: int, element_type: Any, shape: Sequence[int], pointer: int, out: bool
    ) -> None:
        if (device_type, device) != ("cuda", self._device):
            raise FakeGpuError(f"{name} is bound on {device_type}:{device}, the session is on cuda:{self._device}")
        self.places[name] = Place(name, pointer, np.dtype(element_type), tuple(shape), out)
        self.run = None


def _touched(text: str, places: Sequence[Place]) -> list[Range]:
    """The bytes of all, of inputs that are passed on once. Raises FakeGpuError for other overlaps."""
    outputs = [place for place in places if place.is_output]
    passed_on = {(place.pointer, place.dtype, place.shape) for place in outputs}
    read = [place for place in places if not place.is_output]
    inputs = [place for place in read if (place.pointer, place.dtype, place.shape) not in passed_on]
    touched = [place.touched() for place in (*inputs, *outputs)]
    check_apart(text, touched)
    return touched


def _entry(run_options: Any, key: str) -> str | None:
    try:
        return None if run_options is None else str(run_options.get_run_config_entry(key))
    except RuntimeError:  # there is no such entry
        return None
