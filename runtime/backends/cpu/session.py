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
NamedValue = tuple[str, "onnxruntime.OrtValue"]
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

    def call(self) -> Call:
        """Returns a call that reads and writes arrays in place, without any array yet."""
        return Call(self.session)


class Call:
    """A graph bound to arrays, which it reads and writes in place. Keeps the arrays alive."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._values: dict[str, onnxruntime.OrtValue] = {}

    def bind(self, inputs: Iterable[NamedValue], outputs: Iterable[NamedValue]) -> None:
        """Binds inputs and outputs, by name, to arrays; those that are not named keep theirs."""
        for name, value in inputs:
            self._values[name] = value
            self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs:
            self._values[name] = value
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """Runs the graph once."""
        self._session.run_with_iobinding(self._binding)


def bindable(array: Array) -> onnxruntime.OrtValue:
    """Returns an array in the form that calls bind. It shares the array's memory and keeps it alive."""
    import onnxruntime

    if not array.flags.c_contiguous:
        raise ValueError("a bound array must be contiguous")
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
