"""ONNX Runtime sessions on the CPU, with inputs and outputs bound in place to NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from latentloop.backends.onnxruntime import open_graph
from latentloop.bundles.bundle import Bundle
from latentloop.kernels.library import operators

if TYPE_CHECKING:  # ``backends.onnxruntime`` imports and checks it
    import onnxruntime

Array = NDArray[Any]
PROVIDERS = ["CPUExecutionProvider"]


def bundle_session(bundle: Bundle, file: str, threads: int) -> OrtSession:
    """Returns the session of a bundle's graph; it is cached per file and number of threads.

    Raises BundleError if it cannot be loaded, or if the file has changed since it was verified.
    """

    def load() -> OrtSession:
        return OrtSession(bundle.path / file, open_graph(bundle, file, PROVIDERS, operators(), threads))

    return bundle.cached(_key(file, threads), load)


def forget_session(bundle: Bundle, file: str, threads: int) -> None:
    """Lets the memory of a session be freed as soon as nothing uses it; ``bundle_session`` then opens it again."""
    bundle.forget(_key(file, threads))


def _key(file: str, threads: int) -> tuple[str, str, int]:
    return "session", file, threads


class OrtSession:
    """The session of one ONNX file. Threads may share it, but not its calls."""

    def __init__(self, path: Path, session: onnxruntime.InferenceSession) -> None:
        self.path, self.session = path, session
        self.inputs = {value.name for value in session.get_inputs()}
        self.outputs = {value.name for value in session.get_outputs()}

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs the graph on arrays and returns all outputs by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))

    def call(self, inputs: Iterable[tuple[str, Array]], outputs: Iterable[tuple[str, Array]]) -> Call:
        """Returns a call that reads and writes these arrays in place."""
        return Call(self.session, inputs, outputs)


class Call:
    """A graph bound to arrays, which it reads and writes in place. Keeps the arrays alive."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Iterable[tuple[str, Array]],
        outputs: Iterable[tuple[str, Array]],
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._arrays: dict[str, Array] = {}
        for name, array in inputs:
            self.rebind(name, array)
        for name, array in outputs:
            self._store(name, array)
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, _address(array))

    def rebind(self, name: str, array: Array) -> None:
        """Binds one input to another array."""
        self._store(name, array)
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, _address(array))

    def run(self) -> None:
        """Runs the graph once."""
        self._session.run_with_iobinding(self._binding)

    def _store(self, name: str, array: Array) -> None:
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: a bound array must be contiguous")
        self._arrays[name] = array


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
