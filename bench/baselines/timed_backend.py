"""A CPU backend that times every run of a graph."""

from __future__ import annotations

import time

from latentloop.backends.cpu.backend import CpuBackend
from latentloop.backends.cpu.session import Array, Call, OrtSession
from latentloop.bundles.bundle import Bundle

Seconds = dict[str, list[float]]  # of graph runs in order, by role: condition, row, step, encoder, decoder


class TimedCpuBackend(CpuBackend):
    """The CPU backend, with sessions whose runs are timed."""

    def __init__(self, bundle: Bundle, threads: int, precision: str) -> None:
        super().__init__(bundle, threads, precision, "timed by the bench")
        self._seconds: Seconds = {}

    def session(self, file: str) -> OrtSession:
        """Returns the session of a graph of the bundle; its calls add their seconds to the backend's."""
        return TimedSession(super().session(file), self._seconds.setdefault(role(file), []))

    def take_seconds(self) -> Seconds:
        """Returns the seconds of all runs since the last call of ``take_seconds``."""
        taken = {name: list(seconds) for name, seconds in self._seconds.items() if seconds}
        for seconds in self._seconds.values():
            seconds.clear()
        return taken


class TimedSession(OrtSession):
    """A loaded session whose calls append their seconds to a list."""

    def __init__(self, session: OrtSession, seconds: list[float]) -> None:
        super().__init__(session.path, session.session)
        self._seconds = seconds

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs the graph on arrays and returns all outputs by name."""
        begin = time.perf_counter()
        outputs = super().run(inputs)
        self._seconds.append(time.perf_counter() - begin)
        return outputs

    def call(self) -> Call:
        """Returns a prepared run, as ``OrtSession.call`` does."""
        call = TimedCall(self.session)
        call.seconds = self._seconds
        return call


class TimedCall(Call):
    """A prepared run that appends its seconds to ``seconds``."""

    seconds: list[float]

    def run(self) -> None:
        """Runs the graph once."""
        begin = time.perf_counter()
        super().run()
        self.seconds.append(time.perf_counter() - begin)


def role(file: str) -> str:
    """Returns "step" for ``bottom.step_filtered.onnx``, and "decoder" for ``decoder.onnx``: the name's last part before
    the ending, up to an underscore.
    """
    return file.removesuffix(".onnx").rpartition(".")[2].split("_")[0]
