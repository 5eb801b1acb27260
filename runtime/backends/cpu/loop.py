"""The loop over one level's codes: rows, and columns within a row. It owns the state buffers.

The manifest says which view of which buffer is bound to each input and output of a graph, so the loop needs no other
knowledge of the model. It binds each step's inputs and outputs to the buffers once, and runs the graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from latentloop.backends.cpu.session import Call, NamedValue, OrtSession, bindable
from latentloop.bundles.manifest import STEPS, Binding, GraphFile, Level, Prior
from latentloop.bundles.views import check_size, initial_values, view_index
from latentloop.draws.level_inputs import LevelInputs, Row
from latentloop.errors import BundleError

Array = NDArray[Any]


class PriorLoop:
    """The loop of one level for a fixed batch size. Only one thread at a time may use it: it owns its buffers.

    ``load`` returns the session of a graph file that the manifest names. It is called when the graph first runs,
    because most runs need only some of the graphs.
    """

    def __init__(self, level: Level, prior: Prior, load: Callable[[str], OrtSession], batch: int) -> None:
        self.level = level
        self.batch = batch
        self.prior = prior
        self._load = load
        self._sessions: dict[str, OrtSession] = {}
        self._buffers = {buffer.name: buffer for buffer in prior.memories}
        check_size(level, prior.memories, batch)
        self._arrays: dict[str, Array] = {buffer.name: initial_values(buffer, batch) for buffer in prior.memories}
        # By role, phase of the row, and column. Rows of the same phase differ only in the views "row" and "entries",
        # which are therefore bound again before every run.
        self._calls: dict[tuple[str, int, int], Call] = {}
        self._of_row = {
            role: tuple(
                [b for b in bindings if b.view in ("row", "entries")] for bindings in (graph.inputs, graph.outputs)
            )
            for role, graph in prior.graphs.items()
        }

    def rows(self, level_inputs: LevelInputs, rows: int | None = None) -> Iterator[Row]:
        """Runs the level row by row and yields each row when it is finished. Stop iterating to cancel.

        ``rows`` limits the run to the first rows of the grid. Raises BundleError if the inputs and outputs of a graph
        differ from those in the manifest. If logits are not finite, codes are K.
        """
        self._begin(level_inputs)
        role = STEPS[level_inputs.is_filtered]
        ring, padding = self._arrays["codes"], self._buffers["codes"].padding
        inside = slice(padding, padding + self.level.width)
        for i in range(rows or self.level.height):
            self._arrays["uniform"][:] = level_inputs.uniform[i]
            self._arrays["forced"][:] = level_inputs.forced[i]
            self._run("row", i)
            self._run(role, i, self.prior.columns_per_step)
            yield Row(i, ring[i % len(ring), inside], self._arrays["logits"])

    def buffer(self, name: str) -> Array:
        """Returns the array of a state buffer, with the values of the last run."""
        return self._arrays[name]

    def _begin(self, level_inputs: LevelInputs) -> None:
        """Resets the ring buffers, copies the settings of the batch, and runs the condition graph."""
        for buffer in self.prior.memories:
            if buffer.ring:
                self._arrays[buffer.name][:] = buffer.fill
        for name, value in level_inputs.constants(self._arrays).items():
            self._arrays[name][:] = value
        if "condition" in self.prior.graphs:
            self._run("condition", 0)

    def _run(self, role: str, i: int, columns: int | None = None) -> None:
        """Runs a graph in row i: once, or for each so many columns."""
        phase = i % len(self._arrays["codes"])
        graph = self.prior.graphs[role]
        inputs, outputs = (self._values(bindings, i, 0) for bindings in self._of_row[role])
        for j in range(0, self.level.width, columns or self.level.width):
            call = self._calls.get((role, phase, j))
            if call is None:
                call = self._session(graph).call()
                call.bind(self._values(graph.inputs, i, j), self._values(graph.outputs, i, j))
                self._calls[role, phase, j] = call
            else:
                call.bind(inputs, outputs)
            call.run()

    def _values(self, bindings: Iterable[Binding], i: int, j: int) -> list[NamedValue]:
        return [(binding.name, bindable(self._view(binding, i, j))) for binding in bindings]

    def _session(self, graph: GraphFile) -> OrtSession:
        """Returns a graph's session. Raises BundleError if its inputs and outputs differ from those in the manifest."""
        session = self._sessions.get(graph.file)
        if session is None:
            session = self._sessions[graph.file] = self._load(graph.file)
            for kind, bindings, names in (
                ("inputs", graph.inputs, session.inputs),
                ("outputs", graph.outputs, session.outputs),
            ):
                differing = {binding.name for binding in bindings} ^ names
                if differing:
                    raise BundleError(f"{session.path}: {kind} of graph and manifest differ: {sorted(differing)}")
        return session

    def _view(self, binding: Binding, i: int, j: int) -> Array:
        """Returns the view of a binding at row i and column j; it is always contiguous."""
        view: Array = self._arrays[binding.memory][view_index(binding, self._buffers[binding.memory], i, j)]
        return view
