"""The loop over one level's codes: rows, and columns within a row. It owns the memory; the graphs own the model.

The manifest says which view of which memory each input and output is, so this file knows no layer by name: it
prepares one bound call per step, and turns the crank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.cpu.session import Call, OrtSession
from latentloop.bundles.manifest import Binding, GraphFile, Level, Prior
from latentloop.bundles.views import check_size, memory_shape, view_index
from latentloop.draws.level_inputs import LevelInputs, Row
from latentloop.errors import BundleError

Array = NDArray[Any]


class PriorLoop:
    """One level's loop for a fixed batch size. Not for two threads at once: it owns its memory.

    ``load`` gives the graph of a file of the manifest; it is asked when a graph first runs, for few runs need all.
    """

    def __init__(self, level: Level, prior: Prior, load: Callable[[str], OrtSession], batch: int) -> None:
        self.level = level
        self.batch = batch
        self.prior = prior
        self._load = load
        self._loaded: dict[str, OrtSession] = {}
        self._memories = {memory.name: memory for memory in prior.memories}
        check_size(level, prior.memories, batch)
        self._arrays: dict[str, Array] = {
            memory.name: np.full(memory_shape(memory, batch), memory.fill, memory.dtype) for memory in prior.memories
        }
        self._arrays["row"][:, 0] = np.arange(level.height)
        self._arrays["column"][:, 0] = np.arange(level.width)
        self._steps: dict[tuple[str, int, int], Call] = {}
        self._growing = {role: [b for b in graph.inputs if b.view == "entries"] for role, graph in prior.graphs.items()}

    def rows(self, controls: LevelInputs, rows: int | None = None) -> Iterator[Row]:
        """Runs the level row by row, yielding each as it is finished; stop iterating to cancel.

        ``rows`` limits the run to the first rows of the grid. Raises BundleError for graphs that are not those the
        manifest describes, and where a draw finds logits that are not finite.
        """
        self._begin(controls)
        role = "step" if controls.top_k is None else "step_filtered"
        ring, padding = self._arrays["codes"], self._memories["codes"].padding
        inside = slice(padding, padding + self.level.width)
        for i in range(rows or self.level.height):
            self._arrays["uniform"][:] = controls.uniform[i]
            self._arrays["forced"][:] = controls.forced[i]
            self._call(self.prior.graphs["row"], i, 0).run()
            self._run_steps(role, i)
            codes = ring[i % len(ring), inside]
            if (codes >= self.level.codebook_size).any():
                raise BundleError(f"{self._graph(self.prior.graphs[role]).path}: logits that are not finite numbers")
            yield Row(i, codes, self._arrays["logits"])

    def memory(self, name: str) -> Array:
        """The array behind one of the manifest's memories, as the last run left it."""
        return self._arrays[name]

    def _begin(self, controls: LevelInputs) -> None:
        """Fresh state, the batch's settings, and what the condition graph computes once."""
        for memory in self.prior.memories:
            if memory.ring:
                self._arrays[memory.name][:] = memory.fill
        for name, value in controls.settings().items():
            if name in self._arrays:
                self._arrays[name][:] = value
        if "condition" in self.prior.graphs:
            self._call(self.prior.graphs["condition"], 0, 0).run()

    def _run_steps(self, role: str, i: int) -> None:
        phase = i % len(self._arrays["codes"])
        graph, growing = self.prior.graphs[role], self._growing[role]
        for j in range(0, self.level.width, self.prior.columns_per_step):
            call = self._steps.get((role, phase, j))
            if call is None:
                call = self._steps[role, phase, j] = self._call(graph, i, j)
            else:
                for binding in growing:
                    call.rebind(binding.name, self._view(binding, i, j))
            call.run()

    def _call(self, described: GraphFile, i: int, j: int) -> Call:
        return self._graph(described).call(
            [(binding.name, self._view(binding, i, j)) for binding in described.inputs],
            [(binding.name, self._view(binding, i, j)) for binding in described.outputs],
        )

    def _graph(self, described: GraphFile) -> OrtSession:
        """The loaded graph. Raises BundleError where its inputs and outputs are not those that the manifest binds."""
        graph = self._loaded.get(described.file)
        if graph is None:
            graph = self._loaded[described.file] = self._load(described.file)
            for kind, bound, there in (
                ("inputs", described.inputs, graph.inputs),
                ("outputs", described.outputs, graph.outputs),
            ):
                differing = {binding.name for binding in bound} ^ there
                if differing:
                    raise BundleError(f"{graph.path}: {kind} of graph and manifest differ: {sorted(differing)}")
        return graph

    def _view(self, binding: Binding, i: int, j: int) -> Array:
        """The array that a binding means at row i and column j: always a contiguous view."""
        view: Array = self._arrays[binding.memory][view_index(binding, self._memories[binding.memory], i, j)]
        return view
