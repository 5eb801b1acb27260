"""The loop over one level's codes: rows, and columns within a row. It owns the memory; the graphs own the model.

The manifest says which view of which memory each input and output is, so this file knows no layer by name: it
prepares one bound call per step, and turns the crank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.onnxruntime import Call, Graph
from latentloop.errors import BundleError, InputError
from latentloop.manifest import BATCH, Binding, GraphFile, Level, Memory, Prior

Array = NDArray[Any]
Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
LARGEST_LOOP = 2**31  # values that one loop may hold, 8 GiB of float32


@dataclass(frozen=True)
class Controls:
    """What one batch of one level is asked for. B samples; ``top_k`` and ``top_p`` are None without a filter."""

    uniform: Floats  # [H, W, B]
    forced: Codes  # [H, W, B], -1 where a code is to be drawn
    temperature: Floats  # [B]
    top_k: Codes | None = None  # [B]
    top_p: Floats | None = None  # [B]
    upper: Codes | None = None  # [B, H', W'], the level above
    labels: Codes | None = None  # [B]

    @staticmethod
    def forcing(codes: Codes, upper: Codes | None, labels: Codes | None) -> Controls:
        """Draws nothing: every code [B, H, W] is given, to read the logits of each."""
        batch, height, width = codes.shape
        return Controls(
            uniform=np.zeros((height, width, batch), np.float32),
            forced=codes.transpose(1, 2, 0),
            temperature=np.ones(batch, np.float32),
            upper=upper,
            labels=labels,
        )


@dataclass(frozen=True)
class Row:
    """A finished row: codes [W, B] and logits [W, B, K]. Views of the loop's memory: copy what is to be kept."""

    index: int
    codes: Codes
    logits: Floats


class PriorLoop:
    """One level's loop for a fixed batch size. Not for two threads at once: it owns its memory.

    ``load`` gives the graph of a file of the manifest; it is asked when a graph first runs, for few runs need all.
    """

    def __init__(self, level: Level, prior: Prior, load: Callable[[str], Graph], batch: int) -> None:
        self.level = level
        self.batch = batch
        self.prior = prior
        self._load = load
        self._loaded: dict[str, Graph] = {}
        self._memories = {memory.name: memory for memory in prior.memories}
        values = sum(math.prod(_shape(memory, batch)) for memory in prior.memories)
        if values > LARGEST_LOOP:
            raise InputError(f"a batch of {batch} needs {values / 2**28:.0f} GiB for {level.name}: use a smaller one")
        self._arrays: dict[str, Array] = {
            memory.name: np.full(_shape(memory, batch), memory.fill, memory.dtype) for memory in prior.memories
        }
        self._arrays["row"][:, 0] = np.arange(level.height)
        self._arrays["column"][:, 0] = np.arange(level.width)
        self._steps: dict[tuple[str, int, int], Call] = {}
        self._growing = {role: [b for b in graph.inputs if b.view == "entries"] for role, graph in prior.graphs.items()}

    def rows(self, controls: Controls, rows: int | None = None) -> Iterator[Row]:
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

    def _begin(self, controls: Controls) -> None:
        """Fresh state, the batch's settings, and what the condition graph computes once."""
        for memory in self.prior.memories:
            if memory.ring:
                self._arrays[memory.name][:] = memory.fill
        for name in ("temperature", "top_k", "top_p", "labels"):
            value = getattr(controls, name)
            if value is not None and name in self._arrays:
                self._arrays[name][:] = value
        if controls.upper is not None and "upper" in self._arrays:
            self._arrays["upper"][:] = controls.upper.transpose(1, 2, 0)
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

    def _graph(self, described: GraphFile) -> Graph:
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
        memory = self._memories[binding.memory]
        array = self._arrays[binding.memory]
        index: Any
        if binding.view == "all":
            index = ...
        elif binding.view == "row":
            index = i
        elif binding.view == "entries":
            index = slice(i + 1)
        else:
            first = binding.first + (memory.padding if memory.ring else 0)
            columns = slice(first + j, first + j + binding.count)
            if binding.view == "span":
                index = (i - binding.back) % len(array), slice(first, first + binding.count)
            else:
                index = (i % len(array), columns) if memory.ring else columns
        view: Array = array[index]
        return view


def _shape(memory: Memory, batch: int) -> tuple[int, ...]:
    return tuple(batch if size == BATCH else int(size) for size in memory.shape)
