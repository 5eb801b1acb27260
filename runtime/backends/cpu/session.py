"""ONNX Runtime sessions on the CPU, with inputs and outputs bound in place to NumPy memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from latentloop.backends.onnxruntime import open_session, session_options
from latentloop.bundles.bundle import Bundle
from latentloop.kernels.library import operators

if TYPE_CHECKING:  # ``backends.onnxruntime`` imports it, and reports a broken one
    import onnxruntime

Array = NDArray[Any]


def bundle_session(bundle: Bundle, file: str, threads: int) -> OrtSession:
    """Returns the session of a bundle's graph, loaded once per file and number of threads.

    Raises BundleError if it cannot be loaded, or if the file is no longer the one that was verified.
    """

    def load() -> OrtSession:
        weights = bundle.manifest.weights
        with bundle.unchanged(file, weights):
            return OrtSession(bundle.path / file, threads, operators(), bundle.path / weights)

    return bundle.cached(("session", file, threads), load)


class OrtSession:
    """One ONNX file, loaded. Several threads may run it at once; each needs calls of its own."""

    def __init__(self, path: Path, threads: int, operators: Path | None = None, weights: Path | None = None) -> None:
        """``operators`` is a library of native operators; without it, or where it cannot be loaded, a graph runs the
        bodies of its functions. ``weights`` is the file of the graph's external data, which may be a link.
        """
        options = session_options(operators)
        options.intra_op_num_threads = threads
        # Row and step are sessions with threads of their own; spinning, the idle one would steal the other's cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = open_session(path, weights, options, ["CPUExecutionProvider"])
        self.path = path
        self.inputs = {value.name for value in self.session.get_inputs()}
        self.outputs = {value.name for value in self.session.get_outputs()}

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs once on arrays; returns every output by name."""
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, inputs), strict=True))

    def call(self, inputs: Iterable[tuple[str, Array]], outputs: Iterable[tuple[str, Array]]) -> Call:
        """A prepared run whose inputs and outputs are those arrays' memory."""
        return Call(self.session, inputs, outputs)


class Call:
    """A run bound to memory: it reads and writes arrays in place, copying nothing. Keeps the arrays alive."""

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
            self._keep(name, array)
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, _address(array))

    def rebind(self, name: str, array: Array) -> None:
        """Points one input at another array."""
        self._keep(name, array)
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, _address(array))

    def run(self) -> None:
        """Runs the graph once."""
        self._session.run_with_iobinding(self._binding)

    def _keep(self, name: str, array: Array) -> None:
        if not array.flags.c_contiguous:
            raise ValueError(f"{name}: a bound array must be contiguous")
        self._arrays[name] = array


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
